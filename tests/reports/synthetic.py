"""A small results folder with made-up numbers, for tests of the report only. No number here was measured."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.spec import load_baseline
from evaluation.aggregate import AggregateSettings, aggregate
from evaluation.chunks import chunk_of, chunk_table
from evaluation.clips import write_clip
from evaluation.dimensions import NAMES
from evaluation.files import file_sha256
from evaluation.finished_run import second_path
from evaluation.metrics import Metric, metrics
from evaluation.protocol_moves import protocol_moves
from evaluation.records import (
    Clip,
    ClipScore,
    ClipTiming,
    CustomDimension,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Load,
    Prompt,
    TableInputs,
    TrainManifest,
    WeightsManifest,
    clip_id,
    parse,
    write_json,
    write_jsonl,
)
from evaluation.second_scores import seen_prompts
from evaluation.selection import first_samples, hashes_of
from evaluation.variance import variance_table
from reports.cost import CostEstimate
from reports.curves import HeldOut
from reports.run import ReportSettings, Run, read_run
from reports.starts import Start, note_start
from workflow.planning.licences import licences_of
from workflow.planning.suite import control_settings, settings_in_use
from workflow.planning.suite_file import load_suite
from workflow.scripts import report

INJECTION = '</script><script>alert("1")</script><img src=x onerror=alert(2)> & "quoted"'
# quotes of all kinds, an emoji, right-to-left text with an override, a long word, 300 characters and more
HOSTILE = (
    'it\'s a "cat" `and` $(rm -rf ~) \U0001f431\u200d\U0001f680 \u0642\u0637\u0629 \u202eevil\u202c '
    "\u05d7\u05ea\u05d5\u05dc <!-- ]]> " + "x" * 120 + " and so on" * 25
)
ROWS = {
    "raven": ("RAVEN recipe (toy)", "native", 0.12),
    "cm_grpo": ("RAVEN + CM-GRPO recipe (toy)", "native", 0.15),
    "self_forcing": ("Self Forcing recipe (toy)", "native", 0.10),
    "longlive": ("LongLive recipe (toy)", "native", 0.02),
    "rolling_forcing": ("Rolling Forcing recipe (toy)", "native", -0.05),
    "truth": ("Rendered truth", "control", 0.38),
    "noise": ("Noise", "control", -0.45),
}
SAMPLES: dict[str, int] = {}
"""Rows of which only the first so many samples of each prompt are there."""
NINE_MODELS = {
    "raven": ("RAVEN", 0.12),
    "cm_grpo": ("RAVEN + CM-GRPO", 0.15),
    "causvid": ("CausVid (3-step)", -0.25),
    "causvid_4step": ("CausVid (4-step)", -0.28),
    "self_forcing": ("Self Forcing", 0.10),
    "reward_forcing": ("Reward Forcing", 0.155),
    "causal_forcing": ("Causal Forcing (chunk-wise)", 0.152),
    "longlive": ("LongLive 1.0", 0.02),
    "rolling_forcing": ("Rolling Forcing", -0.05),
}
"""Those of the toybox suite, as it calls them: none leads, so that much is to be said."""
TEACHER = ("Wan2.1 1.3B, 50 steps (guidance 3), first sample of each prompt", "teacher")
KINDS = {
    "move": NAMES[:2] + NAMES[3:8] + ("color", "scene", "overall_consistency"),
    "pair": ("multiple_objects", "spatial_relationship", "overall_consistency"),
    "style": ("appearance_style", "temporal_style", "human_action"),
    "still": ("temporal_flickering",),
}
PER_KIND = 10
BY_FRAME = (*NAMES[:4], "aesthetic_quality", "imaging_quality", "color", "scene")
DECAY = {"longlive": 0.01, "rolling_forcing": 0.025}
"""Lost from chunk to chunk, of the scale 0 to 1."""
REPEATED = {"move_00": [3, 40], "style_01": [17, 21, 41]}
"""Source lines, from 0, of prompts that stand for several."""
DIGEST = "0" * 64
ROOT = Path(__file__).parents[2]
SUITE = load_suite(ROOT, [], {})


def prompts(repeated: bool = False) -> list[Prompt]:
    """Ten prompts of four kinds; the first two texts try to break out of the page, the first still one is
    filtered.

    repeated: some of them stand for several lines of their list.
    """
    made = []
    for kind, dimensions in KINDS.items():
        for n in range(PER_KIND):
            filtered = kind == "still" and n == 0
            text = {("move", 0): INJECTION, ("move", 1): HOSTILE}.get(
                (kind, n), f"a red circle, {kind} number {n}"
            )
            name = f"{kind}_{n:02d}"
            facts = {"lines": REPEATED[name]} if repeated and name in REPEATED else {}
            made.append(
                Prompt(
                    id=name,
                    prompt=text,
                    extended=f"{text}, on a green meadow in soft light",
                    dimensions=dimensions,
                    samples=5 if filtered else 2,
                    keep=2 if filtered else None,
                    facts=facts,
                )
            )
    return made


def report_settings() -> dict[str, Any]:
    """Settings of the report rule, with a shipped reference row."""
    rows: dict[str, Any] = {}
    baselines = {
        row: load_baseline(ROOT / f"baselines/{row}.yaml")
        for row, (_, kind, _) in ROWS.items()
        if kind != "control"
    }
    for row, (label, kind, _) in ROWS.items():
        rows[row] = {"label": label, "kind": kind}
        if kind != "control":
            baseline = baselines[row]
            rows[row] |= {
                "settings": settings_in_use(SUITE, baseline),
                "licence": baseline.licence,
                "citation": baseline.citation,
            }
        else:
            rows[row]["settings"] = control_settings(SUITE, row)
    rows["base"] = {
        "label": "Bidirectional base model",
        "kind": "shipped",
        "settings": {},
        "scores": dict.fromkeys(NAMES, 0.8),
        "scores_source": "models/embedded/base.json",
    }
    in_suite = {row: baseline for row, baseline in baselines.items() if row in SUITE.baselines}
    return {
        "suite": "toybox", "label": "Toybox suite: tiny models in a procedural world", "bounds": "toybox",
        "clips_budget_mb": 12, "rows": rows, "config": SUITE.model_dump(mode="json"),
        "licences": [line.model_dump() for line in licences_of(ROOT, SUITE, in_suite)],
    }  # fmt: skip


def add_models(patch: pytest.MonkeyPatch, *others: str) -> None:
    """NINE_MODELS, and `others` below all of them."""
    below = {row: (f"Another model {n}", -0.3 - 0.02 * n) for n, row in enumerate(others, 1)}
    for row, (label, lead) in (NINE_MODELS | below).items():
        patch.setitem(ROWS, row, (label, "native", lead))


def add_teacher(patch: pytest.MonkeyPatch, lead: float) -> None:
    """The toybox suite's teacher, as good as a row of that lead, with one sample of each prompt."""
    patch.setitem(ROWS, "wan_teacher_guidance3", (*TEACHER, lead))
    patch.setitem(SAMPLES, "wan_teacher_guidance3", 1)


