"""Rewards of CM-GRPO: their names on real clips, and the modules that compute those that a suite asks for."""

from collections.abc import Iterable, Mapping

FULL_REWARDS = ("raft", "text_alignment", "aesthetic", "imaging", "motion_smoothness")
"""Rewards on real clips: RAFT, VideoAlign, LAION's head, MUSIQ, AMT-S (workflow/training/rewards.py)."""

REWARD_PYTHON = ".venvs/vbench/bin/python"
"""Python of the environment that envs/vbench/install.sh builds, where most are computed; from the root."""

CLIP_REWARDS = "workflow.training.rewards"
"""Module that computes rewards of real clips."""

REWARD_WORKER = "evaluation.vbench.worker.reward_worker"
"""Module that computes most of them, in a process of that environment."""


def check_rewards(weights: Mapping[str, float], where: str) -> None:
    """Raise ValueError if a reward is none of those of real clips."""
    unknown = sorted(weights.keys() - set(FULL_REWARDS))
    if unknown:
        raise ValueError(
            f"{where} names {', '.join(unknown)}; the rewards of real clips are {', '.join(FULL_REWARDS)}."
        )


def toybox_scorer(dimension: str) -> str:
    """Module of the toybox scorer of a dimension."""
    return f"evaluation.toybox.scorers.{dimension}"


def reward_modules(rewards: Iterable[str], *, real_clips: bool) -> list[str]:
    """Modules that compute these rewards.

    Training imports them by name, so that it depends on the rewards it uses and on no others. Whoever wants a
    digest of training lists them too (workflow/planning/row_plan.py).
    """
    if real_clips:
        return [CLIP_REWARDS, REWARD_WORKER]
    return [toybox_scorer(name) for name in sorted(rewards)]
