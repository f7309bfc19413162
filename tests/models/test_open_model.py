"""The one door to a model: every kind of file opens to the same network, any other is refused by what it
holds.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoints.containers import write_dcp, write_safetensors
from models.checkpoints.lora import (
    BLOCK_LINEARS,
    LoraSettings,
    adapter_state,
    add_lora,
    bundle_state,
    fold_adapters,
    merged_state,
    weights_header,
)
from models.checkpoints.open import check_model, open_model
from models.checkpoints.released import Adapter, Release, check_released
from models.config import WanConfig
from models.wan import Wan, init_weights
from tests.models.training_toys import CONFIG, SHAPE, normal, wan_of
from workflow.scripts import convert_weights

ALPHA = 6.0


def velocity(wan: Wan) -> Tensor:
    x, text = normal(2, *SHAPE, dtype=torch.float32), normal(2, 4, 8, dtype=torch.float32)
    with torch.no_grad():
        return wan(x, torch.full((2, SHAPE[0]), 700.0), wan.embed_text(text))


def bundle_of(wan: Wan) -> dict[str, Tensor]:
    """A base with an adapter that does something, under peft's names."""
    state = add_lora(wan, LoraSettings(rank=2, alpha=ALPHA, outer=False), seed=0).state_dict()
    return {
        name: 0.1 * normal(*value.shape, dtype=torch.float32, seed=1) if ".lora_B." in name else value
        for name, value in state.items()
    }


def test_every_kind_of_file_is_the_same_network(tmp_path: Path) -> None:
    """Native (bundle, adapter with its base beside it or elsewhere, merged, DCP) and released (full
    weights with an adapter); with other weights the velocity differs.
    """
    bundle, base = bundle_of(wan_of(1)), wan_of(1).state_dict()
    adapter, merged = adapter_state(bundle), merged_state(bundle, alpha=ALPHA)
    header = weights_header(CONFIG, alpha=ALPHA)
    write_safetensors(tmp_path / "base.safetensors", base, metadata=weights_header(CONFIG))
    write_safetensors(tmp_path / "bundle.safetensors", bundle, metadata=header)
    for beneath in ("base.safetensors", "absent.safetensors"):
        told = {**header, "base": beneath}
        write_safetensors(tmp_path / f"on_{beneath}", adapter, metadata=told)
    write_dcp(tmp_path / "merged", merged, metadata=weights_header(CONFIG))
    torch.save({"generator": base}, tmp_path / "released.pt")
    torch.save(adapter, tmp_path / "lora.pt")
    lora = Adapter(
        path=tmp_path / "lora.pt", key=None, rank=2, alpha=ALPHA, tensors=len(adapter), targets=BLOCK_LINEARS
    )
    release = Release(path=tmp_path / "released.pt", key="generator", adapter=lora, config=CONFIG)
    opened = [
        open_model(tmp_path / "bundle.safetensors"),
        open_model(tmp_path / "on_base.safetensors"),
        open_model(tmp_path / "on_absent.safetensors", base=tmp_path / "base.safetensors"),
        open_model(tmp_path / "merged"),
        open_model(tmp_path / "released.pt", release=release),
    ]
    for wan in opened[1:]:
        torch.testing.assert_close(velocity(wan), velocity(opened[0]), rtol=1e-4, atol=1e-5)
    assert (velocity(open_model(tmp_path / "base.safetensors")) - velocity(opened[0])).abs().max() > 1e-3


