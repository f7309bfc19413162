"""CM-GRPO: on-policy ratio, gradient form, advantages, rewards, trained steps, a bandit."""

import dataclasses
import hashlib
from typing import Any

import pytest
import torch

from models.schedule import Transition
from models.training.cm_grpo import (
    CmGrpo,
    Pair,
    advantages,
    combined_reward,
    log_probability,
    normalise_then_sum,
    policy_loss,
    step_weights,
    taken_transitions,
    trained_steps,
    updates,
)
from models.training.distributed import Processes
from models.training.settings import CmGrpoSettings, OptimizerSettings
from models.training.streams import Streams
from tests.models.training_toys import CPU, SHAPE, grpo_of, grpo_settings, normal


def settings_of(**changed: Any) -> CmGrpoSettings:
    """The toy recipe's settings with some of them changed."""
    return dataclasses.replace(grpo_settings(), **changed)


def consistency_transition(x0: torch.Tensor, sigma: torch.Tensor) -> Transition:
    """N((1 - sigma) x0, sigma^2) in x0's precision. sigma: [N]."""
    scale = sigma[:, None, None, None, None]
    return Transition((1 - scale) * x0, scale)


def adapter_after_one_step(**changed: Any) -> str:
    """Hash of the gradient norm and the adapter after one update of the toy recipe, two rewards of different
    scale.
    """
    recipe = grpo_of(settings=settings_of(rewards={"level": 1.0, "contrast": 2.0}, **changed))
    metrics = recipe.step(0, 0.0)
    found = hashlib.sha256(repr(metrics["student_grad_norm"]).encode())
    for value in recipe.student.parameters.values():
        found.update(value.detach().numpy().tobytes())
    return found.hexdigest()


def test_first_update_is_on_policy() -> None:
    """The interleaved forward recomputes the rollout's means, so the ratio is 1 to 1e-5 at every trained
    step.

    Guidance of the student (models/training/methods.md#one-iteration-of-raven), another history or another
    noise level in the rollout would show here.
    """
    recipe = grpo_of()
    metrics = recipe.step(0, 0.0)
    assert metrics["ratio_error"] < 1e-5
    assert metrics["student_grad_norm"] > 0


def test_recorded_actions_are_draws_of_the_transition() -> None:
    """(action - (1 - sigma) x0) / sigma of a rollout is standard normal for the *next* state's sigma
    (4096 draws, 5 deviations).

    Guards the pairing of states, predictions and noise levels, to which the ratio alone is blind.
    """
    recipe = grpo_of()
    rolled = recipe.roll_out(0, range(8), recipe.texts[torch.arange(8) % 5])
    for step in range(3):
        taken = taken_transitions(rolled, torch.full((8,), step), recipe.settings.timesteps)
        scale = recipe.settings.timesteps[step + 1] / 1000
        noise = (taken.action - (1 - scale) * taken.x0) / scale
        assert abs(float(noise.mean())) < 5 / noise.numel() ** 0.5
        assert float(noise.var()) == pytest.approx(1.0, abs=5 * (2 / noise.numel()) ** 0.5)


def test_ratio_form_has_the_gradient_of_the_regression_form() -> None:
    """The detached regression of models/training/methods.md#policy-objective and -advantage * mean
    log-probability agree to 1e-10 in float64.
    """
    x0, action = normal(3, *SHAPE, seed=1).requires_grad_(), normal(3, *SHAPE, seed=2)
    sigma, gain, weights = (
        torch.tensor([0.938, 0.833, 0.625]).double(),
        torch.tensor([1.5, -0.5, 2.0]).double(),
        torch.ones(8).double(),
    )
    logp = log_probability(action, consistency_transition(x0, sigma), weights)
    ours = torch.autograd.grad(policy_loss(logp, logp.detach(), gain).loss, x0)[0]
    scale = sigma[:, None, None, None, None]
    g = 0.5 * (1 - scale) * -gain[:, None, None, None, None] * (action - (1 - scale) * x0) / scale**2
    regression = (x0 - (x0 - g).detach()).square().mean()
    torch.testing.assert_close(ours, torch.autograd.grad(regression, x0)[0], rtol=1e-10, atol=1e-14)


