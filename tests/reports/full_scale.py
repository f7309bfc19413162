"""A finished vbench run at full size with made-up numbers: 9 rows x 6,220 clips, VBench's blocks of prompts,
no video files.

Scores are drawn from a known distribution, so the report's verdict is known before: see LEADS. No number here
was measured. `python -m tests.reports.full_scale FOLDER` writes the folder and builds its report, with the
time and memory of each step.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from baselines.spec import load_baseline
from evaluation.dimensions import BY_NAME, DIMENSIONS, NAMES
from evaluation.records import (
    Clip,
    ClipScore,
    ClipTiming,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Inputs,
    Load,
    Prompt,
    clip_id,
    write_json,
    write_jsonl,
)
from evaluation.selection import hashes_of
from workflow.planning.licences import licences_of
from workflow.planning.needs import standard_prompts
from workflow.planning.suite import settings_in_use
from workflow.planning.suite_file import load_suite

MEANS = dict(zip(NAMES, (  # raw means of an average row, percent: about what published tables show
    95.1, 96.1, 99.0, 98.2, 66.4, 65.8, 69.7, 93.2, 87.2, 96.4, 86.8, 81.8, 56.1, 20.3, 24.5, 26.9,
), strict=True))  # fmt: skip
BINARY = ("dynamic_degree", "human_action")
LEADS = {
    "winner": 2.0, "tied_a": 1.0, "tied_b": 1.0, "fourth": 0.0, "fifth": -1.5, "sixth": -3.0, "seventh": -4.5,
    "last": -6.0, "unfinished": 0.0,
}  # fmt: skip
"""Lead of each row in normalised points on every dimension, and so on Total."""
UNFINISHED = ("unfinished", "scene")
RANKS = {
    "winner": "1", "tied_a": "2 to 3", "tied_b": "2 to 3", "fourth": "4", "fifth": "5", "sixth": "6",
    "seventh": "7", "last": "8",
}  # fmt: skip
LABELS = {row: row.replace("_", " ").capitalize() for row in LEADS}
NETWORK_CALLS = dict(zip(LEADS, (35, 35, 35, 28, 35, 77, 35, 28, 35), strict=True))
DIGEST = "0" * 64


def prompts() -> list[Prompt]:
    """944 prompts with the real blocks, samples and filter."""
    return standard_prompts(samples=5, static_samples=25, static_keep=5)


def _values(row: str, name: str, count: int, shared: np.ndarray) -> np.ndarray:
    """Raw fractions [count, 5]: the dimension's mean and the row's lead, plus effects of prompt, of row x
    prompt and of seed.

    shared: standard normals [count], the prompt's effect on every row. Effects are small enough to stay
    inside 0..1.
    """
    dimension = BY_NAME[name]
    lead = LEADS[row] * (dimension.vbench.high - dimension.vbench.low) / 100
    mean = (MEANS[name] + lead) / 100
    own = np.random.default_rng([list(LEADS).index(row), NAMES.index(name), 7])
    if name in BINARY:
        return (own.random((count, 5)) < mean).astype(float)
    reach = min(mean - dimension.lowest, 1 - mean)
    effect = (
        0.16 * shared[:, None]
        + 0.05 * own.standard_normal((count, 1))
        + 0.1 * own.standard_normal((count, 5))
    )
    return np.clip(mean + reach * effect, dimension.lowest, 1.0)


def results(listed: list[Prompt], filters: dict[str, FilteredSet]) -> Iterator[DimensionResult]:
    """Every row's results but the unfinished one's."""
    for dimension in DIMENSIONS:
        name = dimension.name
        chosen = [prompt for prompt in listed if name in prompt.dimensions]
        shared = np.random.default_rng([NAMES.index(name), 11]).standard_normal(len(chosen))
        for row in LEADS:
            if (row, name) == UNFINISHED:
                continue
            values = _values(row, name, len(chosen), shared)
            clips = tuple(
                ClipScore(clip_id=clip_id(prompt.id, s), prompt_id=prompt.id, sample=s, value=float(value))
                for prompt, line in zip(chosen, values, strict=True)
                for s, value in zip(filters[row].kept[prompt.id], line, strict=True)
            )
            mean = sum(clip.value for clip in clips) / len(clips)
            yield DimensionResult(
                suite="vbench",
                row=row,
                dimension=name,
                inputs=filters[row].inputs,
                kind="official",
                mean=mean,
                clips=clips,
            )


def filtered_set(row: str, inputs: Inputs, listed: list[Prompt]) -> FilteredSet:
    """Every prompt of the filter finds its five static samples, at places that differ between rows."""
    own = np.random.default_rng([list(LEADS).index(row), 13])
    outcomes = []
    for prompt in listed:
        if prompt.keep is not None:
            motion = own.uniform(0.1, 2.0, prompt.samples)
            motion[own.choice(prompt.samples, prompt.keep, replace=False)] = 0.2
            static = motion < 0.5
            kept = tuple(int(i) for i in np.flatnonzero(static)[: prompt.keep])
            outcomes.append(
                FilteredPrompt(
                    prompt_id=prompt.id,
                    motion=tuple(motion.round(3).tolist()),
                    static=tuple(static.tolist()),
                    kept=kept,
                    short=0,
                )
            )
    kept_of = {outcome.prompt_id: outcome.kept for outcome in outcomes}
    all_kept = {prompt.id: kept_of.get(prompt.id, tuple(range(prompt.samples))) for prompt in listed}
    return FilteredSet(row=row, inputs=inputs, threshold=0.5, filtered=tuple(outcomes), kept=all_kept)


def aggregate_settings() -> dict[str, Any]:
    """As the aggregate rule hands them over."""
    rows = {row: {"label": label, "kind": "native"} for row, label in LABELS.items()}
    return {"bounds": "vbench", "dimensions": NAMES, "draws": 10_000, "seed": 0, "rows": rows}


ROOT = Path(__file__).parents[2]
SUITE = load_suite(ROOT, [ROOT / "workflow/config/vbench.yaml"], {})
"""The suite of the real protocol."""


def report_settings() -> dict[str, Any]:
    """As the report rule hands them over."""
    baselines = {name: load_baseline(ROOT / f"baselines/{name}.yaml") for name in SUITE.baselines}
    rows = {
        row: {
            "label": label,
            "kind": "native",
            "settings": settings_in_use(SUITE, baseline),
            "licence": baseline.licence,
            "citation": baseline.citation,
        }
        for (row, label), baseline in zip(LABELS.items(), baselines.values(), strict=True)
    }
    return {
        "suite": "vbench", "label": "Full-scale synthetic run: no number was measured", "bounds": "vbench",
        "clips_budget_mb": 25, "rows": rows, "config": SUITE.model_dump(mode="json"),
        "licences": [line.model_dump() for line in licences_of(ROOT, SUITE, baselines)],
    }  # fmt: skip


def _write_clips(folder: Path, row: str, listed: list[Prompt]) -> None:
    own = np.random.default_rng([list(LEADS).index(row), 17])
    clips, timings = [], []
    for prompt in listed:
        for sample in range(prompt.samples):
            name = clip_id(prompt.id, sample)
            clips.append(
                Clip(
                    clip_id=name,
                    row=row,
                    prompt_id=prompt.id,
                    sample=sample,
                    file=f"mp4/{name}.mp4",
                    sha256=DIGEST,
                    latents_sha256=DIGEST,
                    noise="portable:vbench",
                    weights_sha256=DIGEST,
                    settings_sha256=DIGEST,
                    batch_size=1,
                    pixel_frames=81,
                    height=480,
                    width=832,
                    fps=16,
                )
            )
            sample_s = 0.1 * NETWORK_CALLS[row] * float(own.uniform(0.98, 1.02))
            timings.append(
                ClipTiming(
                    clip_id=name,
                    row=row,
                    sample_s=sample_s,
                    decode_s=1.5,
                    write_s=0.2,
                    first_frames_s=sample_s / 7,
                    network_calls=NETWORK_CALLS[row],
                    peak_mb=9000.0,
                    peak_gpu_mb=16_000.0,
                    device="NVIDIA H200",
                    attention="flash",
                    load=Load(cpu_s=0.4, others=0.02, jobs=0),
                    commit="c" * 40,
                    finished="2026-01-01T00:00:00Z",
                )
            )
    write_jsonl(folder / "clips" / row / "manifest.jsonl", clips)
    write_jsonl(folder / "clips" / row / "timings.jsonl", timings)


def write_results(folder: Path) -> None:
    """Everything that the aggregate and report stages read."""
    listed = prompts()
    write_jsonl(folder / "prompts" / "prompts.jsonl", listed)
    filters, origins = {}, {}
    for row in LEADS:
        _write_clips(folder, row, listed)
        files = (folder / "prompts/prompts.jsonl", folder / f"clips/{row}/manifest.jsonl")
        filters[row] = filtered_set(row, hashes_of(*files), listed)
        write_json(folder / "filter" / f"{row}.json", filters[row])
        origins[row] = hashes_of(*files, folder / f"filter/{row}.json")
    for result in results(listed, filters):
        path = folder / "scores" / result.row / f"{result.dimension}.result.json"
        write_json(path, result.model_copy(update={"inputs": origins[result.row]}))


def commands(folder: Path) -> dict[str, list[str]]:
    """Flags of the two stages' scripts, by module."""
    scored = sorted(str(path) for path in (folder / "scores").rglob("*.result.json"))
    kept = sorted(str(path) for path in (folder / "filter").glob("*.json"))
    aggregated = folder / "aggregate"
    return {
        "aggregate": [
            "--suite", "vbench", "--prompts", str(folder / "prompts" / "prompts.jsonl"), "--results", *scored,
            "--filtered", *kept, "--settings", json.dumps(aggregate_settings()),
            "--output", str(aggregated / "scores.json"), "--csv", str(aggregated / "scores.csv"),
            "--variance", str(aggregated / "variance.json"), "--chunks", str(aggregated / "chunks.json"),
            "--protocol-moves", str(aggregated / "protocol_moves.json"),
        ],
        "report": [
            "--scores", str(aggregated / "scores.json"), "--settings", json.dumps(report_settings()),
            "--results-dir", str(folder), "--output", str(folder / "report.html"),
            "--copy", str(folder / "copy" / "table.html"),
        ],
    }  # fmt: skip


def main() -> None:
    """Write the folder, then run both stages as processes of their own and print what they cost."""
    folder = Path(sys.argv[1])
    write_results(folder)
    for stage, flags in commands(folder).items():
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", f"workflow.scripts.{stage}", *flags], check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{stage}: {time.perf_counter() - started:.1f} s, peak memory so far {peak:.0f} MiB")


if __name__ == "__main__":
    main()
