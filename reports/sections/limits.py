"""What the numbers do not say, and what of a run must not be compared, with the reason.

The sentences are templates/not_comparable.md.j2.
"""

from collections.abc import Iterable
from typing import Any

from evaluation.aggregate import RANKED_KINDS
from evaluation.dimensions import NAMES
from evaluation.files import one_line
from evaluation.words import numbered
from reports.cost import amount
from reports.rendering import TEXTS
from reports.run import ReportRow, Run
from reports.view import View


def limits_section(view: View) -> dict[str, Any]:
    """What limits.html.j2 shows."""
    reasons = not_comparable(view.run, published=view.run.settings.bounds == "vbench")
    return {
        "inside": f"{numbered(len(reasons), 'reason')} not to compare, and what the numbers do not say.",
        "not_comparable": reasons,
    }


def not_comparable(run: Run, published: bool) -> list[str]:
    """One sentence for each reason. published: whether published totals stand beside the measured ones."""
    text = TEXTS.get_template("not_comparable.md.j2").render(_facts(run), published=published)
    return [line for line in text.splitlines() if line]


def _is_fp8(found: ReportRow) -> bool:
    return str(found.settings.get("precision")).startswith("fp8")


def _facts(run: Run) -> dict[str, Any]:
    """What not_comparable.md.j2 is filled with. Ranked rows, by their labels."""
    settings, table, config = run.settings, run.table, run.settings.config
    ranked = {row.row: settings.rows[row.row] for row in table.rows if row.kind in RANKED_KINDS}
    clips = {row: run.provenance["clips"].get(row, {}) for row in ranked}
    trained = [row for row in ranked if row in config["train"]]
    spent = sum(run.measured.rows.get(row, {}).get("train", 0.0) for row in trained)
    short = {found.row: sum(line.short for line in found.filtered) for found in run.filters}
    versions = {row: found.get("scorer") or {} for row, found in clips.items()}

    def grouped(texts: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """Labels of rows by what is said of them."""
        found: dict[str, list[str]] = {}
        for row, text in texts:
            if text:
                found.setdefault(text, []).append(ranked[row].label)
        return found

    devices = grouped((row, ", ".join(found.get("devices") or ())) for row, found in clips.items())
    software = grouped((row, ", ".join(found.get("software") or ())) for row, found in clips.items())
    only = f"only {len(table.dimensions)} of {len(NAMES)} dimensions were scored."
    return {
        "settings": settings,
        "table": table,
        "suite_clip": config["clip"],
        "note": one_line(settings.note or (only if len(table.dimensions) < len(NAMES) else "")),
        "ranked": list(ranked),
        "of_kind": {
            kind: [found.label for found in ranked.values() if found.kind == kind]
            for kind in ("external", "import", "results")
        },
        "other_shapes": [
            (found.label, clip)
            for found in ranked.values()
            if (clip := found.settings.get("clip", config["clip"])) != config["clip"]
        ],
        "imported": [
            (found.label, run.provenance["imported"][row])
            for row, found in ranked.items()
            if row in run.provenance.get("imported", {})
        ],
        "stressed": [found.label for found in ranked.values() if found.stress is not None],
        "trained": [ranked[row].label for row in trained],
        "training_cost": amount(spent, run.measured.unit) if spent else None,
        "precisions": [
            (found.label, str(found.settings.get("precision")))
            for found in ranked.values()
            if found.kind == "native" and not _is_fp8(found)
        ],
        "in_fp8": [found.label for found in ranked.values() if _is_fp8(found)],
        "decoded_small": [
            found.label for found in ranked.values() if found.settings.get("decoder") == "tiny"
        ],
        "shared_noise": len(run.noises) <= 1 and all(noise.startswith("portable:") for noise in run.noises),
        "devices": devices,
        "several_devices": any(", " in names for names in devices),
        "software": software,
        "several_torch": any(text.count("torch ") > 1 for text in software),
        "scorers": grouped(
            (row, ", ".join(f"{name} {value}" for name, value in found.items()))
            for row, found in versions.items()
        ),
        "commits": sorted(
            {commit for found in clips.values() for commit in found.get("made_by_commits", ())}
        ),
        "short": [(found.label, short[row]) for row, found in ranked.items() if short.get(row)],
    }
