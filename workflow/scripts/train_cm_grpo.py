"""Train CM-GRPO: LoRA on RAVEN, rewarded by graded checkers of the embedded world, or by reward networks that
watch real clips.

With --prompts the world is real: prompts of a list, Wan's VAE, networks as rewards. Without, it is the
embedded one. Either holds prompts out and measures clips of them before and after training.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.strict_yaml import parse_strict
from evaluation.files import write_text
from evaluation.records import Prompt
from evaluation.toybox.checkers import CHECKERS, REWARDS
from evaluation.toybox.prompt_kinds import prompt_kind
from evaluation.toybox.training_prompts import heldout_prompts, training_prompts
from models.checkpoints.containers import load_strict
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.checkpoints.open import open_model
from models.codec import LinearCodec
from models.config import WanConfig
from models.noise import PortableNoise, SampleKey
from models.rollout import Rollout
from models.text import ToyTextEncoder
from models.training.cm_grpo import CmGrpo, Reward, needs_base
from models.training.prompts import PromptPool
from models.training.rollouts import consistency_rollout, endpoints
from models.training.settings import CmGrpoSettings
from models.wan import Wan
from workflow.planning.suite import REWARD_PYTHON
from workflow.training.job import (
    Job,
    averaged_weights,
    begin,
    open_for_training,
    open_prompts,
    place,
    run_to_end,
    streams_of,
    text_rows,
    training_dtypes,
    training_parser,
    write_manifest,
)
from workflow.training.validation import ValidationClips

log = logging.getLogger("train_cm_grpo")

Frames = NDArray[np.uint8]
Measures = dict[str, list[float | None]]
"""By name, a value for each held-out prompt; None where a measure is not defined for a prompt."""

POOL = 4096
OTHER_PROMPTS_OF_A_KIND = 8
LATENT_SIZE = (8, 8)
SAMPLED_AT_ONCE = 32


class World(NamedTuple):
    """What CM-GRPO trains in. texts, negative, reward: of `CmGrpo`; latent_size: (H, W); heldout: ids of the
    prompts that `measured` samples a clip of, and measures; files: what else shapes the run.
    """

    texts: Tensor | PromptPool
    negative: Tensor | None
    reward: Reward
    latent_size: tuple[int, int]
    heldout: list[str]
    measured: Callable[[Wan, Rollout], Measures]
    files: tuple[Path, ...] = ()


def rewarded_prompts(prompts: Sequence[Prompt], rewards: Mapping[str, float]) -> list[Prompt]:
    """Prompts on which every rewarded dimension is defined. Raises ValueError if a reward has no graded
    checker or no prompt fits.
    """
    unknown = sorted(rewards.keys() - REWARDS.keys())
    if unknown:
        raise ValueError(
            f"cm_grpo.rewards names {', '.join(unknown)}; graded checkers exist for "
            f"{', '.join(sorted(REWARDS))}."
        )
    fitting = [prompt for prompt in prompts if rewards.keys() <= set(prompt.dimensions)]
    if not fitting:
        raise ValueError(
            f"No prompt has all the rewarded dimensions {', '.join(sorted(rewards))}; choose dimensions of "
            "one kind of prompt."
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
    """Held-out prompts: `heldout` on which the reward is defined, and a few of every other kind for the other
    checkers.
    """
    everything = heldout_prompts(500, settings.seed)
    fitting = rewarded_prompts(everything, settings.rewards)
    if len(fitting) < settings.heldout:
        raise ValueError(
            f"cm_grpo.heldout is {settings.heldout}, but the world has {len(fitting)} held-out prompts for "
            "these rewards."
        )
    chosen = fitting[: settings.heldout]
    seen = {prompt_kind(prompt.facts) for prompt in chosen}
    for kind in sorted({prompt_kind(prompt.facts) for prompt in everything} - seen):
        chosen += [prompt for prompt in everything if prompt_kind(prompt.facts) == kind][
            :OTHER_PROMPTS_OF_A_KIND
        ]
    return chosen


def measure(frames: Frames, prompts: Sequence[Prompt], settings: CmGrpoSettings) -> Measures:
    """Reward and every checker per prompt; None where a measure is not defined for a prompt."""
    rewarded = {prompt.id for prompt in rewarded_prompts(prompts, settings.rewards)}
    table: Measures = {"reward": [], **{name: [] for name in CHECKERS}}
    for clip, prompt in zip(frames, prompts, strict=True):
        soft = soft_scores(clip, prompt, settings.rewards) if prompt.id in rewarded else None
        table["reward"].append(None if soft is None else combined(soft, settings.rewards))
        for name, checker in CHECKERS.items():
            table[name].append(float(checker(clip, prompt.facts)) if name in prompt.dimensions else None)
    return table


def write_heldout(
    flags: argparse.Namespace,
    settings: CmGrpoSettings,
    prompts: Sequence[str],
    before: Measures,
    after: Measures,
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
        "prompts": list(prompts),
        "measures": measures,
    }
    write_text(flags.output / "heldout.json", json.dumps(record) + "\n")
    for name in ("reward", *sorted(settings.rewards)):
        pairs = [
            (a, b) for a, b in zip(before[name], after[name], strict=True) if a is not None and b is not None
        ]
        change = np.array([b - a for a, b in pairs])
        error = 1.96 * change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else float("nan")
        log.info(
            "held out %s on %d prompts: %.4f before, %.4f after, difference %.4f +- %.4f",
            name,
            len(pairs),
            np.mean([a for a, _ in pairs]),
            np.mean([b for _, b in pairs]),
            change.mean(),
            error,
        )


def first_policy(flags: argparse.Namespace) -> Wan:
    """What training started from, as it will be sampled."""
    if flags.prompts is None:
        return open_model(flags.init)
    return open_for_training(flags.init, "student", flags.precision, trained=True).float()


def trained_policy(flags: argparse.Namespace, config: WanConfig, settings: CmGrpoSettings) -> Wan:
    """The moving average of the last checkpoint, adapters active, as it will be sampled."""
    dtypes = None if flags.prompts is None else training_dtypes(flags.precision, trained=True)
    lora = LoraSettings(rank=settings.lora_rank, alpha=settings.lora_alpha)
    wrapped = add_lora(Wan(config, dtypes), lora, seed=0)
    load_strict(wrapped, averaged_weights(flags), where="the moving average")
    return inner_wan(wrapped)


def embedded_world(flags: argparse.Namespace, job: Job, settings: CmGrpoSettings) -> World:
    """Toy captions, the linear codec, graded checkers as rewards and all checkers as measures."""
    encoder, codec = ToyTextEncoder.load(flags.text), LinearCodec.load(flags.codec)
    prompts = rewarded_prompts(training_prompts(POOL, settings.seed), settings.rewards)
    checked = heldout_list(settings)

    def reward(latents: Tensor, which: list[int]) -> dict[str, Tensor]:
        frames = codec.decode_uint8(latents.cpu()).numpy()
        scores = [
            soft_scores(clip, prompts[i], settings.rewards) for clip, i in zip(frames, which, strict=True)
        ]
        return {
            name: torch.tensor([one[name] for one in scores], dtype=torch.float64)
            for name in settings.rewards
        }

    def measured(wan: Wan, rollout: Rollout) -> Measures:
        texts = text_rows(encoder, checked).to(job.device)
        return measure(sample_frames(wan, rollout, codec, texts, checked), checked, settings)

    ids = [prompt.id for prompt in checked]
    return World(text_rows(encoder, prompts), None, reward, LATENT_SIZE, ids, measured)


def listed_world(flags: argparse.Namespace, job: Job, settings: CmGrpoSettings) -> World:
    """Prompts of a list, some of them held out, Wan's VAE, and the reward networks, which measure the
    held-out prompts too.
    """
    # what real clips need takes seconds to import, and the embedded suite never needs it
    from workflow.training.rewards import open_rewards, reward_files

    if flags.rewards is None:
        raise ValueError(
            "CM-GRPO on a list of prompts needs --rewards, the folder with the weights of its rewards "
            "(`rewards` of the row)."
        )
    rewards = open_rewards(
        settings.rewards,
        folder=flags.rewards,
        codec=flags.codec,
        device=job.device,
        fps=flags.fps,
        log_file=flags.output / f"rewards.{job.world.rank}.log",
        python=flags.reward_python,
    )
    texts = open_prompts(flags, job, settings.seed).pool
    assert isinstance(texts, PromptPool), "a list is encoded as it is drawn"
    split = split_prompts(texts.prompts, settings)
    # encoded by all processes now: afterwards only the first is left, without the others' parts of the
    # encoder
    rows = [texts.encode([prompt]).cpu() for prompt in split.heldout]

    def reward(latents: Tensor, which: list[int]) -> dict[str, Tensor]:
        return rewards.batch(latents, [split.trained[i] for i in which])

    def measured(wan: Wan, rollout: Rollout) -> Measures:
        table: Measures = {name: [] for name in ("reward", *sorted(settings.rewards))}
        shape = (rollout.frames, wan.config.in_channels, *flags.latent_size)
        for prompt, row in zip(split.heldout, rows, strict=True):
            noise = PortableNoise(
                suite="heldout", samples=[SampleKey(prompt, 0)], shape=shape, device=job.device
            )
            made = endpoints(rollout.run(wan, row.to(job.device, torch.float32), noise))
            scores = rewards.score(made[0], prompt)
            table["reward"].append(combined(scores, settings.rewards))
            for name, value in scores.items():
                table[name].append(value)
        return table

    pool = PromptPool(split.trained, texts.encode)
    negative = texts.encode([""]).to(torch.float32) if needs_base(settings) else None
    height, width = flags.latent_size
    files = reward_files(settings.rewards, flags.rewards)
    return World(pool, negative, reward, (height, width), split.heldout, measured, files)


class Split(NamedTuple):
    """Prompts to train on, and prompts that no training sees."""

    trained: list[str]
    heldout: list[str]


def split_prompts(prompts: Sequence[str], settings: CmGrpoSettings) -> Split:
    """`heldout` prompts of a list, drawn by the seed, and the others, both in the list's order. Raises
    ValueError if too few remain.
    """
    if len(prompts) < settings.heldout + settings.prompts:
        raise ValueError(
            f"The list has {len(prompts)} prompts, but cm_grpo.heldout is {settings.heldout} and an "
            f"iteration draws {settings.prompts}; take a longer list or hold out fewer."
        )
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(settings.seed))
    kept = set(order[: settings.heldout].tolist())
    return Split(
        [prompt for i, prompt in enumerate(prompts) if i not in kept],
        [prompt for i, prompt in enumerate(prompts) if i in kept],
    )


def parser() -> argparse.ArgumentParser:
    """Flags of this script: those of every training script, and what rewards of real clips need."""
    flags = training_parser(__doc__)
    flags.add_argument("--rewards", type=Path, help="folder with the weights of the rewards of real clips")
    flags.add_argument(
        "--reward-python",
        type=Path,
        default=Path(REWARD_PYTHON),
        help="python of envs/vbench, in which most of them are computed",
    )
    flags.add_argument("--fps", type=float, default=16.0, help="frames a second of the clips")
    return flags


def main() -> None:
    flags = parser().parse_args()
    job = begin(flags, "cm_grpo")
    settings = parse_strict(flags.settings, CmGrpoSettings, where="--settings")
    world = (embedded_world if flags.prompts is None else listed_world)(flags, job, settings)
    start = open_for_training(flags.init, "student", flags.precision, trained=True)
    config = start.config
    policy = add_lora(
        start, LoraSettings(rank=settings.lora_rank, alpha=settings.lora_alpha), seed=settings.seed
    )
    place(inner_wan(policy), job, trained=True)
    base = None
    if needs_base(settings):
        base = place(
            open_for_training(flags.teacher, "bidirectional", flags.precision, trained=False),
            job,
            trained=False,
        )
    shape = (sum(settings.chunks), config.in_channels, *world.latent_size)
    streams = streams_of(settings.seed, job.device)
    recipe = CmGrpo(
        policy, world.texts, world.reward, shape, settings, streams, job.world, base=base, negative=world.negative
    )  # fmt: skip
    facts = {"recipe": flags.recipe, "config": config.to_dict(), "alpha": settings.lora_alpha}
    # as it will be sampled, whatever the rollouts of training are (raven.md 11)
    rollout = consistency_rollout(
        settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
    )
    every = job.execution.validate_every
    validation = None if every == 0 else ValidationClips(
        every=every, output=flags.output, student=recipe.student, network=recipe.wan, rollout=rollout, texts=world.texts, shape=shape,
        codec=flags.codec, device=job.device, world=job.world,
    )  # fmt: skip
    step = run_to_end(recipe, settings, job, flags, facts, world.files, validation)
    if job.world.rank > 0:
        return
    if world.heldout:
        before = world.measured(first_policy(flags).to(job.device), rollout)
        after = world.measured(trained_policy(flags, config, settings).to(job.device), rollout)
        write_heldout(flags, settings, world.heldout, before, after)
    write_manifest(flags, settings, step)


if __name__ == "__main__":
    main()
