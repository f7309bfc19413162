"""Train CM-GRPO: LoRA on RAVEN, rewarded by some of the embedded checkers; the others are held out and reported beside them."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.strict_yaml import parse_strict
from evaluation.records import Prompt, write_text
from evaluation.toybox.prompt_kinds import kind_of
from evaluation.toybox.training_prompts import heldout_prompts, training_prompts
from models.codec import LinearCodec
from models.config import WanConfig
from models.lora import LoraSettings, add_lora, inner_wan, open_wan
from models.noise import PortableNoise, SampleKey
from models.rollout import Rollout
from models.text import ToyTextEncoder
from models.training.cm_grpo import CmGrpo, needs_base
from models.training.rollouts import consistency_rollout, endpoints
from models.training.settings import CmGrpoSettings
from models.wan import Wan
from models.weights import load_strict
from workflow.scripts.checkers import CHECKERS, REWARDS
from workflow.training_job import (
    averaged_weights,
    begin,
    open_model,
    place,
    run_to_end,
    streams_of,
    text_rows,
    training_parser,
    write_manifest,
)

log = logging.getLogger("train_cm_grpo")

Frames = NDArray[np.uint8]
POOL = 4096
OTHER_PROMPTS_OF_A_KIND = 8
LATENT_SIZE = (8, 8)
SAMPLED_AT_ONCE = 32


def rewarded_prompts(prompts: Sequence[Prompt], rewards: Mapping[str, float]) -> list[Prompt]:
    """Prompts on which every rewarded dimension is defined. Raises ValueError if a reward has no graded checker or no prompt fits."""
    unknown = sorted(rewards.keys() - REWARDS.keys())
    if unknown:
        raise ValueError(
            f"cm_grpo.rewards names {', '.join(unknown)}; graded checkers exist for {', '.join(sorted(REWARDS))}."
        )
    fitting = [prompt for prompt in prompts if rewards.keys() <= set(prompt.dimensions)]
    if not fitting:
        raise ValueError(
            f"No prompt has all the rewarded dimensions {', '.join(sorted(rewards))}; choose dimensions of one kind of prompt."
        )
    return fitting


def soft_scores(frames: Frames, prompt: Prompt, rewards: Mapping[str, float]) -> dict[str, float]:
    """Graded score of one clip on every rewarded dimension."""
    return {name: float(REWARDS[name](frames, prompt.facts)) for name in sorted(rewards)}


def combined(scores: Mapping[str, float], rewards: Mapping[str, float]) -> float:
    """Weighted mean of raw graded scores."""
    return sum(weight * scores[name] for name, weight in rewards.items()) / sum(rewards.values())


def sample_frames(
    wan: Wan, rollout: Rollout, codec: LinearCodec, texts: Tensor, prompts: Sequence[Prompt]
) -> Frames:
    """Decoded clips [P, 81, 32, 32, 3], sample 0 of each prompt with its portable noise."""
    made = []
    shape = (rollout.frames, wan.config.in_channels, *LATENT_SIZE)
    for start in range(0, len(prompts), SAMPLED_AT_ONCE):
        part = slice(start, start + SAMPLED_AT_ONCE)
        noise = PortableNoise(
            suite="heldout",
            samples=[SampleKey(p.id, 0) for p in prompts[part]],
            shape=shape,
            device=texts.device,
        )
        made.append(codec.decode_uint8(endpoints(rollout.run(wan, texts[part], noise)).cpu()).numpy())
    return np.concatenate(made)


def heldout_list(settings: CmGrpoSettings) -> list[Prompt]:
    """Held-out prompts: `heldout` on which the reward is defined, and a few of every other kind for the other checkers."""
    everything = heldout_prompts(500, settings.seed)
    fitting = rewarded_prompts(everything, settings.rewards)
    if len(fitting) < settings.heldout:
        raise ValueError(
            f"cm_grpo.heldout is {settings.heldout}, but the world has {len(fitting)} held-out prompts for these rewards."
        )
    chosen = fitting[: settings.heldout]
    seen = {kind_of(prompt.facts) for prompt in chosen}
    for kind in sorted({kind_of(prompt.facts) for prompt in everything} - seen):
        chosen += [prompt for prompt in everything if kind_of(prompt.facts) == kind][:OTHER_PROMPTS_OF_A_KIND]
    return chosen


def measure(
    frames: Frames, prompts: Sequence[Prompt], settings: CmGrpoSettings
) -> dict[str, list[float | None]]:
    """Reward and every checker per prompt; None where a measure is not defined for a prompt."""
    rewarded = {prompt.id for prompt in rewarded_prompts(prompts, settings.rewards)}
    table: dict[str, list[float | None]] = {"reward": [], **{name: [] for name in CHECKERS}}
    for clip, prompt in zip(frames, prompts, strict=True):
        soft = soft_scores(clip, prompt, settings.rewards) if prompt.id in rewarded else None
        table["reward"].append(None if soft is None else combined(soft, settings.rewards))
        for name, checker in CHECKERS.items():
            table[name].append(float(checker(clip, prompt.facts)) if name in prompt.dimensions else None)
    return table


def write_heldout(
    flags: argparse.Namespace,
    settings: CmGrpoSettings,
    prompts: Sequence[Prompt],
    before: dict[str, list[float | None]],
    after: dict[str, list[float | None]],
) -> None:
    """heldout.json: same prompts and noise before and after training (read by reports/curves.py)."""
    measures = [
        {
            "name": name,
            "trained": name == "reward" or name in settings.rewards,
            "before": before[name],
            "after": after[name],
        }
        for name in before
    ]
    record = {
        "before": "raven",
        "after": "cm_grpo",
        "prompts": [prompt.id for prompt in prompts],
        "measures": measures,
    }
    write_text(flags.output / "heldout.json", json.dumps(record) + "\n")
    for name in ("reward", *sorted(settings.rewards)):
        pairs = [
            (a, b) for a, b in zip(before[name], after[name], strict=True) if a is not None and b is not None
        ]
        change = np.array([b - a for a, b in pairs])
        error = 1.96 * change.std(ddof=1) / len(change) ** 0.5
        log.info(
            "held out %s on %d prompts: %.4f before, %.4f after, difference %.4f +- %.4f",
            name,
            len(pairs),
            np.mean([a for a, _ in pairs]),
            np.mean([b for _, b in pairs]),
            change.mean(),
            error,
        )


def plain_copy(state: Mapping[str, Tensor], config: WanConfig, settings: CmGrpoSettings) -> Wan:
    """A wrapped transformer holding a bundle's tensors, for sampling."""
    wrapped = add_lora(Wan(config), LoraSettings(rank=settings.lora_rank, alpha=settings.lora_alpha), seed=0)
    load_strict(wrapped, state, where="the moving average")
    return inner_wan(wrapped)


