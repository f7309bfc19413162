"""Wan's VAE from both layouts, whole and streaming, against diffusers' own; the linear codec, same
contract.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from models.codec import LinearCodec, fit_codec
from models.interfaces import Codec
from models.wan_vae import LATENT_MEAN, LATENT_STD, WanVae, to_uint8

RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
ENDS = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}


def random_vae(seed: int = 0) -> AutoencoderKLWan:
    """A VAE of Wan's structure, 1/24 as wide, with spread-out gammas so that no two tensors are alike."""
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(base_dim=4)
    for name, value in vae.named_parameters():
        if name.endswith("gamma"):
            value.data += 0.3 * torch.randn_like(value)
        elif name.endswith("decoder.conv_out.weight"):
            value.data *= 4  # some pixels beyond [-1, 1]
    return vae.eval().requires_grad_(False)


def wan_name(name: str) -> str:
    """Wan's name of a tensor of diffusers (models/backbone.md#vae)."""
    for ours, theirs in (("post_quant_conv", "conv2"), ("quant_conv", "conv1")):
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    side, part, rest = name.split(".", 2)
    if part in ENDS:
        return f"{side}.{ENDS[part]}.{rest}"
    if part == "mid_block":
        kind, number, rest = rest.split(".", 2)
        stem = f"{side}.middle.{2 * int(number) if kind == 'resnets' else 1}"
    elif part == "down_blocks":
        number, rest = rest.split(".", 1)
        stem = f"{side}.downsamples.{number}"
    else:
        block, kind, number, rest = rest.split(".", 3)
        stem = f"{side}.upsamples.{4 * int(block) + (int(number) if kind == 'resnets' else 3)}"
    leaf, _, last = rest.partition(".")
    return f"{stem}.{RESIDUAL.get(leaf, leaf)}.{last}"


@pytest.fixture(scope="module")
def original() -> AutoencoderKLWan:
    return random_vae()


