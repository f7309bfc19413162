"""KL term of CM-GRPO: closed form, its two references, and that it costs nothing where it is off."""

import dataclasses
from typing import Any

import pytest
import torch

from baselines.strict_yaml import parse_strict
from models.schedule import Transition
from models.training.cm_grpo import CmGrpo, kl_divergence, taken_transitions
from models.training.settings import CmGrpoSettings, FlowGrpoSettings, KlSettings, canonical
from tests.models.training_toys import CHUNKS, SHAPE, grpo_of, grpo_settings, normal, wan_of


def recipe_with(kl: KlSettings | None, **changed: Any) -> CmGrpo:
    return grpo_of(settings=dataclasses.replace(grpo_settings(), kl=kl, **changed))


def moved(recipe: CmGrpo) -> CmGrpo:
    """The same recipe, its adapters no longer zero."""
    with torch.no_grad():
        for number, value in enumerate(recipe.student.parameters.values()):
            value += 0.05 * normal(*value.shape, seed=number, dtype=torch.float32)
    return recipe


def adapters(recipe: CmGrpo) -> list[torch.Tensor]:
    return [value.detach().clone() for value in recipe.student.parameters.values()]


def test_divergence_is_that_of_two_gaussians() -> None:
    """torch's own KL of two Normals, value and gradient by the clean prediction (1e-10), with weights of
    frames.
    """
    x0, other = normal(3, *SHAPE, seed=1).requires_grad_(), normal(3, *SHAPE, seed=2)
    scale = torch.tensor([0.938, 0.833, 0.625]).double()[:, None, None, None, None]
    weights = torch.linspace(0.5, 1.5, 8).double()
    found = kl_divergence(
        Transition((1 - scale) * x0, scale), Transition((1 - scale) * other, scale), weights
    )
    pair = [torch.distributions.Normal((1 - scale) * mean, scale.expand_as(x0)) for mean in (x0, other)]
    divergence = torch.distributions.kl_divergence(*pair)
    expected = (divergence * weights[:, None, None, None]).mean((1, 2, 3, 4))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
    gradients = [torch.autograd.grad(value.sum(), x0, retain_graph=True)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)
    g = 0.5 * (1 - scale) * ((1 - scale) * (x0 - other)).detach() / scale**2
    # upstream's form, models/training/methods.md#kl-term
    regression = (x0 - (x0 - g).detach()).square() * weights[:, None, None, None]
    upstream = torch.autograd.grad(regression.mean((1, 2, 3, 4)).sum(), x0)[0]
    torch.testing.assert_close(gradients[0], upstream, rtol=1e-10, atol=1e-14)


def test_no_pull_from_where_the_policy_starts() -> None:
    """Fresh adapters are the reference, so even an enormous weight leaves the first update as it is without
    the term.
    """
    plain, held = recipe_with(None), recipe_with(KlSettings(weight=1e6))
    assert "kl" not in plain.step(0, 0.0)
    assert held.step(0, 0.0)["kl"] == 0.0
    assert all(torch.equal(a, b) for a, b in zip(adapters(plain), adapters(held), strict=True))


@pytest.mark.parametrize("flow_grpo", [None, FlowGrpoSettings(noise_level=0.4)])
def test_reference_is_the_policy_without_adapters(flow_grpo: FlowGrpoSettings | None) -> None:
    """Against a second network with the start's weights, which the recipe must not need; adapters, also of
    text and time, are all off.

    Afterwards they are on again and trainable: peft freezes them meanwhile.
    """
    recipe = moved(recipe_with(KlSettings(weight=1.0), flow_grpo=flow_grpo))
    text = recipe.texts[torch.arange(8) % 5]
    rolled = recipe.roll_out(0, range(8), text)
    taken = taken_transitions(rolled, torch.arange(8) % 3, recipe.settings.timesteps)
    before = recipe.replayed_x0(taken, rolled.endpoints, text)
    found = recipe.reference_x0(taken, rolled.endpoints, text)
    start, times = wan_of(1), taken.t[:, None].expand(-1, 8)
    v = start.interleaved(taken.noisy, rolled.endpoints, times, start.embed_text(text), chunks=CHUNKS)
    expected = taken.noisy - taken.t[:, None, None, None, None] / 1000 * v
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-6)
    after = recipe.replayed_x0(taken, rolled.endpoints, text)
    assert torch.equal(before, after) and not torch.allclose(after, found, atol=1e-3)
    assert after.requires_grad and not found.requires_grad
    assert all(value.requires_grad for value in recipe.student.parameters.values())


