"""GRiT's text decoder with keys and values kept: a box's 196 places go through its six layers once, not once
per word.

In the package's decoder a place sees places only, a word sees the places and the words before it. So what a
layer computes for the places does not depend on the words, and one word more costs one place more. The choice
of words is the package's: the likeliest one, never the one before, 40 with the begin token at most, until all
texts have ended.

Letters: B boxes, P places (14 x 14), T words so far, N heads, D head size, C = N D.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LONGEST_TEXT = 40
"""Tokens of a text with the begin token; `max_steps` of the package's search."""

REPEATED = -10000.0
"""The package's logit of the word that was just chosen."""


class Looked(NamedTuple):
    """What a layer keeps of B boxes, with room for words. k, v: [B, N, P + LONGEST_TEXT, D]."""

    k: Tensor
    v: Tensor

    def of(self, boxes: list[int]) -> Looked:
        """The same of some of the boxes."""
        return Looked(self.k[boxes], self.v[boxes])


class Writer:
    """Greedy texts of boxes. decoder: TransformerDecoderTextualHead; tokenizer: of its tokens."""

    def __init__(self, decoder: Any, tokenizer: Any) -> None:
        self.decoder, self.tokenizer = decoder, tokenizer
        self.layers = decoder.transformer.encoder.layer
        assert not decoder.transformer.encoder.pre_norm, "VBench's GRiT normalises behind each sum"
        assert not decoder.training, "the network must be in its eval mode"

    def look(self, places: Tensor) -> list[Looked]:
        """Put the places of boxes through the layers. places: [B, P, C_in] pooled features."""
        state = self.decoder.object_feature_projection(places)
        kept = []
        for layer in self.layers:
            attention = layer.attention.self
            k, v = (self._heads(attention, project(state)) for project in (attention.key, attention.value))
            room = (k.shape[0], k.shape[1], k.shape[2] + LONGEST_TEXT, k.shape[3])
            one = Looked(k.new_empty(room), v.new_empty(room))
            one.k[:, :, : k.shape[2]], one.v[:, :, : v.shape[2]] = k, v
            kept.append(one)
            if layer is not self.layers[-1]:  # nobody reads the places behind the last layer
                state = self._through(layer, state, k, v)
        return kept

    def write(self, looked: list[Looked], begin: int) -> list[str]:
        """A text for each box. begin: the task's first token."""
        num_boxes, _, room, _ = looked[0].k.shape
        end, num_places = self.tokenizer.sep_token_id, room - LONGEST_TEXT
        if not num_boxes:
            return []
        last = looked[0].k.new_full((num_boxes,), begin, dtype=torch.long)
        chosen = []
        for step in range(LONGEST_TEXT - 1):
            logits = self._next(looked, last, step, num_places + step)
            if step:
                logits.scatter_(1, last[:, None], REPEATED)
            following = logits.argmax(1)
            last = torch.where(last == end, last, following) if step else following
            chosen.append(last)
            if bool((last == end).all()):
                break
        return [
            self.tokenizer.decode(tokens, skip_special_tokens=True)
            for tokens in torch.stack(chosen, 1).tolist()
        ]

    def _next(self, looked: list[Looked], tokens: Tensor, position: int, place: int) -> Tensor:
        """Logits [B, words] behind one token more. tokens: [B]."""
        embedding = self.decoder.embedding
        state = embedding.layer_norm(embedding.words(tokens) + embedding.positions.weight[position])[:, None]
        for layer, kept in zip(self.layers, looked, strict=True):
            attention = layer.attention.self
            kept.k[:, :, place] = self._heads(attention, attention.key(state))[:, :, 0]
            kept.v[:, :, place] = self._heads(attention, attention.value(state))[:, :, 0]
            state = self._through(layer, state, kept.k[:, :, : place + 1], kept.v[:, :, : place + 1])
        logits: Tensor = self.decoder.output(state[:, 0]).float()
        return logits

    @staticmethod
    def _heads(attention: Any, state: Tensor) -> Tensor:
        """[B, T, C] -> [B, N, T, D]."""
        result: Tensor = state.view(*state.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)
        return result

    def _through(self, layer: Any, state: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One layer for the given places, each of which sees all keys. state: [B, T, C]."""
        attention = layer.attention.self
        q = self._heads(attention, attention.query(state))
        seen = F.scaled_dot_product_attention(q, k, v, scale=1 / math.sqrt(attention.attention_head_size))
        state = layer.attention.output(seen.transpose(1, 2).flatten(2), state)
        wide = F.gelu(layer.intermediate.dense(state))
        result: Tensor = layer.output(wide, state)
        return result
