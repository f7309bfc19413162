"""Results of older code: which file made a stage stale, and how a user keeps what it made all the same.

Snakemake reruns a job when the digest of its code changed (workflow/planning/code_digest.py). What the digest
was made of is written to results/<suite>/code/<digest>.json when a run starts, so that later runs can name
the files. `raven-bench accept` records in results/<suite>/accepted.jsonl that results of an
older digest are
kept: their rules then go on being told that digest, until the code changes again.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.files import load_json, utf8_text, whole_lines, write_text
from evaluation.records import Record, parse
from workflow.planning.code_digest import digest_of, imported_here, stage_files
from workflow.planning.missing_results import METADATA, output_records

SHOWN_CHANGES = 5
"""So many files are named in one line."""


class StageCode(Record):
    """What a digest was made of."""

    stage: str
    """Module of the stage's script."""
    data: tuple[str, ...]
    """Globs of data files that count too."""
    without: tuple[str, ...]
    """Modules that do not count."""
    files: dict[str, str]
    """Digest of each file, by its path."""


class Acceptance(Record):
    """A user's word that results of older code are kept."""

    stage: str
    """Module of the stage's script."""
    code: str
    """Digest of the code that they are kept under."""
    outputs: dict[str, str]
    """Digest of the code that made a result, by the path of its first output."""
    changed: tuple[str, ...]
    """Files in which that code differs."""
    because: str
    """The user's reason, shown in the report."""
    accepted: str
    """When, in UTC."""
    commit: str
    """The commit that was checked out then."""


Modules = str | Callable[[Any], Sequence[str]]
"""A module, or a function from wildcards to modules."""


class StaleResults(NamedTuple):
    """Results of a stage that other code made."""

    stage: str
    code: str
    """Digest of the stage's code now."""
    outputs: dict[str, str]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        """One line that names the files."""
        some = ", ".join(self.changed[:SHOWN_CHANGES])
        more = f" and {len(self.changed) - SHOWN_CHANGES} more" if len(self.changed) > SHOWN_CHANGES else ""
        count = len(self.outputs)
        return (
            f"{self.stage.rsplit('.', 1)[-1]}: {count} {'file was' if count == 1 else 'files were'} "
            f"made before {some}{more} changed"
        )


