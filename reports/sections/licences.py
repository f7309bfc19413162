"""Licences of everything that the run used, by part."""

from typing import Any

from evaluation.words import numbered
from reports.licences import LICENCE_PARTS, Licence
from reports.view import View


def licences_section(view: View) -> dict[str, Any]:
    """What licences.html.j2 shows."""
    by_part: dict[str, list[Licence]] = {}
    for part, title in LICENCE_PARTS.items():
        if found := [line for line in view.run.settings.licences if line.part == part]:
            by_part[title] = found
    lines = [line for found in by_part.values() for line in found]
    return {
        "inside": f"{numbered(len(lines), 'part')}: {sum(bool(line.non_commercial) for line in lines)} "
        f"non-commercial, {sum(line.stated == 'not stated' for line in lines)} not stated.",
        "licences": by_part,
    }
