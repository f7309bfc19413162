"""Baselines of others: a program that makes the clips, finished clips, or finished scores."""

from __future__ import annotations

import string
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from baselines.fields import (
    Count,
    FileSha256,
    RowName,
    unique,
)
from baselines.strict_yaml import PlainLine, Section

PLACEHOLDERS = ("work_list", "output", "shard", "gpus", "num_gpus", "code", "root")
"""What may stand in braces in the command of an external baseline; workflow/external/baseline.py fills them
in.
"""


class GitCode(Section):
    """A repository at one commit, cloned by `make fetch` into resources/external/<name>. commit: the full
    hash.
    """

    kind: Literal["git"]
    url: Annotated[str, Field(pattern=r"^(https://|ssh://|file:///|git@[\w.-]+:)[^\s]+$")]
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class LocalCode(Section):
    """A folder on this machine; its commit (or content) is looked up. path: absolute, or relative to our
    root.
    """

    kind: Literal["path"]
    path: Annotated[str, Field(min_length=1)]


class PrefixEnvironment(Section):
    """An environment that exists: a venv or conda prefix, with bin/ inside."""

    kind: Literal["prefix"]
    path: Annotated[str, Field(min_length=1)]


class UvEnvironment(Section):
    """A venv that `make fetch` builds in .venvs/<name> from a requirements file. python: version, None takes
    ours.
    """

    kind: Literal["uv"]
    file: Annotated[str, Field(min_length=1)]
    python: str | None


class CondaEnvironment(Section):
    """A conda environment that `make fetch` builds in .venvs/<name> from an environment file."""

    kind: Literal["conda"]
    file: Annotated[str, Field(min_length=1)]


Code = Annotated[GitCode | LocalCode, Field(discriminator="kind")]
Environment = Annotated[PrefixEnvironment | UvEnvironment | CondaEnvironment, Field(discriminator="kind")]


class Declared(Section):
    """What a baseline says about itself and we cannot check; None is shown as unknown in the report's audit.

    steps: network evaluations per chunk.
    """

    steps: Count | None
    noise: PlainLine | None
    seeds: PlainLine | None
    precision: PlainLine | None
    encoder: PlainLine | None


class DeclaredClips(Declared):
    """prompts: which of a prompt's two texts the model was given, or that it was another one; rows are
    compared only with rows that say the same.
    """

    prompts: Literal["short", "extended", "other"] | None


class DeclaredProtocol(Section):
    """The protocol of scores computed elsewhere, as evaluation.records.Protocol has it. Of what is null or
    left out nothing is known of prompts and text; filter, samples and length are then those of the suite.
    """

    prompts: Literal["short", "extended", "other"] | None = None
    text: Literal["short", "extended"] | None = None
    static_filter: bool | None = None
    samples: Count | None = None
    length: Literal["standard", "long"] | None = None


class ExternalBaseline(Section):
    """Somebody's program makes the clips: we hand it a JSON work list and take back mp4 files.

    command: argument strings with PLACEHOLDERS, run without a shell in the folder of the code; None if
    baselines/<name>/rules.smk makes the clips (then code and environment are None too). environment: None
    takes
    PATH as it is. files: what else the clips depend on (weights), relative to our root. timeout_s: of one
    shard.
    gpus, threads: of one job.
    """

    name: RowName
    kind: Literal["external"]
    title: PlainLine
    code: Code | None
    environment: Environment | None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None
    files: tuple[str, ...]
    timeout_s: Count
    gpus: Annotated[int, Field(ge=0)]
    threads: Count
    declared: DeclaredClips
    licence: PlainLine
    citation: PlainLine

    @field_validator("command")
    @classmethod
    def check_placeholders(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Raises ValueError for a placeholder nobody fills in, and for a command that never gets its work
        list.
        """
        names: set[str] = set()
        for part in command or ():
            try:
                fields = [
                    (name, spec, turned)
                    for _, name, spec, turned in string.Formatter().parse(part)
                    if name is not None
                ]
            except ValueError as error:
                raise ValueError(
                    f"{part!r} has unpaired braces ({error}); write {{{{ and }}}} for plain ones"
                ) from error
            for name, spec, turned in fields:
                if name not in PLACEHOLDERS or spec or turned:
                    raise ValueError(
                        f"{part!r} holds the unknown placeholder {{{name}}}; the known ones are "
                        + ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                    )
                names.add(name)
        if command is not None and "work_list" not in names:
            raise ValueError(
                "no argument holds {work_list}, so the program would not know what to make; add it"
            )
        return command

    @model_validator(mode="after")
    def check_that_parts_fit(self) -> ExternalBaseline:
        """Raises ValueError where command and code contradict each other."""
        if (self.command is None) != (self.code is None):
            raise ValueError(
                "command and code go together; give both, or set both to null and bring rules.smk in a "
                "folder of the row's name"
            )
        if self.command is None and self.environment is not None:
            raise ValueError("environment is of no use without a command; set it to null")
        return self


class ImportedShape(Section):
    """What every clip looks like: frames and pixels are counts, fps whole frames per second."""

    pixel_frames: Annotated[int, Field(ge=2)]
    height: Count
    width: Count
    fps: Count


class ImportedClips(Section):
    """path: a folder or a .zip of <clip_id>.mp4, of VBench's <short prompt>-<i>.mp4 or of files that begin
    with a number, absolute or relative to our root.

    numbered_by: the list of prompts, one a line, whose lines these numbers are; None for the suite's own.
    shape: of clips that are not what the suite asks of all others, "any" for clips of which each may have its
    own, None for the suite's. files: a JSON file with the name of each clip's file by clip id, for files
    of other names and kinds (evaluation/scored_form.py); what it does not name is left alone.
    """

    path: Annotated[str, Field(min_length=1)]
    numbered_by: Annotated[str, Field(min_length=1)] | None = None
    shape: ImportedShape | Literal["any"] | None = None
    files: str | None = None


class ImportBaseline(Section):
    """Finished clips made elsewhere."""

    name: RowName
    kind: Literal["import"]
    title: PlainLine
    clips: ImportedClips
    declared: DeclaredClips
    licence: PlainLine
    citation: PlainLine


class ImportedScores(Section):
    """path: a leaderboard's zip, a folder of VBench's `*_eval_results.json` (or one file of them), or a
    run.json of ours, absolute or relative to our root.

    row: which one of a run.json. sha256: of the file that is meant, None takes what is there. dimensions:
    those that the row has, None for all of the suite. scorer, version: what computed the scores, as
    declared; protocol: of which clips.
    """

    path: Annotated[str, Field(min_length=1)]
    row: RowName | None = None
    sha256: FileSha256 | None = None
    dimensions: Annotated[tuple[RowName, ...], Field(min_length=1), AfterValidator(unique)] | None = None
    scorer: PlainLine
    version: PlainLine
    protocol: DeclaredProtocol


class ResultsBaseline(Section):
    """Scores that were computed elsewhere; there are no clips."""

    name: RowName
    kind: Literal["results"]
    title: PlainLine
    results: ImportedScores
    declared: Declared
    licence: PlainLine
    citation: PlainLine
