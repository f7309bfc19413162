"""A tiny UnifiedReward in the layout of its published files: a random Qwen2.5-VL, a tokenizer, a question.

`scripted` weights answer with a fixed text: attention and feed-forward layers are zero, so that the next
token depends on the last one alone.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer

from models.training.unified_reward import ENDS
from tests.models.videoalign_toys import tokenizer as bytewise

HIDDEN = 32
ANSWER = (
    "visual quality: 4\n",
    "temporal consistency: 2\n",
    "dynamic degree: 3\n",
    "text-to-video alignment: 1\n",
    "factual consistency: 2\n",
    "Final Score: 6",
)
QUESTION = (
    "Rate visual quality, temporal consistency, dynamic degree, text-to-video alignment and factual "
    "consistency. Text: [{prompt}]"
)


def config() -> Any:
    """Of the network, without sizes that depend on the tokenizer."""
    from transformers import Qwen2_5_VLConfig

    text = {
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    }
    vision = {
        "depth": 2, "hidden_size": 32, "out_hidden_size": HIDDEN, "num_heads": 2, "intermediate_size": 48,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision)


def tokenizer(phrases: Sequence[str] = ANSWER) -> Tokenizer:
    """Bytes, the special tokens of Qwen2-VL, and whole lines of an answer."""
    words = bytewise()
    words.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    return words


def write_unified_reward(
    folder: Path,
    seed: int = 0,
    *,
    phrases: Sequence[str] = ANSWER,
    scripted: bool = False,
    shard_size: str = "1GB",
) -> Any:
    """The files of a judge; returns its network, in float32.

    phrases: lines that are tokens; scripted: whether these lines, in this order, are its answer;
    shard_size: of the files of weights, at most.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    words, made = tokenizer(phrases), config()
    made.text_config.vocab_size = words.get_vocab_size()
    made.video_token_id = words.token_to_id("<|video_pad|>")
    torch.manual_seed(seed)
    network = Qwen2_5_VLForConditionalGeneration(made).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "norm" not in name:
                value.copy_(torch.randn_like(value) * 0.3)
            if scripted and "language_model" in name and name.endswith(("o_proj.weight", "down_proj.weight")):
                value.zero_()
        if scripted:
            chain = [words.encode("\n").ids[0], *(words.token_to_id(one) for one in (*phrases, ENDS[0]))]
            embedded, head = network.get_input_embeddings().weight, network.lm_head.weight
            head.zero_()
            for place, (last, following) in enumerate(pairwise(chain)):
                embedded[last] = head[following] = torch.eye(HIDDEN)[place]
    network.save_pretrained(folder, max_shard_size=shard_size)
    words.save(str(folder / "tokenizer.json"))
    text = json.dumps(QUESTION)
    (folder / "question.py").write_text(f"prompt = ''\nasked = [f{text}, f'{{prompt}}']\nraise SystemExit\n")
    return network
