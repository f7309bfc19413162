"""A methods section, ready to paste, from the record of a run: every number in it is one of the run's.

Its text is templates/methods.md.j2. Citations are Pandoc's, [@key].
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from evaluation.aggregate import MODEL_KINDS
from evaluation.dimensions import BY_NAME
from evaluation.intervals import NEAR_END, SMALL
from evaluation.prompts import count_prompts
from evaluation.words import numbered
from reports.citations import baseline_key, bibtex, cited_keys, latex_citation, with_citations
from reports.cost import amount
from reports.exports import latex_text, markdown_text
from reports.licences import networks_of
from reports.rendering import TEXTS
from reports.run import ReportRow, Run
from reports.sections.audit import flatten
from reports.tables import TOTAL_NAMES, is_made_here
from reports.verdict import verdict_of
from reports.view import View
from reports.words import count_word, foreign

TRAINING_LISTS = {
    "vidprom_motion_30725_v3_w95_action_subject.txt": (
        "the prompts filtered from VidProM [@vidprom] that RAVEN's released configurations name [@raven]"
    ),
    "vidprom_filtered_extended.txt": (
        "the filtered and extended VidProM prompts [@vidprom] published with Self Forcing [@self_forcing]"
    ),
}
"""Published lists of training prompts by the name of their file."""


class Paragraph(NamedTuple):
    """A paragraph of the methods section."""

    title: str
    text: str


def methods(run: Run) -> list[Paragraph]:
    """The section, from prompts to hardware."""
    text = TEXTS.get_template("methods.md.j2").render(_facts(run))
    paragraphs = [part.partition("\n") for part in ("\n" + text).split("\n## ")[1:]]
    return [Paragraph(title, " ".join(body.split())) for title, _, body in paragraphs]


def methods_markdown(run: Run) -> str:
    """The section as Pandoc Markdown."""
    return "".join(f"**{title}.** {with_citations(text, markdown_text)}\n\n" for title, text in methods(run))


def methods_latex(run: Run) -> str:
    r"""The section as LaTeX, with \citep; keys are those of `methods_bibtex`."""
    return "".join(
        f"\\paragraph{{{latex_text(title)}.}} {with_citations(text, latex_text, latex_citation)}\n\n"
        for title, text in methods(run)
    )


def methods_keys(run: Run) -> list[str]:
    """The citation keys that the section uses."""
    return cited_keys(" ".join(text for _, text in methods(run)))


def methods_bibtex(run: Run) -> str:
    """BibTeX entries of everything that the section cites."""
    given = {row: found.citation for row, found in run.settings.rows.items() if found.citation}
    return bibtex(methods_keys(run), given)


def methods_section(view: View) -> dict[str, Any]:
    """What methods.html.j2 shows."""
    run = view.run
    paragraphs, sources = methods(run), methods_keys(run)
    return {
        "inside": f"{numbered(len(paragraphs), 'paragraph')} with {numbered(len(sources), 'source')}, to "
        "copy as text, Markdown, LaTeX and BibTeX.",
        "methods": paragraphs,
        "texts": [
            ("As Markdown (Pandoc)", "methods-markdown", methods_markdown(run)),
            ("As LaTeX (natbib)", "methods-latex", methods_latex(run)),
            ("BibTeX of everything that was used", "methods-bibtex", methods_bibtex(run)),
        ],
    }


def _facts(run: Run) -> dict[str, Any]:
    """What methods.md.j2 is filled with."""
    config, record, table = run.settings.config, run.provenance, run.table
    filtered = [prompt for prompt in run.prompts if prompt.keep is not None]
    samplers: dict[str, list[str]] = {}
    for name, row in run.settings.rows.items():
        if row.kind in MODEL_KINDS:
            cited = f" [@{baseline_key(name, row.citation)}]" if row.citation else ""
            samplers.setdefault(_sampler(row), []).append(f"{foreign(row.label)}{cited}")
    devices = {device for clips in record["clips"].values() for device in clips["devices"]}
    networks = dict.fromkeys(f"{found.title} [@{found.key}]" for found in networks_of(table.dimensions))
    cells = [(name, cell) for row in table.rows for name, cell in row.dimensions.items()]
    stand_in = {name for name, cell in cells if cell.kind == "stand-in"}
    return {
        "settings": run.settings,
        "table": table,
        "with_clips": any(row.kind != "results" for row in table.rows),
        "made_here": is_made_here(table),
        "provenance": record,
        "filters": run.filters,
        "counted": count_prompts(run.prompts),
        "others": sorted({prompt.samples for prompt in run.prompts if prompt.keep is None}),
        "filtered": len(filtered),
        "filtered_samples": sorted({prompt.samples for prompt in filtered}),
        "kept": sorted({prompt.keep for prompt in filtered if prompt.keep is not None}),
        "samplers": samplers,
        "trained": [_trained(run, row, plan) for row, plan in config["train"].items()],
        "training_lists": _training_lists(run, config["train"]),
        "titles": [BY_NAME[name].title for name in table.dimensions],
        "stand_in": [BY_NAME[name].title for name in table.dimensions if name in stand_in],
        "networks": list(networks),
        "thresholds": [
            f"{value:g}" for value in sorted({f.threshold for f in run.filters if f.threshold is not None})
        ],
        "total_name": TOTAL_NAMES[run.settings.bounds],
        "few_prompts": min((cell.prompts for _, cell in cells), default=0) < SMALL,
        "small": SMALL,
        "near_end": NEAR_END,
        "devices": sorted(devices - {"cpu"}),
        "result": " ".join(verdict_of(table).sentences),
        "cost": amount(run.measured.total_s, run.measured.unit) if run.measured.seconds else None,
    }


def _training_lists(run: Run, train: Mapping[str, Mapping[str, Any]]) -> list[tuple[list[str], str]]:
    """Each list of training prompts, in words, after the labels of the rows that it trained."""
    found: dict[str, list[str]] = {}
    for row, plan in train.items():
        if plan["prompts"] is not None:
            name = PurePosixPath(plan["prompts"]).name
            own = f"the {'captions of clips' if plan.get('data') else 'prompts'} in {foreign(name)}"
            found.setdefault(TRAINING_LISTS.get(name, own), []).append(foreign(run.label(row)))
    return [(labels, what) for what, labels in found.items()]


def _trained(run: Run, row: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """One training of this run."""
    settings = plan["settings"] or run.settings.config[plan["recipe"]]
    weights = settings.get("rewards", {})
    like, differing = _as_another(run, row, plan)
    return {
        "row": row,
        "like": like,
        "differing": differing,
        "label": run.label(row),
        "recipe": plan["recipe"],
        "flavour": plan["flavour"],
        "gpus": plan["nodes"] * plan["gpus"],
        "start": run.label(plan["init"]) if plan["init"] in run.settings.rows else None,
        "settings": settings,
        "rewards": [f"{name.replace('_', ' ')} ({weight:g})" for name, weight in weights.items()],
    }


def _as_another(run: Run, row: str, plan: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Label of the trained row that this one is a variant of, None if of none, and what it has otherwise."""
    known, plans = run.settings.rows, run.settings.config["train"]
    other = plan["baseline"]
    if other not in plans or plans[other]["recipe"] != plan["recipe"] or not {row, other} <= known.keys():
        return None, []
    own, theirs = (flatten(known[name].settings.get("training", {})) for name in (row, other))
    keys = [key for key in dict.fromkeys((*own, *theirs)) if own.get(key) != theirs.get(key)]
    return run.label(other), [f"{key.removeprefix('from.')} {own.get(key, 'none')}" for key in keys]


