"""Which class opens a file is decided by the file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

from models.codec import LinearCodec
from models.text import ToyTextEncoder
from models.text_and_pixels import open_codec, open_text
from models.wan_text import WanTextEncoder, to_transformers
from models.wan_vae import WanVae

from .umt5_toys import DIM, wan_state, write_tokenizer

EMBEDDED = Path(__file__).parents[2] / "models/embedded"


def test_codecs(tmp_path: Path) -> None:
    """Guards the choice between our codec, a Diffusers folder and its file, and the settings that reach the
    VAE.
    """
    assert isinstance(open_codec(EMBEDDED / "codec.safetensors"), LinearCodec)
    AutoencoderKLWan(base_dim=4).save_pretrained(tmp_path / "vae")
    for path in (tmp_path / "vae", tmp_path / "vae/diffusion_pytorch_model.safetensors"):
        codec = open_codec(path, dtype=torch.float32, autocast=True)
        assert isinstance(codec, WanVae) and codec.autocast and codec.dtype == torch.float32


def test_text_encoders(tmp_path: Path) -> None:
    """Guards the choice between our encoder, Wan's file and a folder, and finding the tokenizer of either
    snapshot.
    """
    toy = open_text(EMBEDDED / "text.safetensors")
    assert isinstance(toy, ToyTextEncoder)
    assert toy.encode(["a red circle"]).shape == (1, toy.text_len, toy.text_dim)
    wan, folder = tmp_path / "wan", tmp_path / "diffusers"
    write_tokenizer(wan / "google/umt5-xxl")
    torch.save(wan_state(), wan / "models_t5.pth")
    write_tokenizer(folder / "tokenizer")
    (folder / "text_encoder").mkdir()
    save_file(to_transformers(wan_state()), folder / "text_encoder/model.safetensors")
    rows = []
    for path in (wan / "models_t5.pth", folder / "text_encoder"):
        encoder = open_text(path)
        assert isinstance(encoder, WanTextEncoder) and (encoder.text_len, encoder.text_dim) == (512, DIM)
        rows.append(encoder.encode(["a red ball"]))
    assert torch.equal(*rows)
    elsewhere = tmp_path / "t5.pth"
    elsewhere.symlink_to(wan / "models_t5.pth")
    with pytest.raises(FileNotFoundError, match="No tokenizer lies beside"):
        open_text(elsewhere)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    """Guards against a codec given as text encoder, a text encoder given as codec, and a path with nothing
    there.
    """
    with pytest.raises(ValueError, match="holds no Wan VAE"):
        open_codec(EMBEDDED / "text.safetensors")
    codec = tmp_path / "codec.safetensors"
    codec.symlink_to((EMBEDDED / "codec.safetensors").resolve())
    write_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="holds no umT5 encoder"):
        open_text(codec)
    for opener in (open_codec, open_text):
        with pytest.raises(FileNotFoundError, match="There is nothing at /nowhere"):
            opener("/nowhere")


@pytest.mark.slow
def test_the_embedded_world_needs_no_large_library() -> None:
    """Guards the seconds that every embedded stage would pay for importing transformers or diffusers."""
    program = (
        "import sys; from models.text_and_pixels import open_codec, open_text\nfrom workflow.scripts "
        f"import convert, sample, train_raven\nopen_codec({str(EMBEDDED / 'codec.safetensors')!r}); "
        f"open_text({str(EMBEDDED / 'text.safetensors')!r})\nprint(sorted({{'transformers', 'diffusers', "
        "'ftfy', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=EMBEDDED.parents[1]
    )
    assert done.stdout.strip() == "[]"