class CodeBook:
    """Digests of a suite's stages as its rules are told them.

    root: the repository. results: the suite's folder. without: modules that no stage of this suite uses.
    """

    def __init__(self, root: Path, results: Path, without: Sequence[str] = ()) -> None:
        self.root, self.results, self.without = root, results, tuple(without)
        self.known: dict[str, StageCode] = {}
        self.asked: dict[tuple[str, ...], str] = {}
        self._changed: dict[str, tuple[str, ...]] = {}
        self.accepted = read_acceptances(results)

    def stage(self, module: str, data: Sequence[str] = ()) -> str:
        """Digest of a stage's code as it is now. Raises FileNotFoundError if a file of it is missing."""
        asked = (module, *data)
        if asked in self.asked:
            return self.asked[asked]
        files = stage_files(self.root, module, data, self.without)
        digest = digest_of(files)
        self.known[digest] = StageCode(stage=module, data=tuple(data), without=self.without, files=files)
        self.asked[asked] = digest
        return digest

    def digest(self, module: str, *data: str, names: Iterable[str] = ()) -> str:
        """What a rule is told: the digest now, or that of accepted results.

        names: values of the rule's wildcards, which the path of an accepted result must have.
        """
        now, wanted = self.stage(module, data), set(names)
        for acceptance in self.accepted:
            if acceptance.code == now:
                for output, digest in acceptance.outputs.items():
                    if wanted <= set(re.split(r"[/.]", output)):
                        return digest
        return now

    def code_of(self, *modules: Modules) -> Callable[[Any], str]:
        """A rule's `code` parameter: digests of its modules, one behind the other.

        A module that depends on the wildcards is given as a function that names it. The parameter depends on
        wildcards alone: Snakemake does not rerun a job for parameters that depend on its output.
        """

        def code(wildcards: Any) -> str:
            named = [[one] if isinstance(one, str) else one(wildcards) for one in modules]
            names = [str(value) for value in wildcards]
            return "".join(self.digest(name, names=names) for some in named for name in some)

        return code

    def shown(self) -> list[dict[str, Any]]:
        """Acceptances as the report shows them: of stages whose code has not changed since."""
        return [
            one.model_dump(mode="json", exclude={"outputs", "code"}) | {"results": len(one.outputs)}
            for one in self.accepted
            if imported_here(self.root, one.stage) and self.stage(one.stage) == one.code
        ]

    def remember(self) -> None:
        """Write down what every digest that was asked for is made of."""
        for digest, code in self.known.items():
            path = self.results / "code" / f"{digest}.json"
            if not path.is_file():
                write_text(path, code.model_dump_json(indent=1) + "\n")

    def stale(self, metadata: Path = METADATA) -> list[StaleResults]:
        """Results that other code made, by stage and changed files. Accepted ones are not among them."""
        made: dict[tuple[str, str], dict[str, str]] = {}
        changes: dict[str, tuple[str, tuple[str, ...]]] = {}
        recorded = {
            path.stem: parse(StageCode, utf8_text(path.read_bytes(), str(path)), str(path))
            for path in sorted((self.results / "code").glob("*.json"))
        }
        for output, digests in outputs_made(metadata, f"{self.results.as_posix()}/"):
            for digest in digests & recorded.keys():
                old = recorded[digest]
                if digest not in changes:
                    changes[digest] = self._changes(old)
                now, changed = changes[digest]
                kept = any(one.code == now and output in one.outputs for one in self.accepted)
                if changed and not kept:
                    made.setdefault((old.stage, now), {})[output] = digest
        return [
            StaleResults(
                stage, now, outputs, tuple(sorted({f for d in outputs.values() for f in changes[d][1]}))
            )
            for (stage, now), outputs in sorted(made.items())
        ]

    def warnings(self) -> list[str]:
        """What to say before a run about results that other code made: which file, and how they are kept."""
        return [
            f"{one}; what is needed is made again. To keep it: raven-bench accept --help"
            for one in self.stale()
        ]

    def changed_since(self, params: Iterable[str]) -> tuple[str, ...]:
        """Files in which the code differs from that whose digests stand among a job's older parameters."""
        found: set[str] = set()
        for digest in digests_in(" ".join(params)):
            if digest not in self._changed:
                path = self.results / "code" / f"{digest}.json"
                known = (
                    parse(StageCode, utf8_text(path.read_bytes(), str(path)), str(path))
                    if path.is_file()
                    else None
                )
                self._changed[digest] = () if known is None else self._changes(known)[1]
            found |= set(self._changed[digest])
        return tuple(sorted(found))

    def _changes(self, old: StageCode) -> tuple[str, tuple[str, ...]]:
        """Digest of a stage now, and the files in which it differs from what it was."""
        try:
            now = self.stage(old.stage, old.data)
        except FileNotFoundError:
            return "", (f"{old.stage.replace('.', '/')}.py (gone)",)
        files = self.known[now].files
        return now, tuple(
            sorted(path for path in files.keys() | old.files if files.get(path) != old.files.get(path))
        )


def outputs_made(metadata: Path, prefix: str) -> Iterator[tuple[str, set[str]]]:
    """Outputs below `prefix` that Snakemake made and that are still there, each with every word of 16 hex
    digits among its parameters (two digests may stand behind each other).
    """
    for output, path in output_records(metadata, prefix):
        if not Path(output).exists():
            continue
        params = load_json(path.read_bytes(), str(path)).get("params") or []
        yield output, digests_in(" ".join(params))


def digests_in(text: str) -> set[str]:
    """Every word of 16 hex digits; two may stand behind each other."""
    words = re.findall(r"\b(?:[0-9a-f]{16})+\b", text)
    return {word[at : at + 16] for word in words for at in range(0, len(word), 16)}


def read_acceptances(results: Path) -> list[Acceptance]:
    """What was accepted for a suite, the newest first."""
    path = results / "accepted.jsonl"
    lines = enumerate(whole_lines(path), 1)
    return [parse(Acceptance, line, f"{path} line {number}") for number, line in lines][::-1]


def add_acceptance(results: Path, acceptance: Acceptance) -> None:
    """Add an acceptance to a suite's record."""
    kept = [*reversed(read_acceptances(results)), acceptance]
    write_text(results / "accepted.jsonl", "".join(one.model_dump_json() + "\n" for one in kept))