@pytest.mark.parametrize("layers", ["all", "attention"])
def test_own_files_of_every_flavour_are_the_same_network(tmp_path: Path, layers: str) -> None:
    """A LoRA, a bundle and merged weights without any header, told their alpha, base and size; a native
    adapter on a base that is none.
    """
    bundle, base = bundle_of(wan_of(1)), wan_of(1).state_dict()
    adapter = {
        name: value for name, value in adapter_state(bundle).items() if layers == "all" or ".q." in name
    }
    bundle = bundle_state(base, adapter)
    merged = merged_state(bundle, alpha=ALPHA)
    like = tmp_path / "like.safetensors"
    write_safetensors(like, base, metadata=weights_header(CONFIG))
    for name, state in (("base", base), ("lora", adapter), ("bundle", bundle), ("merged", merged)):
        torch.save(state, tmp_path / f"{name}.pt")
    told = {**weights_header(CONFIG, alpha=ALPHA), "base": "base.pt"}
    write_safetensors(tmp_path / "native.safetensors", adapter, metadata=told)
    write_safetensors(tmp_path / "lora.safetensors", adapter)
    opened = [
        open_model(tmp_path / "merged.pt", like=like),
        open_model(tmp_path / "bundle.pt", alpha=ALPHA, like=like),
        open_model(tmp_path / "lora.pt", base=tmp_path / "base.pt", alpha=ALPHA, like=like),
        open_model(tmp_path / "lora.safetensors", base=like, alpha=ALPHA),
        open_model(tmp_path / "native.safetensors"),
    ]
    for wan in opened[1:]:
        torch.testing.assert_close(velocity(wan), velocity(opened[0]), rtol=1e-4, atol=1e-5)
    assert (velocity(open_model(like)) - velocity(opened[0])).abs().max() > 1e-3
    found = check_model(tmp_path / "lora.pt", base=tmp_path / "base.pt", alpha=ALPHA, like=like)
    assert [one.flavour for one in found] == ["full", "adapter"]
    with pytest.raises(ValueError, match="alpha 6 over its rank, found alpha 7; leave alpha out"):
        check_model(tmp_path / "native.safetensors", alpha=7.0)
    with pytest.raises(ValueError, match=r"found a LoRA on .*base.pt, of no known alpha; name the alpha"):
        check_model(tmp_path / "lora.pt", base=tmp_path / "base.pt", like=like)


def test_a_torch_file_is_described_by_what_convert_weights_wrote_beside_it(tmp_path: Path) -> None:
    """Guards against a converted toy that lost its number of heads, and an adapter its base and alpha."""
    write_safetensors(tmp_path / "base.safetensors", wan_of(1).state_dict(), metadata=weights_header(CONFIG))
    told = {**weights_header(CONFIG, alpha=ALPHA), "base": "base.safetensors"}
    lora = tmp_path / "lora.safetensors"
    write_safetensors(lora, adapter_state(bundle_of(wan_of(1))), metadata=told)
    (tmp_path / "there").mkdir()
    for name, flavour in (("merged.pt", "merged"), ("lora.pt", "adapter"), ("there/bundle.pth", "bundle")):
        assert convert_weights.main([str(lora), str(tmp_path / name), "--flavour", flavour]) == 0
        found, expected = velocity(open_model(tmp_path / name)), velocity(open_model(lora))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


SCALES: dict[str, tuple[dict[str, Any], str | None]] = {
    "lora_alpha": ({}, None),
    "rsLoRA": ({"use_rslora": True}, None),
    "a pattern for all": ({"target_modules": ["q"], "alpha_pattern": {"q": 3}}, None),
    "a pattern for no layer": ({"alpha_pattern": {"w": 3}, "rank_pattern": {"self_attn.w": 7}}, None),
    "a pattern for some": (
        {"alpha_pattern": {"ffn.0": 3}},
        "gives layers the scales 1.5, 3, expected one for all",
    ),
    "a pattern by regex": ({"alpha_pattern": {"^ffn": 3}}, "alpha_pattern '.ffn', expected names of layers"),
    "another rank": ({"r": 4}, "says rank 4 of .* and .* has 2; they belong to different"),
    "rank by pattern": ({"rank_pattern": {"k": 1}}, "says rank 1 of .*k, and .* has 2"),
    "alpha of nothing": ({"lora_alpha": None}, "has lora_alpha None, expected a number above 0"),
    "alpha of zero": ({"lora_alpha": 0}, "has lora_alpha 0, expected a number above 0"),
    "DoRA": ({"use_dora": True}, "sets use_dora to 'True', which is more than W"),
    "biases": ({"bias": "lora_only"}, "sets bias to 'lora_only'"),
    "biases of B": ({"lora_bias": True}, "sets lora_bias"),
    "whole modules": ({"modules_to_save": ["head"]}, "sets modules_to_save"),
    "a changed base": ({"init_lora_weights": "pissa_niter_4"}, "sets init_lora_weights to 'pissa_niter_4'"),
    "another kind": ({"peft_type": "LOHA"}, "sets peft_type to 'LOHA'"),
    "a kind of the future": ({"use_moon": {"phase": 1}}, "sets use_moon to"),
}
"""What peft's adapter_config.json may say beside an adapter, and what refuses it."""


