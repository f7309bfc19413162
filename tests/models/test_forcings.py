"""RAVEN's ablation switches, each set through the recipe's strict settings
(models/training/methods.md#forcings).
"""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.strict_yaml import parse_strict
from models.cache import KVCache
from models.schedule import add_noise, to_x0
from models.training.chunk_weights import chunk_weights
from models.training.data_parallel import rows_of
from models.training.raven import Raven
from models.training.rollouts import Trajectory, replay
from models.training.settings import FORCINGS, DmdSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan
from tests.models.training_toys import CHUNKS, CPU, SHAPE, normal, wan_of

WITH_DATA = ("teacher_forcing", "diffusion_forcing")
FOUR, TIMES = range(4), torch.tensor([1000.0, 938.0, 833.0, 625.0])


def settings_of(**values: Any) -> DmdSettings:
    """Settings as a suite's file gives them: read strictly from text."""
    plain = {
        "iterations": 4,
        "batch": 4,
        "seed": 7,
        "student": {"lr": 1e-3},
        "fake": {"lr": 1e-3},
        "chunks": list(CHUNKS),
    }
    return parse_strict(json.dumps(plain | values), DmdSettings, where="raven")


def recipe_of(**values: Any) -> Raven:
    """Three random networks, six captions, and a clip for each where the forcing wants it."""
    settings = settings_of(**values)
    return Raven(
        wan_of(1),
        wan_of(2),
        wan_of(3).requires_grad_(False),
        normal(6, 6, 8, seed=5, dtype=torch.float32),
        SHAPE,
        settings,
        Streams(seed=settings.seed, device=CPU),
        latents=normal(6, *SHAPE, seed=8, dtype=torch.float32) if settings.uses_data else None,
    )


class Case:
    """One generator forward of a forcing on four samples: recipe, rollout, text, real clips and what it
    predicted.
    """

    def __init__(self, forcing: str) -> None:
        self.recipe = recipe_of(forcing=forcing)
        self.text = self.recipe.texts[[0, 1, 2, 3]]
        self.rolled: Trajectory = self.recipe.roll_out(5, FOUR, self.text)
        self.data = normal(4, *SHAPE, seed=9, dtype=torch.float32) if forcing in WITH_DATA else None
        self.x0 = self.recipe.predict(5, FOUR, self.rolled, self.text, self.data)

    def noise(self) -> Tensor:
        return self.recipe.streams.normal("data noise", 5, FOUR, SHAPE)

    def t(self) -> Tensor:
        """[4]: the level of each sample."""
        return TIMES[self.recipe.streams.choice("student step", 5, FOUR, 4)[:, 0]]


