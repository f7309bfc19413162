"""Custom dimensions: what a file must say, what may go wrong, and that nothing but them changes."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from evaluation.aggregate import AggregateSettings, check_result
from evaluation.clips import write_clip
from evaluation.custom import colour_drift
from evaluation.custom.declaration import custom_dimension, read_declaration
from evaluation.custom.scoring import CustomScorer, load_scorer
from evaluation.custom.scoring import score_custom as score_clips
from evaluation.dimensions import NAMES
from evaluation.files import file_sha256
from evaluation.metrics import metrics
from evaluation.records import (
    Clip,
    ClipScore,
    CustomDimension,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Inputs,
    Prompt,
    clip_id,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from evaluation.selection import ScoredPrompt, hashes_of
from evaluation.toybox.controls import control_frames
from evaluation.toybox.suite import toybox_prompts
from tests.evaluation.made_up import INPUTS, aggregate, chunk_table, variance_table
from tests.evaluation.strange_clips import FINE, damaged, encoded
from workflow.scripts import score_custom

EXAMPLE = Path(__file__).parents[2] / "evaluation" / "custom" / "colour_drift.py"
GOOD = """
TITLE = "brightness"
UNIT = "levels"
WORST = 0
BEST = 255.0
BENCHMARKS = ("toybox",)


def score(frames, prompt):
    return float(frames.mean())
