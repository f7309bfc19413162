"""Faults that must end in a sentence and never in a number: swallowed errors, dropped clips, wrong
checkpoints, memory, the filter.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.spec import load_row
from evaluation.records import Prompt, clip_id
from evaluation.vbench.filter_join import FilterPart, JudgedClip, join_filter
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from evaluation.vbench.weights import AMT_FILE, BERT_REVISION, CHECKPOINTS, RAFT_MEMBER, RAFT_ZIP, lay_out
from evaluation.vbench.worker.early_stop import judge_flow, moves
from evaluation.vbench.worker.job import check_files, error_message
from evaluation.vbench.worker.runner import check_rows
from evaluation.vbench.worker.watch import LoopWatch
from tests.evaluation.made_up import INPUTS
from workflow.external.baseline import row_clip
from workflow.planning.resources import needed_resources, scorer_resources
from workflow.planning.row_plan import reward_environment
from workflow.planning.suite_file import read_suite
from workflow.training.reward_names import REWARD_NETWORK_FILES

ROOT = Path(__file__).parents[2]


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"video_path": name, "video_results": 0.5, "frame_results": [0.5]} for name in names]


def job(dimension: str, *names: str) -> dict[str, Any]:
    """What the worker is told of a dimension and its clips."""
    return OFFICIAL_SCORERS[dimension].as_job() | {"dimension": dimension, "names": list(names)}


def test_dropped_swallowed_and_strange_results_are_refused() -> None:
    """Guards against VBench's silence: a clip it could not read is dropped, an error in a frame counts as
    nothing found.
    """
    told, watch = job("temporal_flickering", "a", "b"), LoopWatch(finished=True)
    check_rows(told, rows("a", "b"), watch)
    with pytest.raises(ValueError, match=r"dropped 1 of 2 clips without a word \(first: b\)"):
        check_rows(told, rows("a"), watch)
    with pytest.raises(ValueError, match="not those of the 2 clips in order"):
        check_rows(told, rows("b", "a"), watch)
    bad = rows("a", "b")
    bad[1]["frame_results"] = [0.5, float("nan")]
    with pytest.raises(ValueError, match="no finite number for b"):
        check_rows(told, bad, watch)
    swallowed = LoopWatch(finished=True, errors=["RuntimeError in a: x"])
    with pytest.raises(ValueError, match="1 errors that it would have counted"):
        check_rows(job("temporal_flickering", "a"), rows("a"), swallowed)
    check_rows(job("color", "a", "b"), rows("b"), watch)


def test_an_impossible_value_names_the_model_s_file() -> None:
    """Guards against numbers like overall consistency 323.99, which a wrong model file gives; float16's
    rounding passes.
    """
    from evaluation.dimensions import BY_NAME, NAMES

    viclip = job("overall_consistency", "a", "b")
    good = [{"video_path": "a", "video_results": -0.02}, {"video_path": "b", "video_results": 1.001}]
    check_rows(viclip, good, LoopWatch(finished=True))
    wrong = [good[0], {"video_path": "b", "video_results": 323.99}]
    with pytest.raises(
        ValueError,
        match=(
            r"gave 323\.99 for b \(1 of 2 clips\), outside -1 to 1: .*ViClip-InternVid-10M-FLT\.pth.*make "
            r"fetch"
        ),
    ):
        check_rows(viclip, wrong, LoopWatch(finished=True))
    for name in NAMES:
        low, high = OFFICIAL_SCORERS[name].limits
        assert (low, high) == ((0, 100) if name == "imaging_quality" else (BY_NAME[name].lowest, 1))


def test_a_missing_or_short_checkpoint_is_named(tmp_path: Path) -> None:
    """Guards against VBench's own answer to a missing file, which is to download it."""
    with pytest.raises(FileNotFoundError, match=r"amt-s\.pth is missing; run `make fetch`"):
        check_files(CHECKPOINTS["amt"], tmp_path, {})
    path = tmp_path / CHECKPOINTS["amt"][0]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"12")
    with pytest.raises(ValueError, match="has 2 bytes, expected 3"):
        check_files(CHECKPOINTS["amt"], tmp_path, {CHECKPOINTS["amt"][0]: 3})


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_do(error: Exception) -> None:
    """Guards against a traceback as the only answer, and against blaming the clip; torch says it in many
    ways.
    """
    said = error_message("scene", error, LoopWatch(clip="a-0.mp4", item=1))
    assert said.startswith("scene ran out of memory at clip a-0.mp4")


