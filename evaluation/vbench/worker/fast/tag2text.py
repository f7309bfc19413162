"""Tag2Text for the frames that VBench really captions, with keys and values kept from word to word.

Beams are spread twice in the package (by Tag2Text and by the version of transformers that VBench pins), and
only as many rows as it has frames times beams are kept. So frame i of a clip gets the caption of frame i //
3: of 16 sampled frames the first six are looked at, each for three. The number is VBench's, so it is so here
too; but the other ten are not put through the network.

The modules with weights and the beam search are the package's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from evaluation.vbench.worker.watch import LoopWatch

BEAMS, MOST_TOKENS, FEWEST_TOKENS = 3, 30, 10
"""What the package's `generate` is called with: beams, most and fewest tokens."""


def caption_seen_frames(module: ModuleType, watch: LoopWatch) -> None:
    """Read clips ahead; caption each frame that is looked at once, in batches of the scorer's adapter."""
    create: Any = module.tag2text_caption

    def tag2text_caption(**options: Any) -> Any:
        model = create(**options)
        keep_keys(model.text_decoder)
        return model

    def get_caption(model: Any, frames: Tensor) -> list[str]:
        seen = frames[: math.ceil(len(frames) / BEAMS)]
        with torch.inference_mode():
            captions = caption_frames(model, seen)
        return [captions[frame // BEAMS] for frame in range(len(frames))]

    module.load_video = watch.ahead(module.load_video)  # type: ignore[attr-defined]
    module.tag2text_caption = tag2text_caption  # type: ignore[attr-defined]
    module.get_caption = get_caption  # type: ignore[attr-defined]


def caption_frames(model: Any, frames: Tensor) -> list[str]:
    """A caption of each frame [B, 3, 384, 384]: Tag2Text_Caption.generate with beams spread once."""
    seen = model.visual_encoder(frames)
    whole = torch.ones(seen.shape[:-1], dtype=torch.long, device=seen.device)
    words = model.tokenizer(
        find_tags(model, seen, whole),
        padding="max_length",
        truncation=True,
        max_length=40,
        return_tensors="pt",
    ).to(seen.device)
    words.input_ids[:, 0] = model.tokenizer.enc_token_id
    tagged = model.tag_encoder(
        words.input_ids, attention_mask=words.attention_mask, encoder_hidden_states=seen,
        encoder_attention_mask=whole, return_dict=True,
    ).last_hidden_state  # fmt: skip
    begin = model.tokenizer([model.prompt] * len(frames), return_tensors="pt").input_ids.to(seen.device)
    begin[:, 0] = model.tokenizer.bos_token_id
    tokens = model.text_decoder.generate(
        input_ids=begin[:, :-1], max_length=MOST_TOKENS, min_length=FEWEST_TOKENS, num_beams=BEAMS,
        eos_token_id=model.tokenizer.sep_token_id, pad_token_id=model.tokenizer.pad_token_id,
        repetition_penalty=1.0, encoder_hidden_states=tagged, encoder_attention_mask=None,
    )  # fmt: skip
    return [model.tokenizer.decode(one, skip_special_tokens=True)[len(model.prompt) :] for one in tokens]


def find_tags(model: Any, seen: Tensor, whole: Tensor) -> list[str]:
    """The tags of each frame, joined by " | ". seen: [B, 145, width]; whole: [B, 145] of ones."""
    from vbench.third_party.tag2Text.tag2text import delete_tag_index

    labels = model.label_embed.weight.expand(len(seen), -1, -1)
    told = model.vision_multi(
        encoder_embeds=labels, encoder_hidden_states=seen, encoder_attention_mask=whole, return_dict=False,
        mode="mlr",
    )[0]  # fmt: skip
    found = (torch.sigmoid(model.fc(told)) > model.threshold).cpu().numpy()
    found[:, delete_tag_index] = False
    return [" | ".join(model.tag_array[one]) for one in found]


class OncePerTensor:
    """A function that repeats its last answer as long as it is asked for the very same tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.asked: Tensor | None = None
        self.answer: Tensor | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        if tensor is not self.asked or self.answer is None:
            self.asked, self.answer = tensor, self.function(tensor)
        return self.answer


def keep_keys(decoder: Any) -> None:
    """Let the package's BertLMHeadModel keep its keys and values.

    It has the code, under a name (`past`) that transformers no longer uses, so each word went through it with
    all words before it. What it reads from the tags stays the same tensor for all words of a batch.
    """
    prepare = decoder.prepare_inputs_for_generation

    def prepare_last(input_ids: Tensor, past_key_values: Any = None, **model_kwargs: Any) -> dict[str, Any]:
        """transformers looks at the names of these parameters."""
        prepared: dict[str, Any] = prepare(input_ids, past=past_key_values, **model_kwargs)
        return prepared

    decoder.prepare_inputs_for_generation = prepare_last
    for layer in decoder.bert.encoder.layer:
        attention = layer.crossattention.self
        attention.key.forward = OncePerTensor(attention.key.forward)
        attention.value.forward = OncePerTensor(attention.value.forward)
