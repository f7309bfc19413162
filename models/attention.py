"""Attention kernels behind one function, and the block structure of the interleaved (training-time test)
sequence.

Legend: B batch, T query tokens, S key tokens, N heads, D head size.
"""

import importlib
import importlib.metadata
import importlib.util
import itertools
import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

FORCED = "RAVEN_BENCH_ATTENTION"
"""Environment variable that names the kernel to use (fa3, fa2 or sdpa) where the best one is not wanted."""

FLASH = {
    "fa3": (("flash_attn_interface", "flash_attn_3"), ("fa3_fwd_interface", "fa3_fwd")),
    "fa2": (("flash_attn", "flash_attn"),),
}
"""Modules with a `flash_attn_func` and the packages they come from, best first."""

BACKENDS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]

KERNEL_OPERATORS = [
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
]
"""What torch's SDPA calls where it does not spell attention out: too dear to compute twice."""


MASK_TOKENS = 4096
"""Up to this many tokens a boolean mask is cheaper on a GPU than one attention call per chunk."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q [B, T, N, D], k [B, S, N, D], v [B, S, N, D] -> [B, T, N, D]."""


class Kernel(NamedTuple):
    """An attention kernel without mask or gradient."""

    name: str
    """With the version of its package."""
    run: Attend


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v. q: [B, T, N, D]; k, v: [B, S, N, D]; mask: [T, S] bool, True is visible.
    Returns [B, T, N, D].

    Half-precision CUDA tensors without mask go to `best_kernel`, or with gradient to SDPA with cuDNN first;
    everything else to torch's own choice.
    """
    if mask is not None or not q.is_cuda or q.dtype not in (torch.bfloat16, torch.float16):
        return _sdpa(q, k, v, mask)
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return _sdpa_by_priority(q, k, v)
    return best_kernel(torch.cuda.get_device_capability(q.device)).run(q, k, v)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    out = scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
    )
    return out.transpose(1, 2)


def _sdpa_by_priority(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(BACKENDS, set_priority=True):
        return _sdpa(q, k, v)


@lru_cache
def best_kernel(capability: tuple[int, int]) -> Kernel:
    """The fastest kernel that is installed for GPUs of a compute capability
    (models/backbone.md#attention-kernels has their rates): FlashAttention 3 on Hopper, FlashAttention 2 on
    Ampere and Ada, else torch's SDPA with cuDNN first, which on Hopper beats FlashAttention 2.

    Raises ValueError if RAVEN_BENCH_ATTENTION names a kernel that is unknown, not installed or not for this
    GPU, or if an installed kernel cannot be imported.
    """
    forced = os.environ.get(FORCED)
    hopper, ampere = capability == (9, 0), capability >= (8, 0)
    fits = {"fa3": hopper, "fa2": ampere and (forced == "fa2" or capability < (9, 0))}
    for name in [name for name in FLASH if fits[name] and forced in (None, name)]:
        for module, package in FLASH[name]:
            if importlib.util.find_spec(module) is not None:
                return Kernel(f"{name} ({package} {_version(package)})", _flash(name, module))
    if forced not in (None, "sdpa"):
        raise ValueError(
            f"{FORCED} asks for attention kernel {forced}, which is not one of fa3, fa2, sdpa, not "
            f"installed, or not for a GPU of compute capability {capability[0]}.{capability[1]}; install "
            "it or unset the variable."
        )
    return Kernel("sdpa (cuDNN first)", _sdpa_by_priority)


@lru_cache
def fp8_kernel(capability: tuple[int, int]) -> Callable[..., Tensor]:
    """FlashAttention 3 on e4m3 codes: (q, k, v, q_descale, k_descale, v_descale) -> [B, T, N, D] in
    bfloat16; descales [B, N] are what a code stands for. Raises ValueError where it is not installed, not
    chosen, or not for this GPU.
    """
    kernel = best_kernel(capability)
    if not kernel.name.startswith("fa3"):
        raise ValueError(
            "fp8 attention needs FlashAttention 3 on a GPU of compute capability 9.0, but this one of "
            f"{capability[0]}.{capability[1]} would use {kernel.name}; install it (make env FLASH_ATTN=3) "
            "or take precision fp8_linear."
        )
    return kernel.run


def _flash(name: str, module: str) -> Attend:
    try:
        function = importlib.import_module(module).flash_attn_func
    except (ImportError, AttributeError) as fault:
        raise ValueError(
            f"Attention kernel {name} is installed but {module} cannot be used ({fault}); install a build "
            f"for torch {torch.__version__}, remove it, or set {FORCED}=sdpa."
        ) from fault

    def run(q: Tensor, k: Tensor, v: Tensor, **descale: Tensor) -> Tensor:
        returned = function(q, k, v, **descale)  # some versions also return the softmax's log-sums
        out: Tensor = returned[0] if isinstance(returned, tuple) else returned
        return out

    return run


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def kernel_name(device: torch.device) -> str:
    """The attention kernel of sampling on a device, for records."""
    if device.type != "cuda":
        return "sdpa"
    return best_kernel(torch.cuda.get_device_capability(device)).name


class Block(NamedTuple):
    """A query chunk and what it sees, as chunk indices: itself in full, clean copies of earlier chunks."""

    chunk: int
    clean: bool
    sees: tuple[int, ...]


def interleaved_blocks(num_chunks: int, *, sink: int = 0, window: int | None = None) -> list[Block]:
    """Blocks N_0, C_0, ..., N_{K-1} and what they see (models/backbone.md#visibility-rule); the last chunk
    has no clean copy.

    sink, window: counted in chunks; a clean chunk j < k is visible if j < sink or k - j <= window (None: no
    limit). Raises ValueError for a negative sink or window.
    """
    if sink < 0 or (window is not None and window < 0):
        raise ValueError(
            f"Interleaved attention got sink {sink} and window {window}; both count chunks and cannot be "
            "negative."
        )
    blocks = []
    for k in range(num_chunks):
        sees = tuple(j for j in range(k) if j < sink or window is None or k - j <= window)
        blocks.append(Block(chunk=k, clean=False, sees=sees))
        if k < num_chunks - 1:
            blocks.append(Block(chunk=k, clean=True, sees=sees))
    return blocks


def interleaved_mask(
    chunks: Sequence[int],
    tokens_per_frame: int,
    *,
    sink: int = 0,
    window: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """[T, T] bool mask over tokens laid out as all noisy chunks, then all clean chunks but the last.

    chunks: latent frames of each chunk. The layout differs from the paper's interleaving only in order, which
    attention ignores.
    """
    noisy, clean, end = interleaved_ranges(chunks, tokens_per_frame)
    mask = torch.zeros(end, end, dtype=torch.bool, device=device)
    for block in interleaved_blocks(len(chunks), sink=sink, window=window):
        rows = clean[block.chunk] if block.clean else noisy[block.chunk]
        mask[rows, rows] = True
        for j in block.sees:
            mask[rows, clean[j]] = True
    return mask


class InterleavedRanges(NamedTuple):
    """Token ranges of every noisy and clean chunk, and the number of tokens."""

    noisy: list[slice]
    clean: list[slice]
    end: int


def interleaved_ranges(chunks: Sequence[int], tokens_per_frame: int) -> InterleavedRanges:
    """Where each chunk's tokens lie: all noisy chunks first, then the clean ones without the last."""
    starts = [0]
    for frames in (*chunks, *chunks[:-1]):
        starts.append(starts[-1] + frames * tokens_per_frame)
    ranges = [slice(a, b) for a, b in itertools.pairwise(starts)]
    return InterleavedRanges(ranges[: len(chunks)], ranges[len(chunks) :], starts[-1])


def interleaved_attention(
    chunks: Sequence[int], tokens_per_frame: int, *, sink: int, window: int | None, device: torch.device
) -> Attend:
    """Attention of an interleaved sequence; its queries are the noisy tokens alone, or all.

    One masked call where there are few tokens and the device is a GPU, else one dense call for each block: a
    CPU computes what a mask hides, too.
    """
    if device.type == "cpu" or interleaved_ranges(chunks, tokens_per_frame).end > MASK_TOKENS:
        return partial(
            attend_interleaved, chunks=chunks, tokens_per_frame=tokens_per_frame, sink=sink, window=window
        )
    mask = interleaved_mask(chunks, tokens_per_frame, sink=sink, window=window, device=device)
    return lambda q, k, v: attend(q, k, v, mask[: q.shape[1]])


def attend_interleaved(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chunks: Sequence[int],
    tokens_per_frame: int,
    *,
    sink: int,
    window: int | None,
) -> Tensor:
    """Block-wise form of `attend` with `interleaved_mask`: one dense call a block, no [T, T] mask.

    q: [B, T, N, D] for the noisy tokens alone or for all; k, v: all tokens. Returns one row per query token.
    """
    sizes = [frames * tokens_per_frame for frames in (*chunks, *chunks[:-1])]
    # one split, not a slice for every block: a split's gradient is one copy, a slice's one of full size each
    own_q = q.split(sizes[: len(chunks)] if q.shape[1] < sum(sizes) else sizes, dim=1)
    own_k, own_v = (x.split(sizes, dim=1) for x in (k, v))
    rows: dict[int, Tensor] = {}
    for block in interleaved_blocks(len(chunks), sink=sink, window=window):
        row = block.chunk + len(chunks) * block.clean
        if row >= len(own_q):
            continue
        seen = [*(len(chunks) + j for j in block.sees), row]
        rows[row] = attend(own_q[row], concatenated(own_k, seen), concatenated(own_v, seen))
    return torch.cat([rows[row] for row in range(len(own_q))], dim=1)


def concatenated(parts: Sequence[Tensor], which: Sequence[int]) -> Tensor:
    """Parts one after another along the tokens."""
    return torch.cat([parts[i] for i in which], dim=1) if len(which) > 1 else parts[which[0]]


def block_causal_attention(chunks: Sequence[int], tokens_per_frame: int, *, device: torch.device) -> Attend:
    """Attention whose chunks see themselves and what is before; cut up as `interleaved_attention` is."""
    if device.type == "cpu" or sum(chunks) * tokens_per_frame > MASK_TOKENS:
        return partial(attend_block_causal, chunks=chunks, tokens_per_frame=tokens_per_frame)
    return partial(attend, mask=block_causal_mask(chunks, tokens_per_frame, device))


def attend_block_causal(
    q: Tensor, k: Tensor, v: Tensor, chunks: Sequence[int], tokens_per_frame: int
) -> Tensor:
    """`attend` with `block_causal_mask`, by one dense call a chunk: no work on what is masked."""
    sizes = [frames * tokens_per_frame for frames in chunks]
    own_q, own_k, own_v = (x.split(sizes, dim=1) for x in (q, k, v))
    pieces = [
        attend(own_q[row], concatenated(own_k, range(row + 1)), concatenated(own_v, range(row + 1)))
        for row in range(len(sizes))
    ]
    return torch.cat(pieces, dim=1)


def block_causal_mask(
    chunks: Sequence[int], tokens_per_frame: int, device: torch.device | None = None
) -> Tensor:
    """[T, T] bool: a chunk sees itself and every earlier chunk (diffusion forcing, no clean copies)."""
    sizes = torch.tensor(chunks) * tokens_per_frame
    chunk_of = torch.repeat_interleave(torch.arange(len(chunks)), sizes)
    return (chunk_of[:, None] >= chunk_of[None, :]).to(device)
