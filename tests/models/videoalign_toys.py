"""A tiny VideoAlign in the layout of its published files: random Qwen2-VL with adapters, a tokenizer, a
question.
"""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from models.training.video_align import REWARD_TOKENS

HIDDEN, LAYERS, VISION_DEPTH, RANK = 32, 2, 1, 4
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|video_pad|>",
)
QUESTION = (
    "Rate it.\nLooks: <|VQ_reward|>\nMoves: <|MQ_reward|>\nText - {text_prompt}\nFits: <|TA_reward|>\nEND\n"
)
CONFIG = {
    "model_type": "qwen2_vl",
    "vocab_size": 300,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "vision_config": {
        "depth": VISION_DEPTH,
        "embed_dim": 32,
        "hidden_size": HIDDEN,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 14,
    },
}


def tokenizer() -> Tokenizer:
    """Bytes as words and the special tokens of Qwen2-VL that a question needs."""
    bytewise = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return bytewise


def state(seed: int = 0, *, rows: int = 3) -> dict[str, Tensor]:
    """model.pth: names of transformers 4 under peft, adapters on the language model's linear layers. rows: of
    the head.
    """
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    words = tokenizer()
    config = Qwen2VLConfig(**json.loads(json.dumps(CONFIG)))
    config.text_config.vocab_size = words.get_vocab_size() + len(REWARD_TOKENS)
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in Qwen2VLForConditionalGeneration(config).state_dict().items():
        draw = torch.randn(value.shape, generator=generator) * 0.2 + (1.0 if "norm" in name else 0.0)
        old = (
            name.removeprefix("model.")
            if name.startswith("model.visual.")
            else name.replace("language_model.", "")
        )
        linear = "layers." in old and "_proj." in old
        stem, _, last = old.rpartition(".")
        found[f"base_model.model.{stem}.base_layer.{last}" if linear else f"base_model.model.{old}"] = draw
        if linear and last == "weight":
            down = torch.randn(RANK, value.shape[1], generator=generator) * 0.2
            up = torch.randn(value.shape[0], RANK, generator=generator) * 0.2
            found[f"base_model.model.{stem}.lora_A.default.weight"] = down
            found[f"base_model.model.{stem}.lora_B.default.weight"] = up
    found["base_model.model.rm_head.weight"] = torch.randn(rows, HIDDEN, generator=generator)
    return found


def write_videoalign(folder: Path, seed: int = 0, *, rows: int = 3) -> dict[str, Tensor]:
    """The four files; returns what model.pth holds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "prompt_template.py").write_text(
        f"import os\nOTHER = 1\nDETAILED_PROMPT_WITH_SPECIAL_TOKEN = {QUESTION!r}\nraise SystemExit\n"
    )
    held = state(seed, rows=rows)
    torch.save(held, folder / "model.pth")
    return held