@pytest.mark.parametrize("rows", [False, True])
def test_base_reference_is_guided_and_sees_the_whole_clip(rows: bool) -> None:
    """models/training/methods.md#kl-term: the bidirectional model at the common timestep, v- + 3 (v+ - v-),
    empty negative prompt, two plain calls.

    The empty prompt is zeros of the embedded encoder, but a row of its own (the end token's) of umT5.
    """
    recipe = recipe_with(KlSettings(weight=0.004, reference="base", guidance=3.0))
    empty = normal(1, 6, 8, seed=4, dtype=torch.float32) if rows else torch.zeros(1, 6, 8)
    recipe.negative = empty if rows else None
    text = recipe.texts[torch.arange(4)]
    rolled = recipe.roll_out(0, range(4), text)
    taken = taken_transitions(rolled, torch.arange(4) % 3, recipe.settings.timesteps)
    base, times = wan_of(3).requires_grad_(False), taken.t[:, None].expand(-1, 8)
    towards = base(taken.noisy, times, base.embed_text(text))
    against = base(taken.noisy, times, base.embed_text(empty.expand_as(text)))
    v = against + 3.0 * (towards - against)
    expected = taken.noisy - taken.t[:, None, None, None, None] / 1000 * v
    found = recipe.reference_x0(taken, rolled.endpoints, text)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert recipe.step(0, 0.0)["kl"] > 0


@pytest.mark.slow
def test_term_pulls_back() -> None:
    """With next to no policy loss, the divergence from the start falls; a wrong sign would let it grow."""
    recipe = moved(recipe_with(KlSettings(weight=1.0), policy_scale=1e-9))
    found = [recipe.step(iteration, 0.0)["kl"] for iteration in range(8)]
    assert found[-1] < 0.5 * found[0], found


def test_slices_change_nothing() -> None:
    """Turning adapters off between two backward passes keeps the gradients that the first one left."""
    whole, cut = (
        moved(recipe_with(KlSettings(weight=50.0, chunk_weighting=-1.0), micro_batches=n)) for n in (1, 4)
    )
    numbers = [recipe.step(0, 0.0) for recipe in (whole, cut)]
    for name in ("kl", "policy_loss", "student_grad_norm"):
        assert numbers[0][name] == pytest.approx(numbers[1][name], rel=1e-4, abs=1e-7)
    equal = dataclasses.replace(whole.settings, kl=KlSettings(weight=50.0))
    assert moved(grpo_of(settings=equal)).step(0, 0.0)["kl"] != numbers[0]["kl"]


def test_without_the_term_no_reference_runs() -> None:
    """Calls of the network are counted; the start reference costs one more a slice, none without the term."""
    counts = {}
    for weight in (None, 1.0):
        recipe, calls = recipe_with(None if weight is None else KlSettings(weight=weight)), []
        recipe.wan.blocks[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        recipe.step(0, 0.0)
        counts[weight] = len(calls)
    assert counts[1.0] == counts[None] + grpo_settings().micro_batches


def test_settings_are_strict() -> None:
    """A weight of 0, a reference by another name, guidance where there is none, a base model that nobody
    asked for.
    """
    settings = dataclasses.replace(
        grpo_settings(), kl=KlSettings(weight=0.004, reference="base", guidance=3.0)
    )
    assert parse_strict(canonical(settings), CmGrpoSettings, where="here") == settings
    with pytest.raises(ValueError, match=r"kl.beta' is unknown"):
        parse_strict(canonical(settings).replace('"weight"', '"beta"'), CmGrpoSettings, where="here")
    for wrong, sentence in (
        ({"weight": 0.0}, "leave `kl` out"),
        ({"weight": 1.0, "reference": "teacher"}, "allowed are start, base"),
        ({"weight": 1.0, "guidance": 3.0}, "'start' has none"),
        ({"weight": 1.0, "reference": "base"}, "'base' needs a guidance scale"),
    ):
        with pytest.raises(ValueError, match=sentence):
            KlSettings(**wrong)
    toy = grpo_of()
    for settings_, base, sentence in (
        (settings, None, "lacks a base"),
        (toy.settings, wan_of(3), "got a base"),
    ):
        with pytest.raises(ValueError, match=sentence):
            CmGrpo(toy.adapted, toy.texts, toy.reward, SHAPE, settings_, toy.streams, base=base)
