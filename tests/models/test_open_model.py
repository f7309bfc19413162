"""The one door to a model: every kind of file opens to the same network, any other is refused by what it
holds.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoints.containers import write_dcp, write_safetensors
from models.checkpoints.lora import (
    BLOCK_LINEARS,
    LoraSettings,
    adapter_state,
    add_lora,
    merged_state,
    weights_header,
)
from models.checkpoints.open import open_model
from models.checkpoints.released import Adapter, Release
from models.config import WanConfig
from models.wan import Wan, init_weights
from tests.models.training_toys import CONFIG, SHAPE, normal, wan_of

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