LITTLE_MEMORY = """
import resource, sys
import torch
from evaluation.vbench.worker.watch import LoopWatch, in_batches, try_batches
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
watch, seen = LoopWatch(), []
def network(frames):
    seen.append(len(frames))
    torch.empty(len(frames), 300 * 2**20, dtype=torch.uint8)
    return frames
limited = in_batches(network, watch, torch.cat)
frames = torch.arange(20)
found = []
try_batches(sys.argv[1] == "batched", watch, lambda: found.append(limited(frames)))
assert torch.equal(found[0], frames)
print(watch.limit, seen[:3])
"""


@pytest.mark.slow
def test_a_real_limit_of_memory_is_met_with_smaller_batches() -> None:
    """Guards the retry with the allocator's own error under a limit of the process: 20, 16 and 4 frames are
    too many, 1 is not.
    """
    command = [sys.executable, "-c", LITTLE_MEMORY]
    done = subprocess.run([*command, "batched"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1", "[20,", "16,", "4]"]
    done = subprocess.run([*command, "whole"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "allocate memory" in done.stderr


def test_cosines_are_noted_for_sums_and_frames_and_anew_when_memory_ran_out() -> None:
    """Guards subject consistency's exact sums and the values of its frames, also of a second round over the
    clips.
    """
    from types import SimpleNamespace

    import torch

    from evaluation.vbench.worker.fast.frames import note_frame_values
    from evaluation.vbench.worker.scorers.subject_consistency import note_sums

    module: Any = SimpleNamespace(F=SimpleNamespace(cosine_similarity=torch.sub))
    watch = LoopWatch()
    note_frame_values(module, watch)
    finish = note_sums(module, watch)
    zero = torch.tensor(0.0)
    for cosines in ([0.5, 0.25], [0.5, 0.25, -1.0, 1.0]):
        for path in watch.loop(["x/a.mp4", "x/b.mp4"]):
            watch.frame_values[Path(path).name] = []
            for cosine in cosines:
                module.F.cosine_similarity(torch.tensor(cosine), zero)
    found = [{"video_path": name, "video_results": (0.375 + 0.5) / 2} for name in ("a.mp4", "b.mp4")]
    finish(found)
    assert [(row["video_sim"], row["cnt_per_video"]) for row in found] == [(0.875, 2)] * 2
    assert watch.frame_values["b.mp4"] == [None, 0.375, 0.5]
    with pytest.raises(ValueError, match=r"the noted cosines of a\.mp4 give 0\.4375"):
        finish([{"video_path": name, "video_results": 0.4} for name in ("a.mp4", "b.mp4")])


def test_parameters_that_a_checkpoint_leaves_out_are_an_error() -> None:
    """Guards human action and scene, which VBench loads without looking: other names load nothing and give a
    score all the same.
    """
    import torch
    from torch import nn

    from evaluation.vbench.worker.networks import complete_loading

    plain = nn.Module.load_state_dict
    network = nn.BatchNorm1d(2)
    whole = network.state_dict()
    with complete_loading():
        network.load_state_dict(whole | {"further": torch.zeros(1)}, strict=False)
        network.load_state_dict({n: v for n, v in whole.items() if "running" not in n}, strict=False)
        with pytest.raises(
            ValueError, match=r"leaves 2 of 2 parameters of BatchNorm1d unset \(first: weight\)"
        ):
            network.load_state_dict({f"module.{name}": value for name, value in whole.items()}, strict=False)
    assert nn.Module.load_state_dict is plain


def test_a_checkpoint_that_cannot_be_read_is_named() -> None:
    """Guards against an error of pickle or zip that does not say which of nineteen files it means."""
    said = error_message("motion_smoothness", EOFError("Ran out of input"), LoopWatch(), CHECKPOINTS["amt"])
    assert "vbench/amt_model/amt-s.pth: delete it in resources/weights/vbench" in said


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0000001, 2.0, 30.0]), min_size=1, max_size=30),
    st.lists(st.sampled_from([0.0, 1.9, 2.0, 4.0, 4.1, 100.0]), min_size=2, max_size=2),
    st.integers(0, 6),
)
def test_stopping_early_judges_as_vbench_does(
    neighbours: list[float], ends: list[float], allowed: int
) -> None:
    """Guards the early stop against the rule written out over all pairs, at and beside every limit."""
    limit = 1.0
    static = sum(value > limit for value in neighbours) <= allowed and all(
        v <= limit * allowed * 2 for v in ends
    )
    for total in (None, len(neighbours)):
        found = judge_flow(neighbours, ends, limit=limit, allowed=allowed, total=total)
        assert found.static == static
        assert (found.motion <= 1.0) == static
        assert found.pairs <= len(neighbours) + 2


