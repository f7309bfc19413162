"""What a baseline is: one flat YAML file, checked when read. Imports no torch (the Snakefile reads baselines
while parsing).

Four kinds: native (runs on our backbone), external (somebody's program makes the clips), import (the clips
exist), results (their scores do). baselines/README.md shows one of each. Frames are latent frames throughout.
baselines/methods.md says where every number comes from.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from baselines.strict_yaml import PlainLine, Section, read_strict, validate_strict
from models.plan import POLICIES, POSITIONS, chunk_sizes

Dtype = Literal["bfloat16", "float32"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Timestep = Annotated[int, Field(ge=1, le=1000)]
FileSha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ROW_NAME = r"^[a-z0-9_]+$"
RowName = Annotated[str, Field(pattern=ROW_NAME)]

SAMPLED_SECTIONS = ("schedule", "rollout", "cache", "noise", "dtypes")
"""Sections of a native baseline's file that decide its clips, beside its weights (`Baseline.sampled`)."""

PLACEHOLDERS = ("work_list", "output", "shard", "gpus", "num_gpus", "code", "root")
"""What may stand in braces in the command of an external baseline; workflow/external/baseline.py fills them
in.
"""


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names. Raises ValueError if one is there twice."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{', '.join(doubled)} is listed more than once; list it once")
    return names