@pytest.mark.parametrize(("changes", "said"), SCALES.values(), ids=SCALES.keys())
def test_an_adapter_has_the_scale_that_peft_gives_it(
    tmp_path: Path, changes: dict[str, Any], said: str | None
) -> None:
    """Against peft's own merge of what it saved; what one scale cannot say is refused."""
    from peft import LoraConfig, get_peft_model

    taken = {
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q", "k", "ffn.0"],
        **(changes if said is None else {}),
    }
    wrapped = get_peft_model(wan_of(1), LoraConfig(**taken, init_lora_weights=False))
    wrapped.save_pretrained(tmp_path)
    if said is not None:
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | changes))
    base, lora = tmp_path / "base.safetensors", tmp_path / "adapter_model.safetensors"
    write_safetensors(base, wan_of(1).state_dict(), metadata=weights_header(CONFIG))
    for attempt in ({}, {"alpha": 7.0}):
        if said is None and not attempt:
            expected = wrapped.merge_and_unload().state_dict()
            convert_weights.convert_weights(lora, tmp_path / "merged.pt", flavour="merged", base=base)
            found = torch.load(tmp_path / "merged.pt", weights_only=True)
            assert found.keys() == expected.keys()
            torch.testing.assert_close(found, dict(expected))
            folded = fold_adapters(open_model(lora, base=base)).state_dict()
            torch.testing.assert_close(dict(folded), dict(expected))
            continue
        for use in (open_model, partial(convert_weights.convert_weights, output=tmp_path / "x.pt")):
            with pytest.raises(ValueError, match=said or "found alpha 7; leave alpha out"):
                use(lora, base=base, **attempt)
    release = Release(
        path=base,
        key=None,
        config=CONFIG,
        adapter=Adapter(path=lora, key=None, rank=2, alpha=7.0, tensors=12, targets=("q", "k", "ffn.0")),
    )
    with pytest.raises(ValueError, match=said or "found alpha 7; leave alpha out"):
        check_released(release)


def test_a_released_file_shows_its_own_size(tmp_path: Path) -> None:
    """Heads of 128 are in no tensor's shape, but every released model has them."""
    config = WanConfig(dim=128, ffn_dim=32, num_layers=1, num_heads=1, freq_dim=8, text_dim=8)
    wan = Wan(config)
    init_weights(wan, torch.Generator().manual_seed(0), zero_head=False)
    torch.save(wan.state_dict(), tmp_path / "w.pt")
    found = open_model(tmp_path / "w.pt", role="bidirectional")
    assert found.config == config
    assert all(torch.equal(value, wan.state_dict()[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("adapter", "a LoRA without its base"),
        ("bundle", "a base together with its LoRA"),
        ("toy", "a transformer whose tensors do not show its number of heads"),
        ("codec", "other tensors"),
    ],
)
def test_any_other_file_is_named_by_what_it_holds(tmp_path: Path, name: str, sentence: str) -> None:
    bundle = bundle_of(wan_of(1))
    states = {
        "adapter": adapter_state(bundle),
        "bundle": bundle,
        "toy": wan_of(1).state_dict(),
        "codec": {"basis": torch.zeros(3)},
    }
    torch.save(states[name], tmp_path / "w.pt")
    with pytest.raises(ValueError, match=f"w.pt is neither a checkpoint .* found {sentence}; name the"):
        open_model(tmp_path / "w.pt")
