"""One look at a clip: what a video file shows, seen as VBench's readers (decord, OpenCV) see it, or refused.

The look reads headers and packets, so that sizes and counts are known before anything is decoded; decoding
then holds every frame to it. What both readers see, and why the rest is refused:
baselines/README.md#which-clips-are-taken.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from evaluation.clips import ClipShape, DecodedClip, shape_errors

MP4, MATROSKA, AVI, MPEG_TS = "an mp4", "a Matroska or WebM file", "an AVI file", "an MPEG-TS file"
DEMUXERS = {MP4: "mov", MATROSKA: "matroska", AVI: "avi", MPEG_TS: "mpegts"}
"""What is opened at all, by FFmpeg's name of its reader. An image, a playlist or a web page is not."""

# FFmpeg guesses by content, and a playlist can make it open other files: the first bytes say what is opened.
SIGNATURES = (
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif", "a HEIF image"),
    (4, b"ftyp", MP4),
    (4, b"moov", MP4),
    (4, b"mdat", MP4),
    (4, b"free", MP4),
    (4, b"skip", MP4),
    (4, b"wide", MP4),
    (0, b"\x1a\x45\xdf\xa3", MATROSKA),
    (8, b"AVI ", AVI),
    (188, b"\x47", MPEG_TS),
    (8, b"WEBP", "a WebP image"),
    (8, b"WAVE", "a WAV sound"),
    (0, b"GIF8", "a GIF"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"ID3", "an MP3 sound"),
    (0, b"OggS", "an Ogg file"),
    (0, b"FLV", "a Flash video"),
    (0, b"\0\0\0\1", "a bare H.264 or HEVC stream"),
    (0, b"PK\3\4", "a zip"),
    (0, b"#EXTM3U", "a playlist"),
    (0, b"<", "a web page"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, whose file `git lfs pull` brings"),
)

SCORED_CODECS = ("h264", "hevc", "mpeg4", "vp9", "mjpeg")
"""Codecs of which decord 0.6.0, OpenCV 4.11 and this module gave the same pixels."""

MAX_FRAME_PIXELS = 8192 * 4320
MAX_FRAMES = 1_000_000
MAX_CLIP_GB = 4
"""Decoded, of a clip that is read whole: a file of 23 kB can hold 6 GB."""

PLAYED_AGAIN = "encode it again as H.264 in an mp4, 8 bits, yuv420p"
COPY_AGAIN = "delete it and make or bring it again"
HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions of ITU-T H.273 that no reader maps to common screens."""


class ClipError(ValueError):
    """A file that is no clip, or one that its readers would see differently.

    reason: a phrase that follows the clip's name: what was found, what was expected, what to do.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"clip {name} {reason}.")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLook:
    """What a video shows. name: for messages; rate: frames per second by the times of the frames;
    declared_rate: the average that the file gives, which the scorer's readers take.
    """

    name: str
    container: str
    codec: str
    frames: int
    height: int
    width: int
    rate: Fraction
    declared_rate: Fraction

    @property
    def shape(self) -> ClipShape:
        """Its counts, size and rate; a rate that is a whole number is one."""
        fps = int(self.rate) if self.rate.denominator == 1 else float(self.rate)
        return ClipShape(pixel_frames=self.frames, height=self.height, width=self.width, fps=fps)

    def refuse(self, reason: str) -> ClipError:
        """The error that says `reason` of this clip."""
        return ClipError(self.name, reason)


def look_at_clip(video: Path | bytes, name: str | None = None) -> ClipLook:
    """Look at a video file, or its bytes, without decoding it.

    Raises FileNotFoundError, or ClipError if it is no video with one track, one size, square pixels and
    a constant rate, of which every frame is shown.
    """
    name = name or str(video)
    container = _container_of(video, name)
    try:
        with _opened(video, container) as file:
            streams = file.streams.video
            pictures = [stream for stream in streams if stream.disposition & Disposition.attached_pic]
            if len(streams) != 1 or pictures:
                kinds = ", ".join(sorted({stream.type for stream in file.streams} - {"video"}))
                covers = f", {len(pictures)} of them cover images" if pictures else ""
                advice = (
                    "readers take different ones: keep one" if streams else f"it holds: {kinds or 'nothing'}"
                )
                raise ClipError(
                    name, f"has {len(streams)} video tracks{covers}, expected exactly one film ({advice})"
                )
            stream = streams[0]
            if stream.codec_context is None:
                raise ClipError(name, f"is encrypted, or in a codec that is not known here ({PLAYED_AGAIN})")
            if reason := _header_error(stream):
                raise ClipError(name, reason)
            codec = stream.codec_context.codec.canonical_name
            declared_frames, height, width = stream.frames, stream.height, stream.width
            rates = (stream.average_rate, stream.base_rate, stream.guessed_rate)
            times = _shown_times(file, stream, name)
            tick = stream.time_base or Fraction(1, 1000)
    except (av.FFmpegError, EOFError) as error:
        raise ClipError(name, f"cannot be read as {container} ({_said(error)}; {COPY_AGAIN})") from error
    if len(times) < declared_frames:
        raise ClipError(
            name, f"ends after {len(times)} of the {declared_frames} frames it declares ({COPY_AGAIN})"
        )
    rate = _constant_rate(sorted(times), tick, rates, name)
    return ClipLook(
        name=name, container=container, codec=codec, frames=len(times), height=height, width=width,
        rate=rate, declared_rate=rates[0] or rate,
    )  # fmt: skip


def shown_frames(video: Path | bytes, look: ClipLook, *, threads: int = 1) -> Iterator[av.VideoFrame]:
    """Decode the frames, one at a time, each as the look promised. threads: of the decoder, 0 for its choice.

    Raises ClipError where a frame is damaged, turned, interlaced, or of another size than the first.
    """
    count, form = 0, (look.width, look.height)
    try:
        with _opened(video, look.container) as file:
            stream = file.streams.video[0]
            # damage is an error, not a guess; the limit holds for what the stream says of itself, too
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_FRAME_PIXELS)}
            stream.thread_count, stream.thread_type = threads, "SLICE" if threads == 1 else "AUTO"
            for frame in file.decode(stream):
                if reason := _frame_error(frame, count, form):
                    raise look.refuse(reason)
                count += 1
                yield frame
    except (av.FFmpegError, EOFError) as error:
        raise look.refuse(f"cannot be decoded at frame {count} ({_said(error)}; {COPY_AGAIN})") from error
    if count != look.frames:
        raise look.refuse(f"gives {count} of the {look.frames} frames it holds ({COPY_AGAIN})")


