"""A native row made ready to sample: network, text encoder, codec and noise by the flags of `sample`."""

import argparse
from collections.abc import Set
from pathlib import Path
from typing import Any, NamedTuple

import torch

from baselines.build import Precision, build_sampler, dtypes_of
from baselines.native import SAMPLED_SECTIONS, Baseline
from baselines.spec import load_baseline
from evaluation.clips import ClipShape
from evaluation.records import Prompt, read_json
from evaluation.shards import full_batches, parse_shard, published_items, samples_to_render, shard_batches
from models.attention import kernel_name
from models.fp8 import require_fp8
from models.graphs import best_runner
from models.text_and_pixels import open_codec
from workflow.fetching.checksums import read_checksums, verified_sha256
from workflow.fetching.own_weights import OwnRecord
from workflow.fetching.verified import verified_own
from workflow.sampling.batches import BatchSampler
from workflow.sampling.machine import choose_device, device_name, software, usable_cores
from workflow.sampling.model_files import (
    negative_prompt,
    open_network,
    prompt_encoder,
    row_sha256,
    text_sha256,
)
from workflow.sampling.shard import ShardJob, settings_from

WRITERS = 8
"""Threads that write clips beside a GPU, at most: a clip is encoded by one core, in 2 s or more, because the
same frames must give the same bytes; a GPU makes one in 1.6 to 3 s."""


def batches_ahead(device: torch.device) -> int:
    """Batches that wait to be written while a GPU samples the next ones, each by a thread of its own: one a
    core but that which feeds the GPU.
    """
    return 0 if device.type != "cuda" else max(1, min(WRITERS, usable_cores() - 1))


def tracked_baseline(path: Path, settings: dict[str, Any]) -> Baseline:
    """The baseline in a file, for clips of this job's length.

    Raises ValueError if its sampling settings are not this job's.
    """
    baseline = load_baseline(path).at_length(settings["rollout"]["frames"])
    found = baseline.sampled()
    names = (*SAMPLED_SECTIONS, "memory")
    differing = [name for name in names if found.get(name) != settings.get(name)]
    if differing:
        raise ValueError(
            f"{path} changed in {', '.join(differing)} since this run was planned; start the run again."
        )
    return baseline


def seed_offsets(baseline: Baseline, prompts: list[Prompt]) -> dict[str, int]:
    """What each clip's seed adds to the first one, by clip id, as the released code counts it."""
    if baseline.noise.seed_rule == "sample":
        return {sample.clip_id: sample.index for sample in samples_to_render(prompts)}
    return published_items(prompts)


class OpenedRow(NamedTuple):
    """A shard's job, and what makes its batches."""

    job: ShardJob
    maker: BatchSampler


def open_row(flags: argparse.Namespace, prompts: list[Prompt], only: Set[str] | None) -> OpenedRow:
    """Read and verify every file of the row.

    prompts: of the whole suite. only: ids of the clips that will be made, None for all of the shard. Raises
    ValueError if a file is not what it should be, or the baseline's file changed since the run was planned.
    """
    device = choose_device(flags.device)
    settings = settings_from(flags.settings)
    baseline = tracked_baseline(flags.baseline, settings)
    precision: Precision = settings["precision"]
    dtypes = dtypes_of(baseline, precision)
    require_fp8(dtypes.network, device)
    checksums = read_checksums(flags.checksums)
    own = read_json(OwnRecord, flags.own) if flags.own else None
    weights = verified_own(own) if own else row_sha256(flags.weights, baseline, checksums)
    codec, text = verified_sha256(flags.codec, checksums), text_sha256(flags.text, checksums)
    batches = shard_batches(
        full_batches(samples_to_render(prompts), settings["batch"]), *parse_shard(flags.shard)
    )
    made = [batch for batch in batches if only is None or any(s.clip_id in only for s in batch.wanted)]
    wan = open_network(flags.weights, baseline, dtypes, device, own.weights if own else None)
    shape = (baseline.rollout.frames, wan.config.in_channels, *settings["latent_size"])
    maker = BatchSampler(
        sampler=build_sampler(
            baseline, wan, latent_shape=shape, precision=precision, runner=best_runner(device)
        ),
        text=prompt_encoder(flags.text, text, flags.embeddings, device),
        codec=open_codec(
            flags.codec,
            device=device,
            dtype=dtypes.codec,
            autocast=dtypes.codec_autocast,
            fast=dtypes.codec_fast and device.type == "cuda",
            decoder=settings.get("decoder", "full"),
        ),
        noise=flags.noise,
        suite=settings["suite"],
        items=seed_offsets(baseline, prompts),
        negative=negative_prompt(baseline, flags.text),
        prompts=list(dict.fromkeys(sample.prompt.extended for batch in made for sample in batch.samples)),
    )
    hashes = {"weights": weights, "codec": codec, "text": text}
    against = {} if maker.negative is None else {"negative": maker.negative}
    job = ShardJob(
        row=flags.row,
        shard=flags.shard,
        prompts=prompts,
        folder=flags.clips,
        shape=ClipShape(**settings["clip"]),
        batch_size=settings["batch"],
        noise=f"{flags.noise}:{settings['suite'] if flags.noise == 'portable' else baseline.noise.seed}",
        weights_sha256=weights,
        settings=settings,
        depends_on={"code": flags.code, **hashes, "noise": flags.noise, **against},
        whole_list=flags.noise == "upstream",
        device=device_name(device),
        attention=kernel_name(device) + (", fp8" if dtypes.network.attention == "fp8" else ""),
        software=software(device),
        ahead=batches_ahead(device),
    )
    return OpenedRow(job, maker)