def falling(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    """The timesteps. Raises ValueError unless each is below the one before."""
    if any(later >= earlier for earlier, later in itertools.pairwise(steps)):
        raise ValueError(
            f"{', '.join(map(str, steps))} do not fall; a clip goes from noise to none, so order them"
        )
    return steps


class MemorySettings(Section):
    """A second full set of weights in the same file, which makes the context passes (SGF+).

    infix: what its names have before the last part of a module or parameter; without it they are those of the
    first set. tensors: of this set.
    """

    infix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*_$")]
    tensors: Count


class Weights(Section):
    """The released weights. key: dict level that holds them, None if the file is the state dict itself or its
    loader finds out.

    revision, sha256: what `fetch` pins and checks; None until a first fetch has shown them. tensors: names
    that must be supplied. memory: None if context passes are made with the same weights.
    """

    repo: str
    revision: str | None
    file: str
    sha256: FileSha256 | None
    key: str | None
    tensors: Count
    memory: MemorySettings | None = None


class AdapterSettings(Section):
    """A LoRA adapter on top of the weights, from the same repository. targets: name endings of the adapted
    linear layers.
    """

    file: str
    sha256: FileSha256 | None
    key: str | None
    rank: Count
    alpha: Annotated[float, Field(gt=0, le=1e6)]
    tensors: Count
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


Steps = Annotated[tuple[Timestep, ...], Field(min_length=1), AfterValidator(falling)]
Level = Annotated[float, Field(gt=0, le=1)] | Annotated[str, Field(pattern=r"^[0-9]{1,6}/[1-9][0-9]{0,5}$")]


def _falling_levels(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    exact = [Fraction(level) for level in levels]
    falling(tuple(exact))
    if exact[0] > 1 or exact[-1] <= 0:
        raise ValueError(f"{', '.join(map(str, levels))} do not lie above 0 and at most at 1; correct them")
    return levels


Levels = Annotated[tuple[Level, ...], Field(min_length=1), AfterValidator(_falling_levels)]


class ScheduleSettings(Section):
    """Arguments of models/schedule.py build_schedule; the keys mean the same.

    steps: one list for all chunks, or one for each of chunks 0, 1, ..., of which the last repeats.
    first_chunk_steps: short for two lists, those of the first chunk and of the rest (Causal Forcing++); None
    otherwise.
    """

    steps: Steps | Annotated[tuple[Steps, ...], Field(min_length=1)]
    first_chunk_steps: Steps | None
    shift: Annotated[float, Field(gt=0, le=100)]
    warp: bool
    timestep_dtype: Literal["int64", "float32"]
    sigma: Literal["table", "timestep"]
    x0_dtype: Literal["float64", "float32"]
    add_noise_dtype: Literal["float64", "float32"]

    @property
    def by_chunk(self) -> tuple[Steps, ...]:
        """Steps of chunks 0, 1, ..., the last for all that follow."""
        lists = _lists(self.steps)
        return lists if self.first_chunk_steps is None else (self.first_chunk_steps, *lists)

    @model_validator(mode="after")
    def check_lists(self) -> ScheduleSettings:
        """Raises ValueError for lists that grow longer from chunk to chunk."""
        if isinstance(self.steps[0], tuple) and self.first_chunk_steps is not None:
            raise ValueError(
                "steps has a list for each chunk, beside which first_chunk_steps says nothing; set it to null"
            )
        _check_lengths("steps", _lists(self.steps))
        return self


class LevelSettings(Section):
    """Arguments of models/schedule.py level_schedule: noise levels given directly (Causal-rCM).

    levels: in (0, 1], falling, as numbers or fractions such as "15/16"; one list for all chunks, or one for
    each of chunks 0, 1, ..., of which the last repeats.
    """

    levels: Levels | Annotated[tuple[Levels, ...], Field(min_length=1)]
    timestep_dtype: Literal["int64", "float32", "bfloat16"]
    x0_dtype: Literal["float64", "float32"]
    add_noise_dtype: Literal["float64", "float32"]

    @property
    def by_chunk(self) -> tuple[Levels, ...]:
        """Levels of chunks 0, 1, ..., the last for all that follow."""
        lists: tuple[Levels, ...] = _lists(self.levels)
        return lists

    @model_validator(mode="after")
    def check_lists(self) -> LevelSettings:
        """Raises ValueError for lists that grow longer from chunk to chunk."""
        _check_lengths("levels", self.by_chunk)
        return self


class SolverSettings(Section):
    """How a bidirectional model goes from noise to a clip, all frames at once (models/solvers.py).

    order: of UniPC, null for Euler. first_level: where Euler begins, a number or a fraction such as
    "1600/1601"; null for UniPC, whose grid is Wan's. guidance: 1 for none, with negative null. negative:
    "wan", the negative prompt of Wan's own sampler.
    """

    solver: Literal["unipc", "euler"]
    order: Annotated[int, Field(ge=1, le=2)] | None
    steps: Annotated[int, Field(ge=1, le=1000)]
    shift: Annotated[float, Field(gt=0, le=100)]
    first_level: Level | None
    guidance: Annotated[float, Field(ge=1, le=100)]
    negative: Literal["wan"] | None

    @property
    def num_calls(self) -> int:
        """Network calls of a clip: two a step with guidance."""
        return self.steps * (1 if self.guidance == 1 else 2)

    @model_validator(mode="after")
    def check_that_parts_fit(self) -> SolverSettings:
        """Raises ValueError where solver, order, first level, guidance and negative contradict each other."""
        unipc = self.solver == "unipc"
        if (self.order is None) == unipc or (self.first_level is None) != unipc:
            raise ValueError(
                f"solver {self.solver} has order {self.order} and first_level {self.first_level}; unipc "
                "needs an order and null as first_level, euler null as order and a first_level"
            )
        if self.first_level is not None and not 0 < Fraction(self.first_level) <= 1:
            raise ValueError(
                f"first_level {self.first_level} does not lie above 0 and at most at 1; correct it"
            )
        if (self.guidance == 1) != (self.negative is None):
            raise ValueError(
                f"guidance {self.guidance:g} with negative {self.negative}; guidance 1 calls no negative "
                "prompt, so set negative to null, and more than 1 needs one"
            )
        return self


TABLE, LEVELS, SOLVER = "steps of a table", "levels as given", "a solver"


def _schedule_kind(given: Any) -> str:
    for key, kind, tag in (("solver", SolverSettings, SOLVER), ("levels", LevelSettings, LEVELS)):
        if key in given if isinstance(given, dict) else isinstance(given, kind):
            return tag
    return TABLE


AnySchedule = Annotated[
    Annotated[ScheduleSettings, Tag(TABLE)]
    | Annotated[LevelSettings, Tag(LEVELS)]
    | Annotated[SolverSettings, Tag(SOLVER)],
    Discriminator(_schedule_kind),
]
"""Noise levels by steps of a table, given directly where the section has the key `levels`, or of a solver
where it has the key `solver`."""


def _lists(given: Any) -> Any:
    """One list for every chunk, from one for all or from one for each."""
    return given if isinstance(given[0], tuple) else (given,)


def _check_lengths(key: str, lists: Sequence[Sequence[Any]]) -> None:
    counts = [len(one) for one in lists]
    if counts != sorted(counts, reverse=True):
        raise ValueError(
            f"{key} has lists of {counts} entries, but a later chunk never takes more steps than one before "
            "it; correct the lists"
        )


class RolloutSettings(Section):
    """kind: which loop of models/rollout.py. chunk: frames denoised together (rolling: a block); or the sizes
    of chunks 0, 1, ..., of which the last repeats; left out of a full rollout, which denoises all frames
    together. frames: of the clips that the network was trained on; how long a suite's clips are is the
    suite's to say (`Baseline.at_length`).

    context: what later chunks see of a finished one: its clean latents at t = 0, or what its last denoising
    call left in the cache; the latter from chunk context_from on.
    """

    kind: Literal["chunked", "rolling", "full"]
    chunk: Count | Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    frames: Annotated[int, Field(ge=1, le=100_000)]
    context: Literal["clean", "last_step"] = "clean"
    context_from: Annotated[int, Field(ge=0)] = 0

    @property
    def chunks(self) -> int | tuple[int, ...]:
        """Frames denoised together, as `chunk`; all of a full rollout."""
        return self.frames if self.chunk is None else self.chunk

    @model_validator(mode="after")
    def check_chunk(self) -> RolloutSettings:
        """Raises ValueError for a chunk, or a context, where there are none, and for a missing chunk."""
        full = self.kind == "full"
        if full != (self.chunk is None):
            raise ValueError(
                f"kind {self.kind} with chunk {self.chunk}; "
                + (
                    "a full rollout denoises all frames together, so take chunk out"
                    if full
                    else "say how many latent frames are denoised together"
                )
            )
        if full and (self.context != "clean" or self.context_from):
            raise ValueError(
                "kind full keeps nothing between chunks, so context and context_from do not go with it; take "
                "them out"
            )
        return self


class MadeFor(Section):
    """Which lengths the release is made for, where that is more than what it was trained on."""

    frames: Count | None
    """The longest clip in latent frames; None where nothing sets a limit."""
    note: PlainLine
    """What makes it so, as the report says it."""
    source: PlainLine


class AbsoluteCache(Section):
    """Fields of models/plan.py AbsolutePolicy."""

    policy: Literal["absolute"]
    window: Count | None
    sink: Annotated[int, Field(ge=0)]
    capacity: Count | None
    counting: Literal["includes_current", "history_only"]
    denoise_writes: bool


class SlotRelativeCache(Section):
    """Fields of models/plan.py SlotRelativePolicy."""

    policy: Literal["slot_relative"]
    window: Count
    sink: Annotated[int, Field(ge=0)]
    alpha: Annotated[float, Field(ge=0, le=1)] | None
    ema_dtype: Dtype


class AnchoredSinkCache(Section):
    """Fields of models/plan.py AnchoredSinkPolicy."""

    policy: Literal["anchored_sink"]
    window: Count
    sink: Count
    capacity: Count


CacheSettings = Annotated[
    AbsoluteCache | SlotRelativeCache | AnchoredSinkCache, Field(discriminator="policy")
]


class NoiseSettings(Section):
    """How the released code draws (models/noise.py DrawOrder); portable noise ignores all of it.

    seed_rule: added to the seed is the clip's "index" in the expanded (prompt x sample) list, or the number
    of the "sample", so that all prompts share their noises.
    """

    seed: Seed
    layout: Literal["frame_major", "channel_major"]
    dtype: Dtype
    renoise_generator: Literal["same", "forked"]
    extent: Literal["chunk", "window", "clip"]
    draw_last: bool
    seed_rule: Literal["index", "sample"] = "index"


class DtypeSettings(Section):
    """The `exact` precision. matmul: dtype of the weights in matrix products. fp32_modules, rotary:
    models/config.py DtypePolicy.

    latents: dtype of the latents between network calls. codec: of the decoder, whose weights may stay float32
    under autocast; None takes autocast where fp32_modules is float32 (RAVEN), otherwise matmul.
    """

    matmul: Dtype
    fp32_modules: Literal["parameters", "float32"]
    rotary: Literal["float64", "float32"]
    latents: Dtype | Literal["float64"]
    codec: Dtype | Literal["autocast"] | None = None


class Baseline(Section):
    """One native baseline: everything that makes it differ from the others."""

    name: RowName
    title: PlainLine
    weights: Weights
    adapter: AdapterSettings | None
    schedule: AnySchedule
    rollout: RolloutSettings
    cache: CacheSettings | None
    """None for a full rollout, which has none."""
    noise: NoiseSettings
    dtypes: DtypeSettings
    licence: PlainLine
    """Of the released code and weights, as far as it is stated."""
    citation: PlainLine
    made_for: MadeFor | None = None
    """None: for clips of `rollout.frames`, and no longer ones."""
    kind: Literal["native"] = "native"
    """May be left out of the file."""

    @property
    def longest(self) -> int | None:
        """Latent frames of the longest clip that it is made for, None without limit."""
        return self.rollout.frames if self.made_for is None else self.made_for.frames

    def is_stressed_at(self, frames: int) -> bool:
        """Whether a clip of so many latent frames is longer than what it is made for."""
        return self.longest is not None and frames > self.longest

    def at_length(self, frames: int) -> Baseline:
        """The same baseline for clips of so many latent frames.

        Raises ValueError where chunks, blocks or cache do not fit that length.
        """
        rollout = self.rollout.model_copy(update={"frames": frames})
        other = self.model_copy(update={"rollout": rollout})
        other._check_parts()
        cache = self.cache
        if cache is not None:
            policy = POLICIES[cache.policy](**cache.model_dump(exclude={"policy"}))
            policy.num_slots(frames, max(chunk_sizes(rollout.chunks, frames)))
        if (cache is None or cache.policy != "slot_relative") and frames > POSITIONS:
            found = "rollout.kind full" if cache is None else f"cache.policy {cache.policy}"
            raise ValueError(
                f"{found} rotates keys at their absolute frame, of which there are "
                f"{POSITIONS}; sample at most {POSITIONS} latent frames, or take a slot_relative policy."
            )
        return other

    @model_validator(mode="after")
    def check_that_parts_fit(self) -> Baseline:
        """Raises ValueError where two sections contradict each other."""
        self._check_parts()
        if self.made_for is not None and self.is_stressed_at(self.rollout.frames):
            raise ValueError(
                f"made_for.frames {self.longest} is less than rollout.frames {self.rollout.frames}, which it "
                "was trained on; correct one of them"
            )
        return self

    def _check_parts(self) -> None:
        rollout, schedule = self.rollout, self.schedule
        full = (rollout.kind == "full", isinstance(schedule, SolverSettings), self.cache is None)
        if any(full) and not all(full):
            found = (
                f"rollout.kind is {rollout.kind}",
                f"schedule names {'a' if full[1] else 'no'} solver",
                f"cache is {'null' if self.cache is None else self.cache.policy}",
            )
            raise ValueError(
                f"{', '.join(found[:2])} and {found[2]}; a solver, guidance and cache null belong to "
                "rollout.kind full, and no other kind has them"
            )
        if isinstance(schedule, SolverSettings) or self.cache is None:
            if self.noise.extent != "chunk" or self.noise.draw_last:
                raise ValueError(
                    "rollout.kind full draws its first noise alone, so noise.extent is chunk and "
                    "noise.draw_last false; correct them"
                )
            return
        lists = schedule.by_chunk
        frames, chunk, steps = rollout.frames, rollout.chunks, len(lists[-1])
        rolling, anchored = rollout.kind == "rolling", self.cache.policy == "anchored_sink"
        try:
            sizes = set(chunk_sizes(chunk, frames))
        except ValueError as error:
            raise ValueError(f"rollout.chunk does not fit rollout.frames. {error}") from None
        if rolling != anchored:
            raise ValueError(
                f"rollout.kind {self.rollout.kind} does not go with cache.policy {self.cache.policy}; "
                "rolling needs anchored_sink and chunked one of the others"
            )
        if rolling and (len(lists) > 1 or len(sizes) > 1 or rollout.context != "clean"):
            raise ValueError(
                "rollout.kind rolling has one list of steps, one size of block and clean context, since its "
                "windows join several blocks; schedule.first_chunk_steps or a list for each chunk, sizes in "
                "rollout.chunk and rollout.context last_step do not go with it"
            )
        if len(sizes) > 1 and isinstance(self.cache, SlotRelativeCache) and self.cache.alpha is not None:
            raise ValueError(
                f"rollout.chunk {chunk} does not go with cache.alpha {self.cache.alpha}, which blends "
                "a chunk into a sink of its size; use one size, or set alpha to null"
            )
        if rollout.context == "clean" and rollout.context_from:
            raise ValueError(
                f"rollout.context_from {rollout.context_from} says from which chunk on rollout.context is "
                "last_step, but it is clean; correct one of them"
            )
        if self.weights.memory and (rolling or self.adapter or rollout.context != "clean"):
            what = (
                "rollout.kind rolling"
                if rolling
                else "an adapter"
                if self.adapter
                else "rollout.context last_step"
            )
            raise ValueError(
                f"weights.memory does not go with {what}: its weights are full ones that make the "
                "context passes of a chunked rollout; set memory to null or correct the other"
            )
        if self.noise.extent == "clip" and (rolling or len(lists[0]) < max(map(len, lists))):
            raise ValueError(
                "noise.extent clip needs rollout.kind chunked and a first chunk with the most steps, whose "
                "order the draws follow; correct one of them"
            )
        (block, *_) = sizes
        if rolling and frames // block < steps:
            raise ValueError(
                f"schedule.steps has {steps} entries but rollout.frames holds {frames // block} blocks; a "
                "rolling rollout needs as many blocks as steps"
            )
        if isinstance(self.cache, AnchoredSinkCache) and self.cache.sink != block:
            raise ValueError(
                f"cache.sink {self.cache.sink} must equal rollout.chunk {block}, since block 0 is the "
                "sink; correct it"
            )

    def sampled(self) -> dict[str, Any]:
        """The sections that decide its clips, as plain values. What is left out of the file at its default is
        left out here, so that a new setting does not make the clips of older files stale."""
        made = self.model_dump(mode="json", include=set(SAMPLED_SECTIONS), exclude_defaults=True)
        if self.weights.memory:
            made["memory"] = self.weights.memory.model_dump(mode="json")
        return made


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


AnyBaseline = Baseline | ExternalBaseline | ImportBaseline | ResultsBaseline
KINDS: dict[str, type[AnyBaseline]] = {
    "native": Baseline,
    "external": ExternalBaseline,
    "import": ImportBaseline,
    "results": ResultsBaseline,
}


def kind_of(path: Path | str) -> str:
    """The kind a baseline's file names (native if none), without checking the rest.

    Raises FileNotFoundError, or ValueError for a kind that does not exist.
    """
    return _kind(read_strict(path, Any), path)


def load_row(path: Path | str) -> AnyBaseline:
    """A baseline of any kind from its YAML file. Raises ValueError, also when file name and
    name differ.
    """
    values = read_strict(path, Any)
    baseline = validate_strict(values, KINDS[_kind(values, path)], where=str(path))
    if baseline.name != Path(path).stem:
        raise ValueError(
            f"{path}: key 'name' is {baseline.name!r} but the file is called {Path(path).name}; make them "
            "agree."
        )
    return baseline


def load_baseline(path: Path | str) -> Baseline:
    """A native baseline from its YAML file. Raises ValueError, also for another kind."""
    baseline = load_row(path)
    if not isinstance(baseline, Baseline):
        raise ValueError(
            f"{path}: key 'kind' is {baseline.kind!r}, but only a native baseline has a network to build; "
            "name another file."
        )
    return baseline


def load_all(folder: Path | str) -> dict[str, Baseline]:
    """All native baselines of a folder by name, in alphabetical order."""
    paths = sorted(Path(folder).glob("*.yaml"))
    return {path.stem: load_baseline(path) for path in paths if kind_of(path) == "native"}


def _kind(values: Any, path: Path | str) -> str:
    kind = values.get("kind", "native") if isinstance(values, dict) else "native"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{path}: key 'kind' is {kind!r} but must be one of {', '.join(KINDS)}; correct it.")
    return kind
