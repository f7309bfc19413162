"""A native baseline: a network on our backbone. How it is sampled, and where its weights are.

Frames are latent frames throughout. baselines/methods.md says where every number comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from baselines.fields import (
    Count,
    Dtype,
    FileSha256,
    RowName,
    Seed,
    Timestep,
    falling,
)
from baselines.strict_yaml import PlainLine, Section
from models.plan import POLICIES, POSITIONS, chunk_sizes

SAMPLED_SECTIONS = ("schedule", "rollout", "cache", "noise", "dtypes")
"""Sections of a native baseline's file that decide its clips, beside its weights (`Baseline.sampled`)."""


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

    revision, sha256: what `fetch` pins and checks; None until a first fetch has shown them. bytes: the
    file's size where it is known, which a fetch asks for before the first byte. tensors: names that must be
    supplied. memory: None if context passes are made with the same weights.
    """

    repo: str
    revision: str | None
    file: str
    sha256: FileSha256 | None
    bytes: Annotated[int, Field(ge=1, le=10**13)] | None = None
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
        _check_lengths("steps" if self.first_chunk_steps is None else "first_chunk_steps", self.by_chunk)
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
SCHEDULES: dict[str, tuple[str, type[Section]]] = {
    SOLVER: ("solver", SolverSettings),
    LEVELS: ("levels", LevelSettings),
    TABLE: ("steps", ScheduleSettings),
}
"""Key and section of each kind of schedule; the first whose key has a value says which one it is."""


def _schedule_kind(given: Any) -> str:
    for tag, (key, kind) in SCHEDULES.items():
        if given.get(key) is not None if isinstance(given, dict) else isinstance(given, kind):
            return tag
    return TABLE


def schedule_of_one_kind(given: Any) -> Any:
    """A file's schedule without the keys of other kinds that are null. Raises ValueError, with a clause, if
    others have a value.
    """
    if not isinstance(given, dict):
        return given
    key, kind = SCHEDULES[_schedule_kind(given)]
    others = {name for _, other in SCHEDULES.values() for name in other.model_fields} - set(kind.model_fields)
    if foreign := sorted(name for name in others if given.get(name) is not None):
        raise ValueError(
            f"schedule has {key} and {', '.join(foreign)}, which say the noise levels in two ways; "
            "take one or the other out"
        )
    return {name: value for name, value in given.items() if name not in others}


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
    note: PlainLine | None = None
    """What a reader of its settings must know beside them, as the report's audit says it."""
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
        count = len(chunk_sizes(self.rollout.chunks, self.rollout.frames))
        if self.rollout.context_from >= count:
            raise ValueError(
                f"rollout.context_from {self.rollout.context_from} is no chunk of a clip of {count}, which "
                "are numbered from 0; correct it"
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
            if self.adapter is not None or self.weights.memory is not None:
                raise ValueError(
                    "rollout.kind full samples one released set of weights as it is, so adapter and "
                    "weights.memory do not go with it; set them to null"
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

    @property
    def untrained(self) -> str | None:
        """What of its sampler no training recipe has, as a clause; None where recipes train such a row.

        Recipes roll out equal chunks by one list of steps of a table, each seen as its clean latents.
        """
        rollout, schedule = self.rollout, self.schedule
        if isinstance(schedule, SolverSettings):
            return "rollout.kind full denoises all frames together"
        if self.weights.memory is not None:
            return "weights.memory makes the context passes with a second set of weights"
        if isinstance(schedule, LevelSettings):
            return "schedule.levels gives noise levels that are no steps of a table"
        if len(schedule.by_chunk) > 1:
            return "schedule gives several lists of steps, one a chunk"
        if len(set(chunk_sizes(rollout.chunks, rollout.frames))) > 1:
            return "rollout.chunk gives chunks of several sizes"
        if rollout.context != "clean":
            return "rollout.context last_step keeps noisy latents as context"
        return None

    def sampled(self) -> dict[str, Any]:
        """The sections that decide its clips, as plain values. What is left out of the file at its default is
        left out here, so that a new setting does not make the clips of older files stale."""
        made = self.model_dump(mode="json", include=set(SAMPLED_SECTIONS), exclude_defaults=True)
        if self.weights.memory:
            made["memory"] = self.weights.memory.model_dump(mode="json")
        return made
