"""What a baseline is: one flat YAML file, checked when read. Imports no torch (the Snakefile reads baselines
while parsing).

Frames are latent frames throughout. Sources of every number: /baselines/*.yaml name theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from baselines.strict_yaml import read_strict

Dtype = Literal["bfloat16", "float32"]
Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A part of a baseline file: unknown keys are errors, values never change."""

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
    sha256: Sha256 | None
    key: str | None
    tensors: Count


class Adapter(Section):
    """A LoRA adapter on top of the weights, from the same repository. targets: name endings of the adapted
    linear layers.
    """

    file: str
    sha256: Sha256 | None
    key: str | None
    rank: Count
    alpha: Annotated[float, Field(gt=0)]
    tensors: Count
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


class ScheduleSettings(Section):
    """Arguments of models/schedule.py build_schedule; the keys mean the same.

    first_chunk_steps: steps of the first chunk where it takes others than the rest (Causal Forcing++), else None.
    """

    steps: Annotated[tuple[int, ...], Field(min_length=1)]
    first_chunk_steps: Annotated[tuple[int, ...], Field(min_length=1)] | None
    shift: Annotated[float, Field(gt=0)]
    warp: bool
    timestep_dtype: Literal["int64", "float32"]
    sigma: Literal["table", "timestep"]
    x0_dtype: Literal["float64", "float32"]
    renoise_dtype: Literal["float64", "float32"]


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
    """How the released code draws (models/noise.py UpstreamProfile); portable noise ignores all of it."""

    seed: Annotated[int, Field(ge=0)]
    layout: Literal["frame_major", "channel_major"]
    dtype: Dtype
    renoise: Literal["same", "forked"]
    extent: Literal["chunk", "window"]
    draw_last: bool


class NumericsSettings(Section):
    """The `exact` profile. matmul: dtype of the weights in matrix products. islands, rotary: models/config.py
    Numerics.

    latents: dtype of the latents between network calls.
    """

    matmul: Dtype
    islands: Literal["parameters", "float32"]
    rotary: Literal["float64", "float32"]
    latents: Dtype


class Baseline(Section):
    """One native baseline: everything that makes it differ from the others.

    licence: of the released code and weights as far as stated. sources: sections of our reference that the
    numbers come from.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: str
    weights: Weights
    adapter: Adapter | None
    schedule: ScheduleSettings
    rollout: RolloutSettings
    cache: CacheSettings
    noise: NoiseSettings
    numerics: NumericsSettings
    licence: str
    citation: str
    sources: Annotated[tuple[str, ...], Field(min_length=1)]

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
                f"rollout.kind {self.rollout.kind} does not go with cache.policy {self.cache.policy}; rolling needs anchored_sink "
                "and chunked one of the others"
            )
        if rolling and self.schedule.first_chunk_steps is not None:
            raise ValueError(
                "schedule.first_chunk_steps does not go with rollout.kind rolling, whose windows share one list of steps; set it "
                "to null"
            )
        if rolling and frames // chunk < steps:
            raise ValueError(
                f"schedule.steps has {steps} entries but rollout.frames holds {frames // chunk} blocks; a rolling rollout needs as "
                "many blocks as steps"
            )
        if isinstance(self.cache, AnchoredSinkCache) and self.cache.sink != chunk:
            raise ValueError(
                f"cache.sink {self.cache.sink} must equal rollout.chunk {chunk}, since block 0 is the sink; correct it"
            )
        return self


def load_baseline(path: Path | str) -> Baseline:
    """A baseline from its YAML file. Raises ValueError in one sentence, also when file name and name
    differ.
    """
    baseline = read_strict(path, Baseline)
    if baseline.name != Path(path).stem:
        raise ValueError(
            f"{path}: key 'name' is {baseline.name!r} but the file is called {Path(path).name}; make them agree."
        )
    return baseline


def load_all(folder: Path | str) -> dict[str, Baseline]:
    """All baselines of a folder by name, in alphabetical order."""
    return {path.stem: load_baseline(path) for path in sorted(Path(folder).glob("*.yaml"))}