def main() -> None:
    flags = training_parser(__doc__).parse_args()
    job = begin(flags, "cm_grpo")
    settings = parse_strict(flags.settings, CmGrpoSettings, where="--settings")
    encoder, codec = ToyTextEncoder.load(flags.text), LinearCodec.load(flags.codec)
    prompts = rewarded_prompts(training_prompts(POOL, settings.seed), settings.rewards)
    checked = heldout_list(settings)
    start = open_model(flags.init, "student", flags.numerics, trained=True)
    config = start.config
    policy = add_lora(
        start, LoraSettings(rank=settings.lora_rank, alpha=settings.lora_alpha), seed=settings.seed
    )
    place(inner_wan(policy), job, trained=True)
    base = None
    if needs_base(settings):
        base = place(
            open_model(flags.teacher, "bidirectional", flags.numerics, trained=False), job, trained=False
        )

    def reward(latents: Tensor, which: list[int]) -> dict[str, Tensor]:
        frames = codec.decode_uint8(latents.cpu()).numpy()
        scores = [
            soft_scores(clip, prompts[i], settings.rewards) for clip, i in zip(frames, which, strict=True)
        ]
        return {
            name: torch.tensor([one[name] for one in scores], dtype=torch.float64)
            for name in settings.rewards
        }

    shape = (sum(settings.chunks), config.in_channels, *LATENT_SIZE)
    streams = streams_of(settings.seed, job.device)
    recipe = CmGrpo(
        policy, text_rows(encoder, prompts), reward, shape, settings, streams, job.world, base=base
    )
    facts = {"recipe": flags.recipe, "config": config.to_dict(), "alpha": settings.lora_alpha}
    step = run_to_end(recipe, settings, job, flags, facts)
    if job.world.rank > 0:
        return
    device = job.device
    texts = text_rows(encoder, checked).to(device)
    trained = plain_copy(averaged_weights(flags), config, settings).to(device)
    # as it will be sampled, whatever the rollouts of training were (raven.md 11)
    rollout = consistency_rollout(
        settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
    )
    rows = [
        measure(sample_frames(wan, rollout, codec, texts, checked), checked, settings)
        for wan in (open_wan(flags.init).to(device), trained)
    ]
    write_heldout(flags, settings, checked, rows[0], rows[1])
    write_manifest(flags, settings, step)


if __name__ == "__main__":
    main()
