"""A methods section, ready to paste, from the record of a run: every number in it is one of the run's.

Citations are Pandoc's, [@key].
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.aggregate import RANKED_KINDS
from evaluation.dimensions import BY_NAME
from evaluation.intervals import NEAR_END, SMALL
from evaluation.prompts import count_prompts
from reports.citations import baseline_key, bibtex, cited_keys, latex_citations
from reports.cost import amount
from reports.exports import latex_text
from reports.licences import networks_of
from reports.run import ReportRow, Run
from reports.tables import TOTAL_NAMES
from reports.view import View
from reports.words import and_joined, count_word


class Paragraph(NamedTuple):
    """A paragraph of the methods section."""

    title: str
    text: str


def methods(run: Run) -> list[Paragraph]:
    """The section, from prompts to hardware."""
    return [
        Paragraph("Prompts and samples", _prompts(run)),
        Paragraph("Models", _models(run)),
        *([Paragraph("Training", _training(run))] if run.settings.config["train"] else []),
        Paragraph("Sampling", _sampling(run)),
        Paragraph("Scoring", _scoring(run)),
        Paragraph("Statistics", _statistics(run)),
        Paragraph("Software, hardware and provenance", _software(run)),
    ]


def methods_markdown(run: Run) -> str:
    """The section as Pandoc Markdown."""
    return "".join(f"**{title}.** {text}\n\n" for title, text in methods(run))


def methods_latex(run: Run) -> str:
    r"""The section as LaTeX, with \citep; keys are those of `methods_bibtex`."""
    return "".join(
        f"\\paragraph{{{latex_text(title)}.}} {latex_citations(text, latex_text)}\n\n"
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
    return {
        "methods": methods(run),
        "texts": [
            ("As Markdown (Pandoc)", "methods-markdown", methods_markdown(run)),
            ("As LaTeX (natbib)", "methods-latex", methods_latex(run)),
            ("BibTeX of everything that was used", "methods-bibtex", methods_bibtex(run)),
        ],
    }


def plain(text: str) -> str:
    """Words of others inside the text, which must not turn into a citation."""
    return text.replace("[@", "[ @")


def cite(row: str, found: ReportRow) -> str:
    """A row's citation with a blank before it; empty if it has none."""
    return f" [@{baseline_key(row, found.citation)}]" if found.citation else ""


def _ranked(run: Run) -> dict[str, ReportRow]:
    return {name: row for name, row in run.settings.rows.items() if row.kind in RANKED_KINDS}


def _toy(run: Run) -> bool:
    return run.settings.bounds == "toybox"


def _prompts(run: Run) -> str:
    counts, plan = count_prompts(run.prompts), run.settings.config["prompts"]
    still = [p for p in run.prompts if p.keep is not None]
    lines = f"{counts.prompts:,} prompts"
    if counts.lines != counts.prompts:
        lines = (
            f"{counts.lines:,} prompt lines ({counts.prompts:,} distinct; of repeated lines the last is "
            "rendered)"
        )
    if plan["list"] is not None:
        source = f"{lines} of a list of our own"
    elif _toy(run):
        source = (
            f"{lines} generated for a small procedural world of coloured shapes and figures (seed "
            f"{plan['seed']})"
        )
    else:
        source = (
            f"{lines} of the standard suite of VBench [@vbench]; models were given the extended wording of "
            "each prompt that was published with Self Forcing [@self_forcing], and the original wording "
            "was used for scoring"
        )
    parts = []
    if others := sorted({p.samples for p in run.prompts if p.keep is None}):
        parts.append(f"{_counts(others)} sample{'' if others == [1] else 's'} of each prompt")
    if still:
        kept = _counts(sorted({p.keep for p in still if p.keep is not None}))
        asked = (
            "the one prompt that asks"
            if len(still) == 1
            else f"each of the {count_word(len(still))} prompts that ask"
        )
        parts.append(
            f"{_counts(sorted({p.samples for p in still}))} of {asked} for a still picture (at most {kept} "
            "of them scored, see Scoring)"
        )
    text = f"We used {source}. We drew {', and '.join(parts)}: {counts.clips:,} clips per model."
    return f"{text} {plain(run.settings.note)}" if run.settings.note else text


def _counts(found: Sequence[int]) -> str:
    return and_joined([count_word(count) for count in found])


def _models(run: Run) -> str:
    rows = _ranked(run)
    toy = (
        "All models are toy-sized re-implementations (about one million parameters) of the published "
        "recipes, trained on the procedural world; they share names and sampling rules, but no weights, "
        "with the published models. "
        if _toy(run)
        else (
            "All native models share the architecture of Wan2.1-T2V-1.3B [@wan] and its text encoder "
            "[@umt5] and video autoencoder. "
        )
    )
    groups: dict[str, list[str]] = {}
    for name, row in rows.items():
        groups.setdefault(_sampler(row), []).append(f"{plain(row.label)}{cite(name, row)}")
    return toy + " ".join(f"{and_joined(names)}: {sampler}." for sampler, names in groups.items())


