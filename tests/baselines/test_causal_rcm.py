"""Causal-rCM from its draws to its latents, against one plain loop."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from baselines.build import build_sampler
from baselines.spec import load_all
from models.config import DtypePolicy, WanConfig
from models.plan import AttendPlan, Read, Write
from models.rollout import plain_runner
from models.wan import Wan, cast_parameters, init_weights

BASELINES = load_all(Path(__file__).parents[2] / "baselines")
CONFIG = WanConfig(
    dim=48, ffn_dim=96, num_layers=2, num_heads=3, freq_dim=32, text_dim=20, text_len=12,
    in_channels=4, out_channels=4,
)  # fmt: skip
SHAPE = (4, 4, 4)  # C, H, W
ALL_LEVELS = (1600 / 1601, 15 / 16, 5 / 6, 5 / 8)


class RcmFacts(NamedTuple):
    """Frames of a chunk, levels of the chunks after the first, and whether these see noisy contexts."""

    chunk: int
    levels: tuple[float, ...] = ALL_LEVELS
    noisy: bool = False


RCM = {  # baselines/methods.md#causal-rcm
    "causal_rcm_c1_4step": RcmFacts(1),
    "causal_rcm_c1_2step": RcmFacts(1, (1600 / 1601, 5 / 6)),
    "causal_rcm_c1_1step": RcmFacts(1, (1600 / 1601,)),
    "causal_rcm_c3_4step": RcmFacts(3),
    "causal_rcm_c3_2step": RcmFacts(3, (1600 / 1601, 5 / 6)),
    "causal_rcm_c3_2step_noisy": RcmFacts(3, (1600 / 1601, 5 / 8), noisy=True),
    "causal_rcm_scm_c3_4step": RcmFacts(3),
}


def rcm_by_hand(wan: Wan, rows: Tensor, facts: RcmFacts, frames: int, seed: int) -> Tensor:
    """One clip: a generator, the levels and the arithmetic in float64 of its own, the cache's slots being
    the clip's frames. It shares the network alone.
    """
    draws = torch.Generator().manual_seed(seed)
    z, *eps = [
        torch.randn(1, SHAPE[0], frames, *SHAPE[1:], generator=draws).transpose(1, 2).double()
        for _ in range(1 + len(ALL_LEVELS))
    ]
    network = plain_runner(wan, rows, frames).denoise
    done = []
    for start in range(0, frames, facts.chunk):
        here = slice(start, start + facts.chunk)
        history = (Read("cache", 0, start, None),) if start else ()
        own = Read("self", 0, facts.chunk, start)
        plan = AttendPlan(
            facts.chunk, start, (), None, Write(start, facts.chunk, 0, "rotated"), (*history, own)
        )
        levels = facts.levels if start else ALL_LEVELS
        x = levels[0] * z[:, here]
        for k, (level, following) in enumerate(pairwise((*levels, 0.0))):
            told = torch.tensor(1000 * level, dtype=torch.float64).bfloat16().float()
            v = network(x.bfloat16(), told.expand(1, facts.chunk), plan).double()
            x = (1 - following) * (x - level * v) + following * eps[k][:, here]
        done.append(x)
        if not start or not facts.noisy:
            network(x.bfloat16(), torch.zeros(1, facts.chunk), plan)
    return torch.cat(done, dim=1)


@pytest.mark.parametrize("name", RCM)
def test_causal_rcm_is_one_plain_loop(name: str) -> None:
    """baselines/methods.md#causal-rcm under `exact`, bit for bit: exact levels and rounded timesteps, the
    start at T0 times the noise, one generator of whole draws of which a chunk takes its frames, float64
    between calls, what the cache keeps. A float32 anywhere shows. `build_sampler` refuses a network of
    another precision than this one's.
    """
    assert set(RCM) == {row for row in BASELINES if row.startswith("causal_rcm")}
    exact = Wan(CONFIG, DtypePolicy(rotary="float32", fp32_modules="float32", operators="plain"))
    init_weights(exact, torch.Generator().manual_seed(0), zero_head=False)
    for block in exact.blocks:
        block.self_attn.norm_q.weight.data.mul_(2)  # sharp attention, so that a wrong key shows
    exact = cast_parameters(exact, torch.bfloat16).requires_grad_(False)
    sampler = build_sampler(BASELINES[name], exact, latent_shape=(9, *SHAPE), precision="exact")
    rows = torch.randn(1, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(9)).bfloat16()
    noise = sampler.upstream_noise([3], torch.device("cpu"))
    made = torch.cat([chunk.latents for chunk in sampler.sample(rows, noise)], dim=1)
    with torch.no_grad():
        expected = rcm_by_hand(exact, rows, RCM[name], frames=9, seed=3)
    assert made.dtype == torch.float64
    assert torch.equal(made, expected)
