"""Which samples of a batch each process trains on. No torch: the Snakefile checks it before anything starts."""


def share(batch: int, slices: int, *, rank: int, size: int) -> list[range]:
    """Samples of process `rank` of `size`, as indices into the batch, in equal consecutive slices of at most
    batch / slices.

    Raises ValueError if the processes, or the slices, do not divide the batch.
    """
    if batch % size:
        raise ValueError(
            f"a batch of {batch} samples cannot be shared equally by {size} processes; change the batch, "
            "nodes or gpus."
        )
    mine = batch // size
    piece = min(batch // slices, mine)
    if mine % piece:
        raise ValueError(
            f"slices of {piece} samples do not divide the {mine} samples of each of {size} processes; "
            "change `slices`."
        )
    first = rank * mine
    return [range(start, start + piece) for start in range(first, first + mine, piece)]
