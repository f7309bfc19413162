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
from models.rollout import NetworkCall
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
    text: TextKV
    capacity: int
    cache: KVCache | None = None
    calls: dict[tuple[AttendPlan, tuple[int, ...], torch.dtype], _Call] = field(default_factory=dict)


class GraphRunner:
    """Runs a network as `plain_runner` of models/rollout.py does, but keeps cache, text and graphs from clip
    to clip.

    One rollout at a time: the next `__call__` takes over the cache. For CUDA without gradients only.
    """

    def __init__(self) -> None:
        self._bound: _Bound | None = None
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, wan: Wan, text: Tensor, capacity: int) -> NetworkCall:
        """Network calls for prompt embeddings [B, L, text_dim] with a cache of `capacity` frames."""
        with torch.no_grad():
            text_kv = wan.text_kv(wan.embed_text(text))
        bound = self._bound
        if (
            bound is None
            or bound.wan is not wan
            or bound.capacity != capacity
            or bound.text.keys[0].shape != text_kv.keys[0].shape
        ):
            bound = self._bound = _Bound(wan, text_kv, capacity)
        else:
            kept, new = (*bound.text.keys, *bound.text.values), (*text_kv.keys, *text_kv.values)
            for old, value in zip(kept, new, strict=True):
                old.copy_(value)
        return partial(self._run, bound)

    @torch.no_grad()
    def _run(self, bound: _Bound, x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
        wan, text = bound.wan, bound.text
        if bound.cache is None:
            bound.cache = KVCache.for_calls(wan.config, x, bound.capacity, text.values[0].dtype)
        key = (plan, tuple(x.shape), x.dtype)
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
