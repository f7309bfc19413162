"""Network calls as CUDA graphs: one graph per attend plan, captured at its first use and replayed for every
later clip.

A few-step sampler makes the same few calls for every clip, so the host is out of the way from the second clip
on. Replaying runs the
kernels that the eager call ran, in their order: results are equal bit for bit (a test on a GPU says so).

Legend: B batch, f latent frames of a call, C channels, H, W latent size, L tokens of a prompt.
"""

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


class GraphRunner:
    """Binds a network to prompts as `models.rollout.plain_runner` does, but keeps cache, text and graphs from
    clip to clip.

    One rollout at a time: the next `__call__` takes over the cache. For CUDA without gradients only.
    """

    def __init__(self) -> None:
        self._wan: Wan | None = None
        self._text: TextKV | None = None
        self._cache: KVCache | None = None
        self._calls: dict[tuple[AttendPlan, tuple[int, ...], torch.dtype], _Call] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, wan: Wan, text: Tensor, capacity: int) -> NetworkCall:
        """Network calls for prompt embeddings [B, L, text_dim] with a cache of `capacity` frames."""
        with torch.no_grad():
            text_kv = wan.text_kv(wan.embed_text(text))
        fits = (
            self._wan is wan
            and self._text is not None
            and self._text.keys[0].shape == text_kv.keys[0].shape
            and (self._cache is None or self._cache.capacity == capacity)
        )
        if not fits:
            self._wan, self._text, self._cache = wan, text_kv, None
            self._calls.clear()
        else:
            assert self._text is not None
            for kept, new in zip(
                (*self._text.keys, *self._text.values), (*text_kv.keys, *text_kv.values), strict=True
            ):
                kept.copy_(new)

        def network(x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
            return self._run(x, t, plan, capacity)

        return network

    @torch.no_grad()
    def _run(self, x: Tensor, t: Tensor, plan: AttendPlan, capacity: int) -> Tensor:
        assert self._wan is not None
        assert self._text is not None
        if self._cache is None:
            self._cache = KVCache.for_calls(self._wan.config, x, capacity, self._text.values[0].dtype)
        key = (plan, tuple(x.shape), x.dtype)
        found = self._calls.get(key)
        if found is None:
            v = self._wan.cached(
                x, t, self._text, self._cache, plan
            )  # warms the kernels up, and is the answer
            self._calls[key] = self._capture(x, t, plan)
            return v
        found.x.copy_(x)
        found.t.copy_(t)
        found.graph.replay()
        return found.v.clone()

    def _capture(self, x: Tensor, t: Tensor, plan: AttendPlan) -> _Call:
        """Record the call without running it, so that the cache is left as it is."""
        assert self._wan is not None
        assert self._text is not None
        assert self._cache is not None
        graph, own_x, own_t = torch.cuda.CUDAGraph(), x.clone(), t.clone()
        with torch.cuda.graph(graph, pool=self._pool):
            v = self._wan.cached(own_x, own_t, self._text, self._cache, plan)
        return _Call(graph, own_x, own_t, v)
