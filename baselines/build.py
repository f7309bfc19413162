"""Baseline + network -> sampler. The one place that picks a cache policy and a rollout.

wan = cast_parameters(Wan(config, dtypes.network), dtypes.matmul) sampler =
build_sampler(load_baseline("baselines/longlive.yaml"), wan, latent_shape=(21, 16, 8, 8), precision="float32")
noise = sampler.portable_noise("toybox", [SampleKey("p0001", 0)]) for chunk in sampler.sample(text, noise):
# text [B, L, text_dim] chunk.start, chunk.latents                     # first latent frame, [B, 3, C, H, W]

Legend: B batch, F latent frames, C channels, H, W latent size, L tokens of a prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from baselines.native import Baseline, CacheSettings, LevelSettings, SolverSettings
from models.checkpoints.lora import fold_adapters
from models.config import DtypePolicy
from models.full_sequence import FullSequence
from models.noise import (
    DrawOrder,
    JointWindow,
    LatentShape,
    NoiseSource,
    PortableNoise,
    SampleKey,
    UpstreamNoise,
)
from models.plan import POLICIES, CachePolicy, chunk_sizes
from models.quantise import is_quantised, quantise_network
from models.rollout import Finished, Rollout, RolloutRecord, Runner, plain_runner
from models.schedule import DTYPES, Schedule, build_schedule, level_schedule
from models.solvers import euler_solver, unipc_solver
from models.wan import Wan, cast_parameters, join_projections, stored_dtype

Precision = Literal["exact", "fast", "float32", "fp8", "fp8_linear", "fp8_attention"]
"""exact: the released code's precision and operations. fast: rotations in float32, fused operations, adapters
folded into the weights (models/README.md#precision says what that costs). float32: everything in float32
(the embedded suite). fp8: fast, with linear layers and self-attention in e4m3 (models/fp8.py), or one of the
two."""


class Dtypes(NamedTuple):
    """How a baseline computes in one precision."""

    matmul: torch.dtype
    """For `cast_parameters` of models/wan.py."""
    network: DtypePolicy
    """For `Wan(config, network)`."""
    latents: torch.dtype
    """Between network calls."""
    codec: torch.dtype
    """Of Wan's VAE, as `open_codec` of models/text_and_pixels.py takes it."""
    codec_autocast: bool
    codec_fast: bool
    """Whether Wan's VAE decodes by models/wan_decoder.py, where there is a GPU."""
    folded: bool
    """Whether adapters are folded into the weights first (`fold_adapters` of models/checkpoints/lora.py)."""


def dtypes_of(baseline: Baseline, precision: Precision) -> Dtypes:
    """How a baseline computes in a precision."""
    dtypes = baseline.dtypes
    if precision == "float32":
        return Dtypes(
            torch.float32,
            DtypePolicy(rotary="float32", fp32_modules="parameters"),
            torch.float32,
            codec=torch.float32,
            codec_autocast=False,
            codec_fast=False,
            folded=False,
        )
    exact, linear = precision == "exact", precision in ("fp8", "fp8_linear")
    attention = precision in ("fp8", "fp8_attention")
    # RAVEN's decoder keeps float32 weights (models/backbone.md#vae)
    codec = dtypes.codec or ("autocast" if dtypes.fp32_modules == "float32" else dtypes.matmul)
    if not exact:
        codec = dtypes.matmul
    return Dtypes(
        DTYPES[dtypes.matmul],
        DtypePolicy(
            rotary=dtypes.rotary if exact else "float32",
            fp32_modules=dtypes.fp32_modules,
            operators="plain" if exact else "fused",
            linear="fp8" if linear else "parameters",
            attention="fp8" if attention else "parameters",
        ),
        DTYPES[dtypes.latents],
        codec=torch.float32 if codec == "autocast" else DTYPES[codec],
        codec_autocast=codec == "autocast",
        codec_fast=not exact,
        folded=not exact,
    )


def ready_network(wan: Wan, dtypes: Dtypes, device: torch.device) -> Wan:
    """An opened network on the device, frozen, in the precision that `dtypes` says; built with its `network`.

    Adapters stay active, or are folded into the weights where `dtypes` says so.
    """
    wan.eval().requires_grad_(False)
    if dtypes.folded:
        fold_adapters(wan)
    return quantise_network(cast_parameters(wan, dtypes.matmul).to(device))


def build_policy(cache: CacheSettings, precision: Precision) -> CachePolicy:
    """The cache policy of a baseline. In float32 the sink's blend is not rounded to bfloat16."""
    fields = cache.model_dump(exclude={"policy"})
    if precision == "float32" and "ema_dtype" in fields:
        fields["ema_dtype"] = "float32"
    return POLICIES[cache.policy](**fields)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampler:
    """A baseline ready to sample with one network. Only `runner` may keep something between clips."""

    baseline: Baseline
    wan: Wan
    latent_shape: LatentShape
    rollout: Rollout | FullSequence
    latents_dtype: torch.dtype
    runner: Runner

    @property
    def device(self) -> torch.device:
        return self.wan.patch_embedding.weight.device

    def sample(self, text: Tensor, noise: NoiseSource, negative: Tensor | None = None) -> Iterator[Finished]:
        """Final clean latents chunk by chunk, in order of frames. text: [B, L, text_dim]; one row per row
        of the noise. negative: as `records` takes it.
        """
        return (record for record in self.records(text, noise, negative) if isinstance(record, Finished))

    @property
    def needs_negative(self) -> bool:
        """Whether `records` needs the embedding of a negative prompt."""
        return isinstance(self.rollout, FullSequence) and self.rollout.guided

    def records(
        self, text: Tensor, noise: NoiseSource, negative: Tensor | None = None
    ) -> Iterator[RolloutRecord]:
        """Every network call as a record (models/rollout.py), without gradient: for timing and for comparing.

        negative: embedding [1, L, text_dim] of the negative prompt where `needs_negative` says so.

        Raises ValueError if the noise is for clips of another size or of another dtype than the
        sampler's latents, or text and noise are of different batches.
        """
        checked = _Checked(noise, self.latent_shape, self.latents_dtype)
        if isinstance(self.rollout, FullSequence):
            return self.rollout.run(self.wan, text, checked, negative=negative)
        return self.rollout.run(self.wan, text, checked, runner=self.runner)

    def portable_noise(self, suite: str, samples: Sequence[SampleKey]) -> PortableNoise:
        """Noise that is the same on every machine and for every method; one row per sample."""
        return PortableNoise(
            suite=suite,
            samples=samples,
            shape=self.latent_shape,
            device=self.device,
            dtype=self.latents_dtype,
        )

    def upstream_noise(self, items: Sequence[int], device: torch.device) -> UpstreamNoise:
        """Noise as the released code draws it. items: indices in the expanded (prompt x sample) list;
        device: of the generators.
        """
        order = draw_order(self.baseline)
        return UpstreamNoise(order, items, self.latent_shape, device=device, dtype=self.latents_dtype)

    def recorded_noise(self, draws: Sequence[Tensor]) -> UpstreamNoise:
        """Noise of one clip from the draws that another implementation made, in its order and shapes
        (models/README.md)."""
        order = draw_order(self.baseline)
        return UpstreamNoise.recorded(order, draws, self.latent_shape, dtype=self.latents_dtype)


def draw_order(baseline: Baseline) -> DrawOrder:
    """How a baseline's released code draws. Chunk by chunk there is no joint window to draw for."""
    settings = baseline.noise
    whole = settings.extent == "clip" or baseline.rollout.kind == "rolling"
    return DrawOrder(
        seed=settings.seed,
        layout=settings.layout,
        dtype=DTYPES[settings.dtype],
        renoise_generator=settings.renoise_generator,
        extent=settings.extent if whole else "chunk",
    )


@dataclass(frozen=True, slots=True)
class _Checked:
    """A noise source whose draws must be for clips of the sampler's size, in the precision of its latents."""

    source: NoiseSource
    shape: LatentShape
    dtype: torch.dtype

    def initial_pieces(self, sizes: Sequence[int]) -> Iterator[Tensor]:
        for z in self.source.initial_pieces(sizes):
            if tuple(z.shape[2:]) != self.shape[1:]:
                raise ValueError(
                    f"The noise is for latents [C, H, W] = {list(z.shape[2:])}, but the sampler was built "
                    f"for {list(self.shape[1:])}; make noise and latent_shape agree."
                )
            yield self._in_latents_dtype(z)

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:
        return self._in_latents_dtype(self.source.draw_renoise(chunk, step, frames, window))

    def _in_latents_dtype(self, noise: Tensor) -> Tensor:
        if noise.dtype != self.dtype:
            raise ValueError(
                f"The noise is {noise.dtype}, but the sampler keeps latents in {self.dtype} between "
                "network calls; cast the noise, or make it with dtype=sampler.latents_dtype."
            )
        return noise


def schedules_of(baseline: Baseline) -> tuple[Schedule, ...]:
    """The few-step schedules of a baseline's chunks 0, 1, ..., the last for all that follow.

    Raises ValueError for a full rollout.
    """
    s = baseline.schedule
    if isinstance(s, SolverSettings):
        raise _no_chunks(baseline)
    if isinstance(s, LevelSettings):
        fields = s.model_dump(exclude={"levels"})
        return tuple(level_schedule(levels, **fields) for levels in s.by_chunk)
    fields = s.model_dump(exclude={"steps", "first_chunk_steps"})
    return tuple(build_schedule(steps, **fields) for steps in s.by_chunk)


def rollout_of(baseline: Baseline, frames: int, precision: Precision) -> Rollout:
    """How a baseline samples clips of so many latent frames.

    Raises ValueError if the clip is longer than the method's cache allows, or for a full rollout.
    """
    if baseline.cache is None:
        raise _no_chunks(baseline)
    policy, rollout = build_policy(baseline.cache, precision), baseline.rollout
    policy.num_slots(frames, max(chunk_sizes(rollout.chunks, frames)))  # a clip the method cannot sample
    return Rollout(
        schedules=schedules_of(baseline),
        policy=policy,
        chunk=rollout.chunks,
        frames=frames,
        joint=rollout.kind == "rolling",
        draw_last=baseline.noise.draw_last,
        last_call_from=rollout.context_from if rollout.context == "last_step" else None,
    )


def _no_chunks(baseline: Baseline) -> ValueError:
    return ValueError(
        f"Baseline {baseline.name} denoises all frames of a clip together, so it has no chunks, no cache and "
        "nothing that training could take; name a baseline whose rollout.kind is chunked or rolling."
    )


def full_sequence_of(settings: SolverSettings, frames: int) -> FullSequence:
    """How a bidirectional model samples clips of so many latent frames."""
    if settings.first_level is None:
        solver = unipc_solver(settings.steps, shift=settings.shift, order=settings.order or 2)
    else:
        solver = euler_solver(settings.steps, shift=settings.shift, first=settings.first_level)
    return FullSequence(solver=solver, frames=frames, guidance=settings.guidance)


def build_sampler(
    baseline: Baseline,
    wan: Wan,
    *,
    latent_shape: LatentShape,
    precision: Precision,
    runner: Runner = plain_runner,
) -> Sampler:
    """A baseline's sampler on a network whose precision the caller chose with `dtypes_of`.

    latent_shape: (F, C, H, W) of a clip; runner: how network calls are made (models/graphs.py replays them).
    Raises ValueError if the network has another precision than the precision asks for, or the clip is longer
    than the method's cache allows.
    """
    dtypes = dtypes_of(baseline, precision)
    found = wan.patch_embedding.weight.dtype
    if found != dtypes.matmul:
        raise ValueError(
            f"Baseline {baseline.name} in precision {precision} multiplies in {dtypes.matmul}, but the "
            f"network's weights are {found}; cast them with cast_parameters."
        )
    if precision != "float32" and wan.dtypes != dtypes.network:
        raise ValueError(
            f"Baseline {baseline.name} in precision {precision} needs {dtypes.network}, but the network "
            f"has {wan.dtypes}; build it with these."
        )
    if (wan.memory is None) != (baseline.weights.memory is None):
        two = "a second set of weights"
        wants, has = (two, "none") if wan.memory is None else ("its weights", "a second set")
        raise ValueError(
            f"Baseline {baseline.name} makes context passes with {wants}, but the network has {has} for "
            "them; open the file that its YAML names."
        )
    for name, parameter in wan.named_parameters():  # peft makes float32 adapters on a bfloat16 network
        wanted = stored_dtype(name, wan.dtypes, dtypes.matmul)
        if parameter.dtype != wanted:
            raise ValueError(
                f"Baseline {baseline.name} in precision {precision} stores {name} in {wanted}, but the "
                f"network has it in {parameter.dtype}; cast the network with cast_parameters after its "
                "adapters are in place."
            )
    if not is_quantised(wan):
        raise ValueError(
            f"Baseline {baseline.name} in precision {precision} computes in fp8, but the network's layers do "
            "not; make it ready with ready_network of baselines/build.py."
        )
    frozen = not any(parameter.requires_grad for parameter in wan.parameters())
    if wan.dtypes.fused and wan.dtypes.linear != "fp8" and frozen and wan.patch_embedding.weight.is_cuda:
        join_projections(wan)
    return Sampler(
        baseline=baseline,
        wan=wan,
        latent_shape=latent_shape,
        rollout=(
            full_sequence_of(baseline.schedule, latent_shape[0])
            if isinstance(baseline.schedule, SolverSettings)
            else rollout_of(baseline, latent_shape[0], precision)
        ),
        latents_dtype=dtypes.latents,
        runner=runner,
    )
