"""What changed between two runs: inputs that differ, and scores by paired tests. Synthetic numbers."""

import re
from html import unescape
from pathlib import Path

import pytest

from evaluation.records import read_json, write_json
from reports.changes import changed_inputs, changes_of, input_part, score_changes
from reports.changes_text import changes_html, changes_markdown
from reports.clips import PromptScore
from reports.run import Run
from tests.reports import synthetic
from workflow.scripts import compare_runs


@pytest.fixture
def run(finished_run: Run) -> Run:
    return finished_run


def lifted(run: Run, row: str, dimension: str, by: float) -> Run:
    """The same run with one row's dimension raised on every prompt."""
    scores = {name: dict(found) for name, found in run.scores.items()}
    raised = {key: PromptScore(value.mean + by, value.clips) for key, value in scores[row][dimension].items()}
    scores[row][dimension] = raised
    return run.model_copy(update={"scores": scores})


def test_a_run_against_itself_has_no_change(run: Run) -> None:
    """Closed form: every difference is 0 with p = 1, and no input differs."""
    assert changed_inputs(run, run) == []
    changes = score_changes(run, run)
    assert len(changes) == len(synthetic.ROWS) * 19
    assert {(c.difference.mean, c.moved, c.holm) for c in changes} == {(0.0, False, 1.0)}
    assert all(c.difference.low == pytest.approx(-c.difference.high) for c in changes)


def test_one_changed_dimension_is_found_and_goes_into_the_total(run: Run) -> None:
    """0.02 more on color is 2 points there, 2/9 in Semantic and 2/45 in Total, and nothing anywhere else."""
    changes = {(c.row, c.metric): c for c in score_changes(run, lifted(run, "raven", "color", 0.02))}
    moved = {key: c.difference.mean for key, c in changes.items() if abs(c.difference.mean) > 1e-9}
    assert moved == pytest.approx(
        {("raven", "color"): 2.0, ("raven", "semantic"): 2 / 9, ("raven", "total"): 2 / 45}
    )
    assert changes["raven", "color"].holm < 0.05
    assert changes["raven", "scene"].holm == 1.0


def test_changed_inputs_are_named(run: Run) -> None:
    """A new commit, another weight and a changed setting each show up under their own key."""
    weights = {"raven/full": {**run.provenance["weights"]["raven/full"], "sha256": "1" * 64}}
    provenance = {**run.provenance, "commit": "d" * 40, "weights": {**run.provenance["weights"], **weights}}
    settings = run.settings.model_copy(update={"clips_budget_mb": 1.0})
    changed = changed_inputs(run, run.model_copy(update={"provenance": provenance, "settings": settings}))
    assert [(c.part, c.key) for c in changed] == [
        ("Code", "commit"),
        ("Weights", "weights.raven/full.sha256"),
        ("Settings", "settings.clips_budget_mb"),
    ]


def test_every_input_has_a_part(run: Run) -> None:
    """Guards against a new key of provenance that nobody filed: against an empty run each key is under a
    part, none under `Other`.
    """
    empty = run.model_copy(
        update={"provenance": {}, "settings": run.settings.model_copy(update={"rows": {}, "config": {}})}
    )
    changed = changed_inputs(empty, run)
    assert {c.part for c in changed} >= {"Code", "Environment", "Prompts", "Weights", "Settings", "Machines"}
    assert [c.key for c in changed if c.part == "Other"] == []
    assert input_part("clips.raven.scorer.path") == "Scorer"
    assert input_part("clips.raven.weights_sha256") == "Weights"


