"""Files that people have given to video tools as clips, and what becomes of each: a table to extend.

A line says how the file is made, and what a row (`scored`) and training (`trained`) answer: None if the clip
is taken as it is, else words of the sentence that refuses it.
"""

import io
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition

from evaluation.clips import X264

FRAMES, HEIGHT, WIDTH, FPS = 12, 48, 64, 16
NO_B = (("bf", "0"),)
FINE = (*NO_B, ("crf", "1"))
TICK = Fraction(1, FPS)


class StrangeClip(NamedTuple):
    """One line of the table. make: gives the file's bytes."""

    name: str
    make: Callable[[], bytes]
    scored: str | None
    trained: str | None


def pictures(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Coloured squares that move to the right."""
    cells = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    still = cells.repeat(8, 0).repeat(8, 1)[:height, :width]
    return [np.ascontiguousarray(np.roll(still, 3 * i, 1)) for i in range(count)]


@cache
def encoded(
    codec: str = "libx264",
    container: str = "mp4",
    pixels: str = "yuv420p",
    fps: Fraction = Fraction(FPS),
    count: int = FRAMES,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    options: tuple[tuple[str, str], ...] = (),
    muxer: tuple[tuple[str, str], ...] = (),
    times: tuple[int, ...] = (),
    last: int = 1,
) -> bytes:
    """A film of `pictures`. times: of the frames in `TICK`s; last: how many times longer the last one is."""
    with (
        NamedTemporaryFile() as target,  # a file, because `faststart` reads it again
        av.open(target.name, "w", format=container, options=dict(muxer)) as file,
    ):
        wanted = dict(options)
        if codec == "libx264" and X264:  # the same bytes each time
            wanted["x264-params"] = ":".join(filter(None, (wanted.get("x264-params"), *X264.values())))
        stream: Any = file.add_stream(codec, rate=fps, options=wanted)
        stream.height, stream.width = size
        stream.pix_fmt, stream.thread_count = pixels, 1
        packets = []
        for number, picture in enumerate(pictures(count, *size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], TICK
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if last > 1:
            packets[-1].duration = int(last / (fps * packets[-1].time_base))
        for packet in packets:
            file.mux(packet)
        file.close()
        return Path(target.name).read_bytes()


def plain() -> bytes:
    """H.264 with B-frames, whose first frame an edit list puts at 0: what most encoders write."""
    return encoded()


def in_order() -> bytes:
    """H.264 without B-frames."""
    return encoded(options=NO_B)


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """The bytes with every `old` as `new`, which is as long."""
    assert len(old) == len(new) and old in data
    return data.replace(old, new)


def with_fields(data: bytes, box: bytes, offset: int, form: str, *values: int) -> bytes:
    """The bytes with numbers written `offset` bytes behind the name of an mp4 box."""
    at = data.index(box) + len(box) + offset
    packed = struct.pack(form, *values)
    return data[:at] + packed + data[at + len(packed) :]


def edited(duration: int, start: int) -> bytes:
    """An edit list that shows `duration` milliseconds from `start` (16384ths of a second) on."""
    return with_fields(plain(), b"elst", 8, ">Ii", duration, start)


def with_edits(*edits: tuple[int, int]) -> bytes:
    """An edit list of several entries; one that starts at -1 shows nothing."""
    data, longer = plain(), 12 * (len(edits) - 1)
    at = data.index(b"elst")
    entries = b"".join(struct.pack(">IiI", *edit, 0x10000) for edit in edits)
    data = data[: at + 8] + struct.pack(">I", len(edits)) + entries + data[at + 24 :]
    for box in (b"elst", b"edts", b"trak", b"moov"):
        at = data.index(box) - 4
        data = (
            data[:at] + struct.pack(">I", int.from_bytes(data[at : at + 4], "big") + longer) + data[at + 4 :]
        )
    return data


def shown_by(*matrix: int, film: bytes | None = None) -> bytes:
    """A display matrix of 2x2: 1 0 0 1 leaves pictures as they are. film: the plain one if not given."""
    a, b, c, d = (value << 16 for value in matrix)
    return with_fields(film or plain(), b"tkhd", 40, ">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)


def damaged(film: bytes, where: float = 0.5) -> bytes:
    """40 bytes inverted in the middle of the coded frames, or behind another share of them."""
    data = bytearray(film)
    at = data.index(b"mdat")
    at += int(int.from_bytes(data[at - 4 : at], "big") * where)
    data[at : at + 40] = bytes(255 - byte for byte in data[at : at + 40])
    return bytes(data)


def cut_before(number: int) -> bytes:
    """Cut off exactly where a packet begins."""
    data = encoded(muxer=START, options=NO_B)
    with av.open(io.BytesIO(data), "r") as file:
        return data[: [packet.pos for packet in file.demux(video=0)][number]]


def without(number: int, *, closed: bool = False) -> bytes:
    """A frame's packet left out. closed: the times of the others close up."""
    target = io.BytesIO()
    with av.open(io.BytesIO(in_order()), "r") as source, av.open(target, "w", format="mp4") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        kept: list[Any] = [packet for packet in source.demux(video=0) if packet.size]
        step = kept[1].pts - kept[0].pts
        del kept[number]
        for place, packet in enumerate(kept):
            packet.stream = stream
            if closed:
                packet.pts = packet.dts = place * step
            file.mux(packet)
    return target.getvalue()


def several(*films: bytes, cover: bool = False) -> bytes:
    """Tracks of several files in one. cover: the last is the cover image."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        opened = [av.open(io.BytesIO(film), "r") for film in films]
        tracks = [file.add_stream_from_template(one.streams.video[0]) for one in opened]
        if cover:
            tracks[-1].disposition = Disposition.attached_pic
        for one, track in zip(opened, tracks, strict=True):
            for packet in one.demux(video=0):
                if packet.size:
                    packet.stream = track
                    file.mux(packet)
    return target.getvalue()


def joined(first: bytes, second: bytes) -> bytes:
    """Frames of two films, one behind the other, in one track of MPEG-TS, put into an mp4."""
    target, place = io.BytesIO(), 0
    with av.open(target, "w", format="mp4") as file:
        track = None
        for data in (first, second):
            with av.open(io.BytesIO(data), "r", format="mpegts") as source:
                track = track or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream, packet.pts, packet.dts = track, 5625 * place, 5625 * place
                        packet.time_base = Fraction(1, 90000)
                        place += 1
                        file.mux(packet)
    return target.getvalue()


def with_sound(picture: bool = True) -> bytes:
    """A film with a track of silence, or the silence alone."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        if picture:
            source = av.open(io.BytesIO(in_order()), "r")
            track = file.add_stream_from_template(source.streams.video[0])
        sound: Any = file.add_stream("aac", rate=44100)
        sound.layout = "mono"
        for number in range(8):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 44100, 1024 * number
            file.mux(sound.encode(silence))
        file.mux(sound.encode(None))
        if picture:
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = track
                    file.mux(packet)
    return target.getvalue()


def ts(**changes: Any) -> bytes:
    """H.264 as MPEG-TS, each frame a key frame."""
    return encoded(container="mpegts", options=(("bf", "0"), ("g", "1")), **changes)


FRAGMENTS = (("movflags", "frag_keyframe+empty_moov"),)
START = (("movflags", "faststart"),)
NTSC, CINEMA = Fraction(30000, 1001), Fraction(24000, 1001)
UNKNOWN = "is no video that is known here"
EVEN: Sequence[int] = range(FRAMES)

STRANGE = (
    # what is taken, because decord 0.6.0 and OpenCV 4.11 give every frame as it is shown
    StrangeClip("plain, with B-frames behind an edit list", plain, None, None),
    StrangeClip("no B-frames", in_order, None, None),
    StrangeClip("moov in front", lambda: encoded(muxer=START), None, None),
    StrangeClip("fragments", lambda: encoded(muxer=FRAGMENTS), None, None),
    StrangeClip("QuickTime", lambda: encoded(container="mov"), None, None),
    StrangeClip("bytes behind the end", lambda: plain() + bytes(999), None, None),
    StrangeClip("with sound", with_sound, None, None),
    StrangeClip("every frame a key frame", lambda: encoded(options=(("g", "1"),)), None, None),
    StrangeClip("open GOPs", lambda: encoded(options=(("x264-params", "open-gop=1:keyint=4"),)), None, None),
    StrangeClip("HEVC", lambda: encoded("libx265", options=(("x265-params", "log-level=none"),)), None, None),
    StrangeClip("MPEG-4, as OpenCV writes", lambda: encoded("mpeg4"), None, None),
    StrangeClip("VP9", lambda: encoded("libvpx-vp9"), None, None),
    StrangeClip("Motion JPEG", lambda: encoded("mjpeg", pixels="yuvj420p"), None, None),
    StrangeClip("full range", lambda: encoded(pixels="yuvj420p"), None, None),
    StrangeClip("4:4:4, odd size", lambda: encoded(pixels="yuv444p", size=(47, 63)), None, None),
    StrangeClip("4:2:2", lambda: encoded(pixels="yuv422p"), None, None),
    StrangeClip("grey", lambda: encoded(pixels="gray"), None, None),
    StrangeClip("29.97 a second", lambda: encoded(fps=NTSC), None, None),
    StrangeClip("23.976 a second", lambda: encoded(fps=CINEMA), None, None),
    StrangeClip("a long last frame", lambda: encoded(last=3, options=NO_B), None, None),
    StrangeClip("first frame at 1 s", lambda: encoded(times=tuple(i + 16 for i in EVEN)), None, None),
    StrangeClip("nothing for 1 s first", lambda: with_edits((1000, -1), (750, 2048)), None, None),
    StrangeClip("shown twice", lambda: with_edits((750, 2048), (750, 2048)), None, None),
    StrangeClip("one frame", lambda: encoded(count=1), None, None),
    StrangeClip("a frame lost, times closed up", lambda: without(5, closed=True), None, None),
    # tracks
    StrangeClip("two tracks", lambda: several(in_order(), encoded(fps=NTSC)), "2 video tracks", "2 video"),
    StrangeClip(
        "a cover image",
        lambda: several(in_order(), encoded("mjpeg", pixels="yuvj420p", count=1), cover=True),
        "1 of them cover images",
        "1 of them cover images",
    ),
    StrangeClip("sound alone", lambda: with_sound(picture=False), "it holds: audio", "it holds: audio"),
    # codecs and containers
    StrangeClip("AV1", lambda: replaced(plain(), b"avc1", b"av01"), "encoded in av1", "gives 0 of"),
    StrangeClip("encrypted", lambda: replaced(plain(), b"avc1", b"encv"), "is encrypted", "is encrypted"),
    StrangeClip("PNG in mp4", lambda: encoded("png", pixels="rgb24"), "encoded in png", None),
    StrangeClip("MPEG-2", lambda: encoded("mpeg2video", fps=Fraction(25)), "in mpeg2video", None),
    StrangeClip("Matroska", lambda: encoded(container="matroska"), "is a Matroska or WebM file", None),
    StrangeClip(
        "Matroska without duration",
        lambda: encoded(container="matroska", muxer=(("live", "1"),)),
        "is a Matroska or WebM file",
        None,
    ),
    StrangeClip("WebM", lambda: encoded("libvpx-vp9", "webm"), "is a Matroska or WebM file", None),
    StrangeClip("AVI", lambda: encoded("mpeg4", "avi"), "is an AVI file", None),
    StrangeClip("MPEG-TS", ts, "is an MPEG-TS file", None),
    StrangeClip("a bare stream", lambda: encoded(container="h264"), "is a bare H.264", "is a bare H.264"),
    StrangeClip("GIF", lambda: encoded("gif", "gif", "rgb8", Fraction(20)), "is a GIF", "is a GIF"),
    StrangeClip("APNG", lambda: encoded("apng", "apng", "rgb24"), "is a PNG image", "is a PNG image"),
    StrangeClip("WebP", lambda: b"RIFF\0\1\0\0WEBPVP8X", "is a WebP image", "is a WebP image"),
    StrangeClip("AVIF", lambda: b"\0\0\0 ftypavif\0\0\0\0", "is an AVIF image", "is an AVIF image"),
    StrangeClip("a playlist", lambda: b"#EXTM3U\n/etc/passwd\n", "is a playlist", "is a playlist"),
    StrangeClip("a web page", lambda: b"<!DOCTYPE html>", "is a web page", "is a web page"),
    StrangeClip(
        "a pointer", lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", "git lfs pull"
    ),
    StrangeClip("text", lambda: b"ffconcat version 1.0\n", UNKNOWN, UNKNOWN),
    StrangeClip("nothing", lambda: b"", "is empty, 0 bytes", "is empty, 0 bytes"),
    # edit lists that hide frames: OpenCV obeys, decord does not
    StrangeClip("beginning hidden", lambda: edited(500, 2048 + 4096), "hides 4 of its 12", "hides 4 of"),
    StrangeClip("end hidden", lambda: edited(375, 2048), "hides 6 of its 12 frames", "hides 6 of its 12"),
    StrangeClip("all hidden", lambda: edited(750, 10**6), "hides 12 of its 12 frames", "hides 12 of its 12"),
    StrangeClip("other order", lambda: with_edits((375, 8192), (375, 2048)), "by an edit list", "edit list"),
    # time
    StrangeClip(
        "two rates",
        lambda: encoded(times=(0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16)),
        "variable rate, from 8 to 16 frames",
        "variable rate, from 8 to 16 frames",
    ),
    StrangeClip("a frame lost", lambda: without(5), "variable rate, from 8 to 16", "variable rate"),
    StrangeClip(
        "a far last frame", lambda: encoded(last=40, options=NO_B), "declares 3.7647 frames per second", None
    ),
    # form
    StrangeClip("turned by 90 degrees", lambda: shown_by(0, 1, -1, 0), "turned or mirrored", "turned or"),
    StrangeClip("turned by 180 degrees", lambda: shown_by(-1, 0, 0, -1), "turned or mirrored", "turned or"),
    StrangeClip("mirrored", lambda: shown_by(-1, 0, 0, 1), "turned or mirrored", "turned or mirrored"),
    StrangeClip("upside down", lambda: shown_by(1, 0, 0, -1), "turned or mirrored", "turned or mirrored"),
    StrangeClip(
        "wide pixels",
        lambda: encoded(options=(("x264-params", "sar=4/3"),)),
        "pixels of 4:3",
        "pixels of 4:3",
    ),
    StrangeClip("shown wide", lambda: shown_by(2, 0, 0, 1), "pixels of 2:1", "pixels of 2:1"),
    StrangeClip(
        "two sizes",
        lambda: joined(ts(count=2), ts(size=(64, 96))),
        "changes its size from 64x48 to 96x64 at frame 2",
        "changes its size from 64x48 to 96x64 at frame 2",
    ),
    StrangeClip(
        "interlaced", lambda: encoded(options=(("x264-params", "interlaced=1"),)), "interlaced", "interlaced"
    ),
    StrangeClip("10 bits", lambda: encoded(pixels="yuv420p10le"), "has 10 bits a colour", None),
    StrangeClip(
        "HDR", lambda: encoded(options=(("x264-params", "transfer=smpte2084"),)), "is HDR (PQ)", "is HDR (PQ)"
    ),
    StrangeClip(
        "transparent",
        lambda: encoded("qtrle", "mov", "argb"),
        "encoded in qtrle",
        "has transparency (argb)",
    ),
    # damage
    StrangeClip("bytes inverted", lambda: damaged(encoded(options=FINE)), "at frame", "at frame"),
    StrangeClip(
        "bytes inverted, Motion JPEG",
        lambda: damaged(encoded("mjpeg", pixels="yuvj420p")),
        "at frame",
        "at frame",
    ),
    StrangeClip("cut off between frames", lambda: cut_before(9), "ends after 9 of the 12", "ends after 9 of"),
    StrangeClip(
        "end cut off", lambda: plain()[:-300], "cannot be read as an mp4", "cannot be read as an mp4"
    ),
    StrangeClip("last frames cut off", lambda: encoded(muxer=START)[:-150], "is cut off after", "is cut off"),
    StrangeClip(
        "fragments cut off", lambda: encoded(muxer=FRAGMENTS)[:2000], "is cut off after", "is cut off"
    ),
    StrangeClip("no key frame", lambda: without(0), "gives 0 of the 11 frames", "gives 0 of the 11 frames"),
    StrangeClip("no frame", lambda: with_fields(plain(), b"stsz", 4, ">II", 0, 0), "holds no", "holds no"),
    StrangeClip(
        "120 million frames declared",
        lambda: with_fields(plain(), b"stsz", 4, ">II", 1, 120_000_000),
        "holds no frame",
        "holds no frame",
    ),
)
