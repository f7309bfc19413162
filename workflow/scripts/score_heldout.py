"""Score held-out prompts of CM-GRPO before and after training: heldout.json, the paired check of the report.

The clips have the same noise before and after. In the toybox they are rewarded and scored by all checkers;
with --prompts, by the reward networks of real clips. Nothing here decides the weights, so no edit of it
retrains.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from baselines.strict_yaml import parse_strict
from evaluation.command import run
from evaluation.dimensions import NAMES
from evaluation.files import write_text
from evaluation.records import SCHEMA_VERSION, Prompt, with_checksum
from evaluation.toybox.checkers import check
from evaluation.toybox.prompt_kinds import prompt_kind
from evaluation.toybox.render import Frames
from evaluation.toybox.training_prompts import heldout_prompts
from models.checkpoints.containers import load_strict
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.checkpoints.open import open_model
from models.codec import LinearCodec
from models.config import WanConfig
from models.noise import PortableNoise, SampleKey
from models.rollout import Rollout
from models.text import ToyTextEncoder
from models.training.distributed import ALONE
from models.training.prompts import PromptPool, split_prompts
from models.training.rollouts import consistency_rollout, endpoints
from models.training.settings import CmGrpoSettings, Execution
from models.wan import Wan
from workflow.sampling.machine import choose_device
from workflow.training.finished import open_trained
from workflow.training.job import (
    Job,
    add_reward_flags,
    network_parser,
    open_for_training,
    open_prompts,
    prompt_embeddings,
    training_dtypes,
    verified_files,
    verified_weights_of,
)
from workflow.training.toybox_rewards import rewarded_prompts, toybox_rewards

log = logging.getLogger("score_heldout")

Metrics = dict[str, list[float | None]]
"""By name, a value for each held-out prompt; None where a metric is not defined for a prompt."""

OTHER_PROMPTS_OF_A_KIND = 8
SAMPLED_AT_ONCE = 32


class Check(NamedTuple):
    """prompts: ids or texts of the held-out prompts; scored: samples a clip of each, and scores it."""

    prompts: list[str]
    scored: Callable[[Wan], Metrics]


def combined(scores: Mapping[str, float], rewards: Mapping[str, float]) -> float:
    """Weighted mean of raw rewards."""
    return sum(weight * scores[name] for name, weight in rewards.items()) / sum(rewards.values())


def toybox_prompts_of(settings: CmGrpoSettings) -> list[Prompt]:
    """`heldout` prompts on which the reward is defined, and a few of every other kind of prompt."""
    everything = heldout_prompts(500, settings.seed)
    fitting = rewarded_prompts(everything, settings.rewards)
    if len(fitting) < settings.heldout:
        raise ValueError(
            f"cm_grpo.heldout is {settings.heldout}, but the toybox has {len(fitting)} held-out prompts for "
            "these rewards."
        )
    chosen = fitting[: settings.heldout]
    seen = {prompt_kind(prompt.facts) for prompt in chosen}
    for kind in sorted({prompt_kind(prompt.facts) for prompt in everything} - seen):
        chosen += [prompt for prompt in everything if prompt_kind(prompt.facts) == kind][
            :OTHER_PROMPTS_OF_A_KIND
        ]
    return chosen


def toybox_metrics(frames: Frames, prompts: Sequence[Prompt], settings: CmGrpoSettings) -> Metrics:
    """Reward and every checker of each prompt."""
    rewarded = {prompt.id for prompt in rewarded_prompts(prompts, settings.rewards)}
    table: Metrics = {"reward": [], **{name: [] for name in sorted(NAMES)}}
    for clip, prompt in zip(frames, prompts, strict=True):
        rewards = toybox_rewards(clip, prompt, settings.rewards) if prompt.id in rewarded else None
        table["reward"].append(None if rewards is None else combined(rewards, settings.rewards))
        for name in sorted(NAMES):
            table[name].append(check(name, clip, prompt.facts) if name in prompt.dimensions else None)
    return table


def toybox_check(
    flags: argparse.Namespace, device: torch.device, settings: CmGrpoSettings, rollout: Rollout
) -> Check:
    """Toy captions, the linear codec and all checkers."""
    encoder, codec = ToyTextEncoder.load(flags.text), LinearCodec.load(flags.codec)
    prompts = toybox_prompts_of(settings)

    def scored(wan: Wan) -> Metrics:
        texts, made = prompt_embeddings(encoder, prompts).to(device), []
        for start in range(0, len(prompts), SAMPLED_AT_ONCE):
            part = slice(start, start + SAMPLED_AT_ONCE)
            latents = sampled(wan, rollout, texts[part], [p.id for p in prompts[part]], flags.latent_size)
            made.append(codec.decode_uint8(latents.cpu()).numpy())
        return toybox_metrics(np.concatenate(made), prompts, settings)

    return Check([prompt.id for prompt in prompts], scored)


def clips_check(
    flags: argparse.Namespace, device: torch.device, settings: CmGrpoSettings, rollout: Rollout
) -> Check:
    """Held-out prompts of a list, Wan's VAE and the reward networks."""
    # what real clips need takes seconds to import, and the toybox never needs it
    from workflow.training.rewards import reward_files, rewards_of

    verified_weights_of(flags, reward_files(settings.rewards, flags.rewards))
    rewards = rewards_of(flags, settings.rewards, device, flags.train / "rewards.heldout.log")
    texts = open_prompts(flags, Job(device, ALONE, Execution(), lambda: False, ()), settings.seed).pool
    assert isinstance(texts, PromptPool), "a list is encoded as it is drawn"
    prompts = split_prompts(texts.prompts, settings).heldout

    def scored(wan: Wan) -> Metrics:
        table: Metrics = {name: [] for name in ("reward", *sorted(settings.rewards))}
        for prompt in prompts:
            text = texts.encode([prompt]).to(device, torch.float32)
            scores = rewards.score(sampled(wan, rollout, text, [prompt], flags.latent_size)[0], prompt)
            table["reward"].append(combined(scores, settings.rewards))
            for name, value in scores.items():
                table[name].append(value)
        return table

    return Check(prompts, scored)


