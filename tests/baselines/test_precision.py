"""The error of exact and of fast against a float32 run of the same weights and noise."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baselines.spec import load_all
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import DtypePolicy, WanConfig
from models.wan import Wan, init_weights
from tests.baselines.precision_costs import ALLOWED_RATIO, ProfileCosts, measure_profiles

ALL = load_all(Path(__file__).parents[2] / "baselines")
BASELINES = {name: row for name, row in ALL.items() if row.cache is not None}
CONFIG = WanConfig(
    dim=48, ffn_dim=96, num_layers=2, num_heads=3, freq_dim=32, text_dim=20, text_len=12,
    in_channels=4, out_channels=4,
)  # fmt: skip


def network_of(name: str) -> Callable[[DtypePolicy], Wan]:
    """Random weights, the same at every call; adapters and a second set where the method has them."""

    def build(dtypes: DtypePolicy) -> Wan:
        wan = Wan(CONFIG, dtypes)
        if BASELINES[name].weights.memory is not None:
            wan.memory = Wan(CONFIG, dtypes)
        generator = torch.Generator().manual_seed(0)
        init_weights(wan, generator, zero_head=False)
        if BASELINES[name].adapter is not None:
            outer = name == "cm_grpo"
            wan = inner_wan(add_lora(wan, LoraSettings(rank=4, alpha=4, outer=outer), seed=1))
            for parameter_name, parameter in wan.named_parameters():
                if ".lora_B." in parameter_name:
                    parameter.data.normal_(std=0.1, generator=generator)
        return wan

    return build


def costs_of(name: str) -> ProfileCosts:
    text = torch.randn(1, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(9))
    return measure_profiles(BASELINES[name], network_of(name), text, latent_shape=(21, 4, 4, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BASELINES))
def test_fast_obeys_the_rule(name: str) -> None:
    """fast may be the default where it errs at most 1.5 times as much as exact after chunk 0 and chunk 6.
    Both errors are of bfloat16 size: above a float32 rounding, so that the runs do differ, and below a tenth.
    """
    costs = costs_of(name)
    assert set(costs.exact) == set(costs.fast) == {0, 6}
    for errors in (costs.exact, costs.fast):
        assert all(1e-4 < error < 0.1 for error in errors.values()), costs
    assert costs.fast_is_allowed, costs.ratio


def test_the_rule_has_teeth() -> None:
    """One chunk above 1.5 is enough to refuse fast."""
    exact = {0: 0.01, 6: 0.02}
    assert ProfileCosts(baseline="x", exact=exact, fast={0: 0.015, 6: 0.02}).fast_is_allowed
    assert not ProfileCosts(baseline="x", exact=exact, fast={0: 0.0151, 6: 0.02}).fast_is_allowed
    assert ALLOWED_RATIO == 1.5


def test_faults_are_sentences() -> None:
    """A chunk the clip does not have; a network whose output is not finite must not become a number."""
    text = torch.zeros(1, 5, CONFIG.text_dim)
    with pytest.raises(ValueError, match=r"has chunks 0\.\.6, but \[7\] are asked"):
        measure_profiles(
            BASELINES["raven"], network_of("raven"), text, latent_shape=(21, 4, 4, 4), chunks=[7]
        )

    def broken(dtypes: DtypePolicy) -> Wan:
        wan = network_of("raven")(dtypes)
        wan.head.head.bias.data.fill_(torch.inf)
        return wan

    with pytest.raises(ValueError, match="the error of chunk 0 is nan"):
        measure_profiles(BASELINES["raven"], broken, text, latent_shape=(21, 4, 4, 4))
