"""The data-parallel split: which samples each process trains on. No torch: the Snakefile checks it."""

from collections.abc import Sequence


def split_batch(batch: int, micro_batches: int, *, rank: int, size: int) -> list[range]:
    """Indices into the batch of process `rank` of `size`, in equal consecutive micro-batches.

    A micro-batch has at most batch / micro_batches samples. Raises ValueError if the processes, or the
    micro-batches, do not divide the batch.
    """
    if batch % size:
        raise ValueError(
            f"a batch of {batch} samples cannot be split equally among {size} processes; change the batch, "
            "nodes or gpus."
        )
    count = batch // size
    piece = min(batch // micro_batches, count)
    if count % piece:
        raise ValueError(
            f"micro-batches of {piece} samples do not divide the {count} samples of each of {size} "
            "processes; change `micro_batches`."
        )
    first = rank * count
    return [range(start, start + piece) for start in range(first, first + count, piece)]


def rows_of(samples: range, micro_batches: Sequence[range]) -> slice:
    """Where samples lie in a tensor that holds the samples of consecutive micro-batches."""
    return slice(samples.start - micro_batches[0].start, samples.stop - micro_batches[0].start)
