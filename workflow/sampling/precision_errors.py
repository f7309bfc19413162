"""What a precision costs: the error of its latents against a float32 run.

All runs share weights, text and noise to the last bit: the reference computes in float32 on the weights and
noise that `exact` has stored, so that what is measured is arithmetic alone. Legend: B batch, L text rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.build import Precision, Sampler, build_sampler, dtypes_of, ready_network
from baselines.native import Baseline
from models.config import DtypePolicy
from models.noise import DrawnWhole, JointWindow, LatentShape, NoiseSource, SampleKey
from models.plan import chunk_sizes
from models.wan import Wan, stored_dtype

BuildNetwork = Callable[[DtypePolicy], Wan]
"""A new float32 network of these dtypes, the same weights every time (`open_model` of
models/checkpoints/open.py)."""


def measure_errors(
    baseline: Baseline,
    build_network: BuildNetwork,
    text: Tensor,
    *,
    latent_shape: LatentShape,
    precisions: Sequence[Precision],
    chunks: Sequence[int] | None = None,
    negative: Tensor | None = None,
    device: torch.device | None = None,
    suite: str = "precision",
) -> dict[Precision, dict[int, float]]:
    """Relative errors |precision - float32| / |float32| (Frobenius norms) of the latents of these chunks, by
    precision and chunk number, of the same clips sampled in each.

    text: [B, L, text_dim], rounded to the weights' dtype by the network; B clips with portable noise of
    prompts "0", "1", ... chunks: None for the first and the last. negative: [1, L, text_dim] of a method
    with guidance. device: None for the CPU. One network is held at a time. Raises ValueError if a
    chunk is not among the clip's, or a result is not finite.
    """
    last = len(chunk_sizes(baseline.rollout.chunks, latent_shape[0])) - 1
    chunks = sorted({0, last}) if chunks is None else chunks
    if not all(0 <= chunk <= last for chunk in chunks):
        raise ValueError(
            f"Baseline {baseline.name} at {latent_shape[0]} latent frames has chunks 0..{last}, but "
            f"{list(chunks)} are asked for; choose among them."
        )
    keys = [SampleKey(str(row), 0) for row in range(text.shape[0])]
    stored = dtypes_of(baseline, "exact").matmul
    text, negative = text.to(stored), None if negative is None else negative.to(stored)

    def latents(precision: Precision) -> list[Tensor]:
        dtypes = dtypes_of(baseline, precision)
        wan = build_network(dtypes.network)
        _round_to_stored(wan, baseline)
        wan = ready_network(wan, dtypes, device or torch.device("cpu"))
        sampler = build_sampler(baseline, wan, latent_shape=latent_shape, precision=precision)
        noise = _Rounded(sampler, baseline, suite, keys)
        with torch.inference_mode():
            against = None if negative is None else negative.to(sampler.device)
            finished = [chunk.latents for chunk in sampler.sample(text.to(sampler.device), noise, against)]
        return [finished[chunk].to("cpu", torch.float32) for chunk in chunks]

    reference = latents("float32")
    return {
        precision: {
            chunk: _relative_error(baseline.name, chunk, found, expected)
            for chunk, found, expected in zip(chunks, latents(precision), reference, strict=True)
        }
        for precision in precisions
    }


@dataclass(frozen=True, slots=True)
class _Rounded(DrawnWhole):
    """Portable noise rounded to the dtype `exact` keeps latents in, handed out in the sampler's own."""

    sampler: Sampler
    baseline: Baseline
    suite: str
    keys: Sequence[SampleKey]

    @property
    def _source(self) -> NoiseSource:
        return self.sampler.portable_noise(self.suite, self.keys)

    def _round(self, noise: Tensor) -> Tensor:
        return noise.to(dtypes_of(self.baseline, "exact").latents).to(self.sampler.latents_dtype)

    def initial(self) -> Tensor:
        return self._round(self.sampler.portable_noise(self.suite, self.keys).initial())

    def draw_renoise(self, chunk: int, step: int, frames: int, window: JointWindow | None) -> Tensor:
        return self._round(self._source.draw_renoise(chunk, step, frames, window))


def _round_to_stored(wan: Wan, baseline: Baseline) -> None:
    """Give a float32 network the values that `exact` stores, still in float32."""
    exact = dtypes_of(baseline, "exact")
    for name, parameter in wan.named_parameters():
        parameter.data = parameter.data.to(stored_dtype(name, exact.network, exact.matmul)).float()


def _relative_error(name: str, chunk: int, found: Tensor, expected: Tensor) -> float:
    error = float((found - expected).norm() / expected.norm())
    if not torch.isfinite(torch.tensor(error)):
        raise ValueError(
            f"Baseline {name}: the error of chunk {chunk} is {error}; a run has produced values that are "
            "not finite, so find them before comparing precisions."
        )
    return error
