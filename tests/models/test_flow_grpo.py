"""The FlowGRPO ablation of CM-GRPO: Euler-Maruyama steps, their blow-up and its fix."""

import dataclasses
import math

import pytest
import torch

from baselines.strict_yaml import parse_strict
from models.schedule import EulerMaruyama, Step, Transition
from models.training.cm_grpo import log_probability, policy_rollout, taken_transitions
from models.training.settings import CmGrpoSettings, FlowGrpoSettings, canonical
from tests.models.training_toys import SHAPE, grpo_of, grpo_settings, normal

SIGMAS = (1.0, 0.938, 0.833, 0.625)


def sampler(noise_level: float, sigma_max: float, sigmas: tuple[float, ...] = SIGMAS) -> EulerMaruyama:
    steps = tuple(Step(timestep=1000 * sigma, sigma=sigma) for sigma in sigmas)
    return EulerMaruyama(steps=steps, noise_level=noise_level, sigma_max=sigma_max)


def settings_of(noise_level: float = 0.1, sigma_max: float | None = None) -> CmGrpoSettings:
    return dataclasses.replace(
        grpo_settings(), flow_grpo=FlowGrpoSettings(noise_level=noise_level, sigma_max=sigma_max)
    )


@pytest.mark.parametrize("step", [1, 2, 3])
def test_step_is_that_of_a_naive_loop(step: int) -> None:
    """Element by element, the closed form of models/training/methods.md#flowgrpo and the bridge form with
    finite differences (float64, 1e-6 as sigma is float32).

    Guards the sign of the drift's correction, the level it is taken at, and 625 -> 0, which adds noise too.
    """
    x_t, x0, noise = (normal(1, 1, 1, 2, 3, seed=seed) for seed in (1, 2, 3))
    a, sigma, following = 0.4, SIGMAS[step], (*SIGMAS, 0.0)[step + 1]
    found = sampler(a, 0.938).advance(x_t, x0, noise, step).flatten()
    length = sigma - following
    share, share_slope, level_slope = 1 - sigma, ((1 - sigma) - (1 - following)) / length, 1.0
    bridge = 2 * sigma * (level_slope - share_slope / share * sigma) * (a / 2**0.5) ** 2
    assert a**2 * sigma / (1 - sigma) == pytest.approx(bridge)
    for i, (state, clean, drawn) in enumerate(
        zip(x_t.flatten().tolist(), x0.flatten().tolist(), noise.flatten().tolist(), strict=True)
    ):
        v = (state - clean) / sigma
        last = state + (1 - sigma) * v
        mean = state - length * (v + 0.5 * a**2 * sigma / (1 - sigma) * last / sigma)
        deviation = math.sqrt(a**2 * sigma / (1 - sigma) * length)
        assert float(found[i]) == pytest.approx(mean + deviation * drawn, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_mean_moves_with_the_prediction(step: int) -> None:
    """models/training/methods.md#flowgrpo: dmean/dx0 = D (1 + (1 - sigma) / sigma (1 + a^2 / 2 / (1 -
    sigma))), D where sigma is 1: the policy's gradient.
    """
    x_t, x0 = normal(1, 1, 1, 2, 2), normal(1, 1, 1, 2, 2, seed=2).requires_grad_()
    a, sigma = 0.8, SIGMAS[step]
    mean = sampler(a, 0.938).transition(x_t, x0, torch.tensor([step])).mean
    found = torch.autograd.grad(mean.sum(), x0)[0]
    inside = 0.0 if step == 0 else (1 - sigma) / sigma * (1 + 0.5 * a**2 / (1 - sigma))
    expected = (sigma - (*SIGMAS, 0.0)[step + 1]) * (1 + inside)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-5, atol=0)


def test_first_step_blows_up_and_no_longer_does() -> None:
    """sigma_max 1, as released, multiplies the noise by -309, -4959, -19839 (a = .1, .4, .8) and adds 24.9 at
    a = .1; .938 does not.

    Deviations of all four transitions with the fix as in models/training/methods.md#flowgrpo (the first
    is .103 in the bridge form).
    """
    steps = torch.arange(4)
    ones, zeros = torch.ones(4, 1, 1, 1, 1).double(), torch.zeros(4, 1, 1, 1, 1).double()
    factors = {a: float(sampler(a, 1.0).transition(ones, zeros, steps).mean[0]) for a in (0.1, 0.4, 0.8)}
    assert {a: round(factor) for a, factor in factors.items()} == {0.1: -309, 0.4: -4959, 0.8: -19839}
    assert float(sampler(0.1, 1.0).transition(ones, zeros, steps).std[0]) == pytest.approx(24.9, abs=0.05)
    fixed = sampler(0.1, 0.938).transition(ones, zeros, steps)
    assert [round(std, 3) for std in fixed.std.flatten().tolist()] == [0.103, 0.126, 0.102, 0.102]
    assert 0.9 < float(fixed.mean[0]) < 1.0
    for a in (0.4, 0.8):
        scaled = sampler(a, 0.938).transition(ones, zeros, steps).std
        torch.testing.assert_close(scaled, fixed.std * a / 0.1)


