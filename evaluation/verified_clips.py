"""The clips of a manifest, read only as the very files that were sampled.

A clip that was replaced, swapped, cut or damaged since is an error that names it, in every benchmark.
"""

import hashlib
from pathlib import Path

from evaluation.clip_reader import OpenClip, open_clip, read_clip
from evaluation.clips import ClipShape, DecodedClip
from evaluation.records import Clip


def clip_bytes(clips: Path, clip: Clip) -> bytes:
    """The bytes of a clip's mp4. clips: the row's folder.

    Raises FileNotFoundError, or ValueError if they are not those that the manifest's sha256 is of.
    """
    path = clips / clip.file
    where = f"Clip {clip.clip_id} of row {clip.row}"
    if not path.is_file():
        raise FileNotFoundError(
            f"{where} is not there ({path}); rerun the sample stage, which makes the clips that are missing."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != clip.sha256:
        raise ValueError(
            f"{where} is not the file that was sampled and checked (its sha256 differs from the manifest's): "
            f"{path} was damaged or replaced; delete it and rerun, the sample stage makes it again."
        )
    return content


def verified_path(clips: Path, clip: Clip) -> Path:
    """The absolute path of a clip, for readers in another process. Raises as `clip_bytes` does."""
    clip_bytes(clips, clip)
    return (clips / clip.file).resolve()


def open_verified_clip(clips: Path, clip: Clip) -> OpenClip:
    """As `read_verified_clip`, with one frame in memory at a time."""
    shape = ClipShape(pixel_frames=clip.pixel_frames, height=clip.height, width=clip.width, fps=clip.fps)
    return open_clip(clip_bytes(clips, clip), shape, f"{clip.clip_id} of row {clip.row}")


def read_verified_clip(clips: Path, clip: Clip) -> DecodedClip:
    """A clip's frames, from the bytes that were compared. Raises as `clip_bytes` does, and ClipError if they
    are not of the shape that the manifest says.
    """
    shape = ClipShape(pixel_frames=clip.pixel_frames, height=clip.height, width=clip.width, fps=clip.fps)
    return read_clip(clip_bytes(clips, clip), shape, f"{clip.clip_id} of row {clip.row}")