@given(
    st.lists(st.sampled_from([0.0, 1.0, 1.0000001, 30.0]), max_size=30),
    st.integers(0, 12),
)
def test_stopping_early_finds_the_motion_that_vbench_finds(values: list[float], needed: int) -> None:
    """Guards dynamic degree's early stop, both ways, against the package's own loop over all pairs, written
    out.
    """
    count, moved = 0, False
    for value in values:
        count += value > 1.0
        if count >= needed:
            moved = True
    assert moves(values, limit=1.0, needed=needed, total=len(values)) == moved


def test_stopping_early_looks_at_no_pair_too_many() -> None:
    """Guards the saving for clips of 81 frames: 10 moving pairs of 40 decide, and 31 static ones; of 80, 70
    static ones and the two ends.
    """

    def seen(values: Iterable[float]) -> Iterator[float]:
        for value in values:
            looked.append(value)
            yield value

    looked: list[float] = []
    assert moves(seen([9.0] * 40), limit=1.0, needed=10, total=40)
    assert len(looked) == 10
    looked.clear()
    assert not moves(seen([0.5] * 40), limit=1.0, needed=10, total=40)
    assert len(looked) == 31
    assert judge_flow([0.5] * 80, [0.5, 0.5], limit=1.0, allowed=10, total=80).pairs == 72


def test_a_moving_clip_costs_only_the_pairs_that_prove_it() -> None:
    """Guards the saving: of endless pairs, allowed + 1 moving ones are computed."""
    assert judge_flow((9.0 for _ in count()), [], limit=1.0, allowed=10).pairs == 11


def test_a_flow_that_is_no_number_is_refused() -> None:
    """Guards against NaN, which every comparison calls small, so that a broken network would call all clips
    static.
    """
    with pytest.raises(ValueError, match="no finite number"):
        judge_flow([0.0, float("nan")], [0.0, 0.0], limit=1.0, allowed=2)


def prompt(name: str, samples: int, keep: int | None) -> Prompt:
    return Prompt(
        id=name, prompt=name, extended=name, dimensions=("temporal_flickering",), samples=samples, keep=keep,
        facts={}
    )  # fmt: skip


def filter_part(static: dict[str, list[bool]], name: str = "0-of-1", backend: str = "fast") -> FilterPart:
    found = {
        clip_id(prompt_id, i): JudgedClip(static=one, motion=0.5 if one else 2.0, pairs=3)
        for prompt_id, values in static.items()
        for i, one in enumerate(values)
    }
    return FilterPart(row="mine", inputs=INPUTS, part=name, found=found, versions={"backend": backend})


def test_the_first_static_samples_in_numeric_order_are_kept() -> None:
    """Guards RAVEN's rule against VBench's order of names, in which sample 10 comes before 2; all values
    stay, gaps are said.
    """
    prompts = [prompt("a", 12, 3), prompt("b", 2, None), prompt("c", 3, 2)]
    still = [i in (1, 2, 10, 11) for i in range(12)]
    outcome = join_filter(
        "mine", prompts, [filter_part({"a": still}), filter_part({"c": [False, True, False]})]
    )
    assert outcome.kept == {"a": (1, 2, 10), "b": (0, 1), "c": (1,)}
    assert [len(entry.motion) for entry in outcome.filtered] == [12, 3]
    assert [entry.short for entry in outcome.filtered] == [0, 1]


def test_a_filter_that_saw_other_clips_is_refused() -> None:
    """Guards against a part that is missing, doubled, or of another row."""
    prompts = [prompt("a", 2, 1), prompt("c", 2, 1)]
    one = filter_part({"a": [True, True]})
    with pytest.raises(ValueError, match="holds 2 clips, expected 4"):
        join_filter("mine", prompts, [one])
    with pytest.raises(ValueError, match="repeats clips"):
        join_filter("mine", prompts, [one, one])
    with pytest.raises(ValueError, match="is of row mine"):
        join_filter("other", prompts, [one])
    with pytest.raises(ValueError, match=r"different backends \(fast, official\)"):
        join_filter("mine", prompts, [one, filter_part({"c": [True, True]}, backend="official")])