def _sampler(row: ReportRow) -> str:
    """How a row's clips come about; rows of one method family share it."""
    if row.kind == "external":
        return "clips made by programs of their own, whose declared settings were not checked"
    if row.kind == "import":
        return "clips made elsewhere and taken as they are"
    if row.kind == "results":
        return "scores computed elsewhere and imported, whose scorer and protocol are as declared"
    schedule, rollout = row.settings["schedule"], row.settings["rollout"]
    if "solver" in schedule:
        return _full_sequence(schedule, rollout["frames"])
    given = schedule.get("levels") or schedule["steps"]
    lists = given if isinstance(given[0], list) else [given]
    if schedule.get("first_chunk_steps"):
        lists = [schedule["first_chunk_steps"], *lists]
    *early, steps = lists
    counts = [count_word(len(one)) for one in early]
    more = f" ({', '.join(counts)} for the first chunk{'' if len(counts) == 1 else 's'})" if counts else ""
    how = "a rolling window over blocks" if rollout["kind"] == "rolling" else "chunks"
    sizes = rollout["chunk"] if isinstance(rollout["chunk"], list) else [rollout["chunk"]]
    context = (
        ", whose last denoising call is kept as context" if rollout.get("context") == "last_step" else ""
    )
    at = (
        f"noise levels {', '.join(map(str, steps))}"
        if "levels" in schedule
        else f"nominal timesteps {', '.join(map(str, steps))} (shift {schedule['shift']:g})"
    )
    return (
        f"{count_word(len(steps))} denoising step{'' if len(steps) == 1 else 's'}{more} at {at}, {how} of "
        f"{', then '.join(map(count_word, sizes))} of {rollout['frames']} latent frames, "
        f"{_history(row.settings['cache'])}{context}"
        f"{', which a second set of weights writes' if row.settings.get('memory') else ''}"
    )


def _full_sequence(schedule: Mapping[str, Any], frames: int) -> str:
    """How a bidirectional model samples."""
    solver = {"unipc": "UniPC", "euler": "Euler"}[schedule["solver"]]
    negative = {"wan": "Wan's own negative prompt", None: "no negative prompt"}
    against = negative.get(schedule["negative"], schedule["negative"])
    return (
        f"{schedule['steps']} {solver} steps (shift {schedule['shift']:g}, guidance {schedule['guidance']:g} "
        f"against {against}), all {frames} latent frames together, each attending to all others"
    )


def _history(cache: Mapping[str, Any]) -> str:
    """Which earlier frames are attended to."""
    if cache["window"] is None:
        return "attention to all earlier frames"
    averaged = cache["policy"] == "slot_relative" and cache["alpha"] is not None
    kind = " kept as an EMA" if averaged else ""
    return f"attention window {cache['window']} and sink {cache['sink']} latent frames{kind}"