def sampled(wan: Wan, rollout: Rollout, texts: Tensor, keys: Sequence[str], size: Sequence[int]) -> Tensor:
    """Latents [P, F, C, H, W] of sample 0 of each prompt, with its portable noise."""
    height, width = size
    noise = PortableNoise(
        suite="heldout",
        samples=[SampleKey(key, 0) for key in keys],
        shape=(rollout.frames, wan.config.in_channels, height, width),
        device=texts.device,
    )
    return endpoints(rollout.run(wan, texts, noise))


def first_policy(flags: argparse.Namespace) -> Wan:
    """What training started from, as it will be sampled."""
    if flags.prompts is None:
        return open_model(flags.init)
    return open_for_training(flags.init, "student", flags.precision, trained=True).float()


def trained_policy(flags: argparse.Namespace, config: WanConfig, settings: CmGrpoSettings) -> Wan:
    """The EMA of the last checkpoint, adapters active, as it will be sampled."""
    dtypes = None if flags.prompts is None else training_dtypes(flags.precision, trained=True)
    lora = LoraSettings(rank=settings.lora_rank, alpha=settings.lora_alpha)
    wrapped = add_lora(Wan(config, dtypes), lora, seed=0)
    load_strict(wrapped, open_trained(flags.train).source.state, where="the EMA")
    return inner_wan(wrapped)


def score_heldout(flags: argparse.Namespace) -> None:
    """Write heldout.json."""
    settings = parse_strict(flags.settings, CmGrpoSettings, where="--settings")
    verified_files(flags)
    device = choose_device(flags.device)
    # as the policy will be sampled, whatever the rollouts of training were
    rollout = consistency_rollout(
        settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
    )
    held_out = (toybox_check if flags.prompts is None else clips_check)(flags, device, settings, rollout)
    first = first_policy(flags).to(device)
    before = held_out.scored(first)
    after = held_out.scored(trained_policy(flags, first.config, settings).to(device))
    metrics = [
        {
            "name": name,
            "trained": name == "reward" or name in settings.rewards,
            "before": before[name],
            "after": after[name],
        }
        for name in before
    ]
    record = {
        "schema_version": SCHEMA_VERSION,
        "before": flags.before,
        "after": flags.train.name,
        "prompts": held_out.prompts,
        "measures": metrics,
    }
    write_text(flags.output, with_checksum(json.dumps(record) + "\n"))
    for name in ("reward", *sorted(settings.rewards)):
        log_change(name, before[name], after[name])


def log_change(name: str, before: Sequence[float | None], after: Sequence[float | None]) -> None:
    """Log the means of a metric and their difference; how sure it is, the report says."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    first, second = np.array(pairs).reshape(-1, 2).T
    message = "held out %s on %d prompts: %.4f before, %.4f after, difference %+.4f"
    log.info(message, name, len(pairs), first.mean(), second.mean(), (second - first).mean())


def heldout_parser() -> argparse.ArgumentParser:
    """Flags of this script."""
    flags = add_reward_flags(network_parser(__doc__))
    flags.add_argument(
        "--train", required=True, type=Path, help="folder of the trained row, with its checkpoint"
    )
    flags.add_argument("--before", required=True, help="name of what training started from, for the report")
    flags.add_argument("--output", required=True, type=Path, help="file to write")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    return run(heldout_parser(), arguments, score_heldout)


if __name__ == "__main__":
    sys.exit(main())
