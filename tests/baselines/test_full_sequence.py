"""The rollout of the bidirectional model, from its file to a clip."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.build import Sampler, build_sampler, rollout_of
from baselines.describe import described_clip
from baselines.native import Baseline, SolverSettings
from baselines.released import release_of
from baselines.spec import load_all, load_baseline
from models.config import DtypePolicy, WanConfig
from models.noise import SampleKey
from models.rollout import Denoised, Finished
from models.wan import Wan, init_weights

FOLDER = Path(__file__).parents[2] / "baselines"
TEACHERS = {name: row for name, row in load_all(FOLDER).items() if row.rollout.kind == "full"}
CONFIG = WanConfig(
    dim=48, ffn_dim=96, num_layers=2, num_heads=3, freq_dim=32, text_dim=20, text_len=12,
    in_channels=4, out_channels=4,
)  # fmt: skip
SHAPE = (3, 4, 4, 4)
STEPS = 6


def tiny_wan() -> Wan:
    wan = Wan(CONFIG, DtypePolicy(rotary="float32", fp32_modules="parameters"))
    init_weights(wan, torch.Generator().manual_seed(3), zero_head=False)
    return wan.eval().requires_grad_(False)


def sampler_of(name: str, wan: Wan, **changes: Any) -> Sampler:
    """A teacher of six steps in float32."""
    row = TEACHERS[name]
    assert isinstance(row.schedule, SolverSettings)
    schedule = row.schedule.model_copy(update={"steps": STEPS, **changes})
    row = row.model_copy(update={"schedule": schedule})
    return build_sampler(row, wan, latent_shape=SHAPE, precision="float32")


def prompts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 7, 20, generator=generator), torch.randn(1, 9, 20, generator=generator)


def euler_by_hand(network: Any, x: Tensor) -> Tensor:
    """baselines/methods.md#wan-teacher in float64: shift 3, guidance 5, first level 1600/1601."""
    top = 1600 / 1601
    u = [top / (3 - 2 * top) * (1 - i / STEPS) for i in range(STEPS + 1)]
    t = [3 * one / (1 + 2 * one) for one in u]
    state = top * x.double()
    for now, following in itertools.pairwise(t):
        told = float(torch.tensor(1000 * now, dtype=torch.float64).to(torch.bfloat16))
        state = state - (now - following) * network(state, told, 5.0)
    return state


def unipc_by_hand(network: Any, x: Tensor) -> Tensor:
    """The same of the README setting: the solver's general form, whose weights a linear system gives, with
    logarithms of the signal-to-noise ratio and sums over whichever clean predictions an order takes."""
    s = [np.float64(np.float32(0.999)) * (1 - i / STEPS) for i in range(STEPS)]
    sigma = [8 * one / (1 + 7 * one) for one in s]
    log_snr = [np.log((1 - one) / one) for one in sigma]
    state, corrected, clean = x.double(), x.double(), list[Tensor]()

    def weights(at: list[float], hh: float) -> Any:
        moments, phi = [], np.expm1(hh) / hh - 1
        for k in range(1, len(at) + 1):
            moments.append(phi * np.prod(range(1, k + 1)) / np.expm1(hh))
            phi = phi / hh - 1 / np.prod(range(1, k + 2))
        return np.linalg.solve(np.array([[one**k for one in at] for k in range(len(at))]), moments)

    order = 0
    for i in range(STEPS):
        m = state - sigma[i] * network(state, float(int(1000 * sigma[i])), 6.0)
        if i:  # correct what the step before left, by its order
            h = log_snr[i] - log_snr[i - 1]
            older = [(log_snr[i - 2] - log_snr[i - 1]) / h] if order == 2 else []
            rho = weights([*older, 1.0], -h) if older else [0.5]
            slopes = [(clean[-2] - clean[-1]) / older[0]] if older else []
            change = sum(w * d for w, d in zip(rho, [*slopes, m - clean[-1]], strict=True))
            signal = (1 - sigma[i]) * np.expm1(-h)
            corrected = sigma[i] / sigma[i - 1] * corrected - signal * (clean[-1] + change)
        clean.append(m)
        order = min(2, STEPS - i, i + 1)
        if i == STEPS - 1:
            return m
        h = log_snr[i + 1] - log_snr[i]
        step = clean[-1]
        if order == 2:
            step = step + 0.5 * (clean[-2] - clean[-1]) / ((log_snr[i - 1] - log_snr[i]) / h)
        state = sigma[i + 1] / sigma[i] * corrected - (1 - sigma[i + 1]) * np.expm1(-h) * step
    raise AssertionError


