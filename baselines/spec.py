"""What a baseline is: one flat YAML file, checked when read. Imports no torch (the Snakefile reads baselines
while parsing).

Three kinds: native (runs on our backbone), external (somebody's program makes the clips), import (the clips
exist). baselines/README.md shows one of each. Frames are latent frames throughout. baselines/methods.md says
where every number comes from.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from baselines.strict_yaml import parse_strict, validate_strict

Dtype = Literal["bfloat16", "float32"]
Count = Annotated[int, Field(ge=1)]
FileSha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RowName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]

SAMPLED_SECTIONS = ("schedule", "rollout", "cache", "noise", "dtypes")
"""Sections of a native baseline's file that decide its clips."""

PLACEHOLDERS = ("work_list", "output", "shard", "gpus", "num_gpus", "code", "root")
"""What may stand in braces in the command of an external baseline; workflow/external/baseline.py fills them
in.
"""


class Section(BaseModel):
    """A part of a file of settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Weights(Section):
    """The released weights. key: dict level that holds them, None if the file is the state dict itself or its
    loader finds out.

    revision, sha256: what `fetch` pins and checks; None until a first fetch has shown them. tensors: names
    that must be supplied.
    """

    repo: str
    revision: str | None
    file: str
    sha256: FileSha256 | None
    key: str | None
    tensors: Count


class AdapterSettings(Section):
    """A LoRA adapter on top of the weights, from the same repository. targets: name endings of the adapted
    linear layers.
    """

    file: str
    sha256: FileSha256 | None
    key: str | None
    rank: Count
    alpha: Annotated[float, Field(gt=0)]
    tensors: Count
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


class ScheduleSettings(Section):
    """Arguments of models/schedule.py build_schedule; the keys mean the same.

    first_chunk_steps: steps of the first chunk where it takes others than the rest (Causal Forcing++), else
    None.
    """

    steps: Annotated[tuple[int, ...], Field(min_length=1)]
    first_chunk_steps: Annotated[tuple[int, ...], Field(min_length=1)] | None
    shift: Annotated[float, Field(gt=0)]
    warp: bool
    timestep_dtype: Literal["int64", "float32"]
    sigma: Literal["table", "timestep"]
    x0_dtype: Literal["float64", "float32"]
    add_noise_dtype: Literal["float64", "float32"]


class RolloutSettings(Section):
    """kind: which loop of models/rollout.py. chunk: frames denoised together (rolling: a block). frames:
    of a whole clip.
    """

    kind: Literal["chunked", "rolling"]
    chunk: Count
    frames: Count


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
    """How the released code draws (models/noise.py DrawOrder); portable noise ignores all of it."""

    seed: Annotated[int, Field(ge=0)]
    layout: Literal["frame_major", "channel_major"]
    dtype: Dtype
    renoise_generator: Literal["same", "forked"]
    extent: Literal["chunk", "window"]
    draw_last: bool


class DtypeSettings(Section):
    """The `exact` precision. matmul: dtype of the weights in matrix products. fp32_modules, rotary:
    models/config.py DtypePolicy.

    latents: dtype of the latents between network calls.
    """

    matmul: Dtype
    fp32_modules: Literal["parameters", "float32"]
    rotary: Literal["float64", "float32"]
    latents: Dtype


class Baseline(Section):
    """One native baseline: everything that makes it differ from the others."""

    name: RowName
    title: str
    weights: Weights
    adapter: AdapterSettings | None
    schedule: ScheduleSettings
    rollout: RolloutSettings
    cache: CacheSettings
    noise: NoiseSettings
    dtypes: DtypeSettings
    licence: str
    """Of the released code and weights, as far as it is stated."""
    citation: str
    kind: Literal["native"] = "native"
    """May be left out of the file."""

    @model_validator(mode="after")
    def check_that_parts_fit(self) -> Baseline:
        """Raises ValueError where two sections contradict each other."""
        frames, chunk, steps = self.rollout.frames, self.rollout.chunk, len(self.schedule.steps)
        rolling, anchored = self.rollout.kind == "rolling", self.cache.policy == "anchored_sink"
        if frames % chunk:
            raise ValueError(
                f"rollout.frames {frames} is not a multiple of rollout.chunk {chunk}; correct one of them"
            )
        if rolling != anchored:
            raise ValueError(
                f"rollout.kind {self.rollout.kind} does not go with cache.policy {self.cache.policy}; "
                "rolling needs anchored_sink and chunked one of the others"
            )
        if rolling and self.schedule.first_chunk_steps is not None:
            raise ValueError(
                "schedule.first_chunk_steps does not go with rollout.kind rolling, whose windows share one "
                "list of steps; set it to null"
            )
        if rolling and frames // chunk < steps:
            raise ValueError(
                f"schedule.steps has {steps} entries but rollout.frames holds {frames // chunk} blocks; a "
                "rolling rollout needs as many blocks as steps"
            )
        if isinstance(self.cache, AnchoredSinkCache) and self.cache.sink != chunk:
            raise ValueError(
                f"cache.sink {self.cache.sink} must equal rollout.chunk {chunk}, since block 0 is the "
                "sink; correct it"
            )
        return self


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

    steps: network evaluations per chunk. prompts: which of a prompt's two texts the model was given.
    """

    steps: Count | None
    noise: str | None
    seeds: str | None
    prompts: Literal["short", "extended"] | None
    precision: str | None
    encoder: str | None


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
    title: str
    code: Code | None
    environment: Environment | None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None
    files: tuple[str, ...]
    timeout_s: Count
    gpus: Annotated[int, Field(ge=0)]
    threads: Count
    declared: Declared
    licence: str
    citation: str

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
    """path: a folder or a .zip of <clip_id>.mp4 or of VBench's <short prompt>-<i>.mp4, absolute or relative
    to our root.

    shape: of clips that are not what the suite asks of all others, None for the suite's.
    """

    path: Annotated[str, Field(min_length=1)]
    shape: ImportedShape | None = None


class ImportBaseline(Section):
    """Finished clips made elsewhere."""

    name: RowName
    kind: Literal["import"]
    title: str
    clips: ImportedClips
    declared: Declared
    licence: str
    citation: str


AnyBaseline = Baseline | ExternalBaseline | ImportBaseline
KINDS: dict[str, type[Baseline] | type[ExternalBaseline] | type[ImportBaseline]] = {
    "native": Baseline,
    "external": ExternalBaseline,
    "import": ImportBaseline,
}


def kind_of(path: Path | str) -> str:
    """The kind a baseline's file names (native if none), without checking the rest.

    Raises FileNotFoundError, or ValueError for a kind that does not exist.
    """
    return _kind(_values(path), path)


def load_row(path: Path | str) -> AnyBaseline:
    """A baseline of any kind from its YAML file. Raises ValueError, also when file name and
    name differ.
    """
    values = _values(path)
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


def _values(path: Path | str) -> Any:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check the path or restore the file.")
    return parse_strict(path.read_text(encoding="utf-8"), Any, where=str(path))


def _kind(values: Any, path: Path | str) -> str:
    kind = values.get("kind", "native") if isinstance(values, dict) else "native"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{path}: key 'kind' is {kind!r} but must be one of {', '.join(KINDS)}; correct it.")
    return kind
