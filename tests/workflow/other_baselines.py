"""A project in a temporary folder whose rows are an external tool, a folder, a zip and a row with rules of
its own.
"""

import shutil
import subprocess
import zipfile
from pathlib import Path

from evaluation.clips import upscale, write_clip
from evaluation.records import Prompt
from evaluation.shards import samples_to_render
from evaluation.toybox.render import render
from tests.workflow.project import LEFT_OUT, ROOT
from workflow.planning.banner import planned_prompts
from workflow.planning.suite import Suite
from workflow.planning.suite_file import read_suite

SUITE = """\
suite: others
benchmark: toybox
label: "Other kinds of baseline"
device: cpu
baselines: [tool, folder, zipped, ruled]
allow_external: [tool, ruled]
controls: []
dimensions: [color]
prompts: {seed: 0, per_dimension: 3, samples: 2, static_samples: 2, static_keep: 1}
clip: {pixel_frames: 81, height: 64, width: 64, fps: 16}
sample: {batch: 2, shards: 2, noise: portable, precision: float32}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights: {}
train: {}
raven: null
cm_grpo: null
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""

# A stranger's program: it knows nothing of this project but the JSON work list. "style.txt" stands for its
# model.
TOOL = """\
import json, pathlib, sys
import av
import numpy as np

print("loading the model")
work = json.loads(pathlib.Path(sys.argv[1]).read_text())
colour = int(pathlib.Path(__file__).with_name("style.txt").read_text())
for item in work["samples"]:
    rng = np.random.default_rng(item["seed"])
    path = pathlib.Path(item["file"])
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=item["fps"])
        stream.width, stream.height, stream.pix_fmt = item["width"], item["height"], "yuv420p"
        stream.thread_count = 1
        top = int(rng.integers(0, item["height"] - 8))
        for t in range(item["pixel_frames"]):
            frame = np.full((item["height"], item["width"], 3), 40, np.uint8)
            left = t % item["width"]
            frame[top : top + 8, left : left + 8] = rng.integers(100, 255), colour, 50
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    print("wrote", item["clip_id"], "for", item["extended_prompt"][:20])
"""

EXTERNAL = """\
name: tool
kind: external
title: A tool
code: {kind: path, path: elsewhere/tool}
environment: null
command: [python, generate.py, "{work_list}"]
files: [elsewhere/weights.bin]
timeout_s: 60
gpus: 0
threads: 1
declared: {steps: 4, noise: null, seeds: the work list's, prompts: extended, precision: null, encoder: null}
licence: MIT
citation: "A. Author, A tool, 2026"
"""

IMPORT = """\
name: {name}
kind: import
title: Theirs
clips: {{path: {path}}}
declared: {{steps: null, noise: null, seeds: null, prompts: extended, precision: null, encoder: null}}
licence: CC BY 4.0
citation: "B. Author, Theirs, 2026"
"""

RULED = """\
name: ruled
kind: external
title: With rules
code: null
environment: null
command: null
files: []
timeout_s: 60
gpus: 0
threads: 1
declared: {steps: null, noise: null, seeds: null, prompts: null, precision: null, encoder: null}
licence: MIT
citation: "C. Author, With rules, 2026"
"""

RULES = """\
rule ruled_style:
    output: "<suite>/ruled/style.txt"
    localrule: True
    shell: "echo 200 > {output}"


rule ruled_clips:
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        style="<suite>/ruled/style.txt",
        missing=lambda wc: missing_clips("ruled", wc.shard),
    output:
        manifest="<suite>/clips/ruled/shards/{shard}.manifest.jsonl",
        timings="<suite>/clips/ruled/shards/{shard}.timings.jsonl",
    params:
        settings=lambda wc: row_settings("ruled"),
        folder=subpath(output.manifest, ancestor=2),
        made=f"{FOLDERS.suite}/ruled/{{shard}}",
    shell:
        "rm -rf {params.made:q} && SECONDS=0"
        " && python -m workflow.scripts.external work-list --row ruled --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q} --settings {params.settings:q}"
        " --output-dir {params.made:q} --output {params.made:q}/work_list.json"
        " && cp elsewhere/tool/generate.py {input.style:q} {params.made:q}"
        " && python {params.made:q}/generate.py {params.made:q}/work_list.json"
        " && python -m workflow.scripts.external collect --row ruled --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q} --settings {params.settings:q}"
        " --from {params.made:q} --seconds $SECONDS --clips {params.folder:q}"
        " --manifest {output.manifest:q} --timings {output.timings:q}"
"""


def copy_project_with_others(folder: Path) -> None:
    """The project with the suite `others`, its four rows and what they are made from (under elsewhere/)."""
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    write_others(folder)


def write_others(folder: Path) -> None:
    """The suite's file, the four baselines, the tool, a folder and a zip of clips."""
    (folder / "workflow/config").mkdir(parents=True, exist_ok=True)
    (folder / "workflow/config/others.yaml").write_text(SUITE)
    baselines, elsewhere = folder / "baselines", folder / "elsewhere"
    (baselines / "ruled").mkdir(parents=True, exist_ok=True)
    (baselines / "tool.yaml").write_text(EXTERNAL)
    (baselines / "ruled.yaml").write_text(RULED)
    (baselines / "ruled/rules.smk").write_text(RULES)
    (baselines / "folder.yaml").write_text(IMPORT.format(name="folder", path="elsewhere/clips"))
    (baselines / "zipped.yaml").write_text(
        IMPORT.format(name="zipped", path="elsewhere/clips.zip").replace("Theirs", "Theirs, zipped")
    )
    write_tool(elsewhere / "tool")
    (elsewhere / "weights.bin").write_bytes(b"weights")
    write_originals(others_prompts(folder), elsewhere)


def write_tool(folder: Path, program: str = TOOL) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generate.py").write_text(program)
    (folder / "style.txt").write_text("10\n")


def others(folder: Path) -> Suite:
    return read_suite(folder / "workflow/config/others.yaml", folder)


def others_prompts(folder: Path) -> list[Prompt]:
    return planned_prompts(others(folder))


def write_originals(prompts: list[Prompt], elsewhere: Path) -> None:
    """The same rendered clips as a folder by clip id, and as a zip under VBench's names in a folder of its
    own.
    """
    for sample in samples_to_render(prompts):
        frames = upscale(render(sample.prompt.facts, sample.index), height=64, width=64)
        write_clip(elsewhere / "clips" / f"{sample.clip_id}.mp4", frames, fps=16)
    with zipfile.ZipFile(elsewhere / "clips.zip", "w") as archive:
        for sample in samples_to_render(prompts):
            name = f"theirs/{sample.prompt.prompt}-{sample.index}.mp4"
            archive.write(elsewhere / "clips" / f"{sample.clip_id}.mp4", name)
        archive.writestr("theirs/README.txt", "how they were made")


def commit(folder: Path) -> str:
    """Make a git repository of a folder, or commit its changes; the commit's hash."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "state"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    return subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
