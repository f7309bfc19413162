"""A tiny run for VBench's own code: a few prompts with ground truth of every kind, a few short clips of
different lengths, one row.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.clips import write_clip
from evaluation.dimensions import NAMES
from evaluation.files import file_sha256
from evaluation.records import Clip, Prompt, clip_id, write_json, write_jsonl
from evaluation.selection import hashes_of
from evaluation.static_filter import filtered_set
from evaluation.vbench.scorers import OFFICIAL_SCORERS

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VBENCH_PYTHON", ROOT / ".venvs/vbench/bin/python")).absolute()
CPU_SITE = ROOT / "tests/vbench/cpu"
ZERO = "0" * 64

FACTS: dict[str, Any] = {
    "object_class": {"object": "bird"},
    "multiple_objects": {"object": "bird and cat"},
    "color": {"color": "red"},
    "appearance_style": {"appearance_style": "Van Gogh style"},
    "scene": {"scene": {"scene": "castle"}},
    "spatial_relationship": {
        "spatial_relationship": {"object_a": "bird", "object_b": "cat", "relationship": "on the left of"}
    },
}
ALLEY = FACTS | {"scene": {"scene": {"scene": "alley"}}}
"""Of the second prompt: the random captioner says alley of everything, and never castle."""
TEXTS = (
    "a red bird",
    "a person's alley, in Van Gogh style",
    "Fireworks.",
    "a person is yoga",
    "a façade (old)",
)


def needs_environment() -> pytest.MarkDecorator:
    """Skips a test where VBench's environment was not built."""
    return pytest.mark.skipif(
        not PYTHON.is_file(), reason="VBench's environment is not built (make test-vbench builds it)"
    )


def has_detectron2() -> bool:
    """Whether VBench's environment has detectron2."""
    return (
        PYTHON.is_file()
        and not subprocess.run(
            [PYTHON, "-c", "import detectron2"], check=False, capture_output=True
        ).returncode
    )


def environment() -> dict[str, str]:
    """Of a process in VBench's environment on this machine: torchvision imports beside a CPU torch, one
    thread.
    """
    return os.environ | {"PYTHONPATH": str(CPU_SITE), "OMP_NUM_THREADS": "1"}


def make_cache(folder: Path, *names: str) -> None:
    """Random checkpoints below folder/cache, and the weights.json beside it."""
    subprocess.run(
        [PYTHON, "-m", "tests.vbench.random_cache", folder / "cache", *names],
        check=True, cwd=ROOT, env=environment(),
    )  # fmt: skip
    cache = folder / "cache"
    sizes = {
        str(path.relative_to(cache)): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.suffix in (".pt", ".pth", ".bin", ".gz")
    }
    (folder / "weights.json").write_text(json.dumps(sizes))