def fetched_files(folder: Path) -> list[str]:
    """A stand-in of every fetched file, named as workflow/resources.yaml names them."""
    from workflow.planning.resources import listed_resources

    names = [
        entry.path.removeprefix("weights/vbench/")
        for entry in listed_resources(ROOT)
        if entry.group == "scorer"
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    with zipfile.ZipFile(folder / RAFT_ZIP, "w") as archive:
        archive.writestr(RAFT_MEMBER, b"raft")
    return names


def test_fetched_files_lie_where_every_dimension_looks(tmp_path: Path) -> None:
    """Guards the list of checkpoints: whatever a scorer names is fetched and laid out, and the hub finds BERT
    offline.
    """
    from evaluation.dimensions import NAMES

    names = fetched_files(tmp_path / "fetched")
    cache = tmp_path / "cache"
    laid_out = lay_out(
        tmp_path / "fetched", names, cache, lambda source, target: target.write_bytes(source.read_bytes())
    )
    assert set(NAMES) == OFFICIAL_SCORERS.keys()
    for scorer in OFFICIAL_SCORERS.values():
        assert all((cache / file).is_file() for file in scorer.files)
        assert set(scorer.files) <= laid_out.keys()
    assert (cache / CHECKPOINTS["raft"][0]).read_bytes() == b"raft"
    assert (cache / CHECKPOINTS["amt"][0]).read_bytes() == AMT_FILE.encode()
    assert (cache / "hf/hub/models--bert-base-uncased/refs/main").read_text() == BERT_REVISION
    json.dumps(laid_out)


def test_bert_is_fetched_at_the_commit_of_its_folder() -> None:
    """Guards the folder's name, which the hub's own layout takes from the commit."""
    from workflow.planning.resources import listed_resources

    revisions = {e.revision for e in listed_resources(ROOT) if "bert-base-uncased" in e.path}
    assert revisions == {BERT_REVISION}


def test_a_wrong_zip_is_named(tmp_path: Path) -> None:
    """Guards against a page of a file host that was saved as models.zip."""
    (tmp_path / "raft_model").mkdir()
    (tmp_path / RAFT_ZIP).write_text("<html>")
    with pytest.raises(ValueError, match=r"models\.zip cannot be read as a zip .*fetch it again"):
        lay_out(tmp_path, [RAFT_ZIP], tmp_path / "cache", lambda *_: None)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--detectron2", "absent.whl"], "wheel absent.whl does not exist"),
        (["--detectron2", "."], "expected a25898a09d6ee232767647e92c6177fb1c642369"),
        (["--torch", "tpu"], "must be cpu or cuda"),
        (["--cuda", "12"], "not '--cuda'"),
        (["--torch", "cpu", "--detectron2"], "--detectron2 needs a value"),
    ],
)
def test_the_installer_refuses_before_it_builds(flags: list[str], said: str, tmp_path: Path) -> None:
    """Guards against minutes of installing before a wrong path or commit is named."""
    command = ["envs/vbench/install.sh", "--venv", str(tmp_path / "venv"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("compiler", "said"),
    [("no-such-compiler", "no-such-compiler is none; install g++"), ("true", "no headers/Python.h; install")],
)
def test_what_compiles_detectron2_is_asked_for_first(compiler: str, said: str, tmp_path: Path) -> None:
    """One sentence with the way around it, before anything is installed; a wheel built before needs none."""
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    python = tmp_path / "python3.11"
    python.write_text(
        '#!/bin/sh\n[ "$1" = -c ] || exit 9\ncase $2 in *sysconfig*) echo headers ;; *) echo 3.11.9 ;; esac\n'
    )
    python.chmod(0o755)

    def install() -> subprocess.CompletedProcess[str]:
        given = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "CXX": compiler}
        command = ["envs/vbench/install.sh", "--torch", "cpu"]
        return subprocess.run(
            command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False, timeout=20
        )

    refused = install()
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 1 and said in line and "or name a wheel built elsewhere from commit" in line
    wheel = tmp_path / ".venvs/wheels/detectron2-a25898a09d6e-torch2.13.0-cpu/detectron2.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert install().returncode == 9, "it goes on to build the environment"


def test_the_lock_of_vbench_holds_no_torch_and_every_hash() -> None:
    """Guards against a lock that pins one build of torch or torchvision, or lets a package in unproven."""
    lock = (ROOT / "envs/vbench/requirements.lock").read_text(encoding="utf-8")
    pinned = [line.split("==")[0] for line in lock.splitlines() if "==" in line]
    wanted = [
        line.split("==")[0]
        for line in (ROOT / "envs/vbench/requirements.in").read_text().splitlines()
        if "==" in line
    ]
    assert len(pinned) == len(wanted) > 90
    assert not {name for name in pinned if name.startswith(("torch", "triton", "nvidia"))}
    assert lock.count("--hash=sha256:") >= len(pinned)