def chunk_after(wan: Wan, before: Tensor, chunk: Tensor, t_before: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """Naive reference: prediction of one chunk from a forward over the frames before it and itself. t_before,
    t: [B, f] timesteps.
    """
    x, times = torch.cat([before, chunk], dim=1), torch.cat([t_before, t], dim=1)
    v = wan.block_causal(x, times, wan.embed_text(text), chunks=CHUNKS[: x.shape[1] // 2])
    return to_x0(x, v, times / 1000)[:, before.shape[1] :]


def parameter_gradient(wan: Wan, loss: Tensor) -> Tensor:
    found = torch.autograd.grad(loss, list(wan.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def test_teacher_forcing_sees_real_history_and_noised_real_chunks() -> None:
    """Guards against a history from the rollout, and against another noise level or noise than the sample's
    own.
    """
    case = Case("teacher_forcing")
    assert case.data is not None
    t = case.t()[:, None].expand(-1, 8)
    noisy = add_noise(case.data, case.noise(), t / 1000)
    for k in range(4):
        here, past = slice(2 * k, 2 * k + 2), slice(0, 2 * k)
        expected = chunk_after(
            case.recipe.wan,
            case.data[:, past],
            noisy[:, here],
            torch.zeros_like(t[:, past]),
            t[:, here],
            case.text,
        )
        torch.testing.assert_close(case.x0[:, here], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("forcing", ["diffusion_forcing", "diffusion_forcing_self_rollout"])
def test_diffusion_forcing_sees_noisy_history_each_chunk_at_its_own_level(forcing: str) -> None:
    """Self rollout: endpoints on the way to the rollout's initial noise. Guards against clean copies, one
    level for all chunks, a fifth level, and fresh noise where the rollout's own belongs.
    """
    case = Case(forcing)
    step = case.recipe.streams.choice("chunk step", 5, FOUR, 4, 4)
    assert all(len(row.unique()) > 1 for row in step) and set(step.flatten().tolist()) == {0, 1, 2, 3}
    t = TIMES[step].repeat_interleave(2, dim=1)
    if case.data is None:
        start = StreamNoise(streams=case.recipe.streams, iteration=5, samples=FOUR, shape=SHAPE).initial()
        noisy = add_noise(case.rolled.endpoints, start, t / 1000)
    else:
        noisy = add_noise(case.data, case.noise(), t / 1000)
    for k in range(4):
        here, past = slice(2 * k, 2 * k + 2), slice(0, 2 * k)
        expected = chunk_after(
            case.recipe.wan, noisy[:, past], noisy[:, here], t[:, past], t[:, here], case.text
        )
        torch.testing.assert_close(case.x0[:, here], expected, rtol=1e-4, atol=1e-5)


def test_self_forcing_sees_its_own_predictions_of_the_same_step() -> None:
    """History is what the chunks before were predicted to be at the sample's level, not the rollout's
    endpoints (models/training/methods.md#forcings).
    """
    case = Case("self_forcing")
    t = case.t()[:, None].expand(-1, 8)
    states = case.rolled.states[case.recipe.streams.choice("student step", 5, FOUR, 4)[:, 0], torch.arange(4)]
    for k in range(4):
        here, past = slice(2 * k, 2 * k + 2), slice(0, 2 * k)
        expected = chunk_after(
            case.recipe.wan,
            case.x0[:, past],
            states[:, here],
            torch.zeros_like(t[:, past]),
            t[:, here],
            case.text,
        )
        torch.testing.assert_close(case.x0[:, here], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(case.x0, case.rolled.endpoints, atol=1e-2)


def test_self_forcing_gives_no_gradient_to_the_history() -> None:
    """The gradient is that of each chunk's own call, with a history that another, frozen network computes.

    Guards against a cache pass with gradient, and against histories that share a graph with the predictions.
    """
    case = Case("self_forcing")
    wan, frozen = case.recipe.wan, copy.deepcopy(case.recipe.wan).requires_grad_(False)
    t = case.t()[:, None].expand(-1, 2)
    states = case.rolled.states[case.recipe.streams.choice("student step", 5, FOUR, 4)[:, 0], torch.arange(4)]
    texts = [net.text_kv(net.embed_text(case.text)) for net in (wan, frozen)]
    cache = KVCache.for_calls(wan.config, states, 8, torch.float32)
    planner, made = case.recipe.rollout.policy.planner(), []
    for start in range(0, 8, 2):
        x = states[:, start : start + 2]
        made.append(to_x0(x, wan.cached(x, t, texts[0], cache, planner.plan(start, 2, "denoise")), t / 1000))
        frozen.cached(
            made[-1].detach(), torch.zeros(4, 2), texts[1], cache, planner.plan(start, 2, "context")
        )
    weights = normal(4, *SHAPE, seed=4, dtype=torch.float32)
    ours = parameter_gradient(wan, (case.x0 * weights).sum())
    torch.testing.assert_close(
        ours, parameter_gradient(wan, (torch.cat(made, dim=1) * weights).sum()), rtol=1e-4, atol=1e-4
    )
    whole = Case("training_time_test")
    through = [parameter_gradient(one.recipe.wan, one.x0[:, 6:].square().sum()) for one in (case, whole)]
    assert float((through[0] - through[1]).norm() / through[1].norm()) > 1e-2, "the history carries gradient"


@pytest.mark.parametrize(("sink", "window"), [(0, None), (0, 1), (1, 1), (1, 2)])
def test_self_forcing_keeps_the_window(sink: int, window: int | None) -> None:
    """Its cached calls see what the interleaved mask shows for the same history, and a cache that moves on
    spoils no gradient.
    """
    recipe = recipe_of(forcing="self_forcing", sink=sink, window=window)
    text = recipe.texts[[0, 1, 2, 3]]
    rolled = recipe.roll_out(5, FOUR, text)
    x0 = recipe.predict(5, FOUR, rolled, text)
    step = recipe.streams.choice("student step", 5, FOUR, 4)[:, 0]
    states = rolled.states[step, torch.arange(4)]
    expected = replay(recipe.wan, states, x0.detach(), TIMES[step], text, recipe.settings)
    torch.testing.assert_close(x0, expected, rtol=1e-4, atol=1e-5)
    gradients = [parameter_gradient(recipe.wan, one[:, :2].square().sum()) for one in (x0, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("forcing", FORCINGS)
def test_rollout_and_data_are_constants(forcing: str) -> None:
    """models/training/methods.md#distribution-matching-loss: gradients go to parameters only, never into
    latents that were sampled or read.
    """
    case = Case(forcing)
    assert case.x0.requires_grad and case.x0.shape == (4, *SHAPE)
    assert not case.rolled.states.requires_grad and not case.rolled.endpoints.requires_grad
    assert float(parameter_gradient(case.recipe.wan, case.x0.square().sum()).norm()) > 0


def test_the_fake_score_trains_on_rollouts_under_every_forcing() -> None:
    """models/training/methods.md#forcings: forcings change the generator phase alone. Two iterations: the
    first fake loss is one number for all that draw the same prompts, the student moves in the second, and
    each forcing moves it somewhere else.
    """
    losses, students = set(), set()
    for forcing in FORCINGS:
        recipe = recipe_of(forcing=forcing)
        losses.add(recipe.step(0, 0.0)["fake_loss"])
        assert recipe.student.updates == 0
        assert recipe.step(1, 0.0)["student_grad_norm"] > 0
        students.add(float(recipe.wan.head.head.weight.detach().double().sum()))
    assert len(losses) == 1 and len(students) == len(FORCINGS)


@pytest.mark.parametrize("forcing", FORCINGS)
def test_slices_change_nothing(forcing: str) -> None:
    """Guards against clips that are given to the samples of another slice."""
    norms = []
    for micro_batches in (1, 4):
        recipe = recipe_of(forcing=forcing, micro_batches=micro_batches, fake_updates=1)
        norms.append(recipe.step(0, 0.0)["student_grad_norm"])
    assert norms == pytest.approx([norms[0]] * 2, rel=1e-4)
    assert rows_of(range(2, 4), [range(0, 2), range(2, 4)]) == slice(2, 4)


RULES = {
    -1.0: (0.48, 0.64, 0.96, 1.92),
    0.0: (1, 1, 1, 1),
    1.0: (1.6, 1.2, 0.8, 0.4),
    "ln_0_1": (0.5438, 1.4562, 1.4562, 0.5438),
}
"""Weights of four equal chunks: proportional to 1 / (4 - k), equal, to 4 - k, and Phi(logit) over quarters,
times 4.
"""


@pytest.mark.parametrize("rule", [*RULES, None, "mode_-0.54", "mode_0.81"])
def test_each_frame_of_the_generator_loss_has_its_chunks_weight(rule: float | str | None) -> None:
    """Through the settings: gradient under a rule over gradient without one is the weight, frame by frame."""
    text, x0, found = normal(4, 6, 8, dtype=torch.float32), normal(4, *SHAPE, dtype=torch.float32), []
    for value in (rule, None):
        recipe = recipe_of(chunk_weighting=value)
        leaf = x0.clone().requires_grad_()
        recipe.scores.generator_loss(3, FOUR, leaf, text).loss.backward()
        assert leaf.grad is not None
        found.append(leaf.grad)
    weights = (found[0] / found[1]).mean((0, 2, 3, 4))
    expected = RULES.get(rule) or chunk_weights(CHUNKS, rule)  # type: ignore[arg-type]
    torch.testing.assert_close(
        weights, torch.tensor(expected, dtype=torch.float32).repeat_interleave(2), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("fake_updates", [1, 2, 3])
def test_fake_score_updates_per_generator_update(fake_updates: int) -> None:
    """The fake score trains every iteration, the generator every n-th: 220 of 2 are 110 updates."""
    recipe = recipe_of(fake_updates=fake_updates)
    for iteration in range(6):
        recipe.step(iteration, 0.0)
    assert (recipe.scores.fake.updates, recipe.student.updates) == (6, 6 // fake_updates)


def test_moving_average_follows_its_setting() -> None:
    """Through the recipe: one average per generator update with the decay of the settings; a decay of 0 ships
    the student.
    """
    for decay in (0.0, 0.9):
        recipe = recipe_of(ema=decay, fake_updates=2)
        expected = recipe.wan.head.head.weight.detach().clone()
        for iteration in range(4):
            recipe.step(iteration, 0.0)
            if iteration % 2:
                expected = decay * expected + (1 - decay) * recipe.wan.head.head.weight.detach()
        torch.testing.assert_close(recipe.student.ema_state()["head.head.weight"], expected)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"forcing": "teacher"}, "forcing is 'teacher', allowed are training_time_test, teacher_forcing"),
        ({"forcing": "diffusion_forcing", "window": 2}, "window 2; leave both out"),
        ({"ema": 1.0}, "'ema' is 1.0"),
        ({"fake_updates": 0}, "'fake_updates' is 0"),
        ({"chunk_weighting": "ln_0"}, "'ln_0' is unknown"),
        ({"chunk_weighting": "ln_a_b"}, "'ln_a_b' is unknown"),
        ({"chunk_weighting": "mode_9"}, "strength -1 to 1.75"),
        ({"gen_use_real_data": True}, "unknown; allowed"),
    ],
)
def test_wrong_switches_are_refused_when_they_are_read(wrong: dict[str, Any], words: str) -> None:
    """Guards against an ablation that is misspelt and silently trains the default, and against failing hours
    later.
    """
    with pytest.raises(ValueError, match=words):
        settings_of(**wrong)


def test_real_clips_must_match_captions_and_forcing() -> None:
    settings = settings_of(forcing="teacher_forcing")
    nets, texts = [wan_of(n) for n in (1, 2, 3)], normal(6, 6, 8, dtype=torch.float32)
    streams = Streams(seed=7, device=CPU)
    with pytest.raises(ValueError, match="got 0 real clips and 6 texts"):
        Raven(*nets, texts, SHAPE, settings, streams)
    with pytest.raises(ValueError, match="got 6 real clips"):
        Raven(*nets, texts, SHAPE, settings_of(), streams, latents=normal(6, *SHAPE))
