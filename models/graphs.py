"""Network calls as CUDA graphs: one graph per attend plan, captured at its first use and replayed for every
later clip.

A few-step sampler makes the same few calls for every clip, and training the same ones in every rollout, so
the host is out of the way from the second one on. Replaying runs the kernels that the eager call ran, in
their order: results are equal bit for bit (tests on a GPU say so). Graphs read the weights where they lie, so
what an optimizer writes there counts from the next replay on.

Legend: B batch, f latent frames of a call, C channels, H, W latent size, L tokens of a prompt.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.cache import KVCache
from models.plan import AttendPlan
from models.rollout import NetworkCalls, Runner, plain_runner
from models.wan import Wan
from models.wan_layers import TextKV


def best_runner(device: torch.device) -> Runner:
    """How network calls are made: as CUDA graphs, or plainly where there is no CUDA. Bits are equal."""
    return GraphRunner() if device.type == "cuda" else plain_runner


class _Call(NamedTuple):
    """A recorded call: write x and t, replay."""

    x: Tensor
    t: Tensor
    replay: Callable[[], Tensor]
    """Gives the velocity of x at t, in memory that the next replay may write again."""


@dataclass(slots=True)
class _Bound:
    """A network and the prompts that its calls are for now, in memory that the graphs of those calls read."""

    wan: Wan
    places: list[int]
    """Addresses of the network's weights."""
    texts: tuple[TextKV, ...]
    """One for each of the network's sets of weights."""
    capacity: int
    cache: KVCache | None = None
    calls: dict[tuple[int, AttendPlan, tuple[int, ...], torch.dtype], _Call] = field(default_factory=dict)
    """By the number of the set of weights, and what the call computes."""
    pool: Any = None
    """Handle of the memory that all graphs share. It cannot be used again once its graphs are gone."""

    def fits(self, wan: Wan, places: list[int], texts: tuple[TextKV, ...], capacity: int) -> bool:
        """Whether its graphs compute the calls of another rollout."""
        same = self.wan is wan and self.places == places and self.capacity == capacity
        return same and self.texts[0].keys[0].shape == texts[0].keys[0].shape


class GraphRunner:
    """Runs a network as `plain_runner` of models/rollout.py does, but keeps cache, text and graphs from clip
    to clip, until a rollout of another network or shape takes their place, or weights have moved.

    One rollout at a time: the next `__call__` takes over the cache. Without gradients only, and not for
    sharded weights. capture: False for the same without graphs, on any device, which is for tests.
    """

    def __init__(self, *, capture: bool = True) -> None:
        self.capture = capture
        self._bound: _Bound | None = None

    def __call__(self, wan: Wan, text: Tensor, capacity: int) -> NetworkCalls:
        """Network calls for prompt embeddings [B, L, text_dim] with a cache of `capacity` frames."""
        with torch.no_grad():
            texts = tuple(one.text_kv(one.embed_text(text)) for one in wan.weight_sets)
        places, bound = [value.data_ptr() for value in wan.parameters()], self._bound
        if bound is None or not bound.fits(wan, places, texts, capacity):
            del bound
            self.release()  # before anything new is allocated
            bound = self._bound = _Bound(wan, places, texts, capacity)
        else:
            for kept, new in zip(bound.texts, texts, strict=True):
                for old, value in zip((*kept.keys, *kept.values), (*new.keys, *new.values), strict=True):
                    old.copy_(value)
        return NetworkCalls(
            denoise=partial(self._run, bound, 0), context=partial(self._run, bound, len(texts) - 1)
        )

    def release(self) -> None:
        """Give graphs, cache and text back; the next rollout makes them anew."""
        if self._bound is not None and self.capture:
            torch.cuda.synchronize()  # a replay may still run
        self._bound = None

    def _run(self, bound: _Bound, weight_set: int, x: Tensor, t: Tensor, plan: AttendPlan) -> Tensor:
        if torch.is_grad_enabled():
            raise ValueError("A replayed network call has no gradient; use plain_runner where one is wanted.")
        wan, text = bound.wan.weight_sets[weight_set], bound.texts[weight_set]
        if bound.cache is None:
            bound.cache = wan.cache_for(x, plan, bound.capacity, text.values[0].dtype)
        key = (weight_set, plan, tuple(x.shape), x.dtype)
        if key not in bound.calls:
            v = wan.cached(x, t, text, bound.cache, plan)  # warms the kernels up, and is the answer
            own_x, own_t = x.clone(), t.clone()
            compute = partial(wan.cached, own_x, own_t, text, bound.cache, plan)
            bound.calls[key] = _Call(own_x, own_t, self._recorded(bound, compute))
            return v
        found = bound.calls[key]
        found.x.copy_(x)
        found.t.copy_(t)
        return found.replay().clone()

    def _recorded(self, bound: _Bound, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """The computation as a graph. It is not run meanwhile, so that the cache is left as it is."""
        if not self.capture:
            return compute
        bound.pool = bound.pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # other threads may use the GPU meanwhile, such as one that writes a checkpoint
        with torch.cuda.graph(graph, pool=bound.pool, capture_error_mode="thread_local"):
            v = compute()

        def replay() -> Tensor:
            graph.replay()
            return v

        return replay
