"""The error of exact and of fast against a float32 run of the same weights and noise."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baselines.spec import load_all
from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import DtypePolicy, WanConfig
from models.wan import Wan, init_weights
from workflow.sampling.precision_errors import measure_errors

BASELINES = load_all(Path(__file__).parents[2] / "baselines")
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


TEXT, AGAINST = (
    torch.randn(1, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(seed)) for seed in (9, 10)
)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BASELINES))
def test_fast_obeys_the_rule(name: str) -> None:
    """fast may be the default where it errs at most 1.5 times as much as exact, after the first and a late
    chunk. Both errors are of bfloat16 size: above a float32 rounding, so that the runs do differ, and below a
    tenth.
    """
    errors = measure_errors(
        BASELINES[name], network_of(name), TEXT, latent_shape=(21, 4, 4, 4), precisions=("exact", "fast"),
        chunks=None if BASELINES[name].cache is None else (0, 6), negative=AGAINST,
    )  # fmt: skip
    chunks = {0} if BASELINES[name].cache is None else {0, 6}
    assert list(errors) == ["exact", "fast"]
    for of in errors.values():
        assert set(of) == chunks
        assert all(1e-4 < error < 0.1 for error in of.values()), errors
    assert all(errors["fast"][chunk] <= 1.5 * errors["exact"][chunk] for chunk in chunks), errors


@pytest.mark.slow
def test_fp8_errs_more_than_fast_and_less_than_a_quarter() -> None:
    """The gate that anybody with weights can run, on random ones: each switch costs something."""
    errors = measure_errors(
        BASELINES["self_forcing"], network_of("self_forcing"), TEXT, latent_shape=(21, 4, 4, 4),
        precisions=("fast", "fp8_linear", "fp8_attention", "fp8"),
    )  # fmt: skip
    for chunk in (0, 6):
        assert errors["fast"][chunk] < min(errors[one][chunk] for one in ("fp8_linear", "fp8_attention"))
        assert errors["fp8"][chunk] < 0.25


def test_faults_are_sentences() -> None:
    """A chunk the clip does not have; a network whose output is not finite must not become a number."""
    text = torch.zeros(1, 5, CONFIG.text_dim)
    with pytest.raises(ValueError, match=r"has chunks 0\.\.6, but \[7\] are asked"):
        measure_errors(
            BASELINES["raven"], network_of("raven"), text, latent_shape=(21, 4, 4, 4), precisions=["fast"],
            chunks=[7],
        )  # fmt: skip

    def broken(dtypes: DtypePolicy) -> Wan:
        wan = network_of("raven")(dtypes)
        wan.head.head.bias.data.fill_(torch.inf)
        return wan

    with pytest.raises(ValueError, match="the error of chunk 0 is nan"):
        measure_errors(BASELINES["raven"], broken, text, latent_shape=(21, 4, 4, 4), precisions=["exact"])
