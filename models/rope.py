"""Three-axis rotary embedding of Wan2.1 by integer position (models/backbone.md#rotary-embedding)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.plan import POSITIONS

THETA = 10000.0


class Rotation(NamedTuple):
    """cos, sin: [T, 1, head_dim / 2], to broadcast over heads; their dtype is the rotation's precision."""

    cos: Tensor
    sin: Tensor


def _angles(positions: Tensor, pairs: int) -> Tensor:
    """[len(positions), pairs] angles in float64; each axis has its own ladder of frequencies."""
    frequencies = THETA ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    return torch.outer(positions.to(torch.float64), frequencies)


def rotation(
    frames: Sequence[int],
    height: int,
    width: int,
    pairs: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Rotation:
    """Rotation for tokens in (frame, row, column) order whose frames sit at the given time positions.

    frames: one time position per latent frame; height, width: tokens per axis. T = len(frames) * height *
    width. Raises ValueError for a position outside the table of 1024.
    """
    if frames and not 0 <= min(frames) <= max(frames) < POSITIONS:
        raise ValueError(
            f"Rotary time positions {min(frames)}..{max(frames)} leave the table of {POSITIONS} rows; "
            "sample fewer latent frames or use a slot-relative cache policy."
        )
    time, rows, columns = pairs
    grid = (len(frames), height, width)
    # a table outlives the call that needs it first; cosines differ between devices in the last bit
    with torch.inference_mode(False), torch.device("cpu"):
        angles = torch.cat(
            [
                _angles(torch.tensor(frames), time)[:, None, None].expand(*grid, time),
                _angles(torch.arange(height), rows)[None, :, None].expand(*grid, rows),
                _angles(torch.arange(width), columns)[None, None, :].expand(*grid, columns),
            ],
            dim=-1,
        ).reshape(-1, 1, sum(pairs))
        return Rotation(angles.cos().to(device, dtype), angles.sin().to(device, dtype))
