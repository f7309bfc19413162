"""Posters and small copies of a clip. Bytes of an mp4 in, bytes out; the same input gives the same output."""

import io
from fractions import Fraction

import av
from PIL import Image

from evaluation.clips import X264

LONG_POSTER_S = 10  # seconds
SIDE = 128  # pixels of a poster's longer side
PREVIEW_WIDTH = 256  # wider clips go into the page as copies of this width, about 50 KB instead of 1 to 2 MB
PREVIEW_CRF = 30  # X264: flags with which the same frames give the same bytes


def poster(content: bytes) -> bytes:
    """The middle frame of an mp4 as a WebP of at most SIDE pixels; of one longer than LONG_POSTER_S its
    first, those after a third and two thirds, and its last, in a square of four.

    Raises ValueError if it holds no such frame.
    """
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        count = stream.frames
        long = count > LONG_POSTER_S * float(stream.average_rate or 16)
        places = [round(part * (count - 1) / 3) for part in range(4)] if long else [count // 2]
        images: list[Image.Image] = []
        for number, frame in enumerate(container.decode(stream)):
            if number == places[len(images)]:
                images.append(Image.fromarray(frame.to_ndarray(format="rgb24")))
            if len(images) == len(places):
                break
    if len(images) < len(places):
        raise ValueError(
            f"an mp4 of {len(content)} bytes has no frame {places[len(images)]}; sample and check it again."
        )
    width, height = images[0].size
    image = Image.new("RGB", (2 * width, 2 * height)) if long else images[0]
    for number, part in enumerate(images if long else ()):
        image.paste(part, (number % 2 * width, number // 2 * height))
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
