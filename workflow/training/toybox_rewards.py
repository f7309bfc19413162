"""Toybox scorers as rewards of CM-GRPO, each imported when it is asked for (see reward_names.py)."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from evaluation.records import Prompt
from evaluation.toybox.render import Frames
from workflow.training.reward_names import GRADED, check_rewards, toybox_scorer


def rewarded_prompts(prompts: Sequence[Prompt], rewards: Mapping[str, float]) -> list[Prompt]:
    """The prompts with all rewarded dimensions. Raises ValueError for an unknown reward, or no prompt."""
    check_rewards(rewards, "cm_grpo.rewards", real_clips=False)
    fitting = [prompt for prompt in prompts if rewards.keys() <= set(prompt.dimensions)]
    if not fitting:
        raise ValueError(
            f"No prompt has all the rewarded dimensions {', '.join(sorted(rewards))}; choose dimensions of "
            "one kind of prompt."
        )
    return fitting


def toybox_reward(dimension: str, frames: Frames, prompt: Prompt) -> float:
    """Reward of one clip, uint8 [81, 32, 32, 3], on a dimension."""
    scorer = import_module(toybox_scorer(dimension))
    if dimension in GRADED:
        return float(scorer.soft(frames, prompt.facts))
    return float(scorer.score(frames, prompt.facts).value)


def toybox_rewards(frames: Frames, prompt: Prompt, rewards: Mapping[str, float]) -> dict[str, float]:
    """Reward of one clip, uint8 [81, 32, 32, 3], on every rewarded dimension."""
    return {name: toybox_reward(name, frames, prompt) for name in sorted(rewards)}