def _value(row: str, dimension: str, prompt: str, sample: int) -> float:
    lead = ROWS[row][2]
    shared = np.random.default_rng(list(hashlib.sha256(f"{dimension}{prompt}{sample}".encode()).digest()))
    own = np.random.default_rng(list(hashlib.sha256(f"{row}{dimension}{prompt}{sample}".encode()).digest()))
    return float(np.clip(0.55 + lead + shared.normal(0, 0.12) + own.normal(0, 0.05), 0, 1))


def _frames(row: str, dimension: str, prompt: str, sample: int) -> tuple[float | None, ...] | None:
    """Every fourth pixel frame around the clip's value, falling by DECAY of the row from chunk to chunk."""
    if dimension not in BY_FRAME:
        return None
    value, fall = _value(row, dimension, prompt, sample), DECAY.get(row, 0.0)
    falling = [round(float(np.clip(value - fall * (chunk_of(f) - 3), 0, 1)), 4) for f in range(0, 81, 4)]
    return tuple(None if f % 4 else falling[f // 4] for f in range(81))


def _results(
    listed: list[Prompt],
    filters: list[FilteredSet],
    without: tuple[str, str] | None,
    known: dict[str, Metric],
) -> list[DimensionResult]:
    results = []
    for found in filters:
        for dimension, measure in known.items():
            span = measure.high - measure.low if measure.group == "custom" else 1.0
            low = measure.low if measure.group == "custom" else 0.0
            clips = tuple(
                ClipScore(
                    clip_id=clip_id(p.id, s),
                    prompt_id=p.id,
                    sample=s,
                    value=low + span * _value(found.row, dimension, p.id, s),
                    frame_values=_frames(found.row, dimension, p.id, s),
                )
                for p in listed
                if measure.serves(p)
                for s in found.kept[p.id]
            )
            if (found.row, dimension) != without:
                kind = "stand-in" if dimension == "aesthetic_quality" else "exact"
                kind = "custom" if measure.group == "custom" else kind
                mean = sum(clip.value for clip in clips) / len(clips)
                results.append(
                    DimensionResult(
                        suite="toybox", row=found.row, dimension=dimension, inputs=found.inputs, kind=kind,
                        mean=mean, clips=clips,
                    )
                )  # fmt: skip
    return results


def _second_scores(folder: Path, listed: list[Prompt], filters: list[FilteredSet]) -> list[DimensionResult]:
    """Temporal flickering of every model without regard to the static filter."""
    found = []
    for kept in filters:
        if ROWS[kept.row][1] != "control":
            shown = first_samples(listed, kept.samples)
            seen = [prompt for prompt in seen_prompts("unfiltered", shown) if prompt.id.startswith("still")]
            clips = tuple(
                ClipScore(
                    clip_id=clip_id(p.id, s),
                    prompt_id=p.id,
                    sample=s,
                    value=_value(kept.row, "temporal_flickering", p.id, s),
                )
                for p in seen
                for s in range(p.samples)
            )
            sha256 = file_sha256(folder / "filter" / f"{kept.row}.json")
            found.append(
                DimensionResult(
                    suite="toybox", row=kept.row, dimension="temporal_flickering", second="unfiltered",
                    inputs=kept.inputs.model_copy(update={"filtered": sha256}), kind="exact",
                    mean=sum(clip.value for clip in clips) / len(clips), clips=clips,
                )
            )  # fmt: skip
    return found


def _plan(**more: Any) -> AggregateSettings:
    rows: dict[str, Any] = {row: {"label": label, "kind": kind} for row, (label, kind, _) in ROWS.items()}
    for row, (_, kind, _) in ROWS.items():
        rows[row]["samples"] = SAMPLES.get(row)
        if kind != "control":
            rows[row]["protocol"] = {"prompts": "extended", "text": "short"}
    settings = {"bounds": "toybox", "dimensions": NAMES, "draws": 1000, "seed": 0, "rows": rows}
    return AggregateSettings.model_validate(settings | more)


def picture(row: str, prompt: str, frames: int, size: int) -> np.ndarray:
    """A square that moves over a plain ground; colours depend on row and prompt."""
    ground = np.frombuffer(hashlib.sha256(prompt.encode()).digest()[:3], np.uint8) // 2 + 64
    colour = np.frombuffer(hashlib.sha256(row.encode()).digest()[:3], np.uint8)
    clip = np.broadcast_to(ground, (frames, size, size, 3)).copy()
    for t in range(frames):
        x = t * (size - size // 4) // max(frames - 1, 1)
        clip[t, size // 3 : size // 3 + size // 4, x : x + size // 4] = colour
    return clip


def _write_clips(folder: Path, row: str, listed: list[Prompt], embedded: int, frames: int, size: int) -> None:
    native = ROWS[row][1] != "control"
    clips, timings = [], []
    for n, prompt in enumerate(listed):
        for sample in range(prompt.samples):
            name = clip_id(prompt.id, sample)
            path = folder / "clips" / row / "mp4" / f"{name}.mp4"
            digest = DIGEST
            if embedded and ((sample == 0 and n % PER_KIND < embedded) or (sample == 1 and n == 0)):
                write_clip(path, picture(row, f"{prompt.id} {sample}", frames, size), fps=16)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            clips.append(
                Clip(
                    clip_id=name,
                    row=row,
                    prompt_id=prompt.id,
                    sample=sample,
                    file=f"mp4/{name}.mp4",
                    sha256=digest,
                    latents_sha256=DIGEST if native else None,
                    noise="portable:toybox",
                    weights_sha256=DIGEST if native else None,
                    settings_sha256=DIGEST,
                    batch_size=4,
                    pixel_frames=frames,
                    height=size,
                    width=size,
                    fps=16,
                )
            )
            timings.append(
                ClipTiming(
                    clip_id=name,
                    row=row,
                    sample_s=0.31,
                    decode_s=0.01,
                    write_s=0.02,
                    first_frames_s=None,
                    network_calls=35 if native else 0,
                    peak_mb=512.0,
                    peak_gpu_mb=None,
                    device="cpu",
                    attention=None,
                    load=Load(cpu_s=0.55, others=0.4, jobs=2),
                    commit="c" * 40,
                    finished="2026-01-01T00:00:00Z",
                )
            )
    write_jsonl(folder / "clips" / row / "manifest.jsonl", clips)
    write_jsonl(folder / "clips" / row / "timings.jsonl", timings)


def _write_training(folder: Path) -> None:
    for row in ("raven", "cm_grpo"):
        path = folder / "train" / row / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        lines = []
        for step in range(1, 61):
            line: dict[str, float] = {
                "iteration": step,
                "elapsed_s": step * 1.5,
                "student_lr": 1e-4,
                "student_grad_norm": 1 + 1 / step,
            }
            if row == "raven":
                line |= {"fake_loss": 1 / step + 0.1, "teacher_loss": 1 - 1 / step}
                if step % 2 == 0:
                    line |= {"student_loss": 2 / step + 0.2}
            else:
                line |= {
                    "reward": 0.5 + step / 200,
                    "reward_spread": 0.2 - step / 600,
                    "loss": 0.1 / step,
                }
                line |= {f"reward_{name}": 0.4 + step / 300 + 0.01 * i for i, name in enumerate(NAMES[7:15])}
            lines.append(json.dumps(line))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_json(
            path.parent / "train.json",
            TrainManifest(
                name=row, step=60, tensors_sha256=DIGEST, settings_sha256=DIGEST, init_sha256=DIGEST
            ),
        )
        write_json(
            folder / "weights" / row / "full.json",
            WeightsManifest(
                name=row, flavour="full", file=f"{row}.safetensors", sha256=DIGEST, tensors=90, step=60
            ),
        )
    names = [f"check_{n:04d}" for n in range(64)]
    measures = []
    for name, trained, gain in (
        ("reward", True, 0.06),
        ("color", True, 0.08),
        ("scene", False, -0.01),
        ("object_class", False, 0.0),
    ):
        noise = np.random.default_rng(len(name)).normal(0, 0.1, (2, 64))
        measures.append({
            "name": name, "trained": trained, "before": (0.6 + noise[0]).tolist(),
            "after": (0.6 + gain + noise[0] + 0.3 * noise[1]).tolist(),
        })  # fmt: skip
    record = {"before": "raven", "after": "cm_grpo", "prompts": names, "measures": measures}
    write_json(folder / "train" / "cm_grpo" / "heldout.json", HeldOut.model_validate(record))


def start() -> Start:
    """The one start of the run."""
    return Start(
        started="2026-01-01T00:00:00+00:00",
        command="snakemake reports/table.html --profile local",
        config="workflow/config/toybox.yaml",
        config_sha256=DIGEST,
        commit="c" * 40,
        dirty=False,
        jobs=200,
        estimate=CostEstimate(
            unit="core",
            jobs=200,
            seconds={"train": 400, "sample": 60, "score": 30, "rest": 300},
            disk_mb=20.0,
        ),
    )


def _write_benchmarks(folder: Path) -> None:
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for rule, seconds in {
        "train": 181.2,
        "sample": 24.7,
        "score": 3.1,
        "aggregate": 0.4,
        "report": 9.9,
    }.items():
        path = folder / "benchmarks" / (f"{rule}.tsv" if rule == "aggregate" else f"{rule}/raven/x.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        measured = (
            "NA\tNA\tNA\tNA\tNA\tNA\tNA\tNA"
            if seconds < 1
            else f"900.5\t1\t1\t1\t0\t0\t98.2\t{seconds * 1.8:.1f}"
        )
        path.write_text(f"{head}{seconds}\t0:00:00\t{measured}\n", encoding="utf-8")


def make_results(
    folder: Path,
    *,
    embedded: int = 2,
    frames: int = 9,
    size: int = 32,
    without: tuple[str, str] | None = None,
    repeated: bool = False,
    custom: tuple[CustomDimension, ...] = (),
    **plan: Any,
) -> Path:
    """Fill `folder` as a finished run would; returns aggregate/scores.json.

    embedded: prompts of each kind that have clip files of sample 0, the first of all of sample 1 too;
    without: (row, dimension) that was never scored; repeated: see prompts;
    custom: dimensions of the user's; plan: further settings of aggregate.
    """
    listed = prompts(repeated)
    write_jsonl(folder / "prompts" / "prompts.jsonl", listed)
    filters = []
    for row in ROWS:
        motion = (0.1, 0.9, 0.2, 1.4, 0.3) if row != "rolling_forcing" else (0.8, 0.9, 0.2, 1.4, 0.9)
        shown = first_samples(listed, SAMPLES.get(row))
        (wanted,) = (prompt for prompt in shown if prompt.keep is not None)
        motion = motion[: wanted.samples]
        static = tuple(value < 0.5 for value in motion)
        kept = tuple(i for i, still in enumerate(static) if still)[: wanted.keep]
        outcome = FilteredPrompt(
            prompt_id=wanted.id, motion=motion, static=static, kept=kept, short=(wanted.keep or 0) - len(kept)
        )
        all_kept = {p.id: kept if p.keep else tuple(range(p.samples)) for p in shown}
        _write_clips(folder, row, shown, embedded, frames, size)
        inputs = hashes_of(folder / "prompts/prompts.jsonl", folder / f"clips/{row}/manifest.jsonl")
        filters.append(
            FilteredSet(
                row=row, inputs=inputs, threshold=0.5, filtered=(outcome,), kept=all_kept,
                samples=SAMPLES.get(row),
            )
        )  # fmt: skip
        write_json(folder / "filter" / f"{row}.json", filters[-1])
    _write_training(folder)
    _write_benchmarks(folder)
    note_start(folder, start())
    scores = folder / "aggregate" / "scores.json"
    known, planned = metrics("toybox", custom), _plan(custom=custom, **plan)
    results = [
        result for result in _results(listed, filters, without, known) if result.dimension in planned.scored
    ]
    hashes: dict[str, dict[str, str]] = {}
    for result in results:
        kept_set = file_sha256(folder / "filter" / f"{result.row}.json")
        origin = next(kept.inputs for kept in filters if kept.row == result.row)
        origin = origin.model_copy(update={"filtered": kept_set})
        path = folder / "scores" / result.row / f"{result.dimension}.result.json"
        write_json(path, result.model_copy(update={"inputs": origin}))
        hashes.setdefault(result.row, {})[result.dimension] = file_sha256(path)
    second = _second_scores(folder, listed, filters) if "temporal_flickering" in planned.scored else []
    for result in second:
        write_json(folder / second_path(result.row, result.second, result.dimension), result)
    inputs = TableInputs(
        prompts=file_sha256(folder / "prompts/prompts.jsonl"),
        second={
            found.row: {
                "unfiltered": {
                    found.dimension: file_sha256(
                        folder / second_path(found.row, found.second, found.dimension)
                    )
                }
            }
            for found in second
        },
        filtered={kept.row: file_sha256(folder / "filter" / f"{kept.row}.json") for kept in filters},
        results=hashes,
    )
    write_json(scores, aggregate("toybox", listed, results, filters, planned, inputs))
    write_json(scores.with_name("chunks.json"), chunk_table("toybox", listed, results, planned, inputs))
    moves = protocol_moves("toybox", listed, results, filters, planned, inputs, second)
    write_json(scores.with_name("protocol_moves.json"), moves)
    write_json(scores.with_name("variance.json"), variance_table("toybox", results, known, inputs))
    return scores


def settings_of(**changes: object) -> ReportSettings:
    """The report's settings of the synthetic suite."""
    return parse(ReportSettings, json.dumps(report_settings() | changes), "settings")


def run_of(folder: Path, **changes: object) -> Run:
    """The record of a results folder. changes: of the report's settings."""
    return read_run(folder / "aggregate/scores.json", folder, settings_of(**changes), ROOT)


def run_script(folder: Path, scores: Path, settings: dict[str, Any]) -> Path:
    """The rule's command line, in process; returns the file that stands alone, as reports/table.html does."""
    copy = folder.with_name(f"{folder.name}-copy") / "table.html"
    flags = ["--scores", str(scores), "--settings", json.dumps(settings), "--results-dir", str(folder)]
    assert report.main([*flags, "--output", str(folder / "report.html"), "--copy", str(copy)]) == 0
    return copy
