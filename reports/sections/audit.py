"""Same settings for all: every sampling setting of every ranked row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from evaluation.aggregate import MODEL_KINDS
from evaluation.words import numbered
from reports.run import ReportSettings
from reports.view import View


class AuditLine(NamedTuple):
    """One setting over the ranked rows."""

    key: str
    values: tuple[str, ...]
    differs: bool
    """Whether the rows do not all have the same value."""


WORDS = {
    "rollout.context": {"clean": "clean latents, at t = 0", "last_step": "noisy latents of the last step"},
    "noise.extent": {
        "chunk": "a draw a chunk",
        "window": "a draw of the whole joint window",
        "clip": "a draw of the whole clip a step",
    },
    "noise.seed_rule": {
        "index": "seed + place in the list",
        "sample": "seed + sample, the same for every prompt",
    },
}
"""What values mean, by setting; the first is what a native row may leave out."""


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested JSON as dotted keys and text values. A list is one value; of lists in a list, one a chunk, the
    last is for all that follow.
    """
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, list | tuple) for one in value):
            *early, last = (", ".join(map(str, one)) for one in value)
            chunks = [f"chunk {number}: {one}" for number, one in enumerate(early)]
            return {prefix: "; ".join([*chunks, f"then {last}" if chunks else last])}
        return {prefix: ", ".join(map(str, value)) or "none"}
    if not isinstance(value, Mapping):
        return {prefix: "none" if value is None else str(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def audit(settings: ReportSettings) -> list[AuditLine]:
    """One line a setting. A setting that a row does not have is a dash."""
    rows = [_in_words(row.settings) for row in settings.rows.values() if row.kind in MODEL_KINDS]
    keys = dict.fromkeys(key for row in rows for key in row)
    values = [(key, tuple(_value(row, key) for row in rows)) for key in keys]
    return [AuditLine(key, found, len(set(found)) > 1) for key, found in values]


def _in_words(settings: Mapping[str, Any]) -> dict[str, str]:
    """A row's settings as `flatten` has them, in `WORDS`, and sizes of chunks as lists of steps are."""
    rollout = settings.get("rollout", {})
    if isinstance(rollout.get("chunk"), list | tuple):
        sizes = [[size] for size in rollout["chunk"]]
        settings = {**settings, "rollout": {**rollout, "chunk": sizes}}
    return {key: WORDS.get(key, {}).get(value, value) for key, value in flatten(settings).items()}


def _value(row: Mapping[str, str], key: str) -> str:
    """A row's value in words; of what a native file may leave out, the default."""
    left_out = key in WORDS and any(other.startswith(f"{key.partition('.')[0]}.") for other in row)
    return row.get(key, next(iter(WORDS[key].values())) if left_out else "-")


def audit_section(view: View) -> dict[str, Any]:
    """What audit.html.j2 shows."""
    settings = view.run.settings
    audited = [row for row in settings.rows.values() if row.kind in MODEL_KINDS]
    lines = audit(settings)
    return {
        "inside": f"{numbered(len(lines), 'setting')} of {numbered(len(audited), 'model')}, "
        f"{sum(line.differs for line in lines)} of which differ.",
        "audit": lines,
        "audited": audited,
    }
