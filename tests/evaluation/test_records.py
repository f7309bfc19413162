"""The records are a contract with outside readers: this file freezes their schema and their bytes.

After a deliberate change: raise SCHEMA_VERSION, then remake the golden file with
`python -m tests.evaluation.test_records`.
"""

import json
from pathlib import Path

import pytest

from evaluation import records
from evaluation.records import Clip, ClipScore, DimensionResult, Prompt, ScoresTable

GOLDEN = Path(__file__).parents[1] / "golden" / "record_schemas.json"
FROZEN = (
    records.Prompt,
    records.Clip,
    records.ClipTiming,
    records.FilteredSet,
    records.DimensionResult,
    records.WeightsManifest,
    records.TrainManifest,
    records.ScoresTable,
)

PROMPT = Prompt(
    id="p0001",
    prompt="a red circle",
    extended="one large red circle",
    dimensions=("color",),
    samples=2,
    facts={},
)


def schemas() -> dict[str, object]:
    """Field names, types and constraints of every frozen record, without the docstrings."""

    def strip(node: object) -> object:
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items() if key not in ("description", "title")}
        return [strip(item) for item in node] if isinstance(node, list) else node

    return {kind.__name__: strip(kind.model_json_schema()) for kind in FROZEN}


def test_schemas_are_frozen() -> None:
    """Guards outside readers: a changed field without a new schema version must fail here."""
    assert json.loads(GOLDEN.read_text()) == json.loads(json.dumps(schemas()))


def test_jsonl_round_trip_is_byte_for_byte(tmp_path: Path) -> None:
    """What is written is read back equal, and writing it again gives the same bytes."""
    prompts = [
        PROMPT,
        PROMPT.model_copy(update={"id": "p0002", "keep": 5, "prompt": 'quotes " and \n newline \u00e9'}),
    ]
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    records.write_jsonl(first, prompts)
    assert records.read_jsonl(Prompt, first) == prompts
    records.write_jsonl(second, records.read_jsonl(Prompt, first))
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_text().splitlines()) == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_bad_records_are_named(tmp_path: Path) -> None:
    """An unknown key, a missing key, a NaN and a path in an id each give one message with file and line."""
    path = tmp_path / "manifest.jsonl"
    good = json.loads(PROMPT.model_dump_json())
    for change, expected in (
        ({"colour": 1}, "colour"),
        ({"samples": 0}, "samples"),
        ({"id": "../etc"}, "id"),
        ({"schema_version": 2}, "schema_version"),
    ):
        path.write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n")
        with pytest.raises(ValueError, match=f"manifest.jsonl line 2.*{expected}"):
            records.read_jsonl(Prompt, path)
    with pytest.raises(ValueError, match="finite"):
        ClipScore(clip_id="p-0", prompt_id="p", sample=0, value=float("nan"))


def test_clip_ids_cannot_become_paths() -> None:
    """A prompt id never turns into a directory or a shell word."""
    assert records.clip_id("p0001", 3) == "p0001-3"
    for bad in ("../p", "a b", "$(x)", "", "P1"):
        with pytest.raises(ValueError, match="characters outside"):
            records.clip_id(bad, 0)


def test_manifests_hold_no_time_host_or_commit() -> None:
    """Manifests must be reproducible byte for byte; such facts belong to ClipTiming."""
    for kind in (Prompt, Clip, DimensionResult, ScoresTable, records.WeightsManifest, records.TrainManifest):
        assert not {"time", "host", "commit", "date", "finished", "device"} & set(kind.model_fields)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(schemas(), indent=1, sort_keys=True) + "\n")