@pytest.mark.parametrize("name", ["wan_teacher", "wan_teacher_rcm"])
def test_a_clip_equals_one_plain_loop(name: str) -> None:
    """Guards solver, guidance, text of both prompts and the start against a loop in float64 that shares the
    network alone, one clip at a time, both prompts in one batch."""
    wan, (text, negative) = tiny_wan(), prompts()
    sampler = sampler_of(name, wan)
    noise = sampler.portable_noise("test", [SampleKey("p", i) for i in range(2)])
    (made,) = sampler.sample(text, noise, negative)
    for clip, (rows, start) in enumerate(zip(text, next(noise.initial_pieces([3])), strict=True)):
        padded = torch.zeros(2, 12, 20)
        padded[0, :7], padded[1, :9] = rows, negative[0]

        def network(x: Tensor, t: float, scale: float, both: Tensor = padded) -> Tensor:
            two = x.float().expand(2, -1, -1, -1, -1)
            v, against = wan(two, torch.full((2, 3), t), wan.embed_text(both)).double().split(1)
            return against + scale * (v - against)

        expected = (unipc_by_hand if name == "wan_teacher" else euler_by_hand)(network, start[None])
        assert expected.std() > 0.1
        torch.testing.assert_close(made.latents[clip : clip + 1].double(), expected, atol=5e-5, rtol=1e-5)


def test_a_step_is_a_record_and_the_clip_comes_at_the_end() -> None:
    """Guards what callers count: calls of both prompts, one `Finished` of all frames, its values the last
    clean prediction."""
    (text, negative), wan = prompts(), tiny_wan()
    for name in TEACHERS:
        sampler = sampler_of(name, wan)
        noise = sampler.portable_noise("test", [SampleKey("p", 0), SampleKey("p", 1)])
        *steps, last = sampler.records(text, noise, negative)
        assert isinstance(last, Finished)
        denoised = [step for step in steps if isinstance(step, Denoised)]
        assert [step.step for step in denoised] == list(range(STEPS))
        assert {step.calls for step in denoised} == {2}
        torch.testing.assert_close(last.latents, denoised[-1].x0, atol=1e-5, rtol=0)
        assert not last.latents.requires_grad


def test_without_guidance_nothing_negative_is_needed() -> None:
    """One call a step; with guidance a missing negative prompt is a sentence, not the empty prompt."""
    (text, negative), wan = prompts(), tiny_wan()
    plain = sampler_of("wan_teacher", wan, guidance=1.0, negative=None)
    keys = [SampleKey("p", 0), SampleKey("p", 1)]
    calls = [r.calls for r in plain.records(text, plain.portable_noise("t", keys)) if isinstance(r, Denoised)]
    assert (plain.needs_negative, calls) == (False, [1] * STEPS)
    guided = sampler_of("wan_teacher", wan)
    assert guided.needs_negative
    with pytest.raises(ValueError, match="needs the embedding of a negative prompt, found none"):
        guided.records(text, guided.portable_noise("t", keys))
    with pytest.raises(ValueError, match="noise is for 1 clips, but there are prompt embeddings for 2"):
        next(guided.sample(text, guided.portable_noise("t", keys[:1]), negative))


def test_the_teachers_are_the_published_settings() -> None:
    """baselines/methods.md#wan-teacher: 100 calls on 21 frames and one draw, of Wan's own file."""
    found = {}
    for name, row in TEACHERS.items():
        s = row.schedule
        assert isinstance(s, SolverSettings)
        found[name] = (s.solver, s.order, s.steps, s.shift, s.first_level, s.guidance, s.negative)
        clip = described_clip(row)
        assert (clip.denoising, clip.context, len(clip.draws), s.num_calls) == (100, 0, 1, 100)
        assert clip.draws[0].shape == (1, 16, 21, 60, 104)
        release = release_of(row, Path("weights/wan_teacher/diffusion_pytorch_model.safetensors"))
        assert (release.role, release.not_these) == ("bidirectional", {})
    assert found == {
        "wan_teacher": ("unipc", 2, 50, 8.0, None, 6.0, "wan"),
        "wan_teacher_rcm": ("euler", None, 50, 3.0, "1600/1601", 5.0, "wan"),
        "wan_teacher_guidance3": ("unipc", 2, 50, 5.0, None, 3.0, "wan"),
    }


