"""The export to Every Eval Ever: valid by that package's own JSON schemas, and the run's own numbers.

tests/golden/every_eval_ever_*.json are the schemas of every-eval-ever 0.3.0 (MIT) without their descriptions;
the package itself needs Python 3.12 and large packages, and is not installed here.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from evaluation.finished_run import read_finished_run
from evaluation.records import write_json
from reports.every_eval_ever import evaluation_files
from reports.run import Run
from workflow.scripts import export

GOLDEN = Path(__file__).parents[1] / "golden"


def schema(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"every_eval_ever_{name}.json").read_text(encoding="utf-8"))


def test_every_file_is_valid_and_holds_the_runs_numbers(finished: Path, finished_run: Run) -> None:
    """Guards against an export that the datastore refuses, and against numbers in another unit: means of the
    exported clips are the exported scores.
    """
    files = evaluation_files(finished_run, read_finished_run(finished), {"raven": "mvp-lab/RAVEN"})
    assert len(files) == 5  # of seven rows two are controls
    instance = jsonschema.Draft7Validator(schema("instance_level_eval"))
    for row, found in zip(finished_run.table.rows, files, strict=False):
        aggregate = json.loads(found.aggregate)
        jsonschema.Draft7Validator(schema("eval")).validate(aggregate)
        details = aggregate["detailed_evaluation_results"]
        assert details["checksum"] == hashlib.sha256(found.samples.encode()).hexdigest()
        assert details["file_path"] == found.samples_path == found.path.replace(".json", "_samples.jsonl")
        lines = [json.loads(line) for line in found.samples.splitlines()]
        assert details["total_rows"] == len(lines)
        for line in lines:
            assert (line["evaluation_id"], line["model_id"]) == (
                aggregate["evaluation_id"], aggregate["model_info"]["id"]
            )  # fmt: skip
        instance.validate(lines[0])
        results = {one["evaluation_result_id"]: one for one in aggregate["evaluation_results"]}
        for name, cell in row.dimensions.items():
            one = results[f"{row.row}:{name}"]
            values = [
                x["evaluation"]["score"] for x in lines if x["evaluation_result_id"].endswith(f":{name}")
            ]
            assert sum(values) / len(values) == pytest.approx(one["score_details"]["score"])
            assert one["score_details"]["score"] == pytest.approx(cell.raw.mean / 100)
            interval = one["score_details"]["uncertainty"]["confidence_interval"]
            assert (interval["lower"], interval["upper"]) == pytest.approx(
                (cell.raw.low / 100, cell.raw.high / 100)
            )
        assert row.total is not None
        assert results[f"{row.row}:total"]["score_details"]["score"] == row.total.mean
    name = re.compile(
        r"data/raven-bench-toybox/[^/]+/[^/]+/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f-]{16}\.json"
    )
    assert all(name.fullmatch(found.path) for found in files)
    assert files[0].path.startswith("data/raven-bench-toybox/mvp-lab/RAVEN/")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("raven", "expected <row>=<organisation>/<model>"),
        ("raven=RAVEN", "is no name of a model"),
        ("raven=../x", "is no name of a model"),
        ("truth=a/b", "There is no ranked row 'truth' with scores; there are raven, cm_grpo"),
    ],
)
def test_names_of_models_are_checked(
    finished: Path,
    finished_run: Run,
    tmp_path: Path,
    given: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("prompts", "clips", "filter", "scores", "aggregate"):
        (tmp_path / name).symlink_to(finished / name)
    write_json(tmp_path / "run.json", finished_run)
    assert export.main([str(tmp_path), "--output", str(tmp_path / "out"), "--model", given]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
