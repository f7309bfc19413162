"""Weight files, adapters, codec and text encoder."""

from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict_saver import save as save_dcp

from models.checkpoints.containers import (
    load_strict,
    read_dcp,
    read_weights,
    tensors_sha256,
    unwrap,
    write_dcp,
    write_safetensors,
)
from models.checkpoints.lora import (
    LoraSettings,
    adapter_state,
    add_lora,
    inner_wan,
    merged_state,
    weights_header,
)
from models.checkpoints.open import open_model
from models.checkpoints.released import read_released
from models.codec import LinearCodec, fit_codec, psnr
from models.config import WanConfig
from models.fused import adapted_weight
from models.text import ToyTextEncoder, vocabulary
from models.training.loop import Trainee
from models.training.settings import OptimizerSettings
from models.wan import Wan
from tests.models.training_toys import CONFIG, SHAPE, normal, wan_of


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [value for value in model.parameters() if value.requires_grad]


def velocity(wan: Wan) -> torch.Tensor:
    x, text = normal(2, *SHAPE, dtype=torch.float32), normal(2, 4, 8, dtype=torch.float32)
    with torch.no_grad():
        return wan(x, torch.full((2, 8), 700.0), wan.embed_text(text))


def test_a_weight_with_its_adapters_is_peft_s_layer() -> None:
    """Against peft's own layers, which compute each adapter by itself: the same velocity and gradients.

    alpha is not the rank, so a forgotten scale shows. Tolerance: float32 sums in another order.
    """
    found = []
    for folded in (True, False):
        policy = add_lora(wan_of(1), LoraSettings(rank=3, alpha=6.0), seed=0)
        for number, value in enumerate(trainable(policy)):
            value.data = 0.1 * normal(*value.shape, seed=number, dtype=torch.float32)
        layers = [module for module in policy.modules() if hasattr(module, "is_fused")]
        assert layers and all(adapted_weight(layer) is not None for layer in layers)
        for layer in layers:
            layer.is_fused = folded
        wan = inner_wan(policy)
        x, text = normal(2, *SHAPE, dtype=torch.float32), normal(2, 4, 8, dtype=torch.float32)
        v = wan(x, torch.full((2, 8), 700.0), wan.embed_text(text))
        torch.autograd.backward(v.square().mean())
        found.append([v.detach(), *(one.grad for one in trainable(policy))])
        with policy.disable_adapter():
            assert all(adapted_weight(layer) is None for layer in layers)
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_adapter_flavours_are_one_model(tmp_path: Path) -> None:
    """B = 0 changes nothing; random A and B with alpha != rank: adapter, bundle and merged files open to one
    output.
    """
    base = wan_of(1)
    write_safetensors(tmp_path / "base.safetensors", base.state_dict(), metadata=weights_header(CONFIG))
    plain = velocity(base)
    policy = add_lora(base, LoraSettings(rank=3, alpha=6.0), seed=0)
    assert torch.equal(velocity(inner_wan(policy)), plain)
    trainee = Trainee("student", policy, OptimizerSettings(lr=1.0), ema_decay=0.9)
    assert trainee.ema_state().keys() == policy.state_dict().keys()
    assert all(
        torch.equal(trainee.ema_state()[name], value) for name, value in policy.state_dict().items()
    )  # as the EMA starts, models/training/methods.md#optimizers-and-ema
    for number, value in enumerate(trainable(policy)):
        value.data = 0.1 * normal(*value.shape, seed=number, dtype=torch.float32)
    adapted = velocity(inner_wan(policy))
    assert (adapted - plain).abs().max() > 1e-2
    bundle = dict(policy.state_dict())
    write_safetensors(
        tmp_path / "adapter.safetensors",
        adapter_state(bundle),
        metadata=weights_header(CONFIG, alpha=6.0, base="base.safetensors"),
    )
    write_safetensors(tmp_path / "bundle.safetensors", bundle, metadata=weights_header(CONFIG, alpha=6.0))
    write_safetensors(
        tmp_path / "merged.safetensors", merged_state(bundle, alpha=6.0), metadata=weights_header(CONFIG)
    )
    for flavour in ("adapter", "bundle", "merged"):
        torch.testing.assert_close(
            velocity(open_model(tmp_path / f"{flavour}.safetensors")), adapted, rtol=1e-4, atol=1e-5
        )


