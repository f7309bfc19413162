"""Posters and small copies of a clip. Bytes of an mp4 in, bytes out; the same input gives the same output."""

import io
from fractions import Fraction

import av
from PIL import Image

from evaluation.clips import X264

SIDE = 128  # pixels of a poster's longer side
PREVIEW_WIDTH = 256  # wider clips go into the page as copies of this width, about 50 KB instead of 1 to 2 MB
PREVIEW_CRF = 30  # X264: flags with which the same frames give the same bytes


def poster(content: bytes) -> bytes:
    """The middle frame of an mp4 as a WebP of at most SIDE pixels. Raises ValueError if it holds no frame."""
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        middle = stream.frames // 2
        frame = next((frame for n, frame in enumerate(container.decode(stream)) if n >= middle), None)
    if frame is None:
        raise ValueError(f"an mp4 of {len(content)} bytes has no frame {middle}; sample and check it again.")
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "WEBP", quality=50, method=4)
    return written.getvalue()


def preview(content: bytes) -> bytes:
    """The clip with all its frames at PREVIEW_WIDTH pixels, more strongly compressed."""
    written = io.BytesIO()
    with av.open(io.BytesIO(content), "r") as source, av.open(written, "w", format="mp4") as target:
        clip = source.streams.video[0]
        clip.thread_count = 1
        height = 2 * round(PREVIEW_WIDTH * clip.height / clip.width / 2)
        rate = Fraction(clip.average_rate or 16)
        stream = target.add_stream("libx264", rate=rate, options={"crf": str(PREVIEW_CRF), **X264})
        stream.width, stream.height, stream.pix_fmt = PREVIEW_WIDTH, height, "yuv420p"
        stream.thread_count = 1
        for n, frame in enumerate(source.decode(clip)):
            small = frame.reformat(PREVIEW_WIDTH, height, "yuv420p", interpolation="AREA")
            small.pts, small.time_base = n, 1 / rate
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))
    return written.getvalue()
