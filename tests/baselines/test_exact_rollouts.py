"""Whole clips under `exact`, bit by bit against a second implementation of baselines/methods.md in bfloat16.

The reference keeps the clean, un-rotated keys of every frame in a dict, looks up which of them a call may see
(tests/baselines/visibility.py), and draws its noise by itself. It shares torch's kernels with the sampler and
nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from baselines.build import build_sampler, dtypes_of
from baselines.spec import load_all
from models.attention import BACKENDS, FORCED, best_kernel
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import WanConfig
from models.wan import Wan, cast_parameters, init_weights
from tests.baselines.visibility import OWN_RULE, Sees, sees_all
from tests.models.naive_wan import BF16, F32, F64, NaiveWan, sdpa, turned

ALL = load_all(Path(__file__).parents[2] / "baselines")
BASELINES = {name: row for name, row in ALL.items() if row.cache is not None}
CONFIG = WanConfig(
    dim=48, ffn_dim=96, num_layers=2, num_heads=3, freq_dim=32, text_dim=20, text_len=12,
    in_channels=4, out_channels=4,
)  # fmt: skip
SHAPE = (4, 4, 4)  # C, H, W
ITEM = 7

# (timestep the network is told, noise level) of every step: models/backbone.md#noise-schedule
FOUR = [(1000, 1), (937.5, 0.9375), (833.3333129882812, 0.833333313), (625, 0.625)]
FIVE = [
    (1000, 1), (952.3810424804688, 0.952381015), (882.3529052734375, 0.882352889), (769.2307739257812,
     0.769230783),
    (555.5556030273438, 0.555555582),
]  # fmt: skip
RAVEN = [(1000, 1), (938, 0.938), (833, 0.833), (625, 0.625)]


@dataclass(frozen=True)
class Facts:
    """A method as its section of baselines/methods.md describes it."""

    steps: list[tuple[float, float]]
    first_steps: list[tuple[float, float]] | None = None
    chunk: int | tuple[int, ...] = 3
    raven: bool = False
    adapters: bool | None = None  # None: none; else whether the layers outside the blocks have them too


METHODS = {
    "causvid": Facts([(1000, 1), (757, 0.756756723), (522, 0.521739125)]),
    "causvid_4step": Facts([(1000, 1), (960, 0.959999979), (888.888916015625, 0.888888896),
    (727.2727661132812, 0.727272749)]),
    "self_forcing": Facts(FOUR),
    "reward_forcing": Facts(FOUR),
    "causal_forcing": Facts(FOUR),
    "longlive": Facts(FOUR, adapters=False),
    "rolling_forcing": Facts(FIVE),
    "raven": Facts(RAVEN, raven=True),
    "cm_grpo": Facts(RAVEN, raven=True, adapters=True),
    "causal_forcing_framewise": Facts(FOUR, chunk=1),
    "causal_forcing_pp_2step": Facts([FOUR[0], FOUR[2]], FOUR, chunk=1),
    "causal_forcing_pp_1step": Facts([FOUR[0]], FOUR, chunk=1),
    "one_forcing_ffe": Facts([FOUR[0]], FOUR, chunk=(4, 1)),
    "sgf": Facts(FOUR),
    "opsdv_longlive": Facts(FOUR, adapters=False),
    "sgf_framewise": Facts(FOUR, chunk=1),
    "causal_forcing_long": Facts(FOUR),
    "self_forcing_window21": Facts(FOUR),
    "self_forcing_window21_sink3": Facts(FOUR),
}  # fmt: skip
TOLD_APART_BY_WEIGHTS = {
    "one_forcing": "causal_forcing_pp_1step",
    **dict.fromkeys(("opsdv_self_forcing", "longlive_infinity"), "opsdv_longlive"),
    **dict.fromkeys(("self_forcing_sid", "self_forcing_sid_v2", "self_forcing_gan"), "self_forcing"),
}
"""Rows whose sampler is another's."""
IN_FLOAT32_ONLY = {name for name in BASELINES if name.startswith(("causal_rcm", "sgf_plus"))}
"""Rows whose released roundings are not ours (baselines/methods.md#causal-rcm; test_causal_rcm.py has ours),
and those of two sets of weights, which round as SGF's; test_build.py has them."""


