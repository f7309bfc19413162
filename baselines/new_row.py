"""A new native baseline's file: another's numbers, every key explained. Imports no torch."""

import re
from pathlib import Path
from typing import Any

import yaml

from baselines.fields import ROW_NAME
from baselines.native import Baseline
from baselines.spec import load_baseline
from baselines.strict_yaml import parse_strict

EXPLAINED = {
    "name": "of the row, and of this file",
    "kind": "runs on our backbone",
    "title": "as reports show it",
    "weights": "the released file; one of your own is named in the suite's file and needs nothing here",
    "weights.repo": "on the Hugging Face hub",
    "weights.revision": "commit of the repository; null: the newest",
    "weights.file": "path in the repository",
    "weights.sha256": "null: pinned at the first fetch",
    "weights.bytes": "the file's size; left out: not known",
    "weights.key": "dict level of the network; null: the file is the state dict, or its loader finds out",
    "weights.tensors": "how many a file must hold",
    "weights.memory": "a second set for context passes: what its names have more, how many; null: none",
    "adapter": "a LoRA on top of the weights; null: none",
    "adapter.file": "path in the same repository",
    "adapter.sha256": "null: pinned at the first fetch",
    "adapter.key": "dict level of the adapter; null: none",
    "adapter.rank": "of its two matrices",
    "adapter.alpha": "its weight is alpha / rank",
    "adapter.tensors": "how many it must hold",
    "adapter.targets": "endings of the names of the adapted layers",
    "schedule": "which noise levels a chunk goes through; raven-bench baseline check prints them",
    "schedule.steps": "of 1000..1, falling; or a list for each of chunks 0, 1, ..., the last repeats",
    "schedule.first_chunk_steps": "the first chunk's own steps; null: as the others",
    "schedule.levels": "in (0, 1], falling; or a list for each of chunks 0, 1, ..., the last repeats",
    "schedule.solver": "unipc or euler: all frames together, from noise to a clip",
    "schedule.order": "of UniPC: 1 or 2; null for Euler",
    "schedule.first_level": "where Euler begins, in (0, 1]; null for UniPC, whose grid is Wan's",
    "schedule.guidance": "weight of the prompt against the negative one; 1: none",
    "schedule.negative": "the negative prompt: wan, or null without guidance",
    "schedule.shift": "of the table of noise levels: more is noisier",
    "schedule.warp": "true: steps are places in that table; false: the timesteps themselves",
    "schedule.timestep_dtype": "how the timestep is rounded that the network is told",
    "schedule.sigma": "noise level of a step: of the nearest timestep in the table, or timestep / 1000",
    "schedule.x0_dtype": "precision of the clean prediction",
    "schedule.add_noise_dtype": "precision of mixing noise in",
    "rollout": "how a clip comes about",
    "rollout.kind": "chunked: one chunk after another; rolling: blocks at falling levels; full: all at once",
    "rollout.chunk": "latent frames denoised together; or those of chunks 0, 1, ..., the last repeats",
    "rollout.frames": "latent frames of the clips that it was trained on; 21 are 81 of pixels",
    "rollout.context": "what later chunks see: clean latents, or what the last_step left in the cache",
    "rollout.context_from": "first chunk of which they see the last step",
    "cache": "which earlier frames a call reads; raven-bench baseline check prints them",
    "cache.policy": "keys at their own frame (absolute), or their place among those read (slot_relative)",
    "cache.window": "latent frames a call reads; null: all",
    "cache.sink": "first frames that stay for ever; 0: none",
    "cache.capacity": "frames that the cache may hold; null: no limit",
    "cache.counting": "includes_current: the window holds sink and chunk too; history_only: neither",
    "cache.denoise_writes": "false: only the context pass leaves keys in the cache",
    "cache.alpha": "share of the sink that stays as evicted frames are blended in; null: no blending",
    "cache.ema_dtype": "precision of that blending",
    "noise": "how the released code draws; portable noise, the default, ignores it",
    "noise.seed": "of the first clip",
    "noise.seed_rule": "added to the seed: the clip's place in the list (index), or its sample's number",
    "noise.layout": "frame_major: [frames, channels, ...]; channel_major: [channels, frames, ...]",
    "noise.dtype": "of the draws",
    "noise.renoise_generator": "same: one goes on; forked: a second one draws what is mixed in",
    "noise.extent": "what a later draw covers: the chunk, the joint window, or the clip",
    "noise.draw_last": "true: a draw after the last step too, which is dropped",
    "dtypes": "the `exact` precision",
    "dtypes.matmul": "of the weights in matrix products",
    "dtypes.fp32_modules": "parameters: norms and gates in their weights' dtype; float32: in float32",
    "dtypes.rotary": "of rotations of queries and keys",
    "dtypes.latents": "between two network calls",
    "dtypes.codec": "of the decoder; null: as matmul, or autocast where fp32_modules is float32",
    "made_for": "how long clips may be; left out: as long as rollout.frames",
    "made_for.frames": "latent frames of the longest; null: no limit",
    "made_for.note": "what makes it so",
    "made_for.source": "where that is stated",
    "licence": "of code and weights, as far as it is stated",
    "citation": "one line, as reports show it",
    "note": "what reports say beside its settings",
}
"""What every key of a native baseline's file means, by its dotted name."""

ROW_NAME_LENGTH = 60
"""Characters of a row's name, as suites take it."""


def new_row_text(name: str, like: Baseline) -> str:
    """The file of a row `name` with the numbers of another: weights unpinned, title and credits open."""
    values = like.model_dump(mode="json", exclude_unset=True)
    values |= {"name": name, "title": name.replace("_", " "), "licence": "not stated"}
    values["citation"] = f"not stated (sampled as {like.title})"
    values["weights"] |= {"revision": None, "sha256": None}
    values["weights"].pop("bytes", None)
    values.pop("note", None)
    if values["adapter"] is not None:
        values["adapter"]["sha256"] = None
    lines = [f"# The numbers of {like.name}, to be changed; then: raven-bench baseline check {name}"]
    for key, value in values.items():
        inside = value if isinstance(value, dict) else {}
        lines.append(_line(key, "" if inside else _flow(value), EXPLAINED[key]))
        lines += [f"  {_line(one, _flow(v), EXPLAINED[f'{key}.{one}'])}" for one, v in inside.items()]
    text = "\n".join(lines) + "\n"
    read: Any = parse_strict(text, dict, where=name)
    assert read == values, f"{name} is not read as it was written"
    return text


def write_new_row(folder: Path, name: str, like: Baseline) -> Path:
    """Write `folder/<name>.yaml`, read it as every baseline is read, and return its path.

    Raises ValueError for a name that no row may have and a file that is there; nothing is written then.
    """
    if not re.fullmatch(ROW_NAME, name) or len(name) > ROW_NAME_LENGTH:
        raise ValueError(
            f"A row cannot be called {name!r}; use 1 to {ROW_NAME_LENGTH} of the characters a-z, 0-9 and _."
        )
    path = folder / f"{name}.yaml"
    if path.exists():
        raise ValueError(f"{path} exists already and was not touched; choose another name, or edit the file.")
    text = new_row_text(name, like)
    with path.open("x", encoding="utf-8") as stream:
        stream.write(text)
    load_baseline(path)
    return path


def _line(key: str, value: str, comment: str) -> str:
    return f"{key}:{' ' if value else ''}{value}  # {comment}"


def _flow(value: Any) -> str:
    """A plain value in YAML, on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True).strip()[1:-1]
