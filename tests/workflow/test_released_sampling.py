"""Sampling from Wan's own kinds of file, at small size: a released checkpoint, umT5's .pth with a tokenizer,
a VAE's folder.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.build import Precision, build_sampler, dtypes_of
from baselines.native import Baseline
from baselines.released import release_of
from baselines.spec import load_all
from evaluation.files import file_sha256
from evaluation.records import Prompt
from evaluation.shards import full_batches, samples_to_render
from models.checkpoints.released import open_released
from models.config import WanConfig
from models.interfaces import Codec
from models.noise import SampleKey
from models.text_and_pixels import open_codec, open_text
from models.wan import Wan, cast_parameters, init_weights
from tests.models.test_wan_vae import random_vae
from tests.models.umt5_toys import DIM, wan_state, write_tokenizer
from workflow.sampling.batches import BatchSampler
from workflow.sampling.model_files import prompt_encoder, row_sha256, text_sha256
from workflow.sampling.shard import Cost, Piece

BASELINES = load_all(Path(__file__).parents[2] / "baselines")
CONFIG = WanConfig(
    dim=128, ffn_dim=64, num_layers=1, num_heads=1, freq_dim=32, text_dim=DIM, in_channels=16, out_channels=16
)
PROMPTS = [
    Prompt(id=f"p{i}", prompt="a", extended=text, dimensions=("color",), samples=1, keep=None, facts={})
    for i, text in enumerate(("a red ball", "a cat on a meadow"))
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """resources/ with a Self Forcing checkpoint (two levels, wrapped names), text encoder and VAE."""
    folder = tmp_path_factory.mktemp("site") / "resources" / "weights"
    (folder / "self_forcing").mkdir(parents=True)
    wan = Wan(CONFIG)
    init_weights(wan, torch.Generator().manual_seed(0), zero_head=False)
    good = {f"model._fsdp_wrapped_module.{name}": value for name, value in wan.state_dict().items()}
    bad = {name: torch.zeros_like(value) for name, value in good.items()}
    torch.save({"generator": bad, "generator_ema": good}, folder / "self_forcing" / "self_forcing_dmd.pt")
    (folder / "wan").mkdir()
    torch.save(wan_state(dtype=torch.bfloat16), folder / "wan" / "umt5.pth")
    write_tokenizer(folder / "wan" / "google" / "umt5-xxl")
    random_vae().save_pretrained(folder / "wan" / "vae")
    return folder


def network(files: Path, baseline: Baseline, precision: Precision) -> Wan:
    dtypes = dtypes_of(baseline, precision)
    release = release_of(baseline, files / "self_forcing" / "self_forcing_dmd.pt")
    wan = open_released(dataclasses.replace(release, config=CONFIG), dtypes.network)
    return cast_parameters(wan.eval().requires_grad_(False), dtypes.matmul)


@pytest.mark.parametrize("precision", ["exact", "float32"])
def test_clips_are_the_parts_put_together(files: Path, tmp_path: Path, precision: Precision) -> None:
    """Guards against text of another prompt, chunks decoded out of order, a second encoder load, latents cast
    before hashing.
    """
    baseline = BASELINES["self_forcing"]
    dtypes = dtypes_of(baseline, precision)
    wan = network(files, baseline, precision)
    codec: Codec = open_codec(files / "wan" / "vae", dtype=dtypes.codec, autocast=dtypes.codec_autocast)
    sampler = build_sampler(baseline, wan, latent_shape=(21, 16, 2, 2), precision=precision)
    texts = [prompt.extended for prompt in PROMPTS]
    rows = prompt_encoder(files / "wan" / "umt5.pth", "0" * 64, tmp_path / "embeddings", torch.device("cpu"))
    maker = BatchSampler(
        sampler=sampler, text=rows, codec=codec, noise="portable", suite="s", items={}, prompts=texts
    )
    *pieces, cost = [wait() for wait in maker.start(full_batches(samples_to_render(PROMPTS), 2)[0])]

    direct = open_text(files / "wan" / "umt5.pth").encode(texts)
    noise = sampler.portable_noise("s", [SampleKey(prompt.id, 0) for prompt in PROMPTS])
    latents = torch.cat([chunk.latents for chunk in sampler.sample(direct, noise)], dim=1)
    frames = codec.decode_uint8(latents)
    assert latents.abs().sum() > 0
    assert isinstance(cost, Cost)
    made = [piece for piece in pieces if isinstance(piece, Piece)]
    assert [piece.frames.shape for piece in made] == [(2, n, 16, 16, 3) for n in (9, *[12] * 6)]
    assert np.array_equal(np.concatenate([piece.frames for piece in made], axis=1), frames.numpy())
    held = [piece.latents for piece in made if piece.latents is not None]
    assert np.array_equal(np.concatenate(held, axis=1), latents.float().numpy())
    assert cost.first_frames_s is not None
    assert 0 < cost.first_frames_s < 2 * (cost.sample_s + cost.decode_s)
    assert cost.network_calls == 34
    assert len(list((tmp_path / "embeddings").glob("*.safetensors"))) == 2
    assert rows.encoder is None  # type: ignore[attr-defined]


def test_hashes_come_from_the_record_and_cover_every_file(
    monkeypatch: pytest.MonkeyPatch, files: Path
) -> None:
    """Guards against clips that survive another adapter or tokenizer, and against unverified files."""
    monkeypatch.chdir(files.parents[1])
    root = Path("resources/weights")
    (root / "longlive").mkdir()
    base, lora = root / "longlive/longlive_base.pt", root / "longlive/lora.pt"
    umt5, tokenizer = root / "wan/umt5.pth", root / "wan/google/umt5-xxl/tokenizer.json"

    def recorded() -> dict[str, str]:
        return {
            path.relative_to("resources").as_posix(): file_sha256(path)
            for path in (umt5, tokenizer, base, lora)
        }

    for path in (base, lora):
        path.touch()
    checksums = recorded()
    text, whole = text_sha256(umt5, checksums), row_sha256(base, BASELINES["longlive"], checksums)
    for path in (tokenizer, lora):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match="when it was fetched"):
        text_sha256(umt5, checksums)
    checksums = recorded()
    assert text != text_sha256(umt5, checksums)
    assert whole != row_sha256(base, BASELINES["longlive"], checksums)
    with pytest.raises(FileNotFoundError, match="make fetch"):
        row_sha256(root / "self_forcing" / "self_forcing_dmd.pt", BASELINES["self_forcing"], checksums)