"""


def declared(folder: Path, text: str, name: str = "brightness", **changed: str) -> CustomDimension:
    path = folder / "mine.py"
    path.write_text(text)
    given = {"prompts": "all", "benchmark": "toybox", **changed}
    return custom_dimension(name, path, shown="mine.py", dimensions=("color", "scene"), **given)


ERRORS = {
    "does not set UNIT": GOOD.replace('UNIT = "levels"', ""),
    "UNIT is 3, expected a str": GOOD.replace('"levels"', "3"),
    "BEST must be a plain constant": GOOD.replace("255.0", "float(255)"),
    "two different, finite numbers": GOOD.replace("255.0", "0"),
    "WORST is 1{30} and BEST 255.0": GOOD.replace("WORST = 0", "WORST = " + "1" * 400),
    "WORST must be a plain constant": GOOD.replace("WORST = 0", "WORST = {[]: 0}"),
    r"defines no function that scores; expected one of score\(frames, prompt\), score_parts": GOOD.replace(
        "def score", "def scored"
    ),
    "defines score and score_parts": GOOD + "\ndef score_parts(parts, prompt):\n    pass\n",
    "imports 'evaluation.toybox.facts' of this project": "from evaluation.toybox.facts import COLORS\n"
    + GOOD,
    r"BATCH is 2 .* \(score\(\) takes one": GOOD + "\nBATCH = 2\n",
    r"BATCH is 3 .* \(score_parts\(\) takes one": GOOD.replace("score(frames", "score_parts(parts")
    + "\nBATCH = 3\n",
    "CLIPS 'some'": GOOD + "\nCLIPS = 'some'\n",
    "RESOURCES is 'x', expected a tuple": GOOD + "\nRESOURCES = 'x'\n",
    "defines score and open_scorer": GOOD + "\ndef open_scorer(resources, device):\n    pass\n",
    "is no Python": GOOD + "\n)",
    "BENCHMARKS is empty": GOOD.replace('("toybox",)', "()"),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_a_file_that_does_not_declare_itself_is_one_message(sentence: str, tmp_path: Path) -> None:
    """Guards against a dimension whose scale nobody knows; the file is read, never run, so that planning
    stays safe.
    """
    with pytest.raises(ValueError, match=sentence) as caught:
        declared(tmp_path, ERRORS[sentence])
    assert "mine.py" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "color"}, "the name color is taken"),
        ({"name": "total"}, "the name total is taken"),
        ({"benchmark": "vbench"}, "means something in toybox, but this suite's benchmark is vbench"),
        (
            {"prompts": "human_action"},
            r"prompts is 'human_action', expected all or a dimension of the suite \(color, scene\)",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_suite_is_refused(change: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        declared(tmp_path, GOOD, **change)


TAKEN_AS_WRITTEN = {
    "constants with types": GOOD.replace("WORST =", "WORST: float =").replace("UNIT =", "UNIT: Final[str] ="),
    "positional arguments alone": GOOD.replace("prompt)", "prompt, /)"),
    "one value for two names": GOOD.replace("WORST = 0", "WORST = LOWEST = 0"),
    "a name whose value comes later": GOOD.replace("BEST = 255.0", "BEST: float\nBEST = 255.0"),
}


@pytest.mark.parametrize("form", TAKEN_AS_WRITTEN)
def test_nothing_that_the_file_plainly_says_is_denied(form: str, tmp_path: Path) -> None:
    assert declared(tmp_path, TAKEN_AS_WRITTEN[form]).best == 255.0


def test_a_file_is_not_run_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD + "\nraise SystemExit('ran')\n")
    assert read_declaration(path).best == 255.0


def opened(path: Path, custom: CustomDimension) -> CustomScorer:
    return load_scorer(path, custom, resources=path.parent, device="cpu")


PROMPTS = [
    Prompt(
        id=f"p{i}",
        prompt="p",
        extended="long",
        dimensions=("color",) if i else ("scene",),
        samples=2,
        facts={"i": i},
    )
    for i in range(3)
]


def origin(folder: Path) -> Inputs:
    return hashes_of(folder / "prompts.jsonl", folder / "manifest.jsonl")


def write_filter(folder: Path) -> None:
    kept: dict[str, tuple[int, ...]] = {p.id: (0, 1) for p in PROMPTS}
    outcome = FilteredSet(row="raven", inputs=origin(folder), threshold=1, filtered=(), kept=kept)
    write_json(folder / "filter.json", outcome)


def job(folder: Path, custom: CustomDimension) -> list[str]:
    """Flags of the scoring job of one row, on six little clips, clip n of brightness 20 n."""
    clips, digest = [], "0" * 64
    for n, (prompt, sample) in enumerate((p, s) for p in PROMPTS for s in range(2)):
        name = clip_id(prompt.id, sample)
        write_clip(folder / f"mp4/{name}.mp4", np.full((9, 32, 32, 3), 20 * n, np.uint8), fps=16)
        clips.append(
            Clip(
                clip_id=name,
                row="raven",
                prompt_id=prompt.id,
                sample=sample,
                file=f"mp4/{name}.mp4",
                sha256=file_sha256(folder / f"mp4/{name}.mp4"),
                latents_sha256=None,
                noise="x",
                weights_sha256=None,
                settings_sha256=digest,
                batch_size=1,
                pixel_frames=9,
                height=32,
                width=32,
                fps=16,
            )
        )
    write_jsonl(folder / "manifest.jsonl", clips)
    write_jsonl(folder / "prompts.jsonl", PROMPTS)
    write_filter(folder)
    return [
        "--suite",
        "toybox",
        "--row",
        "raven",
        "--file",
        str(folder / "mine.py"),
        "--declaration",
        custom.model_dump_json(),
        "--prompts",
        str(folder / "prompts.jsonl"),
        "--manifest",
        str(folder / "manifest.jsonl"),
        "--filtered",
        str(folder / "filter.json"),
        "--clips",
        str(folder),
        "--code",
        "c0de",
        "--device",
        "cpu",
        "--result",
        str(folder / "out.json"),
    ]


@pytest.mark.parametrize(("prompts", "clips"), [("all", 6), ("scene", 2)])
def test_a_row_is_scored_on_the_prompts_that_are_declared(prompts: str, clips: int, tmp_path: Path) -> None:
    assert score_custom.main(job(tmp_path, declared(tmp_path, GOOD, prompts=prompts))) == 0
    result = read_json(DimensionResult, tmp_path / "out.json")
    assert (result.kind, result.dimension, len(result.clips)) == ("custom", "brightness", clips)
    for n, clip in enumerate(result.clips):
        assert clip.value == pytest.approx(20 * n, abs=2)


BAD = {
    "nan, expected a number from 0 to 255 levels": "return float('nan')",
    "256.0, expected a number": "return 256.0 if prompt['facts']['i'] == 1 else 1.0",
    "None, expected a number": "return None",
    "failed on clip p2-0 of row raven with KeyError": (
        "return float(prompt['facts']['i'] == 2 and prompt['fact'])"
    ),
}


@pytest.mark.parametrize("words", BAD)
def test_a_wrong_score_stops_with_the_clip_and_the_file(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a fault that becomes a number; nothing is written."""
    text = GOOD.replace("return float(frames.mean())", BAD[words])
    assert score_custom.main(job(tmp_path, declared(tmp_path, text))) == 1
    logged = capsys.readouterr().err
    assert words in logged
    assert "mine.py" in logged
    assert not (tmp_path / "out.json").exists()


