"""Network calls as CUDA graphs: one graph per attend plan, captured at its first use and replayed for every
later clip.

A few-step sampler makes the same few calls for every clip, so the host is out of the way from the second clip
on. Replaying runs the kernels that the eager call ran, in their order: results are equal bit for bit (a test
on a GPU says so).

Legend: B batch, f latent frames of a call, C channels, H, W latent size, L tokens of a prompt.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from models.cache import KVCache
from models.plan import AttendPlan
from models.rollout import NetworkCalls
from models.wan import TextKV, Wan


class _Call(NamedTuple):
    """A captured call: write x and t, replay, read v."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    t: Tensor
    v: Tensor


@dataclass(slots=True)
class _Bound:
    """A network and the prompts that its calls are for now, in memory that the graphs of those calls read."""

    wan: Wan
    texts: tuple[TextKV, ...]
    """One for each of the network's sets of weights."""
    capacity: int
    cache: KVCache | None = None
    calls: dict[tuple[int, AttendPlan, tuple[int, ...], torch.dtype], _Call] = field(default_factory=dict)
    """By the number of the set of weights, and what the call computes."""


class GraphRunner:
    """Runs a network as `plain_runner` of models/rollout.py does, but keeps cache, text and graphs from clip
    to clip.

    One rollout at a time: the next `__call__` takes over the cache. For CUDA without gradients only.
    """

    def __init__(self) -> None:
        self._bound: _Bound | None = None
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, wan: Wan, text: Tensor, capacity: int) -> NetworkCalls:
        """Network calls for prompt embeddings [B, L, text_dim] with a cache of `capacity` frames."""
        with torch.no_grad():
            texts = tuple(one.text_kv(one.embed_text(text)) for one in wan.weight_sets)
        bound = self._bound
        if (
            bound is None
            or bound.wan is not wan
            or bound.capacity != capacity
            or bound.texts[0].keys[0].shape != texts[0].keys[0].shape
        ):
            bound = self._bound = _Bound(wan, texts, capacity)
        else:
            for kept, new in zip(bound.texts, texts, strict=True):
                for old, value in zip((*kept.keys, *kept.values), (*new.keys, *new.values), strict=True):
                    old.copy_(value)
        return NetworkCalls(
            denoise=partial(self._run, bound, 0), context=partial(self._run, bound, len(texts) - 1)
        )

    @torch.no_grad()
    def _run(self, bound: _Bound, weight_set: int, x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
        wan, text = bound.wan.weight_sets[weight_set], bound.texts[weight_set]
        if bound.cache is None:
            bound.cache = wan.cache_for(x, plan, bound.capacity, text.values[0].dtype)
        key = (weight_set, plan, tuple(x.shape), x.dtype)
        if key not in bound.calls:
            v = wan.cached(x, t, text, bound.cache, plan)  # warms the kernels up, and is the answer
            # recorded without being run, so that the cache is left as it is
            graph, own_x, own_t = torch.cuda.CUDAGraph(), x.clone(), t.clone()
            with torch.cuda.graph(graph, pool=self._pool):
                own_v = wan.cached(own_x, own_t, text, bound.cache, plan)
            bound.calls[key] = _Call(graph, own_x, own_t, own_v)
            return v
        found = bound.calls[key]
        found.x.copy_(x)
        found.t.copy_(t)
        found.graph.replay()
        return found.v.clone()
