"""Which licences a suite's run falls under, from baselines/*.yaml, workflow/resources.yaml and what the
scorer's packages state.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from baselines.native import Baseline
from baselines.spec import AnyBaseline
from reports.licences import SCORER_PACKAGES, Licence, LicencePart, as_stated, networks_of
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.resources import (
    SCORER_FOLDER,
    TRAINING_PROMPTS,
    Resource,
    needed_resources,
    scorer_resources,
)
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite

OWN = Licence(
    part="code",
    name="raven-bench",
    stated="Apache-2.0",
    note="this repository; methods are implemented from papers and public documentation",
)
SHIPPED = Licence(
    part="code",
    name="models/embedded",
    stated="Apache-2.0",
    note="weights, codec and text encoder of the embedded suite, this repository",
)


def licences_of(root: Path, suite: Suite, baselines: Mapping[str, AnyBaseline]) -> list[Licence]:
    """Everything that the suite's rows, training and scoring use. Raises ValueError as the listing of
    resources does.
    """
    needed = needed_resources(root, suite)
    fetched = [
        entry for entry in needed if entry.group != "weights" and not entry.path.startswith(SCORER_FOLDER)
    ]
    training = [e for e in fetched if e.group in ("train", TRAINING_PROMPTS)]
    prompts = [e for e in fetched if e.path.startswith("prompts/") and e not in training]
    others = [e for e in fetched if e not in prompts and e not in training]
    lines = [OWN]
    if suite.benchmark not in OFFICIAL_BENCHMARKS:
        lines.append(SHIPPED)
    rows = [_row(suite, row, baseline) for row, baseline in baselines.items()]
    lines += [line for number, line in enumerate(rows) if line not in rows[:number]]  # variants share one
    lines += _grouped("model", others) + _grouped("training", training) + _grouped("prompts", prompts)
    if suite.prompts.list is not None and not suite.prompts.list.startswith(FETCHED_FOLDER):
        note = "a list of the user's"
        lines.append(
            Licence(part="prompts", name=Path(suite.prompts.list).name, stated=as_stated(""), note=note)
        )
    elif suite.benchmark not in OFFICIAL_BENCHMARKS:
        lines.append(
            Licence(part="prompts", name="procedural captions", stated="Apache-2.0", note="this repository")
        )
    if suite.benchmark in OFFICIAL_BENCHMARKS:
        lines += _networks(suite, scorer_resources(root, suite))
        lines += SCORER_PACKAGES
    return lines


def _row(suite: Suite, row: str, baseline: AnyBaseline) -> Licence:
    """A row's licence: that of the published release, and whether this run uses it."""
    row = suite.original(row)
    if not isinstance(baseline, Baseline):
        note = {
            "external": "its own program and weights",
            "import": "clips made elsewhere",
            "results": "scores computed elsewhere",
        }[baseline.kind]
    elif row in suite.weights and str(suite.weights[row]).startswith(FETCHED_FOLDER):
        note = f"released weights, {baseline.weights.repo}"
    elif row in suite.train:
        note = "the published release, which this run does not use: the row is trained here"
    else:
        where = (
            "models/embedded"
            if suite.weights_path(row).startswith("models/embedded/")
            else "a file of the user's"
        )
        note = f"the published release, which this run does not use: the row's weights are of {where}"
    return Licence(part="model", name=baseline.title, stated=as_stated(baseline.licence), note=note)


def _grouped(part: LicencePart, entries: Iterable[Resource]) -> list[Licence]:
    """One line for files of one origin and one licence."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        origin = entry.repo or entry.origin.split(" @ ")[0]
        found.setdefault((origin, as_stated(entry.licence)), []).append(Path(entry.path).name)
    return [
        Licence(
            part=part,
            name=origin,
            stated=stated,
            note=names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} the first",
        )
        for (origin, stated), names in found.items()
    ]


def _networks(suite: Suite, entries: Iterable[Resource]) -> list[Licence]:
    """Licences of the scorer's checkpoints that the suite's dimensions need."""
    listed = list(entries)
    lines = []
    for network in networks_of(suite.dimensions):
        files = [e for e in listed if e.path.startswith(SCORER_FOLDER + network.begins)]
        by_licence: dict[str, list[str]] = {}
        for entry in files:
            by_licence.setdefault(as_stated(entry.licence), []).append(Path(entry.path).name)
        stated = ", ".join(
            one if len(by_licence) == 1 else f"{one} ({', '.join(names)})"
            for one, names in by_licence.items()
        )
        served = [name.replace("_", " ") for name in network.dimensions if name in suite.dimensions]
        lines.append(
            Licence(part="scorer", name=network.title, stated=stated or as_stated(""), note=", ".join(served))
        )
    return lines