def test_parts_are_of_dimensions() -> None:
    """Guards against a misspelt dimension that would silently be one long job."""
    vbench = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    assert vbench.score_parts("dynamic_degree") == ("0-of-4", "1-of-4", "2-of-4", "3-of-4")
    assert vbench.score_parts("scene") == ("0-of-1",)
    assert len(vbench.filter_parts) == 25
    with pytest.raises(ValueError, match=r"scoring\.parts names 'dynamic'"):
        read_suite(ROOT / "workflow/config/vbench.yaml", ROOT, {"scoring": {"parts": {"dynamic": 2}}})


def test_the_scorer_s_files_are_apart_from_the_sampler_s() -> None:
    """Guards against sampling everything again because a checkpoint of the scorer changed, and against a
    suite that fetches it in vain.

    CM-GRPO is rewarded by five of them, so a suite that trains it needs these before anything is sampled.
    """
    vbench = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    scorer = {entry.path for entry in scorer_resources(ROOT, vbench)}
    assert len(scorer) >= 19
    assert vbench.cm_grpo is not None
    files = {name for reward in vbench.cm_grpo["rewards"] for name in REWARD_NETWORK_FILES.get(reward, ())}
    rewards = {f"weights/vbench/{name}" for name in files} & scorer
    assert len(rewards) == 5
    assert scorer & {entry.path for entry in needed_resources(ROOT, vbench)} == rewards
    untrained = vbench.model_copy(update={"train": {}})
    assert not scorer & {entry.path for entry in needed_resources(ROOT, untrained)}
    assert scorer_resources(ROOT, read_suite(ROOT / "workflow/config/toybox.yaml", ROOT)) == []


def test_clips_of_one_s_own_need_only_prompts_and_scorer(tmp_path: Path) -> None:
    """Guards five lines of baselines/README.md: scoring a folder fetches no model, for any size and length of
    clips.
    """
    root = tmp_path / "project"
    for name in ("workflow/resources.yaml", "workflow/config/vbench.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text((ROOT / name).read_text())
    readme = (ROOT / "baselines/README.md").read_text()
    example = readme.split("`baselines/theirs.yaml`, and")[1].split("```yaml\n")[1].split("```")[0]
    (root / "baselines").mkdir()
    shape = "path: theirs, shape: {pixel_frames: 121, height: 720, width: 1280, fps: 24}"
    plain = example.replace("path: imports/theirs.zip  # or a folder", shape)
    assert shape in plain
    (root / "baselines/theirs.yaml").write_text(plain.replace(f"clips:\n  {shape}", f"clips: {{{shape}}}"))
    own = {"suite": "mine", "baselines": ["theirs"], "weights": {}, "train": {}, "resources": ["prompts"]}
    suite = read_suite(root / "workflow/config/vbench.yaml", root, own)
    assert {entry.group for entry in needed_resources(root, suite)} == {"prompts"}
    scorer = scorer_resources(root, suite)
    assert len(scorer) == 19
    assert sum(entry.size_mb for entry in scorer) < 9600
    baseline = load_row(root / "baselines/theirs.yaml")
    assert row_clip(suite, baseline) == {"pixel_frames": 121, "height": 720, "width": 1280, "fps": 24}


def test_another_environment_scores_anew_and_trains_nothing() -> None:
    """Guards a week of training: the name that changes with the lock is an input of scoring's rules alone,
    training waits for one that stays.
    """
    rules = {path.name: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}
    assert [name for name, text in rules.items() if "VBENCH_BUILT" in text or "VBENCH_HASH" in text] == [
        "official.smk"
    ]
    training = read_suite(ROOT / "workflow/config/vbench.yaml", ROOT)
    assert reward_environment(training, "cm_grpo") == [".venvs/vbench/built"]
    assert reward_environment(training, "raven") == []
    assert "ancient(reward_environment(" in rules["train.smk"]
    assert 'ready=".venvs/vbench/built"' in rules["official.smk"]
    users = re.split(r"^rule ", rules["official.smk"], flags=re.MULTILINE)[1:]
    hashed = {text.split(":")[0] for text in users if "VBENCH_BUILT" in text or "VBENCH_HASH" in text}
    assert hashed == {"vbench_environment", "vbench_weights", "filter_part", "score_part"}