def test_training_has_no_rollout_to_take() -> None:
    """Guards training from a bidirectional row: a sentence instead of a wrong student."""
    with pytest.raises(ValueError, match="denoises all frames of a clip together"):
        rollout_of(TEACHERS["wan_teacher"], 21, "float32")


TEXT = (FOLDER / "wan_teacher.yaml").read_text()
CACHE = (FOLDER / "self_forcing.yaml").read_text().partition("cache:\n")[2].partition("noise:")[0]
WRONG = [
    ("cache: null", f"cache:\n{CACHE.rstrip()}", "schedule names a solver and cache is absolute"),
    ("  kind: full", "  kind: chunked\n  chunk: 3", "rollout.kind is chunked, schedule names a solver"),
    ("  frames: 21", "  frames: 21\n  chunk: 3", "denoises all frames together, so take chunk out"),
    ("  frames: 21", "  frames: 21\n  context: last_step", "kind full keeps nothing between chunks"),
    ("  guidance: 6.0", "  guidance: 1.0", "guidance 1 with negative wan; guidance 1 calls"),
    ("  negative: wan", "  negative: null", "guidance 6 with negative None"),
    ("  negative: wan", "  negative: ugly", "key 'schedule.negative' is 'ugly'"),
    ("  order: 2", "  order: null", "solver unipc has order None and first_level None"),
    ("  order: 2", "  order: 3", "key 'schedule.order' is 3"),
    ("  first_level: null", "  first_level: 0.5", "solver unipc has order 2 and first_level 0.5"),
    ("solver: unipc", "solver: dpm", "key 'schedule.solver' is 'dpm'"),
    ("  steps: 50", "  steps: [1000, 500]", "key 'schedule.steps'"),
    ("  shift: 8.0", "  shift: 8.0\n  warp: true", "schedule has solver and warp, which"),
    ("  key: ", "  memory: {infix: memory_, tensors: 825}\n  key: ", "adapter and weights.memory do not"),
    ("  extent: chunk", "  extent: clip", "rollout.kind full draws its first noise alone"),
    ("  kind: full", "  kind: ful", "key 'rollout.kind' is 'ful'"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "sentence"), WRONG)
def test_a_wrong_teacher_is_told_in_one_sentence(tmp_path: Path, good: str, bad: str, sentence: str) -> None:
    assert good in TEXT
    path = tmp_path / "wan_teacher.yaml"
    path.write_text(TEXT.replace(good, bad, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        load_baseline(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_a_chunked_file_without_its_chunk_or_cache_is_told(tmp_path: Path) -> None:
    """What a full rollout may leave out, the others may not."""
    text = (FOLDER / "self_forcing.yaml").read_text()
    for good, bad, sentence in (
        ("  chunk: 3\n", "", "say how many latent frames are denoised together"),
        (
            f"cache:\n{CACHE}",
            "cache: null\n",
            "rollout.kind is chunked, schedule names no solver and cache is null",
        ),
        ("  kind: chunked\n  chunk: 3", "  kind: full", "rollout.kind is full, schedule names no solver"),
    ):
        assert good in text
        path = tmp_path / "self_forcing.yaml"
        path.write_text(text.replace(good, bad, 1))
        with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
            load_baseline(path)
        assert "\n" not in str(raised.value)


def test_rows_that_were_there_are_read_as_before() -> None:
    """No key of theirs appeared or left, so their clips are not stale."""
    for name, row in load_all(FOLDER).items():
        if name not in TEACHERS:
            assert isinstance(row, Baseline)
            assert row.cache is not None
            second = {"memory"} if row.weights.memory else set()
            assert set(row.sampled()) == {"schedule", "rollout", "cache", "noise", "dtypes"} | second
            assert "solver" not in row.sampled()["schedule"]
