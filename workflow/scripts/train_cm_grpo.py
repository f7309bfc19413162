"""Train CM-GRPO: LoRA on RAVEN, rewarded by graded checkers of the toybox, or by networks that watch real
clips.

With --prompts clips are real: prompts of a list, Wan's VAE, networks as rewards. Without, they are the
toybox's. Rewards are imported by name, so that training depends on those it uses alone
(workflow/training/reward_names.py). Held-out prompts are scored by workflow/scripts/score_heldout.py.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.strict_yaml import parse_strict
from evaluation.command import run
from evaluation.toybox.training_prompts import training_prompts
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.codec import LinearCodec
from models.text import ToyTextEncoder
from models.training.cm_grpo import CmGrpo, Reward, needs_base
from models.training.prompts import PromptPool, split_prompts
from models.training.rollouts import consistency_rollout
from models.training.settings import CmGrpoSettings
from workflow.training.job import (
    Job,
    add_reward_flags,
    begin_training,
    open_for_training,
    open_prompts,
    place,
    prompt_embeddings,
    rollout_runner,
    run_to_end,
    streams_of,
    training_parser,
    validation_of,
    verified_weights_of,
)
from workflow.training.reward_names import CLIP_REWARDS
from workflow.training.toybox_rewards import rewarded_prompts, toybox_rewards

POOL = 4096


class Task(NamedTuple):
    """What CM-GRPO trains on. texts, negative, reward: of `CmGrpo`; hashes: of the rewards' weights."""

    texts: Tensor | PromptPool
    negative: Tensor | None
    reward: Reward
    hashes: Sequence[str] = ()


def toybox_task(flags: argparse.Namespace, settings: CmGrpoSettings) -> Task:
    """Toy captions, the linear codec, and graded checkers as rewards."""
    encoder, codec = ToyTextEncoder.load(flags.text), LinearCodec.load(flags.codec)
    prompts = rewarded_prompts(training_prompts(POOL, settings.seed), settings.rewards)

    def reward(latents: Tensor, which: list[int]) -> dict[str, Tensor]:
        frames = codec.decode_uint8(latents.cpu()).numpy()
        scores = [
            toybox_rewards(clip, prompts[i], settings.rewards) for clip, i in zip(frames, which, strict=True)
        ]
        return {
            name: torch.tensor([one[name] for one in scores], dtype=torch.float64)
            for name in settings.rewards
        }

    return Task(prompt_embeddings(encoder, prompts), None, reward)


def clips_task(flags: argparse.Namespace, job: Job, settings: CmGrpoSettings) -> Task:
    """Prompts of a list but for the held-out ones, Wan's VAE, and the reward networks."""
    module = import_module(CLIP_REWARDS)
    hashes = verified_weights_of(flags, module.reward_files(settings.rewards, flags.rewards))
    log_file = flags.output / f"rewards.{job.processes.rank}.log"
    rewards = module.rewards_of(flags, settings.rewards, job.device, log_file)
    texts = open_prompts(flags, job, settings.seed).pool
    assert isinstance(texts, PromptPool), "a list is encoded as it is drawn"
    prompts = split_prompts(texts.prompts, settings).trained

    def reward(latents: Tensor, which: list[int]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = rewards.batch(latents, [prompts[i] for i in which])
        return found

    negative = texts.encode([""]).to(torch.float32) if needs_base(settings) else None
    return Task(PromptPool(prompts, texts.encode), negative, reward, hashes)


def train_cm_grpo(flags: argparse.Namespace) -> None:
    """Train to the end and write train.json. Raises ValueError for settings and files that do not fit."""
    job = begin_training(flags, "cm_grpo")
    settings = parse_strict(flags.settings, CmGrpoSettings, where="--settings")
    task = toybox_task(flags, settings) if flags.prompts is None else clips_task(flags, job, settings)
    start = open_for_training(flags.init, "student", flags.precision, trained=True)
    config = start.config
    lora = LoraSettings(rank=settings.lora_rank, alpha=settings.lora_alpha)
    policy = add_lora(start, lora, seed=settings.seed)
    place(inner_wan(policy), job, trained=True)
    base = None
    if needs_base(settings):
        teacher = open_for_training(flags.teacher, "bidirectional", flags.precision, trained=False)
        base = place(teacher, job, trained=False)
    recipe = CmGrpo(
        policy,
        task.texts,
        task.reward,
        (sum(settings.chunks), config.in_channels, *flags.latent_size),
        settings,
        streams_of(settings.seed, job.device),
        job.processes,
        base=base,
        negative=task.negative,
        runner=rollout_runner(job),
    )
    facts = {"recipe": flags.recipe, "config": config.to_dict(), "alpha": settings.lora_alpha}
    # as it will be sampled, whatever the rollouts of training are
    rollout = consistency_rollout(
        settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
    )
    validation = validation_of(flags, job, recipe, rollout)
    run_to_end(recipe, settings, job, flags, facts, task.hashes, validation)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(add_reward_flags(training_parser(__doc__)), arguments, train_cm_grpo)


if __name__ == "__main__":
    sys.exit(main())