def _sampler(row: ReportRow) -> str:
    """How a row's clips come about; rows of one method family share it."""
    if row.kind == "external":
        return "clips made by programs of their own, whose declared settings were not checked"
    if row.kind == "import":
        return "clips made elsewhere and taken as they are"
    schedule, rollout = row.settings["schedule"], row.settings["rollout"]
    steps, first = schedule["steps"], schedule["first_chunk_steps"]
    more = f" ({count_word(len(first))} for the first chunk)" if first else ""
    how = "a rolling window over blocks" if rollout["kind"] == "rolling" else "chunks"
    count = f"{count_word(len(steps))} denoising step{'' if len(steps) == 1 else 's'}{more}"
    return (
        f"{count} at nominal timesteps {', '.join(map(str, steps))} (shift {schedule['shift']:g}), {how} of "
        f"{count_word(rollout['chunk'])} of {rollout['frames']} latent frames, "
        f"{_history(row.settings['cache'])}"
    )


def _history(cache: Mapping[str, Any]) -> str:
    """Which earlier frames are attended to."""
    if cache["window"] is None:
        return "attention to all earlier frames"
    averaged = cache["policy"] == "slot_relative" and cache["alpha"] is not None
    kind = " kept as a moving average" if averaged else ""
    return f"attention window {cache['window']} and sink {cache['sink']} latent frames{kind}"


def _training(run: Run) -> str:
    config = run.settings.config
    sentences = []
    for name, plan in config["train"].items():
        label, settings = (
            plain(run.settings.rows[name].label) if name in run.settings.rows else name,
            config[plan["recipe"]],
        )
        gpus = plan["nodes"] * plan["gpus"]
        place = f" on {count_word(gpus)} GPUs" if config["device"] != "cpu" and gpus > 1 else ""
        start = plan["init"] if plan["init"] in run.settings.rows else None
        begun = f"from {plain(run.settings.rows[start].label)}" if start else "from a causal initialisation"
        if plan["recipe"] == "raven":
            sentences.append(
                f"{label} was trained in this run{place} {begun} by distribution matching distillation "
                f"[@dmd] with training-time test [@raven]: {settings['iterations']} iterations, batch size "
                f"{settings['batch']}, seed {settings['seed']}."
            )
        else:
            rewards = and_joined(
                [f"{key.replace('_', ' ')} ({weight:g})" for key, weight in settings["rewards"].items()]
            )
            adapter = " of a low-rank adapter [@lora]" if plan["flavour"] != "full" else ""
            judged = (
                " The text reward is that of VideoAlign [@videoalign]."
                if "text_alignment" in settings["rewards"]
                else ""
            )
            sentences.append(
                f"{label} was trained in this run{place} {begun} by group-relative policy optimisation "
                f"[@grpo; @raven]{adapter}: {settings['iterations']} iterations of {settings['prompts']} "
                f"prompts in groups of {settings['group']}, rewards (weights) {rewards}, seed "
                f"{settings['seed']}.{judged}"
            )
        if plan["prompts"] is not None:
            sentences.append(
                "Training prompts are the filtered and extended VidProM prompts [@vidprom] published with "
                "Self Forcing [@self_forcing]."
            )
    return " ".join(dict.fromkeys(sentences))


_PRECISIONS = {
    "float32": "in float32 throughout",
    "exact": "in the arithmetic of each method's released code (precision: exact)",
    "fast": "with fused operators in the precision of each released model (precision: fast)",
}


def _sampling(run: Run) -> str:
    clip, sample = run.settings.config["clip"], run.settings.config["sample"]
    made = (
        f"Clips have {clip['pixel_frames']} frames of {clip['width']} x {clip['height']} pixels at "
        f"{clip['fps']} frames per second ({clip['pixel_frames'] / clip['fps']:.2f} s)"
    )
    if sample["noise"] == "portable":
        noise = (
            "All noise was drawn from the counter-based generator Philox [@philox], keyed by suite, "
            "prompt, sample, purpose and draw, so that all native models received the same noise for the "
            "same sample of a prompt"
        )
    else:
        noise = "Noise was drawn as each method's released code draws it, so that models did not share it"
    return (
        f"{made}. Native models were sampled {_PRECISIONS[sample['precision']]}, in batches of "
        f"{sample['batch']}. {noise}. Clips were encoded as H.264 (constant rate factor 18), decoded again "
        "and checked (frames, size, rate, neither constant nor twice the same) before they were scored."
    )  # fmt: skip


