"""umT5 from Wan's file and from a transformers folder, prompt cleaning, and embeddings kept on disk."""

import hashlib
import json
import logging
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from models.checkpoints.containers import read_metadata
from models.text import WAN_NEGATIVE
from models.wan_text import PromptEmbeddings, WanTextEncoder, clean_prompt, open_tokenizer, to_transformers

from .umt5_toys import BUCKETS, DIM, HEAD, HEADS, LAYERS, wan_state, write_tokenizer

PROMPTS = ["a red ball", "", "a cat on a meadow " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("umt5")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return write_tokenizer(folder / "google/umt5-xxl")


@pytest.fixture(scope="module")
def wan_file(folder: Path, tokenizer: Tokenizer) -> Path:
    torch.save(wan_state(), folder / "models_t5.pth")
    return folder / "models_t5.pth"


@pytest.fixture(scope="module")
def encoder(folder: Path, wan_file: Path) -> WanTextEncoder:
    return WanTextEncoder.load(wan_file, tokenizer=folder / "google/umt5-xxl", dtype=torch.float32)


def bucket(distance: int) -> int:
    """umT5's bidirectional bucket in whole numbers: 8 exact distances, then steps at 8 * 2**(k/2), 8 of
    them.
    """
    size = abs(distance)
    far = 8 + min(7, (size * size // 64).bit_length() - 1) if size >= 8 else size
    return far + (BUCKETS // 2 if distance > 0 else 0)


def naive_umt5(state: dict[str, Tensor], ids: list[int], length: int) -> Tensor:
    """models/backbone.md#text-encoder in one loop over one padded prompt [length, DIM], in the dtype of the
    weights.
    """

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return weight * (x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to(weight.dtype)

    table = state["token_embedding.weight"]
    x = table[torch.tensor(ids + [0] * (length - len(ids)))]
    buckets = torch.tensor([[bucket(key - query) for key in range(length)] for query in range(length)])
    for block in (f"blocks.{i}" for i in range(LAYERS)):
        h = norm(x, state[f"{block}.norm1.weight"])
        q, k, v = (
            (h @ state[f"{block}.attn.{part}.weight"].T).view(length, HEADS, HEAD).transpose(0, 1)
            for part in "qkv"
        )
        bias = state[f"{block}.pos_embedding.embedding.weight"][buckets].permute(2, 0, 1).clone()
        bias[:, :, len(ids) :] = torch.finfo(x.dtype).min
        weights = torch.softmax((q @ k.transpose(1, 2) + bias).float(), dim=-1).to(x.dtype)
        mixed = (weights @ v).transpose(0, 1).reshape(length, HEADS * HEAD)
        x = x + mixed @ state[f"{block}.attn.o.weight"].T
        h = norm(x, state[f"{block}.norm2.weight"])
        gate = h @ state[f"{block}.ffn.gate.0.weight"].T
        gate = 0.5 * gate * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        x = x + ((h @ state[f"{block}.ffn.fc1.weight"].T) * gate) @ state[f"{block}.ffn.fc2.weight"].T
    x = norm(x, state["norm.weight"])
    x[len(ids) :] = 0
    return x


def test_encoder_is_the_naive_one(encoder: WanTextEncoder, tokenizer: Tokenizer) -> None:
    """Guards the key mapping (gate and fc1 swapped), scaling, buckets, a bias per layer, norms, the mask;
    round-off.
    """
    rows = encoder.encode(PROMPTS)
    assert rows.shape == (3, 512, DIM) and encoder.text_dim == DIM
    for prompt, found in zip(PROMPTS, rows, strict=True):
        ids = tokenizer.encode(clean_prompt(prompt)).ids
        expected = naive_umt5(wan_state(), ids, 512)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert (found[len(ids) :] == 0).all() and (found[: len(ids)] != 0).any(dim=1).all()


def test_bfloat16_rounds_where_wan_rounds(folder: Path, wan_file: Path, tokenizer: Tokenizer) -> None:
    """Guards against float32 fp32_modules (transformers can keep wo in float32) and fused attention.

    The naive model in bfloat16, bit by bit.
    """
    encoder = WanTextEncoder.load(wan_file, tokenizer=folder / "google/umt5-xxl")
    assert {value.dtype for value in encoder.module.state_dict().values()} == {torch.bfloat16}
    state = {name: value.bfloat16() for name, value in wan_state().items()}
    ids = tokenizer.encode(clean_prompt(PROMPTS[2])).ids
    # oneDNN may sum in an order that depends on the processor and on how many axes a matrix has
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(encoder.encode([PROMPTS[2]])[0], naive_umt5(state, ids, 512))


def test_both_layouts_are_one_model(folder: Path, tmp_path: Path, encoder: WanTextEncoder) -> None:
    """Guards the reader of transformers' folders: one file or shards with an index, the word table once or
    twice.
    """
    state = {name: value.contiguous() for name, value in to_transformers(wan_state()).items()}
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    for path in (whole, shards):
        path.mkdir()
    save_file(
        {**state, "encoder.embed_tokens.weight": state["shared.weight"].clone()}, whole / "model.safetensors"
    )
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: state[name] for name in part}, shards / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    for path in (whole, shards):
        other = WanTextEncoder.load(path, tokenizer=folder / "google/umt5-xxl", dtype=torch.float32)
        assert torch.equal(other.encode(PROMPTS), encoder.encode(PROMPTS))
    other_table = {**state, "encoder.embed_tokens.weight": state["shared.weight"] + 1}
    save_file(other_table, whole / "model.safetensors")
    with pytest.raises(ValueError, match="two different word tables"):
        WanTextEncoder.load(whole, tokenizer=folder / "google/umt5-xxl")
    save_file(state, whole / "model.fp16.safetensors")
    with pytest.raises(ValueError, match="holds 2 sets of safetensors"):
        WanTextEncoder.load(whole, tokenizer=folder / "google/umt5-xxl")


def test_the_real_models_shapes_fit(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Guards the sizes read off the tensors at umT5-xxl's shapes (models/backbone.md#text-encoder), from a
    file without numbers.
    """
    state = {"token_embedding.weight": (256384, 4096), "norm.weight": (4096,)}
    for block in (f"blocks.{i}" for i in range(24)):
        state |= {f"{block}.attn.{part}.weight": (4096, 4096) for part in "qkvo"}
        state |= {f"{block}.norm1.weight": (4096,), f"{block}.norm2.weight": (4096,)}
        state |= {f"{block}.ffn.{part}.weight": (10240, 4096) for part in ("gate.0", "fc1")}
        state |= {
            f"{block}.ffn.fc2.weight": (4096, 10240),
            f"{block}.pos_embedding.embedding.weight": (32, 64),
        }
    torch.save(
        {name: torch.empty(shape, device="meta") for name, shape in state.items()}, tmp_path / "t5.pth"
    )
    encoder = WanTextEncoder.load(tmp_path / "t5.pth", tokenizer=folder / "google/umt5-xxl", device="meta")
    config = encoder.module.config
    assert (encoder.text_dim, config.num_heads, config.d_kv, config.num_layers) == (4096, 64, 64, 24)
    assert sum(value.numel() for value in encoder.module.parameters()) == 5_680_910_336  # 11.4 GB in bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_word_table_is_held_once(dtype: torch.dtype, folder: Path, wan_file: Path) -> None:
    """Guards against a second copy of the table (2 GB in the real model), taken from the file or
    converted.
    """
    encoder = WanTextEncoder.load(wan_file, tokenizer=folder / "google/umt5-xxl", dtype=dtype)
    assert encoder.module.shared.weight.data_ptr() == encoder.module.encoder.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: s.pop("blocks.1.attn.k.weight"),
            r"1 missing \(encoder.block.1.layer.0.SelfAttention.k.weight\)",
        ),
        (lambda s: s.pop("norm.weight"), r"1 missing \(encoder.final_layer_norm.weight\)"),
        (lambda s: s.pop("token_embedding.weight"), r"holds no umT5 encoder \(no tensor shared.weight\)"),
        (lambda s: s.update({"head.weight": torch.ones(2)}), r"1 unexpected \(head.weight\)"),
        (lambda s: s.update({"blocks.0.ffn.fc2.weight": torch.ones(2, 2)}), "1 of another shape"),
    ],
)
def test_every_tensor_is_accounted_for(
    change, sentence: str, folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Guards against an encoder that is partly random: missing, unknown and misshapen tensors are one
    sentence each.
    """
    state = wan_state()
    change(state)
    torch.save(state, tmp_path / "t5.pth")
    with pytest.raises(ValueError, match=sentence):
        WanTextEncoder.load(tmp_path / "t5.pth", tokenizer=folder / "google/umt5-xxl")


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Guards against token numbers beyond the table, which on a GPU are an assertion without a name."""
    state = wan_state()
    state["token_embedding.weight"] = state["token_embedding.weight"][:100]
    torch.save(state, tmp_path / "t5.pth")
    with pytest.raises(ValueError, match="the text encoder's table 100 rows"):
        WanTextEncoder.load(tmp_path / "t5.pth", tokenizer=folder / "google/umt5-xxl")
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json"):
        WanTextEncoder.load(tmp_path / "t5.pth", tokenizer=tmp_path)


def test_the_tokenizer_is_the_one_in_the_file(folder: Path, tokenizer: Tokenizer) -> None:
    """Guards against AutoTokenizer, which rebuilds a T5Tokenizer without byte fallback and with unknown 2."""
    opened = open_tokenizer(folder / "google/umt5-xxl")
    for text in ("a red ball", "zebra <s> 猫", "balls café"):
        assert opened(text).input_ids == tokenizer.encode(text).ids
    assert 2 not in opened("猫").input_ids


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  a  red\n\tball ", "a red ball"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&amp;amp;amp;lt;b&gt;", "<b>"),  # ftfy unescapes all the way, unless there is a "<"
        ("<i> &amp;amp;amp;lt;", "<i> &amp;lt;"),
        ("cafÃ© sâ€™il", "café s'il"),
        ("“quoted” ﬁre", '"quoted" fire'),
        ("a\u00a0b\u3000c", "a b c"),
        ("", ""),
    ],
)
def test_cleaning(raw: str, cleaned: str) -> None:
    """Golden cases: white space, HTML escaped twice and more often, mojibake, typographic marks, other
    blanks.
    """
    assert clean_prompt(raw) == cleaned


def test_the_negative_prompt_is_wans() -> None:
    """Golden, of the text in Wan-Video/Wan2.1:wan/configs/shared_config.py: 28 phrases between full-width
    commas and no blank anywhere. Cleaning makes the commas ASCII and changes nothing else. One character more
    or less is another teacher. Remake with hashlib.sha256(text.encode()).hexdigest().
    """
    phrases = WAN_NEGATIVE.split("\uff0c")
    assert (len(WAN_NEGATIVE), len(phrases), phrases[0], phrases[-1]) == (137, 28, "色调艳丽", "倒着走")
    assert (
        hashlib.sha256(WAN_NEGATIVE.encode()).hexdigest()
        == "ce96e0324e4b54ce4b6e867f669ca520952e1a34cc116543516b1897f0d3c47e"
    )
    assert clean_prompt(WAN_NEGATIVE) == ",".join(phrases)
    assert not re.search(r"\s", WAN_NEGATIVE)


def test_a_cut_prompt_is_said(encoder: WanTextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against a prompt whose end is silently ignored; 512 tokens with the end mark still fit."""
    with caplog.at_level(logging.WARNING):
        encoder.encode(["a " * 511])
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        rows = encoder.encode(["a " * 512])
    assert [r.getMessage() for r in caplog.records] == [
        f"prompt {('a ' * 512).strip()!r} has 513 tokens, the text encoder reads the first 512"
    ]
    assert (rows[0, -1] != 0).any()


class Maker:
    """Counts how often the encoder was made."""

    def __init__(self, encoder: WanTextEncoder) -> None:
        self.encoder, self.made = encoder, 0

    def __call__(self) -> WanTextEncoder:
        self.made += 1
        return self.encoder


@pytest.fixture
def maker(folder: Path, wan_file: Path) -> Maker:
    return Maker(WanTextEncoder.load(wan_file, tokenizer=folder / "google/umt5-xxl"))


def test_embeddings_are_made_once_and_exact(tmp_path: Path, maker: Maker) -> None:
    """Guards the cache: the encoder's rows bit by bit, one file per cleaned prompt, no encoder the second
    time.
    """
    prompts = ["a red ball", "  a red\nball", "", "<i> &amp;amp;amp;lt; cat", "a red ball"]
    first = PromptEmbeddings(tmp_path / "text", "e" * 64, maker)
    rows = first.rows(prompts)
    assert rows.dtype == torch.bfloat16 and rows.shape == (5, 512, DIM)
    for prompt, found in zip(prompts, rows, strict=True):
        assert torch.equal(found, maker.encoder.encode([prompt])[0])
    assert maker.made == 1 and len(list((tmp_path / "text").iterdir())) == 3
    first.release()
    assert torch.equal(first.rows(prompts), rows)
    assert torch.equal(PromptEmbeddings(tmp_path / "text", "e" * 64, maker).rows(prompts), rows)
    assert maker.made == 1 and first.encoder is None
    assert read_metadata(first.path("a red ball"))["prompt"] == "a red ball"
    PromptEmbeddings(tmp_path / "text", "f" * 64, maker).rows(["a red ball"])
    assert maker.made == 2, "another encoder's rows were used"


def _cut(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _flip(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


def _swap(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def _empty(path: Path, other: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _flip, _swap, _empty])
def test_a_damaged_embedding_is_made_again(
    damage, tmp_path: Path, maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a cut, changed, foreign or empty file becoming text rows: it is named in the log and
    remade.
    """
    store = PromptEmbeddings(tmp_path, "e" * 64, maker)
    rows = store.rows(["a red ball", "a cat"])
    damage(store.path("a red ball"), store.path("a cat"))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(store.rows(["a red ball", "a cat"]), rows)
    assert len(caplog.records) == 1 and "'a red ball'" in caplog.records[0].getMessage()
    caplog.clear()
    store.rows(["a red ball"])
    assert not caplog.records and sorted(path.suffix for path in tmp_path.iterdir()) == [".safetensors"] * 2


def test_embeddings_are_never_rounded(tmp_path: Path, encoder: WanTextEncoder) -> None:
    """Guards against a float32 encoder whose rows would be stored in bfloat16 and so differ from run to
    run.
    """
    with pytest.raises(ValueError, match="stored in bfloat16"):
        PromptEmbeddings(tmp_path, "e" * 64, lambda: encoder).rows(["a cat"])
