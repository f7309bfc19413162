"""Any video that has one picture size and one rate, in the form that VBench's readers see as we do.

Most files are that already and are left as they are, byte for byte. The others (WebM, Matroska, AVI, other
codecs, a declared rate that is wrong) are encoded again as H.264 in an mp4 without loss: every sample of luma
and chroma is the one that the file's own decoder gives. What has more than 8 bits, HDR, transparency, turned
or hidden frames, or a variable rate is refused, since no copy of it would be what was made.
"""

from fractions import Fraction
from pathlib import Path

import av

from evaluation.clip_reader import ClipLook, look_at_clip, shown_frames, unscorable, unscorable_pixels
from evaluation.clips import X264
from evaluation.files import written_whole

LOSSLESS = {"qp": "0", "preset": "veryfast", **X264}
TAKEN_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray")
"""Layouts of pixels, of those with 8 bits, that H.264 holds as they are."""


def to_scored_form(path: Path) -> str:
    """Bring a video file, in its place, into the form that is scored. Returns what was done, in words.

    Raises FileNotFoundError, or ClipError saying what it is and what to do.
    """
    look = look_at_clip(path)
    reason = unscorable(look)
    if reason is None:
        return "taken as it is"
    _encode_again(path, look)
    return f"encoded again without loss: it {reason.partition(',')[0]}"


def _encode_again(path: Path, look: ClipLook) -> None:
    """Replace a video by a lossless mp4 of the same frames at the same constant rate."""
    frames = shown_frames(path, look)
    with written_whole(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        rate = Fraction(look.rate).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=LOSSLESS)
        stream.width, stream.height, stream.thread_count = look.width, look.height, 1
        for number, frame in enumerate(frames):
            if reason := unscorable_pixels(frame):
                raise look.refuse(reason)
            if frame.format.name not in TAKEN_FORMATS:
                raise look.refuse(
                    f"has pixels in the layout {frame.format.name}, expected one of "
                    f"{', '.join(TAKEN_FORMATS)} (encode it again as H.264 in an mp4, 8 bits, yuv420p)"
                )
            if number == 0:
                stream.pix_fmt = frame.format.name
                stream.codec_context.color_range = frame.color_range
                stream.codec_context.colorspace = frame.colorspace
            frame.pts, frame.time_base = number, 1 / rate
            frame.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