def rgb_of(frame: av.VideoFrame, converter: VideoReformatter) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] of a frame. One thread: the same bytes, and no pool of threads for each frame.

    converter: one for all frames of a clip, since it prepares itself for their form at the first.
    """
    return np.asarray(converter.reformat(frame, format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)


class OpenClip(NamedTuple):
    """A clip that was looked at, whose frames are decoded as they are asked for."""

    look: ClipLook
    frames: Iterator[NDArray[np.uint8]]
    """[H, W, 3] each, in order, once. Raises ClipError at a frame that readers would see differently."""


def open_clip(video: Path | bytes, shape: ClipShape | None = None, name: str | None = None) -> OpenClip:
    """A clip, or its bytes, that VBench's readers see as we do, with one frame in memory at a time.

    shape: what it must look like; another one is refused before anything is decoded. name: for messages, by
    default the path. Raises FileNotFoundError, or ClipError.
    """
    look = look_at_clip(video, name)
    if reason := unscorable(look):
        raise look.refuse(reason)
    if shape and (wrong := shape_errors(look.frames, look.height, look.width, look.rate, shape)):
        raise look.refuse(" and ".join(wrong))

    def frames() -> Iterator[NDArray[np.uint8]]:
        converter = VideoReformatter()
        for frame in shown_frames(video, look):
            if reason := unscorable_pixels(frame):
                raise look.refuse(reason)
            yield rgb_of(frame, converter)

    return OpenClip(look, frames())


def read_clip(video: Path | bytes, shape: ClipShape | None = None, name: str | None = None) -> DecodedClip:
    """Every frame of a clip, as `open_clip` gives them; one clip of memory at most."""
    look, shown = open_clip(video, shape, name)
    size = look.frames * look.height * look.width * 3
    if size > MAX_CLIP_GB * 2**30:
        raise look.refuse(
            f"is {size / 2**30:.1f} GiB of pixels ({look.frames} frames of {look.width}x{look.height}), more "
            f"than {MAX_CLIP_GB} (cut it)"
        )
    frames = np.empty((look.frames, look.height, look.width, 3), np.uint8)
    for number, frame in enumerate(shown):
        frames[number] = frame
    return DecodedClip(frames, float(look.rate))


def _container_of(video: Path | bytes, name: str) -> str:
    """Which of `DEMUXERS` the first bytes are of."""
    if isinstance(video, bytes):
        first = video[:256]
    elif video.is_file():
        with video.open("rb") as file:
            first = file.read(256)
    elif video.is_symlink() and not video.exists():
        raise ClipError(name, f"is a link to {video.readlink()}, which does not exist ({COPY_AGAIN})")
    elif video.exists():
        kind = "a folder" if video.is_dir() else "no regular file"
        raise ClipError(name, f"is {kind}, expected a video file")
    else:
        raise FileNotFoundError(
            f"clip {name} does not exist; rerun the sample stage, which makes the clips that are missing."
        )
    if not first:
        raise ClipError(name, f"is empty, 0 bytes ({COPY_AGAIN})")
    found = next((kind for at, sign, kind in SIGNATURES if first[at : at + len(sign)] == sign), None)
    if found not in DEMUXERS:
        said = found or f"no video that is known here (it begins with {first[:12]!r})"
        raise ClipError(name, f"is {said}, expected an mp4 ({PLAYED_AGAIN})")
    return found


def _opened(video: Path | bytes, container: str) -> Any:
    """The file in FFmpeg; what is decoded to learn its form is held to the largest frame."""
    source = io.BytesIO(video) if isinstance(video, bytes) else f"file:{video}"
    return av.open(
        source,
        "r",
        format=DEMUXERS[container],
        options={"max_pixels": str(MAX_FRAME_PIXELS)},
        metadata_errors="replace",
    )


def _said(error: Exception) -> str:
    """What FFmpeg says, without the call that it said it of."""
    if isinstance(error, OSError | av.error.FFmpegError) and error.strerror:
        return str(error.strerror)
    return str(error)


def _header_error(stream: Any) -> str | None:
    """What the headers of a track say that no reader, or not every reader, can show."""
    if stream.height * stream.width == 0:
        return f"declares frames of {stream.width}x{stream.height}, expected some pixels ({COPY_AGAIN})"
    if stream.height * stream.width > MAX_FRAME_PIXELS:
        return f"has frames of {stream.width}x{stream.height}, more than {MAX_FRAME_PIXELS} pixels"
    if stream.frames > MAX_FRAMES:
        return f"declares {stream.frames} frames, more than {MAX_FRAMES} (cut it)"
    if stream.sample_aspect_ratio not in (None, 0, 1):
        ratio = stream.sample_aspect_ratio
        return (
            f"has pixels of {ratio.numerator}:{ratio.denominator}, expected square ones (players stretch it, "
            "readers do not: resize it to what it should look like)"
        )
    return None


def _shown_times(file: Any, stream: Any, name: str) -> list[int]:
    """When each frame is shown, in ticks, by its packets."""
    times: list[int] = []
    hidden = 0
    for packet in file.demux(stream):
        if not packet.size:
            continue
        if packet.is_corrupt:
            raise ClipError(name, f"is cut off after {len(times)} frames ({COPY_AGAIN})")
        if packet.pts is None:
            raise ClipError(name, f"does not say when each frame is shown ({PLAYED_AGAIN})")
        hidden += packet.is_discard
        times.append(packet.pts)
        if len(times) > MAX_FRAMES:
            raise ClipError(name, f"has more than {MAX_FRAMES} frames (cut it)")
    if hidden:
        raise ClipError(
            name,
            f"hides {hidden} of its {len(times)} frames by an edit list (OpenCV leaves them out, decord "
            f"shows them: {PLAYED_AGAIN}, cut for good)",
        )
    if not times:
        raise ClipError(name, f"holds no frame ({COPY_AGAIN})")
    return times


def _constant_rate(
    times: Sequence[int], tick: Fraction, declared: Sequence[Fraction | None], name: str
) -> Fraction:
    """Frames per second of rising times: the first declared rate whose steps they follow, or their own.

    The times may be off by a tick or a millisecond, as containers round them, but by no quarter of a step.
    """
    steps = [after - before for before, after in pairwise(times)]
    rates = [Fraction(rate) for rate in declared if rate]
    if steps and min(steps) > 0:
        own = 1 / (tick * Fraction(times[-1] - times[0], len(steps)))
        rates += [Fraction(round(own) or 1), own]
    elif steps:
        raise ClipError(name, f"shows two frames at one time ({PLAYED_AGAIN})")
    for allowed in (Fraction(1), Fraction(1, 1000) / tick):
        for rate in rates:
            step = 1 / (rate * tick)
            # in whole numbers, of one denominator: a film has thousands of frames
            least, most = step.denominator, floor(min(allowed, step / 4) * step.denominator)
            away = ((time - times[0]) * least - i * step.numerator for i, time in enumerate(times))
            if all(-most <= one <= most for one in away):
                return rate
    if not steps:
        raise ClipError(name, "does not say how many frames it shows a second")
    low, high = (float(1 / (step * tick)) for step in (max(steps), min(steps)))
    raise ClipError(
        name,
        f"has a variable rate, from {low:.4g} to {high:.4g} frames per second, expected one rate (encode it "
        "again at a constant one)",
    )


def _frame_error(frame: av.VideoFrame, number: int, form: tuple[int, int]) -> str | None:
    """What is wrong with a decoded frame, in a film whose frames should be `form` = width, height."""
    if (frame.width, frame.height) != form:
        return (
            f"changes its size from {form[0]}x{form[1]} to {frame.width}x{frame.height} at frame {number}, "
            f"expected one size ({PLAYED_AGAIN})"
        )
    if frame.is_corrupt:
        return f"is damaged at frame {number}, which decoders guess differently ({COPY_AGAIN})"
    if frame.interlaced_frame:
        return f"is interlaced at frame {number}, expected whole frames (deinterlace it)"
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None and not _is_upright(bytes(matrix)):
        return (
            "is turned or mirrored by a flag, which players and decord obey and others do not "
            f"({PLAYED_AGAIN}, turned for good)"
        )
    if frame.color_trc in HDR:
        return f"is HDR ({HDR[frame.color_trc]}), expected common colours (map it to BT.709)"
    if any(part.is_alpha for part in frame.format.components):
        return f"has transparency ({frame.format.name}), expected opaque frames ({PLAYED_AGAIN})"
    return None


def _is_upright(matrix: bytes) -> bool:
    """Whether a display matrix leaves pictures as they are (ISO/IEC 14496-12, 6.2.2: 16.16 and 2.30)."""
    a, b, _, c, d, _, _, _, _ = np.frombuffer(matrix, np.int32)
    return bool(a > 0 and a == d and b == c == 0)


def unscorable(look: ClipLook) -> str | None:
    """Why VBench's readers would not see what we do, by the headers."""
    if look.container != MP4:
        return f"is {look.container}, expected an mp4 ({PLAYED_AGAIN})"
    if look.codec not in SCORED_CODECS:
        return (
            f"is encoded in {look.codec}, expected {', '.join(SCORED_CODECS)} (decord or OpenCV cannot read "
            f"it: {PLAYED_AGAIN})"
        )
    if _thinned(look.declared_rate) != _thinned(look.rate):
        return (
            f"declares {float(look.declared_rate):.5g} frames per second and shows {float(look.rate):.5g} "
            "(dynamic_degree goes by the declared one: encode it again at a constant rate)"
        )
    return None


def _thinned(rate: Fraction) -> int:
    """Every how many frames VBench's dynamic_degree looks (evaluation/vbench/README.md)."""
    return max(1, round(float(rate) / 8))


def unscorable_pixels(frame: av.VideoFrame) -> str | None:
    """Why decord and OpenCV would give a frame other pixels than each other."""
    bits = max(part.bits for part in frame.format.components)
    if bits > 8:
        return (
            f"has {bits} bits a colour, expected 8 (decord and OpenCV round them differently: {PLAYED_AGAIN})"
        )
    return None
