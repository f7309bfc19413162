"""Where a suite's files lie, and what stands for a row's weights among the inputs of a rule."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.files import load_json
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.fetching.own_weights import OwnWeights, fault_of
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


def verified_folders(suite: Suite) -> tuple[Path, Path]:
    """Where is written down what was verified of fetched files: those of rows, and those of the scorer."""
    return Path(f"results/{suite.suite}/fetch"), Path(f"results/{suite.suite}/vbench")


def fetched_checksums(suite: Suite) -> str:
    """The checksum record of fetched files, which the fetch stage writes."""
    return f"{verified_folders(suite)[0]}/resources.json"


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


def baseline_file(suite: Suite, row: str) -> str:
    """The file that says how a row is sampled, seen from the repository."""
    return f"{suite.row_files}/{suite.baseline_of(row)}.yaml"


def row_weights(suite: Suite, row: str) -> str:
    """Name of a row's weights: the row itself where it is trained in the run or says more than a path, else
    its file.
    """
    row = suite.original(row)
    held = row if row in suite.train else suite.weights[row]
    return held if isinstance(held, str) else row


def weights_file(suite: Suite, name: str) -> str:
    """The weights themselves: those of a row trained in the run, or the named file."""
    if name in suite.train:
        return _converted(suite, name, "safetensors")
    return suite.weights_path(name) if name in suite.weights else name


def own_weights(suite: Suite, name: str) -> OwnWeights | None:
    """Weights of the user's own: what the suite says of them; None of trained, fetched and described ones.

    Networks of the embedded world have the size of its base model unless their file says otherwise.
    """
    held = None if name in suite.train else suite.weights.get(name, name)
    if held is None or (isinstance(held, str) and (held.startswith(FETCHED_FOLDER) or _is_described(held))):
        return None
    own = OwnWeights(path=held) if isinstance(held, str) else held
    like = "models/embedded/base.safetensors"
    if own.like is None and suite.benchmark == "toybox" and own.path != like:
        return own.model_copy(update={"like": like})
    return own


def all_own_weights(suite: Suite) -> dict[str, OwnWeights]:
    """All weights of the user's own that rows are sampled or trained from, by the name of their record."""
    names = [row_weights(suite, row) for row in suite.weights]
    names += [name for plan in suite.train.values() for name in plan.networks]
    return {_own_name(own): own for name in names if (own := own_weights(suite, name)) is not None}


def own_folder(suite: Suite, name: str) -> Path:
    """Where the record of weights of the user's own lies, by its name."""
    return Path(f"results/{suite.suite}/weights/own-files/{name}")


def own_record(suite: Suite, name: str) -> list[str]:
    """The record that proves a row's weights of the user's own; nothing of other weights."""
    own = own_weights(suite, name)
    return [] if own is None else [str(own_folder(suite, _own_name(own)) / "record.json")]


def _own_name(own: OwnWeights) -> str:
    """A short name that differs wherever anything that the suite says of the weights does."""
    stem = re.sub(r"[^a-z0-9_]+", "-", Path(own.path).name.lower())[:40].strip("-")
    return f"{stem}-{hashlib.sha256(own.model_dump_json().encode()).hexdigest()[:8]}"


def _is_described(name: str) -> bool:
    """Whether a .safetensors file has its sha256 in a <stem>.json beside it, as shipped ones have."""
    beside = Path(name).with_suffix(".json")
    if not name.endswith(".safetensors") or not beside.is_file():
        return False
    try:
        held = load_json(beside.read_bytes(), str(beside))
    except ValueError:
        return False
    return isinstance(held, dict) and isinstance(held.get("sha256"), str)


