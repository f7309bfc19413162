"""The records are a contract with outside readers: this file freezes their schema and their bytes.

After a deliberate change: raise SCHEMA_VERSION, then remake the golden file with
`python -m tests.evaluation.test_records`.
"""

import json
from pathlib import Path

import pytest

from evaluation import records
from evaluation.records import (
    Clip,
    ClipScore,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Interval,
    Prompt,
    RankRange,
    Record,
    ScoresTable,
)
from evaluation.votes import Ballot
from tests.damages import DAMAGES, Damage, lie
from tests.evaluation.made_up import INPUTS

GOLDEN = Path(__file__).parents[1] / "golden" / "record_schemas.json"
FROZEN = (
    records.Prompt,
    records.Clip,
    records.ClipTiming,
    records.FilteredSet,
    records.ImportedSource,
    records.DimensionResult,
    records.WeightsManifest,
    records.TrainManifest,
    records.ScoresTable,
    Ballot,
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
        PROMPT.model_copy(update={"id": "p0002", "keep": 5, "prompt": 'quotes " and \u2028 a line \u00e9'}),
    ]
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    records.write_jsonl(first, prompts)
    assert records.read_jsonl(Prompt, first) == prompts
    records.write_jsonl(second, records.read_jsonl(Prompt, first))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().count("\n") == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_bad_records_are_named(tmp_path: Path) -> None:
    """An unknown key, a missing key, a NaN and a path in an id each give one message with file and line."""
    path = tmp_path / "manifest.jsonl"
    for change, expected in (
        ({"colour": 1}, "colour"),
        ({"samples": 0}, "samples"),
        ({"samples": "2"}, "samples: Input should be a valid integer"),
        ({"samples": 2.0}, "samples: Input should be a valid integer"),
        ({"samples": True}, "samples: Input should be a valid integer"),
        ({"id": "../etc"}, "id"),
        ({"prompt": "a\0b"}, "prompt: .*control character"),
        ({"facts": {"a": ["b\x85"]}}, "facts: .*control character"),
        ({"facts": {"a": [0, {"b": 123456.5}]}}, "facts: inf is no finite number"),
        ({"schema_version": 2}, "has schema_version 2, expected 1"),
        ({"schema_version": True}, "has schema_version True, expected 1"),
        ({"schema_version": None}, "has no schema_version, expected 1"),
    ):
        records.write_jsonl(path, [PROMPT, PROMPT])
        lie(path, lambda record, change=change: record.update(change), line=1)
        endless(path)
        with pytest.raises(ValueError, match=f"manifest.jsonl line 2 .*{expected}"):
            records.read_jsonl(Prompt, path)
    with pytest.raises(ValueError, match="finite"):
        ClipScore(clip_id="p-0", prompt_id="p", sample=0, value=float("nan"))


CLIP = Clip(
    clip_id="p0001-1", row="mine", prompt_id="p0001", sample=1, file="mp4/p0001-1.mp4", sha256="0" * 64,
    latents_sha256=None, noise="n", weights_sha256=None, settings_sha256="0" * 64, batch_size=1,
    pixel_frames=9, height=8, width=8, fps=8,
)  # fmt: skip
TIMING = records.ClipTiming(
    clip_id="p0001-1", row="mine", sample_s=0.5, decode_s=0.5, write_s=0.5, first_frames_s=None,
    network_calls=0, peak_mb=1.0, peak_gpu_mb=None, device="cpu", attention=None, load=None, commit="c",
    finished="f",
)  # fmt: skip
JUDGED = FilteredPrompt(prompt_id="a", motion=(0, 2, 0), static=(True, False, True), kept=(0,), short=0)
KEPT = FilteredSet(row="mine", inputs=INPUTS, threshold=1.0, filtered=(JUDGED,), kept={"a": (0,)})
CONTRADICTIONS: dict[str, tuple[Record, dict[str, object], str]] = {
    "fps of 0": (CLIP, {"fps": 0}, "fps: Input should be greater than 0"),
    "a size below 0": (CLIP, {"height": -8}, "height"),
    "a size of a machine word": (CLIP, {"width": 2**62}, "width"),
    "a file elsewhere": (CLIP, {"file": "../p0001-1.mp4"}, "file: String should match"),
    "another clip's file": (CLIP, {"file": "mp4/p0001-0.mp4"}, "p0001-1 in mp4/p0001-0.mp4 is sample 1 of"),
    "another prompt": (CLIP, {"prompt_id": "p0002"}, "whose clip is p0002-1 in mp4/p0002-1.mp4"),
    "another sample": (CLIP, {"sample": 0}, "whose clip is p0001-0"),
    "half a sha256": (CLIP, {"sha256": "0" * 32}, "sha256: String should match"),
    "seconds below 0": (TIMING, {"sample_s": -0.1}, "sample_s: Input should be greater"),
    "a device with a bell": (TIMING, {"device": "a\x07"}, "control character"),
    "not the first static": (JUDGED, {"kept": (2,)}, r"samples \[2\] are kept, 0 are short"),
    "no static one": (JUDGED, {"kept": (1,)}, "are kept"),
    "twice the same": (JUDGED, {"kept": (0, 0)}, "are kept"),
    "short in spite of static ones": (JUDGED, {"short": 1, "kept": (0,)}, "1 are short"),
    "a motion too few": (JUDGED, {"motion": (0, 2)}, "2 values of motion for 3 samples"),
    "kept differs": (KEPT, {"kept": {"a": (2,)}}, "kept and filtered differ in the samples of a"),
    "static in spite of its motion": (KEPT, {"threshold": 3.0}, "moves by 2.0 and is not static"),
    "a threshold of 0": (KEPT, {"threshold": 0}, "threshold"),
    "a mean below": (Interval(mean=1, low=0, high=2), {"mean": -1.0}, "lies outside its interval 0.0 to 2.0"),
    "ranks from the end": (RankRange(first=1, last=2), {"first": 3}, "ranks from 3 to 2"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_record_that_cannot_be_is_refused(name: str) -> None:
    """Each is a record of which one field was changed; as it was, it is read."""
    record, change, said = CONTRADICTIONS[name]
    assert records.parse(type(record), record.model_dump_json(), "x") == record
    with pytest.raises(ValueError, match=f"^x is not a valid .*{said}") as caught:
        records.parse(type(record), json.dumps(json.loads(record.model_dump_json()) | change), "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.name for damage in DAMAGES])
def test_a_damaged_file_is_never_read_as_another(tmp_path: Path, damage: Damage) -> None:
    """Guards every record at once: what is read is what was written, or one sentence names the file."""
    others = [CLIP.model_copy(update={"row": row}) for row in ("other", "others")]
    path, sibling = tmp_path / "a.json", tmp_path / "b.json"
    for write, read in ((write_one, records.read_json), (records.write_jsonl, records.read_jsonl)):
        write(path, [CLIP, CLIP])
        write(sibling, others)
        before, other = path.read_bytes(), sibling.read_bytes()
        content = damage.change(before, other)
        if content in (before, other) or (content == b"" and read is records.read_jsonl):
            continue  # a whole file, or one of no lines: who reads it knows what it should be of
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path} [^\n]*$"):
            read(Clip, path)


def endless(path: Path) -> None:
    """Put a number that no float is in the place of 123456.5."""
    body, _ = records.without_checksum(path.read_text())
    path.write_text(records.with_checksum(body.replace("123456.5", "1e999")))


def write_one(path: Path, clips: list[Clip]) -> None:
    records.write_json(path, clips[0])


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
