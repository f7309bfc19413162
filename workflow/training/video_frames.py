"""Training frames of a video: which are taken, how they are decoded, cropped and resized.

Source: models/training/methods.md#training-prompts-and-clips.
Legend: T pixel frames taken, H and W their size, h and w the video's.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from evaluation.clip_reader import ClipError, look_at_clip, rgb_of, shown_frames
from workflow.training.video_sources import RawClip

VideoFrame = NDArray[np.uint8]
"""[h, w, 3]."""


class UnusableClip(Exception):  # noqa: N818 (a clip that is left out is no error)
    """A clip that nothing can be trained on; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipForm:
    """What is taken from a video: T frames of H x W at fps a second, beginning where `seed` says."""

    pixel_frames: int
    height: int
    width: int
    fps: int
    seed: int


class TakenFrames(NamedTuple):
    """start: the first frame taken, counted in the video's frames; pixels: [T, 3, H, W] in [-1, 1]."""

    start: int
    pixels: Tensor


def frame_numbers(length: int, rate: Fraction, form: ClipForm, identity: str) -> list[int]:
    """Which frames of a video of `length` frames at `rate` a second are taken: at 48 for 16, every third from
    a random start.

    identity: of the clip; start follows from it and the seed alone. Rates that are no multiple take the
    nearest frame (a half rounds up). Raises UnusableClip if the video is too short, or too slow, so that
    frames would have to be repeated.
    """
    step = rate / form.fps
    if step < 1:
        raise UnusableClip(f"plays at {float(rate):g} frames per second, fewer than {form.fps}")
    after = [int(step * i + Fraction(1, 2)) for i in range(form.pixel_frames)]
    spare = length - 1 - after[-1]
    if spare < 0:
        raise UnusableClip(
            f"has {length} frames at {float(rate):g} per second, and {after[-1] + 1} are needed"
        )
    key = hashlib.sha256(f"{form.seed}|{identity}".encode()).digest()
    start = int.from_bytes(key, "big") % (spare + 1)  # 256 bits: even to 1 in 10**70
    return [start + i for i in after]


def crop_box(height: int, width: int, form: ClipForm) -> tuple[int, int, int, int]:
    """Top, left, height, width of the largest centred piece to scale: 720x1248 of 720x1280 for 480x832."""
    rows = min(height, round(Fraction(width * form.height, form.width)))
    columns = min(width, round(Fraction(height * form.width, form.height)))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def frame_to_pixels(frame: VideoFrame, form: ClipForm) -> Tensor:
    """[3, H, W] in [-1, 1] of a frame [h, w, 3]: centre crop, bilinear, antialiased if it shrinks."""
    top, left, rows, columns = crop_box(frame.shape[0], frame.shape[1], form)
    piece = torch.from_numpy(np.ascontiguousarray(frame[top : top + rows, left : left + columns]))
    unit = piece.permute(2, 0, 1)[None].float() / 255
    if (rows, columns) != (form.height, form.width):
        unit = F.interpolate(
            unit, size=(form.height, form.width), mode="bilinear", align_corners=False, antialias=True
        )
    return unit[0].clamp(0, 1) * 2 - 1


def take_frames(clip: RawClip, form: ClipForm, identity: str) -> TakenFrames:
    """The training frames of a video; one decoded frame is held at a time, besides what is taken.

    Raises UnusableClip if the video is none that is seen as it is shown (evaluation/clip_reader.py), is too
    short or too slow.
    """
    try:
        look = look_at_clip(clip.video, clip.name)
        wanted = frame_numbers(look.frames, look.rate, form, identity)
        pixels, taken = torch.empty(len(wanted), 3, form.height, form.width), 0
        converter = VideoReformatter()
        for number, frame in enumerate(shown_frames(clip.video, look, threads=0)):
            if number == wanted[taken]:
                pixels[taken] = frame_to_pixels(rgb_of(frame, converter), form)
                taken += 1
            if taken == len(wanted):
                break
    except FileNotFoundError as error:
        raise UnusableClip("is not there any more") from error
    except ClipError as error:
        raise UnusableClip(error.reason) from error
    return TakenFrames(wanted[0], pixels)