def test_small_steps_keep_the_flow_path() -> None:
    """The noise added is taken out by the drift: from sigma .9 to .3 in 300 steps, states stay (1 - sigma) x0
    + sigma noise in law.

    8192 draws: deviation within 4 %, mean within .02 (4 standard errors and the step's own error). Another
    factor of the correction would leave 12 % and more.
    """
    sigmas = tuple(0.9 - 0.002 * i for i in range(301))
    fine, x0 = sampler(0.8, 0.99, sigmas), torch.full((1, 1, 1, 64, 128), 2.0)
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * x0 + 0.9 * torch.randn(x0.shape, generator=generator)
    for step in range(300):
        x = fine.advance(x, x0, torch.randn(x0.shape, generator=generator), step)
    assert float(x.mean()) == pytest.approx(0.7 * 2, abs=0.02)
    assert float(x.std()) == pytest.approx(0.3, rel=0.04)


def test_first_update_is_on_policy() -> None:
    """The shared recipe recomputes the means of its rollouts, at every trained step, history with its last
    noise.
    """
    recipe = grpo_of(settings=settings_of(0.4))
    metrics = recipe.step(0, 0.0)
    assert metrics["ratio_error"] < 1e-5
    assert metrics["student_grad_norm"] > 0


def test_actions_are_draws_of_the_transition() -> None:
    """(action - mean) / std of a rollout is standard normal at each of the four steps, the last one's noise
    in what it made (4096 draws).
    """
    recipe = grpo_of(settings=settings_of(0.4))
    rolled = recipe.roll_out(0, range(8), recipe.texts[torch.arange(8) % 5])
    followed = torch.cat([rolled.states[1:], rolled.endpoints[None]])
    for step in range(4):
        taken = recipe.rollout.schedule.transition(
            rolled.states[step], rolled.x0[step], torch.full((8,), step)
        )
        noise = (followed[step] - taken.mean) / taken.std
        assert abs(float(noise.mean())) < 5 / noise.numel() ** 0.5
        assert float(noise.var()) == pytest.approx(1.0, abs=5 * (2 / noise.numel()) ** 0.5)


def test_log_probability_is_the_normal_density() -> None:
    """torch's own Normal: value up to its constant, and gradient by the clean prediction."""
    x_t, x0, action = (normal(4, *SHAPE, seed=seed) for seed in (1, 2, 3))
    x0.requires_grad_()
    mean, std = sampler(0.4, 0.938).transition(x_t, x0, torch.arange(4))
    transition = Transition(mean, std.double())
    normal_of = torch.distributions.Normal(mean, transition.std.expand_as(x0))
    constant = -(transition.std * (2 * torch.pi) ** 0.5).log().flatten()
    expected = normal_of.log_prob(action).mean((1, 2, 3, 4)) - constant
    found = log_probability(action, transition, torch.ones(8).double())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(value.sum(), x0, retain_graph=True)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_rollouts_stay_in_range_with_the_fix_alone() -> None:
    """In the recipe: without the fix the second state is hundreds of times the noise; sigma_max left out is
    the second step's level.
    """
    sizes = {}
    for sigma_max in (None, 1.0):
        recipe = grpo_of(settings=settings_of(0.1, sigma_max))
        rolled = recipe.roll_out(0, range(4), recipe.texts[torch.arange(4)])
        sizes[sigma_max] = float(taken_transitions(rolled, torch.zeros(4).long(), SIGMAS).action.std())
    assert sizes[None] < 2 and sizes[1.0] > 200, sizes
    schedule = policy_rollout(settings_of()).schedule
    assert isinstance(schedule, EulerMaruyama) and schedule.sigma_max == pytest.approx(0.938)


def test_settings_are_strict() -> None:
    """The section is read from the file with no other key, survives canonical JSON, and has no meaningless
    value.
    """
    settings = settings_of(0.4, 0.9)
    assert parse_strict(canonical(settings), CmGrpoSettings, where="here") == settings
    with pytest.raises(ValueError, match=r"flow_grpo.noise.* is unknown"):
        parse_strict(canonical(settings).replace("noise_level", "noise"), CmGrpoSettings, where="here")
    with pytest.raises(ValueError, match="noise_level is 0"):
        FlowGrpoSettings(noise_level=0.0)
    with pytest.raises(ValueError, match=r"sigma_max is 1\.5"):
        FlowGrpoSettings(noise_level=0.1, sigma_max=1.5)
