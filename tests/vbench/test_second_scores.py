"""Clips scored once more by the extended text: what the package itself gives if that text names the clips."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.records import DimensionResult, Prompt, read_json, read_jsonl, write_json, write_jsonl
from evaluation.selection import hashes_of
from evaluation.static_filter import filtered_set
from evaluation.vbench.plan import full_info
from evaluation.vbench.scorers import OFFICIAL_SCORERS, second_scorer
from tests.vbench import tiny

DIMENSION = "overall_consistency"
EXTENDED = {"p0": "Fireworks above a calm sea", "p2": "a red bird sings"}
LONG = "a very long sentence about fireworks " * 30


def change_prompts(folder: Path, **texts: dict[str, str]) -> None:
    """Give the prompts of the tiny run other texts, by key and id, and a filter that is of them."""
    prompts = read_jsonl(Prompt, folder / "prompts.jsonl")
    changed = [p.model_copy(update={key: named[p.id] for key, named in texts.items()}) for p in prompts]
    write_jsonl(folder / "prompts.jsonl", changed)
    inputs = hashes_of(folder / "prompts.jsonl", folder / "manifest.jsonl")
    write_json(folder / "filter.json", filtered_set("mine", inputs, changed, {}, 1.0))


def score_once_more(folder: Path) -> DimensionResult:
    """By the extended text, in two parts, as the rules do."""
    flags = ["--second", "extended_text"]
    scorer = json.dumps(second_scorer(DIMENSION, "extended_text").as_job())
    for part in ("0-of-2", "1-of-2"):
        given = [*tiny.part_command(folder, DIMENSION, part), *flags, "--scorer", scorer]
        run = [sys.executable, "-m", "workflow.scripts.score_part", *given]
        done = subprocess.run(
            run, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    join = [
        sys.executable, "-m", "workflow.scripts.score_join", "--suite", "tiny", "--row", "mine",
        "--dimension", DIMENSION, "--prompts", folder / "prompts.jsonl",
        "--manifest", folder / "manifest.jsonl", "--filtered", folder / "filter.json",
        "--parts", *(folder / f"{DIMENSION}.{i}-of-2.json" for i in (0, 1)),
        "--output", folder / "second.json", "--result", folder / "second.result.json",
    ]  # fmt: skip
    done = subprocess.run(join, cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "parts of a second scoring are no parts of a row's own scores"
    done = subprocess.run([*join, *flags], cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_json(DimensionResult, folder / "second.result.json")


def test_what_a_job_says_of_the_text() -> None:
    """The short text names the clips; the other one stands beside it, and only in a second scoring."""
    prompt = Prompt(id="p", prompt="a", extended="b", dimensions=(DIMENSION,), samples=1, facts={})
    own = {"prompt_en": "a", "dimension": [DIMENSION]}
    assert full_info(DIMENSION, prompt) == full_info(DIMENSION, prompt, "unfiltered") == own
    assert full_info(DIMENSION, prompt, "extended_text") == own | {"prompt_scored": "b"}
    own_scorer, second = OFFICIAL_SCORERS[DIMENSION], second_scorer(DIMENSION, "extended_text")
    assert second_scorer(DIMENSION, "unfiltered") == own_scorer
    assert set(second.modules) - set(own_scorer.modules) == {"evaluation.vbench.worker.scorers.given_text"}


ADAPTED = """
import importlib, json, sys
from pathlib import Path
from tests.vbench.random_cache import make_vocabulary
from evaluation.vbench.worker.job import isolate_process
cache = Path(sys.argv[1])
isolate_process(cache)
make_vocabulary(cache)
from evaluation.vbench.worker.scorers.given_text import read_given_text
for dimension in ("overall_consistency", "temporal_style"):
    module = importlib.import_module(f"vbench.{dimension}")
    read_given_text(module, None)
    entry = {"prompt_en": "a", "prompt_scored": "b c", "dimension": [dimension], "video_list": ["a-0.mp4"]}
    Path(cache, "info.json").write_text(json.dumps([entry]))
    found = module.load_dimension_info(str(cache / "info.json"), dimension=dimension, lang="en")
    assert found == (["a-0.mp4"], [{"prompt": "b c", "video_list": ["a-0.mp4"]}]), found
    assert module.clip.tokenize(["long words " * 200]).shape == (1, 77)
"""


@tiny.needs_environment()
@pytest.mark.vbench
def test_the_package_s_modules_read_the_given_text(tmp_path: Path) -> None:
    """Guards the names that the function replaces, without a network: text, files, tokens of a long text."""
    done = subprocess.run(
        [tiny.PYTHON, "-W", "ignore", "-c", ADAPTED, tmp_path],
        check=False, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@tiny.needs_environment()
@pytest.mark.vbench
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_extended_text_scores_as_if_it_named_the_clips(tmp_path: Path) -> None:
    """To the last digit what one official process gives of the same clips under names of that text; a text of
    more than 77 tokens is cut as ViCLIP's own tokenizer cuts it.
    """
    tiny.make_cache(tmp_path, "viclip")
    tiny.make_run(tmp_path, samples=1, chosen=(0, 2))
    change_prompts(tmp_path, extended=EXTENDED)
    found = score_once_more(tmp_path)
    assert found.second == "extended_text"
    long = {name: f"{text} {LONG}" for name, text in EXTENDED.items()}
    change_prompts(tmp_path, extended=long)
    assert len(score_once_more(tmp_path).clips) == 2
    change_prompts(tmp_path, prompt=EXTENDED)
    score, rows = tiny.run_official(tmp_path, DIMENSION)[DIMENSION]
    assert found.mean == score
    assert [clip.value for clip in found.clips] == [row["video_results"] for row in rows]