JUDGE = """
from pathlib import Path

TITLE = "brightness"
UNIT = "levels"
WORST = 0.0
BEST = 255.0
BENCHMARKS = ("toybox",)
BATCH = 4


def open_scorer(resources, device):
    calls = Path(__file__).with_name("calls")

    def score(clips, prompts):
        with calls.open("a") as file:
            print([p["facts"]["i"] for p in prompts], {p["fps"] for p in prompts}, file=file)
        if calls.with_name("kill").exists() and len(prompts) == 2:
            raise KeyboardInterrupt
        return [float(clip.mean()) for clip in clips]

    return score
"""


def test_a_killed_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    """Batches of four of six clips: after a kill in the second, only that one is scored again, and the result
    is that of an unbroken run. Another clip, another code and a line that was cut count as not scored.
    """
    flags = job(tmp_path, declared(tmp_path, JUDGE))
    calls, kill, journal = tmp_path / "calls", tmp_path / "kill", tmp_path / "out.journal.jsonl"
    kill.touch()
    assert score_custom.main(flags) == 130
    kill.unlink()
    with journal.open("a") as file:
        file.write('["p2-0", "00')
    assert score_custom.main(flags) == 0
    assert calls.read_text().splitlines() == ["[0, 0, 1, 1] {16}", *["[2, 2] {16}"] * 2]
    first = (tmp_path / "out.json").read_bytes()
    journal.unlink()
    assert score_custom.main(flags) == 0
    assert (tmp_path / "out.json").read_bytes() == first
    calls.unlink()
    assert score_custom.main(flags) == 0
    assert not calls.exists(), "everything was known"
    write_clip(tmp_path / "mp4/p0-0.mp4", np.full((9, 32, 32, 3), 7, np.uint8), fps=16)
    listed = read_jsonl(Clip, tmp_path / "manifest.jsonl")
    changed = file_sha256(tmp_path / "mp4/p0-0.mp4")
    write_jsonl(tmp_path / "manifest.jsonl", [listed[0].model_copy(update={"sha256": changed}), *listed[1:]])
    write_filter(tmp_path)
    assert score_custom.main(flags) == 0
    assert calls.read_text().splitlines() == ["[0, 0, 1, 1] {16}"]
    assert score_custom.main([*flags, "--code", "other"]) == 0
    assert len(calls.read_text().splitlines()) == 3