def _scoring(run: Run) -> str:
    titles = [BY_NAME[name].title for name in run.table.dimensions]
    thresholds = sorted({found.threshold for found in run.filters})
    limit = f" ({and_joined([f'{value:g}' for value in thresholds])})" if thresholds else ""
    how = "optical flow" if _toy(run) else "RAFT [@raft]"
    still = (
        f"Of the samples of a still prompt, those whose motion by {how} stays below a threshold{limit} "
        "count as static, and the first of them are scored on temporal flickering, as VBench does "
        "[@vbench]; the motion of every sample is reported."
    )
    scorer = _toy_scorer(run) if _toy(run) else _official_scorer(run)
    count = (
        "The scored dimension is"
        if len(titles) == 1
        else f"The {count_word(len(titles))} scored dimensions are"
    )
    return " ".join([f"{count} {and_joined(titles)}.", *scorer, *([still] if run.filters else [])])


def _toy_scorer(run: Run) -> list[str]:
    stand_in = [
        BY_NAME[name].title
        for name in run.table.dimensions
        if any(r.dimensions[name].kind == "stand-in" for r in run.table.rows if name in r.dimensions)
    ]
    said = [
        "Scores are computed by programs that compare what is seen in the decoded clip with the facts of "
        "its prompt; they bear the names of VBench's dimensions [@vbench] and are not VBench's scores."
    ]
    if stand_in:
        said.append(f"No exact answer exists for {and_joined(stand_in)}, for which a stand-in is used.")
    return said


def _official_scorer(run: Run) -> list[str]:
    path, versions = run.settings.config["scoring"]["path"], run.provenance["scorer"]
    version = f", version {versions['vbench']}," if "vbench" in versions else ""
    networks = dict.fromkeys((found.title, found.key) for found in networks_of(run.table.dimensions))
    how = (
        "every dimension in the official package's own functions (scoring path: official)"
        if path == "official"
        else (
            "with the official package's networks and formulas; where a dimension has a faster computation "
            "(scoring path: fast), it agrees with the official one up to the rounding of floating-point "
            "arithmetic"
        )
    )
    said = [f"Scores are those of VBench{version} [@vbench] in an environment of its own, {how}."]
    if networks:
        said.append(
            f"The networks behind them are {and_joined([f'{title} [@{key}]' for title, key in networks])}."
        )
    return said


def _statistics(run: Run) -> str:
    table, total = run.table, TOTAL_NAMES[run.settings.bounds]
    fewest = min((cell.prompts for row in table.rows for cell in row.dimensions.values()), default=0)
    small = (
        f", or Student's t over prompts [@student] where a dimension has fewer than {SMALL} prompts"
        if fewest < SMALL
        else ""
    )
    return (
        "Raw scores are normalised between fixed bounds; Quality is the weighted mean of seven dimensions "
        f"(dynamic degree counts half), Semantic the mean of nine, and {total} = (4 Quality + Semantic) / "
        "5. A row that lacks a dimension has no total. The 95 % intervals are percentile bootstrap "
        f"intervals [@bootstrap] over prompts with {table.draws:,} draws (seed {table.seed}){small}; all "
        "samples of a prompt are drawn together, all models and dimensions share the draws, drawing is "
        "stratified by the set of dimensions that a prompt serves with rescaled weights [@rao_wu], and "
        f"every draw goes through the whole formula. Near an end of a bounded scale (fewer than {NEAR_END} "
        "independent passes or failures) Wilson's interval is used [@wilson]. Models are compared in "
        "pairs on common prompts; p-values are corrected by Holm's procedure [@holm], for totals over all "
        "pairs of models and for dimensions over the dimensions of a pair. Tie groups hold the models "
        "that cannot be told from the group's first at the 5 % level. The number of training runs behind "
        "each row is one, so the variation between training runs is not part of the intervals."
    )  # fmt: skip


def _software(run: Run) -> str:
    record = run.provenance
    packages = record["packages"]
    devices = sorted({device for clips in record["clips"].values() for device in clips["devices"]} - {"cpu"})
    where = f"GPUs of type {and_joined(devices)}" if devices else f"CPU cores ({record['processor']})"
    used = f"PyTorch {packages['torch']} [@torch], NumPy [@numpy], SciPy [@scipy]"
    if not _toy(run):
        used += f", Diffusers {packages['diffusers']} [@diffusers], Transformers [@transformers]"
    cost = f" The run took {amount(run.measured.total_s, run.measured.unit)}." if run.measured.seconds else ""
    dirty = " with uncommitted changes" if record["dirty"] else ""
    return (
        "The experiment is one Snakemake workflow [@snakemake], raven-bench at commit "
        f"{record['commit'][:12]}{dirty}, with {used}. Clips were made on {where}.{cost} The complete "
        "record (settings, hashes of weights and prompts, seeds, versions) is run.json beside this report."
    )