@pytest.fixture(scope="module")
def wan_file(original: AutoencoderKLWan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vae") / "Wan2.1_VAE.pth"
    torch.save({wan_name(name): value for name, value in original.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def vae(wan_file: Path) -> WanVae:
    return WanVae.load(wan_file, dtype=torch.float32)


@pytest.fixture(scope="module")
def linear() -> LinearCodec:
    return fit_codec(
        torch.rand(2, 9, 3, 16, 24, generator=torch.Generator().manual_seed(3)) * 2 - 1, channels=16
    )


def latents_of(frames: int, batch: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(batch, frames, 16, 2, 3, generator=torch.Generator().manual_seed(seed)) * 2


def test_the_numbers_are_wans() -> None:
    """Guards against a typing error in the 32 constants."""
    config = AutoencoderKLWan(base_dim=2).config
    assert (list(LATENT_MEAN), list(LATENT_STD)) == (config.latents_mean, config.latents_std)


def test_wan_names_are_the_references(original: AutoencoderKLWan) -> None:
    """Guards the inverse mapping of this file: the key roots of models/backbone.md#vae, each present, and
    nothing else.
    """
    names = {wan_name(name) for name in original.state_dict()}
    roots = {re.match(r"((?:encoder|decoder)\.(?:conv1|[a-z]+\.\d+)|conv\d)\.", name)[1] for name in names}
    expected = {f"encoder.downsamples.{i}" for i in range(11)} | {f"decoder.upsamples.{i}" for i in range(15)}
    for side in ("encoder", "decoder"):
        expected |= {
            f"{side}.{part}" for part in ("conv1", "middle.0", "middle.1", "middle.2", "head.0", "head.2")
        }
    assert roots == expected | {"conv1", "conv2"}
    assert len(names) == len(original.state_dict())


def test_the_real_models_shapes_fit(tmp_path: Path) -> None:
    """Guards the widths read off the tensors at Wan2.1's size (diffusers' defaults), from a file without
    numbers.
    """
    with torch.device("meta"):
        state = {wan_name(name): value for name, value in AutoencoderKLWan().state_dict().items()}
    torch.save(state, tmp_path / "vae.pth")
    vae = WanVae.load(tmp_path / "vae.pth", device="meta")
    assert sum(value.numel() for value in vae.module.parameters()) == 126_892_531  # 508 MB in float32
    assert state["conv1.weight"].shape == (32, 32, 1, 1, 1) and state["conv2.weight"].shape == (
        16,
        16,
        1,
        1,
        1,
    )


def test_decode_is_diffusers_decode(original: AutoencoderKLWan, vae: WanVae) -> None:
    """Guards the key mapping, normalisation, memories and bytes: diffusers' frames, except at an edge of
    float32.
    """
    latents = latents_of(5, batch=2)
    mean, std = torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD)
    z = latents.transpose(1, 2) * std[:, None, None, None] + mean[:, None, None, None]
    theirs = original.decode(z).sample
    assert (theirs.abs() == 1).any() and (theirs.abs() < 0.9).any()
    frames = vae.decode_uint8(latents)
    assert frames.dtype == torch.uint8 and frames.shape == (2, 17, 16, 24, 3)
    # truncated in float64; z / (1/std) and z * std differ in the last float32 bit, sums by the CPU
    exact = (theirs.double() + 1) / 2 * 255
    ours = frames.permute(0, 4, 1, 2, 3).double()
    assert ((ours <= exact + 1e-2) & (ours > exact - 1 - 1e-2)).all()


def test_denormalisation_rounds_as_the_reference(wan_file: Path) -> None:
    """Guards z / (1/std) + mean with all three in bfloat16, 1/std of the rounded std
    (models/backbone.md#vae): bit by bit.
    """
    vae = WanVae.load(wan_file)
    z = latents_of(2)
    inverse = (1 / torch.tensor(LATENT_STD).bfloat16().float()).bfloat16()
    divided = (z.bfloat16().float() / inverse.float()[:, None, None]).bfloat16()
    expected = (divided.float() + torch.tensor(LATENT_MEAN).bfloat16().float()[:, None, None]).bfloat16()
    found = vae.denormalise(z)
    assert found.dtype == torch.bfloat16 and torch.equal(found, expected)
    exact = z * torch.tensor(LATENT_STD)[:, None, None] + torch.tensor(LATENT_MEAN)[:, None, None]
    assert not torch.equal(found, exact.bfloat16()), "the order of rounding makes no difference here"


def test_both_layouts_are_one_model(original: AutoencoderKLWan, vae: WanVae, tmp_path: Path) -> None:
    """Guards the reader of a Diffusers vae/ folder."""
    original.save_pretrained(tmp_path / "vae")
    other = WanVae.load(tmp_path / "vae", dtype=torch.float32)
    assert torch.equal(other.decode_uint8(latents_of(3)), vae.decode_uint8(latents_of(3)))


@pytest.mark.parametrize("which", ["vae", "linear"])
@pytest.mark.parametrize("chunks", [(3,) * 7, (1,) * 21, (21,), (2, 5, 14)])
def test_any_chunks_give_the_same_frames(
    which: str, chunks: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    """Guards the memories kept between chunks, and the 1 + 4 + 4 ... frames: bit by bit."""
    codec: Codec = request.getfixturevalue(which)
    latents = latents_of(21)
    stream = codec.stream()
    pushed = [stream.push(part) for part in latents.split(chunks, dim=1)]
    assert [part.shape[1] for part in pushed] == [4 * f - 3 * (i == 0) for i, f in enumerate(chunks)]
    assert torch.equal(torch.cat(pushed, dim=1), codec.decode_uint8(latents))


@pytest.mark.parametrize("which", ["vae", "linear"])
def test_streams_do_not_disturb_one_another(which: str, request: pytest.FixtureRequest) -> None:
    """Guards against memory on the module (where diffusers keeps it): two interleaved streams, a decode in
    between.
    """
    codec: Codec = request.getfixturevalue(which)
    first, second = latents_of(6, seed=1), latents_of(6, seed=2)
    streams = codec.stream(), codec.stream()
    pushed: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start in range(0, 6, 2):
        for stream, latents, frames in zip(streams, (first, second), pushed, strict=True):
            frames.append(stream.push(latents[:, start : start + 2]))
            codec.decode_uint8(first[:, :1])
    assert torch.equal(torch.cat(pushed[0], dim=1), codec.decode_uint8(first))
    assert torch.equal(torch.cat(pushed[1], dim=1), codec.decode_uint8(second))


def test_bytes_are_truncated() -> None:
    """Closed form: -1 is 0, just under 1 is 254, 1 and beyond are 255, 0 is 127 (127.5 would round to
    128).
    """
    values = torch.tensor([-7.0, -1.0, 0.0, 0.999, 1.0, 7.0]).view(1, 1, 6, 1, 1).expand(1, 3, 6, 1, 1)
    assert to_uint8(values)[0, :, 0, 0, 1].tolist() == [0, 0, 127, 254, 255, 255]


@pytest.mark.parametrize("frames", [1, 9])
def test_encode_is_the_mode_of_diffusers(original: AutoencoderKLWan, vae: WanVae, frames: int) -> None:
    """Guards the pieces 1, 4, 4, ... and the normalisation of data: diffusers' posterior mode, to float32
    round-off.
    """
    pixels = torch.rand(2, frames, 3, 16, 24, generator=torch.Generator().manual_seed(5)) * 2 - 1
    mode = original.encode(pixels.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
    expected = (mode - torch.tensor(LATENT_MEAN)[:, None, None]) / torch.tensor(LATENT_STD)[:, None, None]
    found = vae.encode(pixels)
    assert found.shape == (2, 1 + (frames - 1) // 4, 16, 2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_encode_refuses_what_it_would_cut(vae: WanVae) -> None:
    """Guards against dropped frames (8) and half patches (20 pixels)."""
    for shape in ((1, 8, 3, 16, 16), (1, 9, 3, 20, 16)):
        with pytest.raises(ValueError, match=r"takes 1 \+ 4k pixel frames of multiples of 8 pixels"):
            vae.encode(torch.zeros(shape))


def test_the_two_precisions(wan_file: Path, vae: WanVae) -> None:
    """Guards the profiles: all bfloat16 (no float32 norm left), or float32 weights with bfloat16
    convolutions.

    Both stay within a few per cent of float32 on average, and neither equals it or the other.
    """
    latents = latents_of(5)
    exact = vae.decode_uint8(latents)
    half, autocast = WanVae.load(wan_file), WanVae.load(wan_file, dtype=torch.float32, autocast=True)
    assert {p.dtype for p in half.module.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in autocast.module.parameters()} == {torch.float32}
    assert not [name for name, part in half.module.named_modules() if type(part).__name__ == "WanRMS_norm"]
    frames = [codec.decode_uint8(latents) for codec in (half, autocast)]
    for found in frames:
        assert 0 < (found.float() - exact.float()).abs().mean() < 5
    assert not torch.equal(*frames)
    assert half.encode(torch.zeros(1, 1, 3, 8, 8)).dtype == torch.float32
    with pytest.raises(ValueError, match="autocast is for float32 weights"):
        WanVae.load(wan_file, autocast=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: s.pop("decoder.upsamples.4.shortcut.bias"),
            r"1 missing \(decoder.up_blocks.1.resnets.0.conv_shortcut.bias\)",
        ),
        (lambda s: s.pop("conv2.weight"), r"holds no Wan VAE \(no tensor post_quant_conv.weight\)"),
        (lambda s: s.update({"decoder.extra.bias": torch.ones(1)}), r"1 unexpected \(decoder.extra.bias\)"),
        (lambda s: s.update({"decoder.head.0.gamma": torch.ones(3, 1, 1, 1)}), "1 of another shape"),
        (lambda s: s.update({"decoder.conv_in.bias": s["decoder.conv1.bias"]}), "name the same one twice"),
        (lambda s: s.pop("decoder.middle.0.residual.0.gamma"), "no tensor encoder.conv_in.weight"),
    ],
)
def test_every_tensor_is_accounted_for(
    change: Callable[[dict[str, Tensor]], object], sentence: str, wan_file: Path, tmp_path: Path
) -> None:
    """Guards against a decoder that is partly random: missing, unknown, misshapen and doubled tensors."""
    state = torch.load(wan_file, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "vae.pth")
    with pytest.raises(ValueError, match=sentence):
        WanVae.load(tmp_path / "vae.pth")


def test_another_vae_is_refused(tmp_path: Path) -> None:
    """Guards against Wan2.1's mean and std on a VAE with another latent space."""
    AutoencoderKLWan(base_dim=4, z_dim=8).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has 8 latent channels, Wan2\.1's has 16"):
        WanVae.load(tmp_path)
