"""The small decoder: the published names and shapes, a naive reference, and chunks that do not show."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, relu

from models.interfaces import Codec
from models.text_and_pixels import open_codec
from models.tiny_decoder import TINY_LAYOUTS, TinyAutoencoder, TinyDecoder
from models.wan_vae import LATENT_MEAN, LATENT_STD

MEMORY = [(0, 2), (2, 1), (4, 1)]  # convolutions of a block, and how many times its width they take


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of taew2_1, written down part by part (models/backbone.md#small-decoder)."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, channels: int, size: int = 3, *, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, channels, size, size)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def blocks(side: str, numbers: range, width: int) -> None:
        for number in numbers:
            for place, times in MEMORY:
                conv(f"{side}.{number}.conv.{place}", width, times * width)

    conv("encoder.0", 64, 3)
    for first, pool in ((2, 2), (7, 2), (12, 1)):
        conv(f"encoder.{first}.conv", 64, 64 * pool, 1, bias=False)
        conv(f"encoder.{first + 1}", 64, 64, bias=False)
        blocks("encoder", range(first + 2, first + 5), 64)
    conv("encoder.17", 16, 64)
    conv("decoder.1", 256, 16)
    for first, growth, wide, narrow in ((3, 1, 256, 128), (9, 2, 128, 64), (15, 2, 64, 64)):
        blocks("decoder", range(first, first + 3), wide)
        conv(f"decoder.{first + 4}.conv", growth * wide, wide, 1, bias=False)
        conv(f"decoder.{first + 5}", narrow, wide, bias=False)
    conv("decoder.22", 3, 64)
    return shapes


def random_state() -> dict[str, Tensor]:
    """Weights whose pictures are mostly neither black nor white."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator) * (1.4 / max(1, torch.Size(shape[1:]).numel()) ** 0.5)
        for name, shape in published_shapes().items()
    }
    state["decoder.22.weight"] /= 40
    state["decoder.22.bias"].fill_(0.5)
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state()


@pytest.fixture(scope="module")
def files(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    torch.save(state, folder / "taew2_1.pth")
    save_file(state, folder / "lighttaew2_1.safetensors")
    return {path.stem: path for path in folder.iterdir()}


def reference(state: dict[str, Tensor], latents: Tensor) -> Tensor:
    """Frames [B, T, 3, 8H, 8W] by a walk that keeps a list of frames, part after part, of the whole clip."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"].double()
        bias = state[f"{name}.bias"].double() if f"{name}.bias" in state else None
        return conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    frames = [relu(conv("decoder.1", 3 * torch.tanh(z / 3))) for z in latents.double().unbind(1)]
    for first in (3, 9, 15):
        for number in range(first, first + 3):
            past, out = torch.zeros_like(frames[0]), []
            for x in frames:
                y = torch.cat([x, past], dim=1)
                for place, _ in MEMORY:
                    y = conv(f"decoder.{number}.conv.{place}", y)
                    y = y if place == 4 else relu(y)
                out.append(relu(y + x))
                past = x
            frames = out
        grown = []
        for x in frames:
            larger = conv(f"decoder.{first + 4}.conv", interpolate(x, scale_factor=2))
            grown += larger.split(x.shape[1], dim=1)
        frames = [conv(f"decoder.{first + 5}", x) for x in grown]
    return torch.stack([conv("decoder.22", relu(x)) for x in frames], dim=1)[:, 3:]


def latents_of(frames: int = 4) -> Tensor:
    return torch.randn(2, frames, 16, 3, 5, generator=torch.Generator().manual_seed(1))


def test_names_and_shapes_are_the_published_ones() -> None:
    found = {name: tuple(value.shape) for name, value in TinyAutoencoder().state_dict().items()}
    assert found == published_shapes()


@pytest.mark.parametrize("name", TINY_LAYOUTS)
def test_frames_are_those_of_the_reference(
    name: str, state: dict[str, Tensor], files: dict[str, Path]
) -> None:
    """Both layouts; LightTAE takes the latents that the VAE takes."""
    z = latents_of()
    scale, shift = torch.tensor(LATENT_STD)[:, None, None], torch.tensor(LATENT_MEAN)[:, None, None]
    expected = reference(state, z * scale + shift if name == "lighttaew2_1" else z)
    assert 0.1 < float(((expected > 0) & (expected < 1)).double().mean()) < 1
    found = TinyDecoder.load(files[name], dtype=torch.float32).decode_uint8(z)
    assert found.shape == (2, 13, 24, 40, 3)
    off = (found.double() - (expected.clamp(0, 1) * 255).permute(0, 1, 3, 4, 2)).abs()
    assert float(off.max()) < 0.51


def test_a_clip_is_the_same_in_any_chunks_and_beside_any_clip(files: dict[str, Path]) -> None:
    codec: Codec = TinyDecoder.load(files["taew2_1"], dtype=torch.float32)
    z = latents_of(6)
    whole = codec.decode_uint8(z)
    for sizes in ([1, 5], [3, 3], [1] * 6):
        stream, other = codec.stream(), codec.stream()
        frames = []
        for part in z.split(sizes, dim=1):
            other.push(-part)
            frames.append(stream.push(part))
        assert frames[0].shape[1] == 4 * sizes[0] - 3
        assert torch.equal(torch.cat(frames, dim=1), whole)
    assert int((codec.decode_uint8(z[:1]).int() - whole[:1].int()).abs().max()) <= 1
    changed = z.clone()
    changed[:, 3:] = 0
    assert torch.equal(codec.decode_uint8(changed)[:, :9], whole[:, :9]), "a later frame was seen"


def test_what_is_no_such_file_is_refused(
    state: dict[str, Tensor], files: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "decoder.pth"
    other.write_bytes(files["taew2_1"].read_bytes())
    with pytest.raises(ValueError, match="taew2_1 or lighttaew2_1"):
        TinyDecoder.load(other)
    damages = {
        r"1 missing \(decoder\.22\.bias\)": {k: v for k, v in state.items() if k != "decoder.22.bias"},
        "1 unexpected": {**state, "decoder.23.weight": torch.zeros(1)},
        "1 of another shape": {**state, "decoder.13.conv.weight": torch.zeros(512, 128, 1, 1)},
    }
    for words, wrong in damages.items():
        path = tmp_path / "taew2_1.pth"
        torch.save(wrong, path)
        with pytest.raises(ValueError, match=words):
            TinyDecoder.load(path)
    with pytest.raises(FileNotFoundError):
        open_codec(tmp_path / "nothing.pth", decoder="tiny")
    with pytest.raises(ValueError, match="encodes nothing"):
        TinyDecoder.load(files["taew2_1"]).encode(torch.zeros(1, 1, 3, 8, 8))


def test_it_is_opened_where_it_is_asked_for(files: dict[str, Path]) -> None:
    assert isinstance(open_codec(files["taew2_1"], decoder="tiny"), TinyDecoder)
    with pytest.raises(ValueError, match="no Wan VAE"):
        open_codec(files["taew2_1"])