def drifting(seed: int, frames: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A textured picture that drifts and fades a little, uint8 [T, H, W, 3]."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (height // 8 + 8, width // 8 + 8, 3))
    picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    moved = [
        np.clip(picture[t : t + height, 2 * t : 2 * t + width] + draw.normal(0, 3), 0, 255)
        for t in range(frames)
    ]
    return np.stack(moved).astype(np.uint8)


def make_run(
    folder: Path,
    *,
    samples: int = 2,
    height: int = 128,
    width: int = 160,
    chosen: Sequence[int] = range(5),
    noise: bool = False,
) -> None:
    """prompts.jsonl, manifest.jsonl, filter.json and clips/ of the row `mine`; clips have 6 to 10 frames at 8
    per second.

    chosen: of TEXTS; noise: the last of them is shown as noise.
    """
    records, manifest = [], []
    for index in chosen:
        text = TEXTS[index]
        prompt = Prompt(
            id=f"p{index}",
            prompt=text,
            extended=text,
            dimensions=NAMES,
            samples=samples,
            facts=ALLEY if index == 1 else FACTS,
        )
        records.append(prompt)
        for sample in range(samples):
            length = 6 + (index + 2 * sample) % 5
            frames = drifting(10 * index + sample, length, height, width)
            if noise and index == chosen[-1]:
                frames = np.random.default_rng(index).integers(0, 256, frames.shape, dtype=np.uint8)
            name = clip_id(prompt.id, sample)
            path = folder / "clips/mp4" / f"{name}.mp4"
            write_clip(path, frames, fps=8)
            manifest.append(
                Clip(
                    clip_id=name, row="mine", prompt_id=prompt.id, sample=sample, file=f"mp4/{path.name}",
                    sha256=file_sha256(path), latents_sha256=None, noise="none", weights_sha256=None,
                    settings_sha256=ZERO, batch_size=1, pixel_frames=len(frames), height=height, width=width,
                    fps=8,
                )
            )  # fmt: skip
    write_jsonl(folder / "prompts.jsonl", records)
    write_jsonl(folder / "manifest.jsonl", manifest)
    inputs = hashes_of(folder / "prompts.jsonl", folder / "manifest.jsonl")
    write_json(folder / "filter.json", filtered_set("mine", inputs, records, {}, 1.0))


def stamp_hash() -> str:
    """What the environment under test says it was made from."""
    return (PYTHON.parents[1] / "raven-bench.stamp").read_text().split()[0]


def part_command(folder: Path, dimension: str, part: str, backend: str = "official") -> list[str]:
    """Flags of workflow/scripts/score_part.py for one part of the tiny run; it writes
    folder/<dimension>.<part>.json.
    """
    return [
        "--suite", "tiny", "--row", "mine", "--dimension", dimension, "--part", part,
        "--scorer", json.dumps(OFFICIAL_SCORERS[dimension].as_job()),
        "--prompts", str(folder / "prompts.jsonl"), "--manifest", str(folder / "manifest.jsonl"),
        "--filtered", str(folder / "filter.json"), "--clips", str(folder / "clips"),
        "--weights", str(folder / "weights.json"), "--python", str(PYTHON), "--environment", stamp_hash(),
        "--device", "cpu", "--threads", "1",
        "--backend", backend, "--output", str(folder / f"{dimension}.{part}.json"),
    ]  # fmt: skip


def score_part(
    folder: Path, dimension: str, part: str, backend: str = "official"
) -> subprocess.CompletedProcess[str]:
    """Run one part as the rule does."""
    import sys

    return subprocess.run(
        [sys.executable, "-m", "workflow.scripts.score_part",
        *part_command(folder, dimension, part, backend)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def join_parts(folder: Path, dimension: str, parts: int) -> subprocess.CompletedProcess[str]:
    """Join parts as the rule does, to folder/<dimension>.json and folder/<dimension>.result.json."""
    import sys

    return subprocess.run(
        [
            sys.executable, "-m", "workflow.scripts.score_join", "--suite", "tiny", "--row", "mine",
            "--dimension", dimension, "--prompts", folder / "prompts.jsonl", "--manifest",
            folder / "manifest.jsonl",
            "--filtered", folder / "filter.json",
            "--parts", *(folder / f"{dimension}.{i}-of-{parts}.json" for i in range(parts)),
            "--output", folder / f"{dimension}.json", "--result", folder / f"{dimension}.result.json",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


OFFICIAL = """
import json, sys
import torch
from vbench import VBench
videos, info, out, *dimensions = sys.argv[1:]
torch.set_num_threads(1)
official = VBench(torch.device("cpu"), info, out)
with torch.no_grad():  # scene keeps the graph of every frame otherwise, 22 GB for one clip
    official.evaluate(videos, name="official", dimension_list=dimensions, local=True)
"""


def run_official(folder: Path, *dimensions: str) -> dict[str, Any]:
    """The package's own JSON of one process, without any line of ours but the call: score and rows by
    dimension.
    """
    from evaluation.records import read_jsonl
    from evaluation.vbench.worker.job import environment as offline

    videos, out = folder / "official", folder / "official_out"
    videos.mkdir(exist_ok=True)
    prompts = read_jsonl(Prompt, folder / "prompts.jsonl")
    info = [{"prompt_en": p.prompt, "dimension": list(NAMES), "auxiliary_info": p.facts} for p in prompts]
    (folder / "full_info.json").write_text(json.dumps(info))
    for prompt in prompts:
        for sample in range(prompt.samples):
            link = videos / f"{prompt.prompt}-{sample}.mp4"
            if not link.is_symlink():
                link.symlink_to(folder / "clips/mp4" / f"{clip_id(prompt.id, sample)}.mp4")
    subprocess.run(
        [PYTHON, "-c", OFFICIAL, videos, folder / "full_info.json", out, *dimensions],
        check=True, cwd=folder, env=environment() | offline(folder / "cache"), capture_output=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads((out / "official_eval_results.json").read_text())
    return found