def test_key_sets_of_the_real_size() -> None:
    """Wan2.1-1.3B on the meta device: 825 tensors, 306 adapted linears, 612 adapter tensors, 1437 in the
    bundle, 300 in blocks.
    """
    with torch.device("meta"):
        wan = Wan(WanConfig())
        assert len(wan.state_dict()) == 825
        policy = add_lora(wan, LoraSettings(rank=256, alpha=256.0), seed=0)
    bundle = policy.state_dict()
    adapter = adapter_state(bundle)
    assert len(bundle) == 1437 and len(adapter) == 612 and len(trainable(policy)) == 612
    assert sum(value.numel() for value in adapter.values()) == 356_597_760
    assert {
        "base_model.model.blocks.0.self_attn.q.lora_A.weight",
        "base_model.model.head.head.lora_B.weight",
    } <= adapter.keys()
    assert (
        "base_model.model.blocks.29.ffn.2.base_layer.bias" in bundle
        and "base_model.model.blocks.0.norm3.weight" in bundle
    )


def test_every_container_loads_strictly(tmp_path: Path) -> None:
    """The field's containers and wrapper names all come out as Wan's names; one renamed key fails and is
    named.
    """
    state = wan_of(1).state_dict()
    wrapped = {
        f"model._fsdp_wrapped_module.{name}".replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."): v
        for name, v in state.items()
    }
    prefixed = {f"model.{name}": value for name, value in state.items()}
    for container in (
        state,
        {"generator": prefixed},
        {"generator_ema": wrapped},
        {"model": state},
        {"generator": {"model": state}},
    ):
        torch.save(container, tmp_path / "w.pt")
        found = read_weights(tmp_path / "w.pt")
        load_strict(wan_of(2), found, where="w.pt")
        assert tensors_sha256(found) == tensors_sha256(state)
    torch.save({"generator": prefixed, "generator_ema": wrapped}, tmp_path / "both.pt")
    assert read_released(tmp_path / "both.pt", "generator_ema").state.keys() == state.keys()
    renamed = {name.replace("head.head.bias", "head.bias"): value for name, value in state.items()}
    with pytest.raises(ValueError, match=r"1 missing \(head\.head\.bias\), 1 unexpected \(head\.bias\)"):
        load_strict(wan_of(2), renamed, where="w.pt")
    with pytest.raises(ValueError, match="no level 'critic'"):
        unwrap({"generator": state}, key="critic")
    with pytest.raises(ValueError, match=r"two tensors named 'head\.head\.bias'"):
        unwrap({**state, "model.head.head.bias": state["head.head.bias"]})


def test_distributed_checkpoint_round_trip(tmp_path: Path) -> None:
    """What is written is what is read; an older one is not replaced; a folder without .metadata is
    refused.
    """
    state = wan_of(1).state_dict()
    write_dcp(tmp_path / "c", state)
    with pytest.raises(OSError, match="c"):
        write_dcp(tmp_path / "c", wan_of(2).state_dict())
    assert tensors_sha256(read_dcp(tmp_path / "c")) == tensors_sha256(state)
    assert tensors_sha256(read_weights(tmp_path / "c")) == tensors_sha256(state)
    assert [path.name for path in tmp_path.iterdir()] == ["c"], "temporary folders are left behind"
    (tmp_path / "c" / ".metadata").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \.metadata"):
        read_dcp(tmp_path / "c")