def test_pages_of_changes_escape_what_they_show(run: Run) -> None:
    """A hostile label is text in both forms; what differs stands first; the page runs nothing."""
    after = lifted(run, "raven", "color", 0.02)
    rows = {
        **after.settings.rows,
        "raven": after.settings.rows["raven"].model_copy(update={"label": synthetic.INJECTION + "|"}),
    }
    changes = changes_of(
        run, after.model_copy(update={"settings": after.settings.model_copy(update={"rows": rows})})
    )
    page, text = changes_html(changes), changes_markdown(changes)
    assert "<script" not in page
    assert "default-src 'none'" in unescape(page)
    assert "&lt;script&gt;" in page
    assert page.index("+2.00") < page.index("130 scores are the same on every common prompt")
    assert "1 input differs (settings)" in changes.summary
    line = next(line for line in text.splitlines() if "| color | +2.00" in line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 7
    silent = changes_of(run, lifted(run, "raven", "color", 1e-9))
    assert "although no input did" in silent.summary


def test_only_the_same_prompts_are_compared(run: Run) -> None:
    """A prompt whose text changed under the same id is another prompt; runs without common ground are
    refused.
    """
    first = next(p for p in run.prompts if p.id == "move_01")
    other = [p if p is not first else p.model_copy(update={"extended": "another text"}) for p in run.prompts]
    changes = score_changes(run, run.model_copy(update={"prompts": other}))
    assert {c.prompts for c in changes if c.metric == "color"} == {9}
    with pytest.raises(ValueError, match="no prompt in common"):
        score_changes(run, run.model_copy(update={"prompts": []}))
    with pytest.raises(ValueError, match="`before` holds no scores per prompt"):
        score_changes(run.model_copy(update={"scores": {}}), run)
    with pytest.raises(ValueError, match="no common scale"):
        score_changes(run, with_suite(run, "vbench", bounds="vbench"))


def with_suite(run: Run, suite: str, *, noise_key: str = "toybox", bounds: str = "toybox") -> Run:
    """The same run, of a suite of another name."""
    return run.model_copy(
        update={
            "table": run.table.model_copy(update={"suite": suite}),
            "settings": run.settings.model_copy(update={"bounds": bounds}),
            "provenance": run.provenance | {"noise_key": noise_key},
        }
    )


def test_suites_of_one_noise_key_are_compared_and_the_key_is_said(run: Run) -> None:
    """Guards against pairs that share no noise, and a renamed suite that nothing is compared with."""
    same = changes_of(run, with_suite(run, "renamed"))
    assert same.identical == len(same.scores)
    assert "Both runs key their noise by 'toybox'" in changes_markdown(same)
    with pytest.raises(ValueError, match=r"by 'toybox' and 'other'.*give both suites the same `noise_key`"):
        changes_of(run, with_suite(run, "renamed", noise_key="other"))
    other = changes_of(run, with_suite(run, run.table.suite, noise_key="other"))
    assert "by 'toybox' and 'other', so that no clip shares its noise" in unescape(changes_html(other))


def test_script_writes_markdown(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line, from two run.json files; the record survives its file."""
    after = lifted(run, "raven", "color", 0.02)
    for name, record in (("before", run), ("after", after)):
        write_json(tmp_path / f"{name}.json", record)
    assert read_json(Run, tmp_path / "after.json") == after
    flags = ["--before", str(tmp_path / "before.json"), "--after", str(tmp_path / "after.json")]
    assert compare_runs.main([*flags, "--output", str(tmp_path / "changes.md")]) == 0
    text = (tmp_path / "changes.md").read_text()
    assert "## Inputs: 0 differ" in text
    assert "| RAVEN recipe (toy) | color | +2.00 | +2.00 to +2.00 |" in text
    assert "| RAVEN recipe (toy) | Toybox-Total | +0.04 |" in text
    assert text.index("| color | +2.00") < text.index("## Scores without a proven difference")
    assert compare_runs.main([*flags, "--output", str(tmp_path / "changes.html")]) == 0
    assert "RAVEN recipe (toy)" in (tmp_path / "changes.html").read_text()
    capsys.readouterr()
    assert compare_runs.main([*flags, "--output", str(tmp_path / "changes.txt")]) == 1
    assert "name a file that ends in .html or .md" in capsys.readouterr().err
    assert not (tmp_path / "changes.txt").exists()