def test_log_probability_is_the_normal_density() -> None:
    """Mean log-density of torch's own Normal, up to its constant, with chunk weights."""
    x0, action, weights = (
        normal(1, *SHAPE, seed=1),
        normal(1, *SHAPE, seed=2),
        torch.linspace(0.5, 1.5, 8).double(),
    )
    density = torch.distributions.Normal(0.375 * x0, 0.625).log_prob(action) + torch.log(
        torch.tensor(0.625 * (2 * torch.pi) ** 0.5)
    )
    expected = (density * weights[:, None, None, None]).mean()
    found = log_probability(action, consistency_transition(x0, torch.tensor([0.625]).double()), weights)
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-7)


def test_advantages_are_group_relative() -> None:
    """Zero mean per prompt, zero for equal rewards, unchanged by a shift, clipped."""
    rewards = normal(3, 8, seed=1)
    rewards[1] = 0.25
    gain = advantages(rewards, 5.0)
    torch.testing.assert_close(gain.mean(1), torch.zeros(3).double(), rtol=0, atol=1e-12)
    assert torch.equal(gain[1], torch.zeros(8).double())
    torch.testing.assert_close(
        advantages(rewards + torch.tensor([[1.0], [2.0], [3.0]]), 5.0), gain, rtol=1e-9, atol=1e-12
    )
    outlier = torch.zeros(1, 101).double()
    outlier[0, 0] = 1.0
    assert advantages(outlier, 5.0).max() == 5.0


def test_rewards_are_combined_by_hand() -> None:
    """Two rewards, weights 1 and 3: z = (+1, -1) and (-1, +1) give (1 - 3) / 4 and its negative."""
    rewards = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([[0.0, 10.0]])}
    torch.testing.assert_close(
        normalise_then_sum(rewards, {"a": 1.0, "b": 3.0}), torch.tensor([[-0.5, 0.5]]), rtol=1e-4, atol=0
    )
    with pytest.raises(ValueError, match="c is weighted too"):
        normalise_then_sum(rewards, {"c": 1.0})


def test_raw_rewards_are_summed_first() -> None:
    """The other order: weights 1 and 3 on raw rewards give (2 + 0) / 4 and (0 + 30) / 4, so the larger scale
    decides.

    Guards against a silent second standardisation: normalise-then-sum of the same rewards ranks by weight
    alone.
    """
    rewards, weights = (
        {"a": torch.tensor([[8.0, 0.0]]), "b": torch.tensor([[0.0, 2.0]])},
        {"a": 1.0, "b": 3.0},
    )
    settings = settings_of(rewards=weights, reward_aggregation="sum_then_normalise")
    summed = combined_reward(rewards, settings)
    assert torch.equal(summed, torch.tensor([[2.0, 1.5]]))
    torch.testing.assert_close(advantages(summed, 5.0), torch.tensor([[1.0, -1.0]]), rtol=1e-3, atol=0)
    normalised = combined_reward(rewards, settings_of(rewards=weights))
    torch.testing.assert_close(advantages(normalised, 5.0), torch.tensor([[-1.0, 1.0]]), rtol=1e-3, atol=0)


def test_rewards_are_standardised_over_part_of_a_group() -> None:
    """models/training/methods.md#reward-combination: over 2 of 4 rollouts, (1, 3) and (10, 30) both become
    (-1, 1): what sets the two calls apart is lost.

    Upstream does so with 4 of 32; over the whole group the first two are both below the mean. The part that
    is the whole group changes no bit.
    """
    rewards = {"a": torch.tensor([[1.0, 3.0, 10.0, 30.0]]), "unused": torch.tensor([[torch.nan] * 4])}
    part = combined_reward(rewards, settings_of(rewards={"a": 2.0}, reward_group=2))
    torch.testing.assert_close(part, torch.tensor([[-1.0, 1.0, -1.0, 1.0]]), rtol=1e-4, atol=0)
    whole = combined_reward(rewards, settings_of(rewards={"a": 2.0}))
    assert (whole[0, :2] < 0).all()
    assert torch.equal(combined_reward(rewards, settings_of(rewards={"a": 2.0}, reward_group=4)), whole)