def test_refused_clips_are_named_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against an answer without a number that becomes one, and against hours lost for one clip: the
    others are known.
    """
    text = JUDGE.replace("float(clip.mean())", "ValueError('no word') if clip.mean() < 30 else 1.0")
    assert score_custom.main(job(tmp_path, declared(tmp_path, text))) == 1
    assert (
        "mine.py refused 2 of 6 clips of row raven: p0-0 (no word); p0-1 (no word)" in capsys.readouterr().err
    )
    assert len((tmp_path / "out.journal.jsonl").read_text().splitlines()) == 1 + 2
    assert not (tmp_path / "out.json").exists()


def test_a_judge_may_see_what_the_filter_left_out(tmp_path: Path) -> None:
    """CLIPS "all": scored on every sample, which is what aggregate then asks for."""
    kept: dict[str, tuple[int, ...]] = {p.id: (0,) for p in PROMPTS}
    prompts = [p.model_copy(update={"keep": 1}) for p in PROMPTS]
    still = [
        FilteredPrompt(prompt_id=p.id, motion=(0.5, 0.5), static=(True, True), kept=(0,), short=0)
        for p in prompts
    ]
    for text, count in ((GOOD, 3), (GOOD + '\nCLIPS = "all"\n', 6)):
        custom = declared(tmp_path, text)
        flags = job(tmp_path, custom)
        write_jsonl(tmp_path / "prompts.jsonl", prompts)
        filtered = FilteredSet(
            row="raven", inputs=origin(tmp_path), threshold=1, filtered=tuple(still), kept=kept
        )
        write_json(tmp_path / "filter.json", filtered)
        assert score_custom.main(flags) == 0
        result = read_json(DimensionResult, tmp_path / "out.json")
        assert len(result.clips) == count
        check_result(result, prompts, filtered, metrics("toybox", [custom])["brightness"])


def test_a_file_edited_after_planning_is_refused(tmp_path: Path) -> None:
    custom = declared(tmp_path, GOOD)
    (tmp_path / "mine.py").write_text(GOOD + "\n")
    with pytest.raises(ValueError, match="changed since this run was planned"):
        opened(tmp_path / "mine.py", custom)


def test_colour_drift_of_clips_with_a_known_answer(tmp_path: Path) -> None:
    """The worked example: frozen clips drift by nothing, a clip that gets 30 levels brighter by 15 (mean, but
    not spread).
    """
    custom = custom_dimension(
        "colour_drift", EXAMPLE, shown="colour_drift.py", prompts="all", benchmark="toybox", dimensions=NAMES
    )
    assert (custom.worst, custom.best) == (64, 0)
    scorer = opened(EXAMPLE, custom)
    assert scorer.by_parts

    def score(frames: np.ndarray, prompt: dict[str, object]) -> float:
        return float(scorer.score([iter(np.split(frames, [16, 30, 31]))], [prompt])[0])

    prompts = toybox_prompts(0)
    for prompt in prompts[::15]:
        frozen = control_frames("frozen_first_frame", prompts, prompt, 0)
        assert score(frozen, {}) == 0.0
        if prompt.facts["camera"] == "fixed":
            assert score(control_frames("truth", prompts, prompt, 0), {}) < 3.0
    ramp = np.clip(np.full((81, 8, 8, 3), 100) + np.linspace(0, 40, 81)[:, None, None, None], 0, 255)
    ramp[:9], ramp[-12:] = 100, 130
    assert score(ramp.astype(np.uint8), {}) == pytest.approx(15)
    assert (
        score(np.concatenate([np.zeros((40, 8, 8, 3), np.uint8), np.full((41, 8, 8, 3), 255, np.uint8)]), {})
        == 64
    )


@pytest.mark.parametrize("length", [1, 5, 9, 12, 20, 81, 250])
def test_colour_drift_of_parts_is_that_of_the_whole_clip(length: int) -> None:
    """To the last bit, in whatever parts the frames come: the first nine and the last twelve, or what there
    is of them.
    """
    draw = np.random.default_rng(length)
    frames = draw.integers(0, 256, (length, 6, 10, 3), dtype=np.uint8)
    frames[: length // 2] //= 3
    first, last = (part.reshape(-1, 3).astype(np.float64) for part in (frames[:9], frames[-12:]))
    change = [np.abs(last.mean(0) - first.mean(0)).mean(), np.abs(last.std(0) - first.std(0)).mean()]
    for size in (1, 4, 11, 16, 300):
        parts = (frames[start : start + size] for start in range(0, length, size))
        assert colour_drift.score_parts(parts, {}) == min(64.0, float(np.mean(change)))


BY_PARTS = GOOD.replace("score(frames, prompt)", "score_parts(parts, prompt)")
"""A file to which frames come in parts. What it returns is put in."""
AS_IT_LIKES = {
    "reads all": "return float(sum(int(part.sum()) for part in parts) / (prompt['frames'] * 32 * 32 * 3))",
    "looks at nothing": "return 20.0",
    "looks at the first part": "return float(next(parts).mean())",
    "stops in the middle": "return [float(part.mean()) for part, _ in zip(parts, range(2))][-1]",
    "closes them": "first = next(parts)\n    parts.close()\n    return float(first.mean())",
    "keeps them": "KEPT.extend(parts)\n    return float(np.mean([part.mean() for part in KEPT]))",
    "keeps the iterator": (
        "KEPT.append(parts)\n    return 20.0 + len([part for one in KEPT[:-1] for part in one])"
    ),
    "writes into them": (
        "for part in parts:\n        before = part.mean()\n        part[:] = 255\n    return float(before)"
    ),
    "reads to the end twice": "list(parts)\n    return 20.0 + len(list(parts))",
    "passes over errors": ("try:\n        list(parts)\n    except Exception:\n        pass\n    return 20.0"),
    "fails by itself at damage": (
        "try:\n        list(parts)\n    except Exception:\n        raise KeyError('x')\n    return 20.0"
    ),
}


def row_of_parts(folder: Path, body: str, *clips: bytes, frames: int = 40) -> list[str]:
    """Flags of a job on some clips of one prompt, 20 levels bright, by a file whose function is `body`."""
    text = BY_PARTS.replace("return float(frames.mean())", body).replace(
        "TITLE", "import numpy as np\n\nKEPT = []\nTITLE", 1
    )
    flags = job(folder, declared(folder, text))
    (listed, *_), prompt = read_jsonl(Clip, folder / "manifest.jsonl"), PROMPTS[1]
    made = []
    for sample, content in enumerate(clips):
        (folder / f"mp4/{prompt.id}-{sample}.mp4").write_bytes(content)
        digest = file_sha256(folder / f"mp4/{prompt.id}-{sample}.mp4")
        changed = {"clip_id": clip_id(prompt.id, sample), "sample": sample, "sha256": digest}
        shape = {"file": f"mp4/{prompt.id}-{sample}.mp4", "prompt_id": prompt.id, "pixel_frames": frames}
        made.append(listed.model_copy(update=changed | shape))
    write_jsonl(folder / "manifest.jsonl", made)
    write_jsonl(folder / "prompts.jsonl", [prompt.model_copy(update={"samples": len(clips)})])
    kept = {prompt.id: tuple(range(len(clips)))}
    outcome = FilteredSet(row="raven", inputs=origin(folder), threshold=1, filtered=(), kept=kept)
    write_json(folder / "filter.json", outcome)
    return flags


def grey_clip(folder: Path, frames: int = 40) -> bytes:
    write_clip(folder / "grey.mp4", np.full((frames, 32, 32, 3), 20, np.uint8), fps=16)
    return (folder / "grey.mp4").read_bytes()


@pytest.mark.parametrize("habit", AS_IT_LIKES)
def test_whatever_a_function_does_with_its_parts_every_clip_is_verified(
    habit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a function that keeps, alters, closes or does not read its parts and so changes another
    clip's score; and against one of a damaged clip, wherever the damage lies: behind what it has read, or in
    what it passed over.
    """
    good = grey_clip(tmp_path)
    flags = row_of_parts(tmp_path, AS_IT_LIKES[habit], good, good)
    assert score_custom.main(flags) == 0
    result = read_json(DimensionResult, tmp_path / "out.json")
    assert [clip.value for clip in result.clips] == pytest.approx([20, 20], abs=2)
    (tmp_path / "out.json").unlink()
    capsys.readouterr()
    film = encoded(count=40, size=(32, 32), options=FINE)
    assert score_custom.main(row_of_parts(tmp_path, AS_IT_LIKES[habit], damaged(film, 0.9))) == 1
    said = capsys.readouterr().err
    assert "clip p1-0 of row raven" in said and "at frame" in said and "mine.py" not in said
    (tmp_path / "mp4/p1-0.mp4").write_bytes(good)
    assert score_custom.main(flags) == 1
    assert "Clip p1-0 of row raven is not the file that was sampled" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