class NaiveSampler:
    """One clip of one method. `memory[layer][frame]` holds a clean frame's un-rotated key and its value,
    [1, P, N, H] each."""

    def __init__(self, name: str, wan: NaiveWan, rows: Tensor) -> None:
        """Everything is on the device of the prompt's rows; on a GPU it runs with that as torch's default
        device.
        """
        self.facts, self.wan, self.rows = METHODS[name], wan, rows
        self.rule, self.blends = OWN_RULE.get(name, sees_all), name == "reward_forcing"
        self.memory: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in range(wan.layers)]
        self.blended: set[tuple[int, ...]] = set()
        seed = 20001019 + ITEM if self.facts.raven else ITEM
        self.first = self.later = torch.Generator(rows.device).manual_seed(seed)
        if self.facts.raven:
            self.later = torch.Generator(rows.device).manual_seed((1103515245 * seed + 12345) % 2**31)

    def network(self, x: Tensor, t: list[float], start: int, clean: bool) -> Tensor:
        """Velocity of frames start, start + 1, ...; a clean call leaves their keys in memory."""
        frames = x.shape[1]
        sees = self.rule(start, frames, clean)
        self.blend(sees)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            own = {start + f: (k[:, f], v[:, f]) for f in range(frames)}
            known = {**self.memory[layer], **own}
            if clean:
                self.memory[layer].update(own)
            keys = torch.stack([known[frame][0] for frame in sees.keys], dim=1)
            values = torch.stack([known[frame][1] for frame in sees.keys], dim=1)
            q, keys = turned(q, sees.query_positions, 2, 2), turned(keys, sees.key_positions, 2, 2)
            out = sdpa(*(part.flatten(1, 2) for part in (q, keys, values)))
            return out.unflatten(1, v.shape[1:3])

        return self.wan.velocity(x, torch.tensor([t], dtype=F32), self.rows, attend)

    def blend(self, sees: Sees) -> None:
        """Reward Forcing: what left the window goes into frames 0-2, once, with three bfloat16 roundings
        (baselines/methods.md#reward-forcing).
        """
        for left in sees.blended if self.blends else []:
            if tuple(left) in self.blended:
                continue
            self.blended.add(tuple(left))
            for memory in self.memory:
                for sink, frame in zip((0, 1, 2), left, strict=True):
                    pairs = zip(memory[sink], memory[frame], strict=True)
                    memory[sink] = tuple(  # type: ignore[assignment]
                        (
                            (0.999 * old.to(F32)).to(BF16).to(F32)
                            + ((1 - 0.999) * new.to(F32)).to(BF16).to(F32)
                        ).to(BF16)
                        for old, new in pairs
                    )

    def to_x0(self, x: Tensor, v: Tensor, sigma: float) -> Tensor:
        wide = F32 if self.facts.raven else F64
        return (x.to(wide) - torch.tensor(sigma, dtype=F32).to(wide) * v.to(wide)).to(x.dtype)

    def renoise(self, x0: Tensor, eps: Tensor, sigma: float) -> Tensor:
        s = torch.tensor(sigma, dtype=F32)
        return ((1 - s) * x0.to(F32) + s * eps.to(F32)).to(x0.dtype)

    def initial(self, frames: int) -> Tensor:
        channels, height, width = SHAPE
        if self.facts.raven:
            return torch.randn(1, channels, frames, height, width, generator=self.first).transpose(1, 2)
        return torch.randn(1, frames, channels, height, width, generator=self.first, dtype=BF16)

    def noise(self, frames: int) -> Tensor:
        channels, height, width = SHAPE
        if self.facts.raven:
            return torch.randn(channels, frames, height, width, generator=self.later).transpose(0, 1)[None]
        return torch.randn(frames, channels, height, width, generator=self.later, dtype=BF16)[None]

    def chunked(self, total: int) -> Iterator[Tensor]:
        """baselines/methods.md#chunked-rollout, the context pass after the last chunk included."""
        z, given = self.initial(total), self.facts.chunk
        first, rest = given if isinstance(given, tuple) else (given, given)
        for start in (0, *range(first, total, rest)):
            chunk = rest if start else first
            steps = self.facts.first_steps if start == 0 and self.facts.first_steps else self.facts.steps
            x = z[:, start : start + chunk]
            for k, (timestep, sigma) in enumerate(steps):
                v = self.network(x, [timestep] * chunk, start, clean=False)
                x0 = self.to_x0(x, v, sigma)
                if k + 1 < len(steps):
                    x = self.renoise(x0, self.noise(chunk), steps[k + 1][1])
                elif self.facts.raven:
                    x0 = self.renoise(x0, self.noise(chunk), 0.0)
            yield x0
            self.network(x0, [0.0] * chunk, start, clean=True)

    def rolling(self, total: int) -> Iterator[Tensor]:
        """baselines/methods.md#rolling-forcing: windows 0 .. nb + S - 2, a context pass on the first block of
        every window.
        """
        z, steps = self.initial(total), self.facts.steps
        pending = torch.zeros_like(z)
        num_blocks, count = total // 3, len(steps)
        for w in range(num_blocks + count - 1):
            a, b = max(0, w - count + 1), min(num_blocks - 1, w)
            entering = w < num_blocks
            x = (
                torch.cat([pending[:, 3 * a : 3 * b], z[:, 3 * b : 3 * b + 3]], 1)
                if entering
                else pending[:, 3 * a :]
            )
            order = list(range(w, -1, -1)) if a == 0 else list(range(count - 1, -1, -1))[: b - a + 1]
            t = [steps[k][0] for k in order for _ in range(3)]
            v = self.network(x, t, 3 * a, clean=False)
            x0 = torch.cat(
                [
                    self.to_x0(x[:, f : f + 1], v[:, f : f + 1], steps[order[f // 3]][1])
                    for f in range(x.shape[1])
                ],
                dim=1,
            )
            for i, k in enumerate(order):
                if k != count - 1:
                    eps = self.noise(x.shape[1])[:, 3 * i : 3 * i + 3]
                    place = slice(3 * (a + i), 3 * (a + i) + 3)
                    pending[:, place] = self.renoise(x0[:, 3 * i : 3 * i + 3], eps, steps[k + 1][1])
            self.network(x0[:, :3], [0.0] * 3, 3 * a, clean=True)
            if order[0] == count - 1:
                yield x0[:, :3]


def both(name: str) -> tuple[Wan, NaiveWan]:
    """Our network under `exact` and the naive one, on the same float32 weights, with adapters where the
    method has them."""
    facts, baseline = METHODS[name], BASELINES[name]
    dtypes = dtypes_of(baseline, "exact")
    wan = Wan(CONFIG, dtypes.network)
    generator = torch.Generator().manual_seed(2)
    init_weights(wan, generator, zero_head=False)
    if facts.adapters is not None:
        wan = inner_wan(add_lora(wan, LoraSettings(rank=4, alpha=4, outer=facts.adapters), seed=1))
    for parameter_name, parameter in wan.named_parameters():
        if parameter_name.endswith("bias") or ".lora_B." in parameter_name:
            parameter.data.normal_(std=0.1, generator=generator)
        if "self_attn.norm_q" in parameter_name:
            parameter.data.mul_(2)  # sharp attention, so that a wrong key shows
    weights = {key: value.clone() for key, value in wan.state_dict().items()}
    naive = NaiveWan(
        weights, facts.raven, CONFIG.num_layers, CONFIG.num_heads, CONFIG.text_len, CONFIG.freq_dim
    )
    return cast_parameters(wan, dtypes.matmul).requires_grad_(False), naive


LONG = (
    "raven", "longlive", "reward_forcing", "rolling_forcing", "self_forcing_window21",
    "self_forcing_window21_sink3", "opsdv_longlive",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        *((name, 21) for name in METHODS),
        *(pytest.param(name, 36, marks=pytest.mark.slow) for name in LONG),
    ],
)
def test_exact_clip_is_bit_equal(name: str, frames: int) -> None:
    """Every method: timesteps and noise levels, dtypes between calls, draws and their
    generators, what each call sees and where it is rotated, the blend's three roundings, unmerged adapters.
    Bits agree because both sides hand torch's kernels equal tensors; one rounding more or less anywhere and
    they do not.
    """
    assert {*METHODS, *TOLD_APART_BY_WEIGHTS, *IN_FLOAT32_ONLY} == set(BASELINES)
    for row, other in TOLD_APART_BY_WEIGHTS.items():
        assert BASELINES[row].sampled() == BASELINES[other].sampled()
    compare(name, frames, torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", METHODS)
def test_exact_clip_is_bit_equal_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the generators, kernels and attention of a GPU; both sides use torch's own attention."""
    monkeypatch.setenv(FORCED, "sdpa")
    best_kernel.cache_clear()
    with torch.device("cuda"), sdpa_kernel(BACKENDS, set_priority=True):
        compare(name, 21, torch.device("cuda"))
    best_kernel.cache_clear()


def compare(name: str, frames: int, device: torch.device) -> None:
    """Assert equal bits, chunk by chunk."""
    with torch.device("cpu"):
        wan, naive_wan = both(name)
        rows = torch.randn(1, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(9)).to(BF16)
    wan, rows = wan.to(device), rows.to(device)
    naive_wan = naive_wan._replace(
        weights={key: value.to(device) for key, value in naive_wan.weights.items()}
    )
    sampler = build_sampler(BASELINES[name], wan, latent_shape=(frames, *SHAPE), precision="exact")
    naive = NaiveSampler(name, naive_wan, rows)
    with torch.no_grad():
        expected = (
            naive.rolling(frames) if BASELINES[name].rollout.kind == "rolling" else naive.chunked(frames)
        )
        noise = sampler.upstream_noise([ITEM], device)
        for chunk, latents in zip(sampler.sample(rows, noise), expected, strict=True):
            assert chunk.latents.dtype == (F32 if METHODS[name].raven else BF16)
            assert torch.equal(chunk.latents, latents), f"frames from {chunk.start}"
