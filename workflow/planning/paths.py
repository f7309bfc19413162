"""Where a suite's files lie, and what stands for a row's weights among the inputs of a rule."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.subset import Subset
from workflow.planning.suite import Suite


class Folders(NamedTuple):
    """Folders that paths of rules start with, seen from the repository. One and the same in a whole run."""

    suite: str
    """What every run of the suite shares: fetched files, prompts, trained weights, clips made elsewhere."""
    results: str
    """Prompts, manifests, filters and scores of this run: a subset's own where it leaves out prompts."""
    run: str
    """Table, report and record of starts of this run: always a subset's own."""


def folders_of(suite: Suite, subset: Subset | None) -> Folders:
    """The folders of a run of the suite, or of a subset of it."""
    whole = f"results/{suite.suite}"
    if subset is None:
        return Folders(whole, whole, whole)
    own = f"{whole}/subsets/{subset.id}"
    return Folders(whole, own if subset.of_prompts else whole, own)


def fetched_checksums(suite: Suite) -> str:
    """The checksum record of fetched files, which the fetch stage writes."""
    return f"results/{suite.suite}/fetch/resources.json"


def prompt_list_copy(suite: Suite) -> str | None:
    """The file in which the prompts stage finds the suite's list; None for the benchmark's own.

    A fetched list is read in its place. Of a user's list a copy is kept with the results, of which only the
    content can change, so that moving, renaming or touching the list reruns nothing.
    """
    if suite.prompts.list is None or not has_user_list(suite):
        return suite.prompts.list
    return f"results/{suite.suite}/prompts/list{Path(suite.prompts.list).suffix.lower()}"


def has_user_list(suite: Suite) -> bool:
    """Whether the suite's prompts are in a file of the user's, not fetched by us."""
    return suite.prompts.list is not None and not suite.prompts.list.startswith(FETCHED_FOLDER)


def row_weights(suite: Suite, row: str) -> str:
    """Name of a row's weights: the row itself where it is trained in the run, else its file."""
    return row if row in suite.train else suite.weights[row]


def weights_file(suite: Suite, name: str) -> str:
    """The weights themselves: those of a row trained in the run, or the named file."""
    return _converted(suite, name, "safetensors") if name in suite.train else name


def weights_record(suite: Suite, name: str) -> str:
    """The small file that stands for weights among a rule's inputs.

    Its content is compared, however large or touched the weights are: a manifest of `convert`, the
    description beside a shipped file, or the checksum record of what was fetched.
    """
    if name in suite.train:
        return _converted(suite, name, "json")
    return tracked_file(suite, name, str(Path(name).with_suffix(".json")))


def tracked_file(suite: Suite, name: str, local: str | None = None) -> str:
    """What a rule tracks of a file: the checksum record of a fetched one, else `local` or the file itself."""
    return fetched_checksums(suite) if name.startswith(FETCHED_FOLDER) else local or name


def local_weights(suite: Suite, *names: str) -> list[str]:
    """The weights themselves as inputs, but for fetched ones, for which their checksum record stands."""
    return [weights_file(suite, name) for name in names if not name.startswith(FETCHED_FOLDER)]


def converted_files(suite: Suite, rows: Sequence[str]) -> list[str]:
    """All files that `convert` makes of trained rows."""
    flavours = {"raven": ("full",), "cm_grpo": ("adapter", "bundle", "merged")}
    return [
        f"results/{suite.suite}/weights/{row}/{flavour}.{suffix}"
        for row in rows
        for flavour in flavours[suite.train[row].recipe]
        for suffix in ("json", "safetensors")
    ]


def _converted(suite: Suite, row: str, suffix: str) -> str:
    return f"results/{suite.suite}/weights/{row}/{suite.train[row].flavour}.{suffix}"