JUDGE_OF_PARTS = JUDGE.replace("open_scorer", "open_parts_scorer").replace(
    "float(clip.mean()) for clip in clips", "float(np.mean([part.mean() for part in clip])) for clip in clips"
)


def test_a_network_gets_parts_of_a_batch(tmp_path: Path) -> None:
    """The values of a file that is given whole clips; batches and journal are the same."""
    found = []
    for text in (JUDGE, JUDGE_OF_PARTS.replace("TITLE", "import numpy as np\n\nTITLE", 1)):
        assert score_custom.main(job(tmp_path, declared(tmp_path, text))) == 0
        found.append(read_json(DimensionResult, tmp_path / "out.json"))
        assert (tmp_path / "calls").read_text().splitlines() == ["[0, 0, 1, 1] {16}", "[2, 2] {16}"]
        (tmp_path / "calls").unlink()
        (tmp_path / "out.journal.jsonl").unlink()
    assert found[0] == found[1]


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path: Path) -> None:
    """A clip of 957 frames needs what one of 120 needs, and its file: parts are held, and never the clip."""
    custom = custom_dimension(
        "colour_drift", EXAMPLE, shown="colour_drift.py", prompts="all", benchmark="toybox", dimensions=NAMES
    )
    scorer, frame = opened(EXAMPLE, custom), 64 * 64 * 3
    peaks = {}
    for length in (120, 957):
        write_clip(tmp_path / "x.mp4", np.full((length, 64, 64, 3), 90, np.uint8), fps=16)
        job(tmp_path, custom)
        shape = {"pixel_frames": length, "height": 64, "width": 64, "file": "x.mp4"}
        clip = read_jsonl(Clip, tmp_path / "manifest.jsonl")[0].model_copy(
            update=shape | {"sha256": file_sha256(tmp_path / "x.mp4")}
        )
        tracemalloc.start()
        (found,) = score_clips(custom, scorer, [ScoredPrompt(PROMPTS[0], [clip])], tmp_path)
        peaks[length] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.value == 0.0
    assert peaks[957] < peaks[120] + 20 * frame, peaks
    assert peaks[957] < 957 * frame / 2, peaks


