"""Rewards of CM-GRPO: their names on real clips, and the modules that compute those that a suite asks for."""

from collections.abc import Iterable, Mapping

REWARD_NETWORK_FILES = {
    "raft": ("raft_model/models/raft-things.pth", "raft_model/models.zip"),
    "aesthetic": ("clip_model/ViT-L-14.pt", "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"),
    "imaging": ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",),
    "motion_smoothness": ("amt_model/amt-s.pth",),
    "subject_consistency": (
        "dino_model/dino_vitbase16_pretrain.pth",
        *(
            f"dino_model/facebookresearch_dino_main/{n}.py"
            for n in ("hubconf", "vision_transformer", "utils")
        ),
    ),
    "background_consistency": ("clip_model/ViT-B-32.pt",),
}
"""Files of each reward in the folder of VBench's weights, as evaluation/vbench/worker/networks.py reads them;
RAFT's lies there or in its zip.
"""

UNIFIED_REWARDS = {
    "unified_visual_quality": "visual quality",
    "unified_temporal_consistency": "temporal consistency",
    "unified_dynamic_degree": "dynamic degree",
    "unified_text_alignment": "text-to-video alignment",
    "unified_factual_consistency": "factual consistency",
}
"""Rewards that are ratings of UnifiedReward, with the names in its answer; one answer holds all five."""

UNIFIED_WEIGHTS = "unified_reward_7b"
"""Folder of UnifiedReward below that of the rewards' weights, and group of workflow/resources.yaml: 32 B do
not fit beside what is trained.
"""

FULL_REWARDS = ("text_alignment", *REWARD_NETWORK_FILES, *UNIFIED_REWARDS)
"""Rewards on real clips: VideoAlign's, of VBench's networks, UnifiedReward's (workflow/training/rewards.py).
"""

REWARD_PYTHON = ".venvs/vbench/bin/python"
"""Python of the environment that envs/vbench/install.sh builds, where most are computed; from the root."""

CLIP_REWARDS = "workflow.training.rewards"
"""Module that computes rewards of real clips."""

UNIFIED_REWARD = "models.training.unified_reward"
"""Module that computes UnifiedReward's, where they are asked for."""

REWARD_WORKER = "evaluation.vbench.worker.reward_worker"
"""Module that computes most of them, in a process of that environment."""


GRADED = (
    "appearance_style",
    "color",
    "dynamic_degree",
    "human_action",
    "multiple_objects",
    "object_class",
    "scene",
    "temporal_style",
)
"""Scorers that are mostly 0 or 1, which gives a group no direction: as rewards they are graded."""
SMOOTH = (
    "aesthetic_quality",
    "background_consistency",
    "imaging_quality",
    "motion_smoothness",
    "subject_consistency",
)
"""Scorers that are rewards as they are."""


def check_rewards(weights: Mapping[str, float], where: str, *, real_clips: bool) -> None:
    """Raise ValueError if a reward is none of those of real clips, or none of the embedded checkers."""
    known = tuple(FULL_REWARDS) if real_clips else tuple(sorted(GRADED + SMOOTH))
    if unknown := sorted(weights.keys() - set(known)):
        kind = "the rewards of real clips are" if real_clips else "graded checkers exist for"
        raise ValueError(f"{where} names {', '.join(unknown)}; {kind} {', '.join(known)}.")


def toybox_scorer(dimension: str) -> str:
    """Module of the toybox scorer of a dimension."""
    return f"evaluation.toybox.scorers.{dimension}"


def reward_modules(rewards: Iterable[str], *, real_clips: bool) -> list[str]:
    """Modules that compute these rewards.

    Training imports them by name, so that it depends on the rewards it uses and on no others. Whoever wants a
    digest of training lists them too (workflow/planning/row_plan.py).
    """
    if real_clips:
        judged = [UNIFIED_REWARD] if set(rewards) & UNIFIED_REWARDS.keys() else []
        return [CLIP_REWARDS, REWARD_WORKER, *judged]
    return [toybox_scorer(name) for name in sorted(rewards)]