def check_weight_files(suite: Suite, root: Path) -> None:
    """Refuse weights that are not there, are no such files, or another row's, before anything is planned.
    Raises ValueError.

    Of fetched ones `make fetch` says more, and trained ones are not there yet.
    """
    named = {f"weights.{row}": [row_weights(suite, row)] for row in suite.weights}
    named |= {f"train.{row}": [*plan.networks] for row, plan in suite.train.items()}
    for key, names in named.items():
        for name in names:
            own = own_weights(suite, name)
            for file in own.files if own is not None else () if name in suite.train else (name,):
                if not file.startswith(FETCHED_FOLDER) and (fault := fault_of(root / file)):
                    raise ValueError(
                        f"{key} names {file}, {fault}; give the path of a weight file, seen from the "
                        "repository or absolute."
                    )
                _check_role(key, "network", file, root)
    for row, held in suite.weights.items():
        if isinstance(held, str) and (other := _method_of(held, row, suite.baseline_of(row), root)):
            raise ValueError(
                f"weights.{row} is {held}, which by its name is {other}'s; name the file of {row}, or write "
                f"{{path: {held}}} if it is meant."
            )
    decoded: tuple[tuple[str, str, str], ...] = (
        ("codec", "codec", suite.model.codec),
        ("text", "text encoder", suite.model.text),
    )
    if suite.model.tiny_decoder is not None:
        decoded += (("tiny_decoder", "codec", suite.model.tiny_decoder),)
    for key, role, file in decoded if named else ():  # rows of other programs need neither
        if not file.startswith(FETCHED_FOLDER) and not _is_described(str(root / file)):
            raise ValueError(
                f"model.{key} is {file}, which is not there with its description "
                f"({Path(file).with_suffix('.json').name}) beside it; restore both, or name another file."
            )
        _check_role(f"model.{key}", role, file, root)


ROLES = {
    "network": (re.compile(r"^$"), re.compile(r"\bblocks\.\d+\.")),
    "codec": (re.compile(r"vae|codec", re.IGNORECASE), re.compile(r"^first_basis$")),
    "text encoder": (re.compile(r"t5|\btext\b|encoder", re.IGNORECASE), re.compile(r"^layers\.layers\.")),
}
"""What a file is for: words in the names of published ones, and in names of tensors of embedded ones."""


MAX_HEADER = 100 << 20
"""Bytes of the header of a .safetensors file, by its format."""


def _check_role(key: str, role: str, file: str, root: Path) -> None:
    """Raises ValueError if a file is plainly for another role than its key: by the tensors in it, of a file
    that only `make fetch` brings by its name.
    """
    path = root / file
    if path.suffix == ".safetensors" and path.is_file():
        with path.open("rb") as stream:
            size = min(int.from_bytes(stream.read(8), "little"), MAX_HEADER)
            header = load_json(
                stream.read(size), f"the header of {file} ({key})", advice="bring the file again"
            )
        seen = list(header) if isinstance(header, dict) else []
        of = [other for other, (_, tensor) in ROLES.items() if any(map(tensor.search, seen))]
    else:
        of = [other for other, (word, _) in ROLES.items() if word.search(path.name)]
    if of and role not in of:
        raise ValueError(f"{key} is {file}, which holds a {of[0]} and no {role}; name the right file.")


def _method_of(file: str, row: str, baseline: str, root: Path) -> str:
    """The other method that a file is named after, where there is one of the row's own name beside it, or
    where it is a fetched one, which has a folder for each row; else empty.
    """
    path = Path(file)
    methods = {one.stem for one in (root / "baselines").glob("*.yaml")} - {row, baseline}
    if file.startswith(f"{FETCHED_FOLDER}weights/"):
        return path.parent.name if path.parent.name in methods else ""
    beside = root / path.with_stem(row)
    return path.stem if path.stem in methods and beside.is_file() else ""


def weights_record(suite: Suite, name: str) -> str:
    """The small file that stands for weights among a rule's inputs.

    Its content is compared, however large or touched the weights are: a manifest of `convert`, the
    description beside a shipped file, the checksum record of what was fetched, or the record of the user's
    own.
    """
    if name in suite.train:
        return _converted(suite, name, "json")
    if own := own_record(suite, name):
        return own[0]
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
