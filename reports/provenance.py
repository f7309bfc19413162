"""Provenance: what a report was made from. No host name, no home path, no secret; the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.prompts import count_prompts
from evaluation.records import Clip, ClipTiming, Prompt, ScoresTable, TrainManifest, WeightsManifest, parse
from reports.scrubbing import scrub

PACKAGES = (
    "av", "diffusers", "jinja2", "matplotlib", "numpy", "opencv-python-headless", "peft", "pydantic",
    "safetensors", "scipy", "snakemake", "torch", "transformers",
)  # fmt: skip


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class CodeState(NamedTuple):
    """Commit of a checkout, and whether tracked files differ from it; None where there is no git."""

    commit: str
    dirty: bool | None


def code_state(root: Path) -> CodeState:
    """Of the checkout at root."""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return CodeState(
        _git(root, "rev-parse", "HEAD") or "not a git checkout", None if changed is None else bool(changed)
    )


def _git(root: Path, *words: str) -> str | None:
    """Output of a git command, or None outside a checkout or without git."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def read_weights(results_dir: Path) -> dict[str, WeightsManifest]:
    """Every weights.json below weights/, by its folder's name relative to weights/."""
    paths = sorted((results_dir / "weights").rglob("weights.json"))
    return {
        path.parent.relative_to(results_dir / "weights").as_posix(): parse(
            WeightsManifest, path.read_text(encoding="utf-8"), path.name
        )
        for path in paths
    }


def read_train(results_dir: Path) -> dict[str, TrainManifest]:
    """Every train/<row>/train.json, by row."""
    paths = sorted((results_dir / "train").glob("*/train.json"))
    return {
        path.parent.name: parse(TrainManifest, path.read_text(encoding="utf-8"), str(path.name))
        for path in paths
    }


def run_record(
    *,
    root: Path,
    results_dir: Path,
    scores_path: Path,
    table: ScoresTable,
    prompts: Sequence[Prompt],
    manifests: Mapping[str, Sequence[Clip]],
    timings: Mapping[str, Sequence[ClipTiming]],
) -> dict[str, Any]:
    """The record as plain JSON values."""
    code = code_state(root)
    clips = {
        row: {
            "clips": len(found),
            "manifest_sha256": sha256_of(results_dir / "clips" / row / "manifest.jsonl"),
            "noise": sorted({clip.noise for clip in found}),
            "batch_size": sorted({clip.batch_size for clip in found}),
            "weights_sha256": sorted({clip.weights_sha256 for clip in found if clip.weights_sha256}),
            "settings_sha256": sorted({clip.settings_sha256 for clip in found}),
            "made_by_commits": sorted({timing.commit for timing in timings.get(row, ())}),
            "devices": sorted({timing.device for timing in timings.get(row, ())}),
            "attention": sorted({timing.attention for timing in timings.get(row, ()) if timing.attention}),
        }
        for row, found in manifests.items()
    }
    counts = count_prompts(prompts)
    record = {
        "suite": table.suite,
        "commit": code.commit,
        "dirty": code.dirty,
        "python": platform.python_version(),
        "packages": _packages(),
        "processor": _processor(),
        "prompts": {
            "sha256": sha256_of(results_dir / "prompts" / "prompts.jsonl"),
            "lines": counts.lines,
            "distinct": counts.prompts,
            "clips_per_row": counts.clips,
        },
        "scores_sha256": sha256_of(scores_path),
        "bootstrap": {"draws": table.draws, "seed": table.seed},
        "weights": {name: found.model_dump(mode="json") for name, found in read_weights(results_dir).items()},
        "trained": {name: found.model_dump(mode="json") for name, found in read_train(results_dir).items()},
        "clips": clips,
    }
    cleaned: dict[str, Any] = scrub(json.loads(json.dumps(record)), str(root))
    return cleaned
