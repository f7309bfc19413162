"""Provenance: what a report was made from, without host names, home paths, secrets or times."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic_core import to_jsonable_python

from evaluation.code_state import code_state
from evaluation.files import file_sha256, load_json
from evaluation.finished_run import FinishedRun
from evaluation.prompts import count_prompts
from evaluation.protocol import protocol_tag
from evaluation.records import (
    Clip,
    ClipTiming,
    DimensionResult,
    Machine,
    TrainManifest,
    VersionedRecord,
    WeightsManifest,
    read_json,
)
from reports.scrubbing import scrub

RECORDED_PACKAGES = (
    "av", "diffusers", "jinja2", "matplotlib", "numpy", "opencv-python-headless", "peft", "pydantic",
    "safetensors", "scipy", "snakemake", "torch", "transformers",
)  # fmt: skip


class _OwnFiles(VersionedRecord):
    """Weights of the user's own, as workflow/fetching/own_weights.py has proven them."""

    model_config = ConfigDict(extra="allow")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _versions(software: Mapping[str, str]) -> str:
    """`torch 2.13.0, cuda 13.0, driver 580.65.06`."""
    return ", ".join(f"{name} {version}" for name, version in software.items())


def _joined(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Every name with all its values."""
    found: dict[str, set[str]] = {}
    for one in versions:
        for name, said in one.items():
            found.setdefault(name, set()).update(said.split(", "))
    return {name: ", ".join(sorted(values)) for name, values in sorted(found.items())}


def _described_sha256(root: Path, name: str) -> str | None:
    """Sha256 of a model file as the .json beside it says. None for a fetched one, which `fetched` has."""
    description = (root / name).with_suffix(".json")
    described = load_json(description.read_bytes(), str(description)) if description.is_file() else {}
    return described.get("sha256")


def _json_if_there(path: Path) -> dict[str, Any]:
    return load_json(path.read_bytes(), str(path)) if path.is_file() else {}


def _clips_record(
    results: Mapping[str, DimensionResult], clips: Sequence[Clip], timings: Sequence[ClipTiming]
) -> dict[str, Any]:
    """Of one row's clips: what they are, and where and with what they were made and scored."""
    return {
        "clips": len(clips),
        "manifest_sha256": next(result.inputs.manifest for result in results.values()),
        "noise": sorted({clip.noise for clip in clips}),
        "batch_size": sorted({clip.batch_size for clip in clips}),
        "weights_sha256": sorted({clip.weights_sha256 for clip in clips if clip.weights_sha256}),
        "settings_sha256": sorted({clip.settings_sha256 for clip in clips}),
        "made_by_commits": sorted({timing.commit for timing in timings}),
        "devices": sorted({timing.device for timing in timings}),
        "attention": sorted({timing.attention for timing in timings if timing.attention}),
        "software": sorted({_versions(timing.software) for timing in timings if timing.software}),
        "scorer": _joined(result.versions for result in results.values()),
    }


def run_record(
    *,
    root: Path,
    results_dir: Path,
    scores_path: Path,
    run: FinishedRun,
    timings: Mapping[str, Sequence[ClipTiming]],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """The record as plain JSON values. config: the suite's, for its codec, its text encoder and its seeds."""
    code, table = code_state(root), run.table
    counts = count_prompts(run.prompts)
    weights, train = results_dir / "weights", results_dir / "train"
    scorer_files = _json_if_there(results_dir / "vbench" / "weights.json")
    record = {
        "suite": table.suite,
        "commit": code.commit,
        "dirty": code.dirty,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
        "processor": _processor(),
        "prompts": {
            "sha256": table.inputs.prompts,
            "lines": counts.lines,
            "distinct": counts.prompts,
            "clips_per_row": counts.clips,
        },
        "scores_sha256": file_sha256(scores_path),
        "locks": {
            name: file_sha256(path)
            for name in ("main", "vbench")
            if (path := root / "envs" / name / "requirements.lock").is_file()
        },
        "model_files": {part: _described_sha256(root, config["model"][part]) for part in ("codec", "text")},
        "fetched": _json_if_there(results_dir / "fetch" / "resources.json"),
        "scorer": _joined(result.versions for found in run.results.values() for result in found.values()),
        "scorer_files": {name: found["sha256"] for name, found in scorer_files.items()},
        "seeds": {
            "prompts": config["prompts"]["seed"] if config["benchmark"] == "toybox" else None,
            "bootstrap": table.seed,
            "training": {
                row: (plan["settings"] or config[plan["recipe"]] or {}).get("seed")
                for row, plan in config["train"].items()
            },
        },
        "noise_key": config["noise_key"] or config["suite"],
        "bootstrap": {"draws": table.draws, "seed": table.seed},
        "weights": {
            path.relative_to(weights).with_suffix("").as_posix(): read_json(WeightsManifest, path)
            for path in sorted(weights.glob("*/*.json"))
        },
        "own_weights": {
            path.parent.name: read_json(_OwnFiles, path).model_dump(mode="json")
            for path in sorted(weights.glob("own-files/*/record.json"))
        },
        "trained": {
            path.parent.name: read_json(TrainManifest, path) for path in sorted(train.glob("*/train.json"))
        },
        "training_machines": {
            path.parent.name: read_json(Machine, path).model_dump(mode="json", exclude={"schema_version"})
            for path in sorted(train.glob("*/machine.json"))
        },
        "clips": {
            row: _clips_record(run.results[row], clips, timings.get(row, ()))
            for row, clips in run.manifests.items()
        },
        "imported": {
            row: source.model_dump(mode="json") | {"protocol": protocol_tag(source.protocol)}
            for row, source in run.imported.items()
        },
    }
    cleaned: dict[str, Any] = scrub(to_jsonable_python(record), str(root))
    return cleaned
