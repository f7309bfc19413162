"""Solvers of the full-sequence rollout: how latents of a whole clip move from one noise level to the next.

Flow matching as in models/schedule.py: x = (1 - sigma) * x0 + sigma * noise, velocity v = noise - x0. Nothing
is drawn after the start. Legend: N steps of noise levels sigma_0 > ... > sigma_N = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

FIRST_LEVEL = float(torch.tensor(0.999, dtype=torch.float32, device="cpu"))
"""Where Wan's grid begins: 0.999 as float32 holds it."""


class Taken(Protocol):
    """One clip's way through a solver, which may remember earlier steps."""

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Clean prediction at this step, and latents at the next level; both in x's shape and dtype.

        x: as the step before left it. v: the velocity there. To be called once a step, in order.
        """
        ...


@dataclass(frozen=True, slots=True)
class Solver:
    """Noise levels and the steps between them, without a clip."""

    kind: str
    """"unipc" or "euler"."""
    timesteps: tuple[float, ...]
    """What the network is told at each of the N steps."""
    sigmas: tuple[float, ...]
    """N + 1 noise levels, the last 0."""
    order: int = 2
    """Of UniPC, 1 or 2."""

    @property
    def num_steps(self) -> int:
        return len(self.timesteps)

    def start(self, noise: Tensor) -> Tensor:
        """Latents to begin with. UniPC takes the noise as it is, though its first level is below 1."""
        return noise if self.kind == "unipc" else (self.sigmas[0] * noise.double()).to(noise.dtype)

    def begin(self) -> Taken:
        """A clip's own history."""
        return _UniPC(self) if self.kind == "unipc" else _Euler(self)


def unipc_solver(steps: int, *, shift: float, order: int = 2) -> Solver:
    """UniPC on Wan's grid (baselines/methods.md#wan-teacher).

    s_i = s_0 (1 - i / N) with s_0 = 0.999, sigma = shift s / (1 + (shift - 1) s) in float64, rounded to
    float32 for the solver; the network is told the whole part of 1000 sigma, of which the float64 number
    counts.
    """
    exact = []
    for i in range(steps):
        s = FIRST_LEVEL - i * (FIRST_LEVEL / steps)
        exact.append(shift * s / (1 + (shift - 1) * s))
    told = tuple(float(int(1000 * sigma)) for sigma in exact)
    sigmas = torch.tensor([*exact, 0.0], dtype=torch.float64, device="cpu").float().tolist()
    return Solver("unipc", told, tuple(sigmas), order)


def euler_solver(steps: int, *, shift: float, first: float | str) -> Solver:
    """Euler steps on Causal-rCM's grid of its teacher, in float64 (baselines/methods.md#wan-teacher).

    first: T, the first noise level, a number or a fraction as text. The levels are those of u_0 (1 - i / N)
    shifted, where u_0 is what shifts to T; the network is told 1000 times the level, rounded to bfloat16.
    """
    top = float(Fraction(first))
    u0 = top / (shift - (shift - 1) * top)
    levels = []
    for i in range(steps + 1):
        u = u0 * (1 - i / steps)
        levels.append(shift * u / (1 + (shift - 1) * u))
    told = (1000 * torch.tensor(levels[:-1], dtype=torch.float64, device="cpu")).bfloat16()
    return Solver("euler", tuple(told.tolist()), tuple(levels))


class _Euler:
    """x - (sigma_i - sigma_(i+1)) v, in float64."""

    def __init__(self, solver: Solver) -> None:
        self.sigmas, self.index = solver.sigmas, 0

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        now, following = self.sigmas[self.index : self.index + 2]
        self.index += 1
        wide, velocity = x.double(), v.double()
        x0 = (wide - now * velocity).to(x.dtype)
        return x0, (wide - (now - following) * velocity).to(x.dtype)


class _UniPC:
    """UniPC of order 1 or 2 with B(h) = e^hh - 1 on clean predictions, of order 1 at both ends, in float32.

    Source: arXiv 2302.04867, algorithms 5 to 8; the corrector takes the clean prediction of the predicted
    state, so that a step is one network call.
    """

    def __init__(self, solver: Solver) -> None:
        sigma = torch.tensor(solver.sigmas, dtype=torch.float32, device="cpu")
        self.sigma, self.alpha = sigma, 1 - sigma
        self.half_log_snr = torch.log(self.alpha) - torch.log(sigma)
        self.num_steps, self.order = solver.num_steps, solver.order
        self.index, self.used = 0, 0
        self.clean: list[Tensor] = []
        self.corrected: Tensor | None = None

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        i, state = self.index, x.float()
        clean = state - float(self.sigma[i]) * v.float()
        y = state if self.corrected is None else self._correct(self.corrected, clean)
        self.used = min(self.order, self.num_steps - i, i + 1)
        following = self._predict(y, clean)
        self.clean = [*self.clean[-1:], clean]
        self.corrected, self.index = y, i + 1
        return clean.to(x.dtype), following.to(x.dtype)

    def _correct(self, y: Tensor, clean: Tensor) -> Tensor:
        """State i from the corrected state i-1 and the clean prediction at i."""
        i, last = self.index, self.clean[-1]
        h = self.half_log_snr[i] - self.half_log_snr[i - 1]
        hh = -h
        e = torch.expm1(hh)
        gain = self.alpha[i] * e
        base = float(self.sigma[i] / self.sigma[i - 1]) * y - float(gain) * last
        change = clean - last
        if self.used == 1:
            return base - float(gain) * (0.5 * change)
        r = (self.half_log_snr[i - 2] - self.half_log_snr[i - 1]) / h
        first, second = (e / hh - 1) / e, 2 * ((e / hh - 1) / hh - 0.5) / e
        c0 = (second - first) / (r - 1)  # of c0 + c1 = first, r c0 + c1 = second
        c1 = first - c0
        slope = (self.clean[-2] - last) / float(r)
        return base - float(gain) * (float(c0) * slope + float(c1) * change)

    def _predict(self, y: Tensor, clean: Tensor) -> Tensor:
        """State i+1 from the corrected state i; at level 0 the clean prediction itself."""
        i = self.index
        if not self.sigma[i + 1]:
            return clean
        h = self.half_log_snr[i + 1] - self.half_log_snr[i]
        gain = self.alpha[i + 1] * torch.expm1(-h)
        following = float(self.sigma[i + 1] / self.sigma[i]) * y - float(gain) * clean
        if self.used == 1:
            return following
        r = (self.half_log_snr[i - 1] - self.half_log_snr[i]) / h
        return following - float(gain) * (0.5 / float(r)) * (self.clean[-1] - clean)
