"""Same settings for all: every sampling setting of every ranked row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from evaluation.aggregate import RANKED_KINDS
from reports.run import ReportSettings
from reports.view import View
from reports.words import numbered


class AuditLine(NamedTuple):
    """One setting over the ranked rows."""

    key: str
    values: tuple[str, ...]
    differs: bool
    """Whether the rows do not all have the same value."""


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested JSON as dotted keys and text values. A list is one value."""
    if isinstance(value, list | tuple):
        return {prefix: ", ".join(map(str, value)) or "none"}
    if not isinstance(value, Mapping):
        return {prefix: "none" if value is None else str(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def audit(settings: ReportSettings) -> list[AuditLine]:
    """One line a setting. A setting that a row does not have is a dash."""
    rows = [flatten(row.settings) for row in settings.rows.values() if row.kind in RANKED_KINDS]
    keys = dict.fromkeys(key for row in rows for key in row)
    values = [(key, tuple(row.get(key, "-") for row in rows)) for key in keys]
    return [AuditLine(key, found, len(set(found)) > 1) for key, found in values]


def audit_section(view: View) -> dict[str, Any]:
    """What audit.html.j2 shows."""
    settings = view.run.settings
    audited = [row for row in settings.rows.values() if row.kind in RANKED_KINDS]
    lines = audit(settings)
    return {
        "inside": f"{numbered(len(lines), 'setting')} of {numbered(len(audited), 'model')}, "
        f"{sum(line.differs for line in lines)} of which differ.",
        "audit": lines,
        "audited": audited,
    }