@pytest.mark.parametrize("level", ["generator", "model"])
def test_a_distributed_checkpoint_with_plain_values_is_read_as_the_torch_file(
    tmp_path: Path, level: str
) -> None:
    """What torchtitan and FSDP2 trainers write beside the model (steps, an optimizer) is no weight."""
    state = {name: value.detach() for name, value in wan_of(1).state_dict().items()}
    held = {level: state, "step": torch.tensor(3), "epoch": 7, "optim": {"param_groups": [{"lr": 1e-4}]}}
    save_dcp(held, checkpoint_id=tmp_path / "c", no_dist=True)
    torch.save(held, tmp_path / "c.pt")
    for shapes_only in (True, False):
        found, weights = read_released(tmp_path / "c", level, shapes_only=shapes_only)
        assert found.flavour == "full" and found.level == (level,)
        assert weights.keys() == read_released(tmp_path / "c.pt", level).state.keys()
    assert tensors_sha256(weights) == tensors_sha256(state)


def test_values_that_do_not_fit_float16_are_refused(tmp_path: Path) -> None:
    """An overflow to infinity when storing would only show as noise in a clip."""
    with pytest.raises(ValueError, match=r"big has values that are not finite in torch\.float16"):
        write_safetensors(tmp_path / "w.safetensors", {"big": torch.tensor([1e6])}, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_codec_is_exact_with_all_components_and_causal(tmp_path: Path) -> None:
    """All 48 components rebuild first frames exactly; latent frame k depends on its own pixel frames alone;
    unit mean variance.
    """
    pixels = torch.rand(6, 9, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    full = fit_codec(pixels, channels=48)
    torch.testing.assert_close(full.decode(full.encode(pixels))[:, 0], pixels[:, 0], rtol=1e-4, atol=1e-4)
    codec = fit_codec(pixels, channels=16)
    latents = codec.encode(pixels)
    assert latents.shape == (6, 3, 16, 2, 2)
    assert float(latents.square().mean()) == pytest.approx(1.0, abs=0.02)
    changed = pixels.clone()
    changed[:, 5:] = 0
    assert torch.equal(codec.encode(changed)[:, :2], latents[:, :2])
    decoded = codec.decode(latents)
    assert decoded.abs().max() <= 1 and psnr(pixels, decoded) > psnr(pixels, torch.zeros_like(pixels))
    torch.testing.assert_close(codec.encode(pixels[:, :1]), latents[:, :1])
    codec.save(tmp_path / "codec.safetensors")
    assert torch.equal(
        LinearCodec.load(tmp_path / "codec.safetensors").decode_uint8(latents), codec.decode_uint8(latents)
    )
    with pytest.raises(ValueError, match="1 \\+ 4k pixel frames"):
        codec.encode(pixels[:, :8])


def test_text_encoder_names_unknown_words(tmp_path: Path) -> None:
    """Rows past the caption are exactly zero whatever else is in the batch; unknown or too many words are one
    sentence.
    """
    torch.manual_seed(0)
    encoder = ToyTextEncoder(
        vocabulary(["a red circle moving left", "a blue square"]), text_dim=16, text_len=6
    ).eval()
    rows = encoder.encode(["a red circle", "", "a blue square moving left"])
    assert (
        rows.shape == (3, 6, 16)
        and torch.equal(rows[0, 3:], torch.zeros(3, 16))
        and torch.equal(rows[1], torch.zeros(6, 16))
    )
    torch.testing.assert_close(encoder.encode(["a red circle"])[0], rows[0])
    assert not torch.allclose(encoder.encode(["circle a red"])[0, :3].sum(0), rows[0, :3].sum(0)), (
        "word order must matter"
    )
    encoder.save(tmp_path / "t.safetensors")
    assert torch.equal(
        ToyTextEncoder.load(tmp_path / "t.safetensors").encode(["a red circle"]),
        encoder.encode(["a red circle"]),
    )
    with pytest.raises(ValueError, match="word 'purple' of the prompt 'a purple circle'"):
        encoder.encode(["a purple circle"])
    with pytest.raises(ValueError, match="has 7 words, the encoder takes 6"):
        encoder.encode(["a red circle moving left a red"])
