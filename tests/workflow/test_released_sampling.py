"""Sampling from Wan's own kinds of file, at small size: a released checkpoint, umT5's .pth with a tokenizer,
a VAE's folder.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.build import Precision, build_sampler, draw_order, dtypes_of
from baselines.native import Baseline
from baselines.released import release_of
from baselines.spec import load_all
from evaluation.files import file_sha256
from evaluation.records import Prompt
from evaluation.shards import full_batches, samples_to_render
from models.checkpoints.containers import read_metadata, write_safetensors
from models.checkpoints.released import open_released
from models.config import WanConfig
from models.interfaces import Codec, TextEncoder
from models.noise import SampleKey, UpstreamNoise
from models.text import WAN_NEGATIVE
from models.text_and_pixels import open_codec, open_text
from models.wan import Wan, cast_parameters, init_weights
from models.wan_text import PromptEmbeddings, clean_prompt
from tests.models.test_wan_vae import random_vae
from tests.models.umt5_toys import DIM, wan_state, write_tokenizer
from tests.workflow.embedded import describe, write_embedded
from workflow.planning.suite import sampling_settings
from workflow.planning.suite_file import load_suite
from workflow.sampling.batches import BatchSampler
from workflow.sampling.model_files import negative_prompt, prompt_encoder, row_sha256, text_sha256
from workflow.sampling.setup import open_row, seed_offsets
from workflow.sampling.shard import Cost, Piece

ROOT = Path(__file__).parents[2]
BASELINES = load_all(ROOT / "baselines")
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


@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        *((name, [0, 1, 2, 0, 1, 2]) for name in ("causal_rcm_c3_2step", "wan_teacher_rcm")),
        *((name, [0, 1, 2, 3, 4, 5]) for name in ("sgf", "wan_teacher")),
        ("raven", [20001019 + place for place in range(6)]),
    ],
)
def test_seeds_count_samples_or_places(name: str, seeds: list[int]) -> None:
    """Three samples of two prompts: with seed_rule sample both prompts begin with the same noises, which
    differ among each other; else the seed is the first one plus the place in the list
    (baselines/methods.md#noise).
    """
    row, prompts = BASELINES[name], [prompt.model_copy(update={"samples": 3}) for prompt in PROMPTS]
    items = seed_offsets(row, prompts)
    offsets = [items[sample.clip_id] for sample in samples_to_render(prompts)]
    assert [row.noise.seed + offset for offset in offsets] == seeds
    drawn = UpstreamNoise(draw_order(row), offsets, (3, 2, 2, 2)).initial()
    assert len(drawn.flatten(1).unique(dim=0)) == len(set(seeds))
    assert torch.equal(drawn[:3], drawn[3:]) == (row.noise.seed_rule == "sample")


def test_a_teachers_clips_depend_on_the_negative_prompt(
    monkeypatch: pytest.MonkeyPatch, files: Path, tmp_path: Path
) -> None:
    """From the files of a job to a clip: the text is in what a clip depends on, its embedding is kept under
    its own hash beside the prompts', and it is what the sampler is given. Guards against clips that outlive
    an edit of the text, and against the zeros of an empty prompt.
    """
    monkeypatch.chdir(files.parents[1])
    umt5 = Path("resources/weights/wan/umt5.pth")
    checksums = {
        path.relative_to("resources").as_posix(): file_sha256(path)
        for path in (umt5, umt5.parent / "google/umt5-xxl/tokenizer.json")
    }
    (tmp_path / "checksums.json").write_text(json.dumps(checksums))
    write_embedded(tmp_path, ())
    wan, weights = Wan(CONFIG), tmp_path / "own.safetensors"
    init_weights(wan, torch.Generator().manual_seed(0), zero_head=False)
    write_safetensors(weights, wan.state_dict(), metadata={"config": json.dumps(CONFIG.to_dict())})
    describe(weights)
    text = (ROOT / "baselines/wan_teacher_rcm.yaml").read_text()
    (tmp_path / "wan_teacher_rcm.yaml").write_text(text.replace("steps: 50", "steps: 2"))
    sampled = {"batch": 2, "shards": 1, "noise": "upstream", "precision": "float32"}
    suite = load_suite(ROOT, [ROOT / "workflow/config/tiny.yaml"], {"sample": sampled})
    row = load_all(tmp_path)["wan_teacher_rcm"]
    flags = argparse.Namespace(
        row=row.name, shard="0-of-1", baseline=tmp_path / "wan_teacher_rcm.yaml", own=None, code="c",
        checksums=tmp_path / "checksums.json", weights=weights, codec=tmp_path / "codec.safetensors",
        text=umt5, embeddings=tmp_path / "embeddings", clips=tmp_path, noise="upstream", device="cpu",
        settings=json.dumps(sampling_settings(suite, row)),
    )  # fmt: skip
    opened = open_row(flags, PROMPTS, None)
    assert opened.job.depends_on["negative"] == opened.maker.negative == WAN_NEGATIVE
    batch = full_batches(samples_to_render(PROMPTS), 2)[0]
    *_, cost = [wait() for wait in opened.maker.start(batch)]
    assert isinstance(cost, Cost) and cost.network_calls == 2 * 2

    def never() -> TextEncoder:
        raise AssertionError("an embedding is missing")

    kept = PromptEmbeddings(flags.embeddings, text_sha256(umt5, checksums), never)
    path = kept.path(clean_prompt(WAN_NEGATIVE))
    assert read_metadata(path)["prompt"] == clean_prompt(WAN_NEGATIVE)
    assert len(list(flags.embeddings.iterdir())) == 3
    assert opened.maker.against is not None
    assert torch.equal(opened.maker.against, kept.rows([WAN_NEGATIVE]))
    assert torch.equal(opened.maker.against, open_text(umt5).encode([WAN_NEGATIVE]))
    start = opened.maker.noise_of(batch.samples).initial_pieces([row.rollout.frames])
    assert torch.equal(*next(start))  # sample 0 of two prompts
    assert opened.maker.text.encoder is None, "umT5 stays in memory"  # type: ignore[attr-defined]
    assert negative_prompt(row, tmp_path / "text.safetensors") == "", "the toybox does not know its words"


def test_who_has_a_negative_prompt() -> None:
    """The teachers, Wan's own text; no student, whose clips would depend on it for nothing."""
    of_wan = {name: negative_prompt(row, Path("umt5.pth")) for name, row in BASELINES.items()}
    teachers = [name for name in BASELINES if name.startswith("wan_teacher")]
    assert {name: text for name, text in of_wan.items() if text is not None} == dict.fromkeys(
        teachers, WAN_NEGATIVE
    )


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
