"""What the numbers do not say, and what of a run must not be compared, with the reason."""

from typing import Any

from evaluation.aggregate import RANKED_KINDS
from evaluation.dimensions import NAMES
from reports.cost import amount
from reports.run import Run
from reports.view import View
from reports.words import and_joined


def limits_section(view: View) -> dict[str, Any]:
    """What limits.html.j2 shows."""
    return {"not_comparable": not_comparable(view.run, published=view.run.settings.bounds == "vbench")}


def not_comparable(run: Run, published: bool) -> list[str]:
    """One sentence for each reason. published: whether published totals stand beside the measured ones."""
    sentences = [
        _other_scale(run), _subset(run), *_made_outside(run), *_other_shapes(run), _trained(run),
        _precisions(run), _noise(run), _devices(run), _software(run), _scorers(run), _commits(run),
        _filtered(run), _PUBLISHED if published else None,
    ]  # fmt: skip
    return [sentence for sentence in sentences if sentence]


_PUBLISHED = (
    "Published totals were sampled and scored by others: prompts, seeds, checkpoints and filters "
    "differ, each with its source."
)


def _labels(run: Run, rows: list[str]) -> str:
    return and_joined([run.settings.rows[row].label for row in rows])


def _ranked(run: Run) -> list[str]:
    return [row.row for row in run.table.rows if row.kind in RANKED_KINDS]


def _other_scale(run: Run) -> str:
    clip = run.settings.config["clip"]
    if run.settings.bounds == "toybox":
        return (
            "Toybox scores are not VBench scores: other models, pictures, prompts, scorers and bounds "
            "under the same names."
        )
    return (
        f"Scores of VBench-Long: clips last {clip['pixel_frames'] / clip['fps']:.2f} s, just over the 5.0 "
        "s from which VBench advises it; this run, as all papers of this family, uses the standard suite."
    )


def _subset(run: Run) -> str | None:
    if run.table.subset is not None:
        return run.table.subset
    if run.settings.note is None and len(run.table.dimensions) == len(NAMES):
        return None
    what = run.settings.note or f"only {len(run.table.dimensions)} of {len(NAMES)} dimensions were scored."
    return f"Whole runs of this suite: {what[0].lower()}{what[1:]}"


def _made_outside(run: Run) -> list[str]:
    sentences = []
    for kind, how in (("external", "made by their own programs"), ("import", "made elsewhere and imported")):
        rows = [row for row in _ranked(run) if run.settings.rows[row].kind == kind]
        if rows:
            sentences.append(
                f"{_labels(run, rows)}: clips were {how}; their settings are as declared, unchecked, and "
                "they share no noise with the others."
            )
    return sentences


def _other_shapes(run: Run) -> list[str]:
    """Imported rows whose clips are of another size, length or rate than the suite's."""
    suite, sentences = run.settings.config["clip"], []
    for row in _ranked(run):
        own = run.settings.rows[row].settings.get("clip", suite)
        if own != suite:
            sentences.append(
                f"{_labels(run, [row])}: its clips have {_shape(own)}, the suite's {_shape(suite)}. They "
                "are scored as they are, so that size, length and rate are in its scores too (dynamic "
                "degree looks at about 8 frames per second, its limit grows with the size)."
            )
    return sentences


def _shape(clip: dict[str, int]) -> str:
    return (
        f"{clip['pixel_frames']} frames of {clip['width']}x{clip['height']} pixels at {clip['fps']} per "
        "second"
    )


def _trained(run: Run) -> str | None:
    rows = [row for row in _ranked(run) if row in run.settings.config["train"]]
    if not rows or len(rows) == len(_ranked(run)):
        return None
    spent = sum(run.measured.rows.get(row, {}).get("train", 0.0) for row in rows)
    cost = f" ({amount(spent, run.measured.unit)})" if spent else ""
    return (
        f"Training effort: {_labels(run, rows)} {'was' if len(rows) == 1 else 'were'} trained in this "
        f"run{cost}, the other rows before it, with data and time of their own."
    )


def _precisions(run: Run) -> str | None:
    precisions = {
        row: str(run.settings.rows[row].settings.get("precision"))
        for row in _ranked(run)
        if run.settings.rows[row].kind == "native"
    }
    if len(set(precisions.values())) < 2:
        return None
    said = and_joined(
        [f"{run.settings.rows[row].label} {precision}" for row, precision in precisions.items()]
    )
    return f"Last digits of clips: rows were sampled under different precision ({said})."


def _noise(run: Run) -> str | None:
    if all(noise.startswith("portable:") for noise in run.noises) and len(run.noises) <= 1:
        return None
    return (
        "Clips one by one: rows do not share their noise, so two clips of a prompt differ by luck as well "
        "as by model."
    )


def _differing(run: Run, key: str) -> dict[str, list[str]]:
    """Rows by what their clips' record says under a key."""
    found: dict[str, list[str]] = {}
    for row in _ranked(run):
        values = run.provenance["clips"].get(row, {}).get(key) or []
        if values:
            found.setdefault(", ".join(values), []).append(row)
    return found


def _devices(run: Run) -> str | None:
    devices = _differing(run, "devices")
    if len(devices) < 2 and not any(", " in names for names in devices):
        return None
    said = "; ".join(f"{_labels(run, rows)} on {names}" for names, rows in devices.items())
    return f"Speed and memory across devices: {said}."


def _software(run: Run) -> str | None:
    found = _differing(run, "software")
    if len(found) < 2 and not any(text.count("torch ") > 1 for text in found):
        return None
    return (
        "Last digits of clips: they were made with different versions "
        f"({'; '.join(f'{_labels(run, r)}: {v}' for v, r in found.items())})."
    )


def _scorers(run: Run) -> str | None:
    found: dict[str, list[str]] = {}
    for row in _ranked(run):
        versions = run.provenance["clips"].get(row, {}).get("scorer") or {}
        if versions:
            found.setdefault(", ".join(f"{name} {value}" for name, value in versions.items()), []).append(row)
    if len(found) < 2:
        return None
    said = "; ".join(f"{_labels(run, rows)}: {versions}" for versions, rows in found.items())
    return f"Last digits of scores: they were computed by different versions, paths or devices ({said})."


def _commits(run: Run) -> str | None:
    commits = {
        commit
        for row in _ranked(run)
        for commit in run.provenance["clips"].get(row, {}).get("made_by_commits", ())
    }
    if len(commits) < 2:
        return None
    return (
        f"Time of clips: they were made from {len(commits)} states of the code "
        f"({and_joined(sorted(commits))}); clips whose code changed were made again, others kept."
    )


def _filtered(run: Run) -> str | None:
    short = {found.row: sum(line.short for line in found.filtered) for found in run.filters}
    rows = [row for row in _ranked(run) if short.get(row)]
    if not rows:
        return None
    counts = and_joined([f"{run.settings.rows[row].label} {short[row]}" for row in rows])
    return (
        "Temporal flickering: some rows had too few static samples and are scored on fewer clips "
        f"(missing: {counts})."
    )