def test_own_dimensions_are_in_every_table_and_change_no_other_number(tmp_path: Path) -> None:
    """Less is better: normalised by hand, compared, spread and power known; all else is as without it, totals
    too.
    """
    prompts = [
        Prompt(id=f"p{i:02d}", prompt="p", extended="p", dimensions=NAMES, samples=2, facts={})
        for i in range(24)
    ]
    custom = declared(tmp_path, GOOD.replace("WORST = 0", "WORST = 40").replace("BEST = 255.0", "BEST = 0"))
    leads = {"a": 0.0, "b": 0.1}

    def value(lead: float, i: int, s: int) -> float:
        return 0.4 + lead + 0.2 * float(np.sin(13 * i + 7 * s))

    def result(row: str, name: str, kind: str, scale: float) -> DimensionResult:
        clips = tuple(
            ClipScore(
                clip_id=clip_id(p.id, s), prompt_id=p.id, sample=s, value=scale * value(leads[row], i, s)
            )
            for i, p in enumerate(prompts)
            for s in range(2)
        )
        mean = sum(clip.value for clip in clips) / len(clips)
        return DimensionResult.model_validate(
            {
                "suite": "x",
                "row": row,
                "dimension": name,
                "inputs": INPUTS,
                "kind": kind,
                "mean": mean,
                "clips": clips,
            }
        )

    sixteen = [result(row, name, "exact", 1.0) for row in leads for name in NAMES]
    mine = [result(row, custom.name, "custom", 20.0) for row in leads]
    base = {
        "bounds": "toybox", "dimensions": NAMES, "draws": 800, "seed": 0,
        "rows": {row: {"label": row, "kind": "native"} for row in leads},
    }  # fmt: skip
    plain = AggregateSettings.model_validate(base)
    more = AggregateSettings.model_validate({**base, "custom": [json.loads(custom.model_dump_json())]})
    without = aggregate("x", prompts, sixteen, [], plain)
    table = aggregate("x", prompts, sixteen + mine, [], more)
    assert table.custom == (custom,)
    for row, bare in zip(table.rows, without.rows, strict=True):
        cell = row.dimensions[custom.name]
        assert cell.normalised.mean == pytest.approx(100 * (40 - cell.raw.mean) / 40)
        assert cell.normalised.low < cell.normalised.mean < cell.normalised.high
        assert {k: v for k, v in row.dimensions.items() if k != custom.name} == bare.dimensions
        assert (row.total, row.quality, row.semantic) == (bare.total, bare.quality, bare.semantic)
    assert [pair for pair in table.pairs if pair.metric != custom.name] == list(without.pairs)
    (pair,) = (pair for pair in table.pairs if pair.metric == custom.name)
    assert pair.difference.mean == pytest.approx(100 * 2 / 40), "b has 2 levels more, which is worse"
    assert pair.holm == pair.p_value < 0.05
    known = metrics("toybox", [custom])
    assert {cell.dimension for cell in variance_table("x", mine, known).cells} == {custom.name}
    assert chunk_table("x", prompts, sixteen + mine, more).without[-1] == custom.name