def test_advantages_choose_mean_and_deviation() -> None:
    """models/training/methods.md#advantages by hand, prompts (0, 2, 8, 10) and (4, 4, 4, 4): deviations
    sqrt(17) and 0.

    Of all eight: mean 4.5, mean square 232 / 8 = 29, so the deviation is sqrt(29 - 20.25).
    """
    rewards = torch.tensor([[0.0, 2.0, 8.0, 10.0], [4.0, 4.0, 4.0, 4.0]]).double()
    centred = torch.tensor([[-5.0, -3.0, 3.0, 5.0], [0.0, 0.0, 0.0, 0.0]]).double()
    for found, expected in (
        (advantages(rewards, 5.0), centred / (17**0.5 + 1e-5)),
        (advantages(rewards, 5.0, std_of="batch"), centred / (8.75**0.5 + 1e-5)),
        (
            advantages(rewards, 5.0, over=2),
            torch.tensor([[-1.0, 1.0, -1.0, 1.0], [0.0] * 4]).double() / (1 + 1e-5),
        ),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"reward_aggregation": "sum"}, "reward_aggregation is 'sum', allowed are"),
        ({"advantage_std": "global"}, "advantage_std is 'global', allowed are"),
        ({"reward_group": 1}, "reward_group is 1 and group is 4"),
        ({"advantage_group": 3}, "advantage_group is 3 and group is 4"),
        ({"reward_group": 2, "reward_aggregation": "sum_then_normalise"}, "standardises no single reward"),
        ({"optim_steps": 2}, "optim_steps is 2, but updates after the first"),
        ({"optim_steps": 3, "ratio_clip": 0.2}, "rollouts x trained steps is 8 and optim_steps is 3"),
        ({"ratio_clip": 0.0}, "ratio_clip is 0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    """models/training/methods.md#reward-combination: a part of one rollout gives all-zero rewards, a typo
    another algorithm, silently.
    """
    with pytest.raises(ValueError, match=sentence):
        settings_of(**wrong)


@pytest.mark.slow
def test_every_option_reaches_the_step() -> None:
    """A declared option that the recipe does not hand on would be hashed into the manifest and change
    nothing.
    """
    losses = {
        name: adapter_after_one_step(**options)
        for name, options in {
            "default": {},
            "sum": {"reward_aggregation": "sum_then_normalise"},
            "part": {"reward_group": 2},
            "parts": {"advantage_group": 2},
            "batch": {"advantage_std": "batch"},
            "grid": {"random_policy_timestep": False},
            "weighted": {"policy_timestep_reweight": True},
            "twice": {"optim_steps": 2, "ratio_clip": 0.2},
        }.items()
    }
    assert len(set(losses.values())) == len(losses), losses


def test_new_options_are_off_as_published() -> None:
    """models/training/methods.md#one-iteration-of-cm-grpo: one random step of each rollout, no weights of
    steps, one update, no clip.
    """
    settings = settings_of()
    assert (settings.random_policy_timestep, settings.policy_timestep_reweight) == (True, False)
    assert (settings.optim_steps, settings.ratio_clip, settings.pairs) == (1, None, 8)


def test_clipped_ratios_are_those_of_ppo() -> None:
    """Four ratios at bound 0.2: value min(r A, clip(r) A), and no gradient once the ratio has left the bound
    in the advantage's direction.
    """
    logp = torch.tensor([1.5, 0.5, 1.5, 0.5]).double().log().requires_grad_()
    gain = torch.tensor([2.0, 2.0, -2.0, -2.0]).double()
    found = policy_loss(logp, torch.zeros(4).double(), gain, clip=0.2)
    expected = [2.0 * 1.2, 2.0 * 0.5, -2.0 * 1.5, -2.0 * 0.8]
    assert float(found.loss.detach()) == pytest.approx(-sum(expected) / 4)
    (gradient,) = torch.autograd.grad(found.loss, logp)
    torch.testing.assert_close(
        gradient, -torch.tensor([0.0, 2.0 * 0.5, -2.0 * 1.5, 0.0]).double() / 4, rtol=1e-9, atol=1e-12
    )
    assert torch.equal(found.ratio, logp.detach().exp())


def test_steps_are_weighed_by_deviation_over_length() -> None:
    """models/training/methods.md#one-iteration-of-cm-grpo by hand: 0.938 / 0.062, 0.833 / 0.105, 0.625 /
    0.208.
    """
    std = torch.tensor([0.938, 0.833, 0.625])[:, None, None, None, None]
    found = step_weights(std, (1000, 938, 833, 625), torch.arange(3))
    torch.testing.assert_close(
        found, torch.tensor([0.938 / 0.062, 0.833 / 0.105, 0.625 / 0.208]), rtol=1e-5, atol=0
    )


def norm_of(recipe: CmGrpo, parts: list[list[Pair]], weights: list[float]) -> float:
    """Norm of the adapters' gradient of the weighted mean over parts of the mean policy loss of a part's
    pairs, in iteration 0.
    """
    order = torch.randperm(5, generator=recipe.streams.generator("prompts", 0))[:2].tolist()
    which = [order[sample // 4] for sample in range(8)]
    text = recipe.texts[which]
    rolled = recipe.roll_out(0, range(8), text)
    raw = {name: value.view(2, 4) for name, value in recipe.reward(rolled.endpoints, which).items()}
    gain = advantages(combined_reward(raw, recipe.settings), 5.0).flatten()
    losses = [recipe.policy(rolled, part, text, gain).loss for part in parts]
    total = torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).mean()
    (100 * total).backward()
    values = recipe.student.parameters.values()
    return float(torch.stack([value.grad.norm() for value in values if value.grad is not None]).norm())


@pytest.mark.parametrize("reweight", [False, True])
def test_every_step_of_a_rollout_is_trained(reweight: bool) -> None:
    """`random_policy_timestep: false` is the mean over three steps of a rollout; weights of steps come on top
    of it (models/training/methods.md#one-iteration-of-cm-grpo).

    Against one loss a step, all rollouts at once, in 3 micro-batches a rollout. The optimizer is bypassed:
    its step would hide scale.
    """
    weights = [0.938 / 0.062, 0.833 / 0.105, 0.625 / 0.208] if reweight else [1.0] * 3
    parts = [[Pair(row, row, step) for row in range(8)] for step in range(3)]
    norm = norm_of(grpo_of(settings=settings_of()), parts, weights)
    recipe = grpo_of(
        settings=settings_of(random_policy_timestep=False, policy_timestep_reweight=reweight, micro_batches=4)
    )
    assert len(recipe.pairs(0, range(8))) == recipe.settings.pairs == 24
    assert recipe.step(0, 0.0)["student_grad_norm"] == pytest.approx(norm, rel=1e-4)
    only_one = grpo_of(settings=settings_of(policy_timestep_reweight=reweight)).step(0, 0.0)
    assert only_one["student_grad_norm"] != pytest.approx(norm, rel=1e-2), "one step is not three"


def test_pairs_are_dealt_alike_however_they_are_shared() -> None:
    """Guards against an update that depends on the number of processes, and against a pair that is trained
    twice or never.
    """
    streams = Streams(seed=3, device=CPU)
    pairs = [Pair(sample, sample, step) for sample in range(8) for step in range(3)]
    whole = [set(part) for part in updates(pairs, 4, streams, 5)]
    assert all(len(part) == 6 for part in whole) and set().union(*whole) == set(pairs)
    second = [
        pair._replace(row=pair.row - 4) for pair in pairs[12:]
    ]  # as the second of two processes counts them
    halves = [list(updates(half, 4, streams, 5)) for half in (pairs[:12], second)]
    for part, one, other in zip(whole, *halves, strict=True):
        assert {pair[1:] for pair in part} == {pair[1:] for pair in (*one, *other)}
    assert whole != [set(part) for part in updates(pairs, 4, streams, 6)], "another iteration, another deal"
    assert list(updates(pairs, 1, streams, 5)) == [pairs]


def test_later_updates_are_off_policy_and_bounded() -> None:
    """`optim_steps: 2`: two optimizer steps and averages an iteration; the second's ratio is 1 only if the
    first changed nothing.
    """
    for rate, lowest, highest in ((1e-1, 1e-4, 1e3), (1e-12, 0.0, 1e-5)):
        recipe = grpo_of(
            settings=settings_of(optim_steps=2, ratio_clip=0.2, optimizer=OptimizerSettings(lr=rate))
        )
        metrics = recipe.step(0, 0.0)
        assert recipe.student.updates == 2
        assert lowest <= metrics["ratio_error"] < highest
        assert 0 <= metrics["ratio_outside"] <= 0.5, "the first half is on policy"
    # nothing changed between the updates: the last one's gradient is that of its own pairs, at the start
    last = list(updates(recipe.pairs(0, range(8)), 2, recipe.streams, 0))[1]
    assert metrics["student_grad_norm"] == pytest.approx(norm_of(grpo_of(), [list(last)], [1.0]), rel=1e-4)


def test_processes_that_cannot_deal_are_refused() -> None:
    with pytest.raises(ValueError, match="2 processes cannot deal equally into 8 updates"):
        grpo_of(Processes(size=2), settings=settings_of(optim_steps=8, ratio_clip=0.2))


def test_last_transition_is_never_trained() -> None:
    """625 -> 0 has no density; the other three are all drawn."""
    steps = torch.cat([trained_steps(Streams(seed=1, device=CPU), i, range(8), 4) for i in range(30)])
    assert steps.unique().tolist() == [0, 1, 2]


def test_bandit_improves() -> None:
    """A linear policy whose clean prediction is rewarded for nearness to a target moves there."""
    generator, target = torch.Generator().manual_seed(0), normal(1, *SHAPE, seed=9)
    x0 = torch.zeros(1, *SHAPE, dtype=torch.float64, requires_grad=True)
    optimizer, sigma, means = torch.optim.Adam([x0], lr=0.05), torch.full((16,), 0.625).double(), []
    for _ in range(50):
        action = 0.375 * x0.detach() + 0.625 * torch.randn(
            16, *SHAPE, generator=generator, dtype=torch.float64
        )
        reward = -(action / 0.375 - target).square().mean((1, 2, 3, 4))
        logp = log_probability(
            action, consistency_transition(x0.expand(16, -1, -1, -1, -1), sigma), torch.ones(8).double()
        )
        optimizer.zero_grad()
        policy_loss(logp, logp.detach(), advantages(reward[None], 5.0)[0]).loss.backward()
        optimizer.step()
        means.append(float((x0.detach() - target).square().mean()))
    assert means[-1] < 0.9 * means[0], f"distance to the target went from {means[0]:.3f} to {means[-1]:.3f}"


def test_groups_of_one_are_refused() -> None:
    """A group of one has no advantage and would train on nothing, silently."""
    with pytest.raises(ValueError, match="at least 2 rollouts"):
        CmGrpoSettings(
            iterations=1, prompts=2, group=1, seed=0, optimizer=OptimizerSettings(lr=1.0), rewards={"a": 1.0}
        )


def test_self_forcing_s_policy_is_another_than_the_rollout_s() -> None:
    """models/training/methods.md#on-causal-forcing: its history is what it predicts at the trained step, so
    the ratio is not 1 and the update is plain REINFORCE.

    At the last step that is trained the history would be nearly the rollout's; the first chunk has none and
    agrees exactly.
    """
    recipe = grpo_of(settings=settings_of(forcing="self_forcing"))
    samples, text = range(4), recipe.texts[[0, 0, 1, 1]].float()
    rolled = recipe.roll_out(0, samples, text)
    pairs = [Pair(row, row, step) for row, step in enumerate((0, 1, 2, 0))]
    taken = taken_transitions(
        rolled, torch.tensor([0, 1, 2, 0]), recipe.settings.timesteps, rows=torch.arange(4)
    )
    x0 = recipe.replayed_x0(taken, rolled.endpoints, text)
    first = recipe.settings.chunks[0]
    torch.testing.assert_close(x0[:, :first], taken.x0[:, :first], rtol=1e-5, atol=1e-5)
    assert float((x0[:, first:] - taken.x0[:, first:]).abs().max()) > 1e-3
    gain = torch.tensor([1.0, -1.0, 0.5, 2.0])
    policy = recipe.policy(rolled, pairs, text, gain)
    assert float((policy.ratio - 1).abs().max()) > 1e-6
    assert float(policy.loss.detach()) == pytest.approx(-float(gain.mean()), abs=1e-6)
    policy.loss.backward()
    found = [value.grad.clone() for value in recipe.student.parameters.values()]
    recipe.student.clear()
    step = torch.tensor([0, 1, 2, 0])
    now = recipe.rollout.schedule.transition(
        taken.noisy, recipe.replayed_x0(taken, rolled.endpoints, text), step
    )
    (-(gain * log_probability(taken.action, now, recipe.weights)).mean()).backward()
    for mine, value in zip(found, recipe.student.parameters.values(), strict=True):
        torch.testing.assert_close(mine, value.grad, rtol=1e-5, atol=1e-8)


def test_self_forcing_takes_no_ratio_clip() -> None:
    """A clip around a ratio that is not 1 at the start would silence rollouts for no reason of theirs."""
    with pytest.raises(ValueError, match="has no ratio to that of the rollouts"):
        settings_of(forcing="self_forcing", ratio_clip=0.2)
