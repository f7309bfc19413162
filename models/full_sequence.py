"""The rollout of a bidirectional model: all frames of a clip at one noise level, without a cache.

Legend: B batch, F latent frames, C channels, H, W latent size, L rows of a prompt's embedding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.noise import NoiseSource
from models.rollout import Denoised, Finished, RolloutRecord
from models.solvers import Solver
from models.wan import Wan

PromptedCall = Callable[[Tensor, Tensor, bool], Tensor]
"""(x [B, F, C, H, W], timesteps [B, F], whether on the negative prompt) -> velocity [B, F, C, H, W]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSequence:
    """How a bidirectional model samples."""

    solver: Solver
    frames: int
    """Latent frames of a clip."""
    guidance: float
    """g of v_negative + g (v - v_negative); at 1 the negative prompt is not called."""

    @property
    def guided(self) -> bool:
        return self.guidance != 1

    @property
    def num_calls(self) -> int:
        """Network calls of a clip: two a step with guidance."""
        return self.solver.num_steps * (2 if self.guided else 1)

    def run(
        self, wan: Wan, text: Tensor, noise: NoiseSource, *, negative: Tensor | None
    ) -> Iterator[RolloutRecord]:
        """Records of one rollout of `wan` on prompt embeddings [B, L, text_dim], without gradient.

        negative: embedding [1, L, text_dim] of the negative prompt, for all clips. Raises ValueError if it is
        missing where there is guidance, or noise and text are of different batches.
        """
        if self.guided and negative is None:
            raise ValueError(
                f"Guidance {self.guidance:g} needs the embedding of a negative prompt, found none; encode "
                "negative_prompt of models/text.py and hand it over."
            )
        with torch.no_grad():
            contexts = [wan.text_kv(wan.embed_text(text))]
            if self.guided and negative is not None:
                against = negative.expand(len(text), -1, -1)
                contexts.append(wan.text_kv(wan.embed_text(against)))

        def network(x: Tensor, t: Tensor, against: bool) -> Tensor:
            if x.shape[0] != text.shape[0]:
                raise ValueError(
                    f"The noise is for {x.shape[0]} clips, but there are prompt embeddings for "
                    f"{text.shape[0]}; make noise and text agree."
                )
            v: Tensor = wan(x, t, contexts[against])
            return v

        return self.denoised(network, noise)

    def denoised(self, network: PromptedCall, noise: NoiseSource) -> Iterator[RolloutRecord]:
        """One `Denoised` a step, of one network call or two, then the clip as one `Finished`."""
        (z,) = noise.initial_pieces([self.frames])
        x = self.solver.start(z)
        taken = self.solver.begin()
        batch, frames = x.shape[:2]
        for step, timestep in enumerate(self.solver.timesteps):
            t = torch.full((batch, frames), timestep, device=x.device)
            with torch.no_grad():
                v = network(x, t, False).float()
                if self.guided:
                    against = network(x, t, True).float()
                    v = against + self.guidance * (v - against)
                x0, following = taken.step(x, v)
            yield Denoised(0, frames, (step,) * frames, x, v, x0, calls=1 + self.guided)
            x = following
        yield Finished(0, x)
