"""Licences of everything that the run used, by part."""

from typing import Any

from reports.licences import LICENCE_PARTS, Licence
from reports.view import View


def licences_section(view: View) -> dict[str, Any]:
    """What licences.html.j2 shows."""
    by_part: dict[str, list[Licence]] = {}
    for part, title in LICENCE_PARTS.items():
        if found := [line for line in view.run.settings.licences if line.part == part]:
            by_part[title] = found
    return {"licences": by_part}
