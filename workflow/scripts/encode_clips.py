"""Videos with captions to latents: the data file that teacher and diffusion forcing train on, and its
captions.

examples:
  a folder of videos and a list (file,caption)   --list videos/captions.csv --output resources/data/mine
  OpenVid's parquet files, on 8 GPUs of a node   --processes 8 --parquet openvid/*.parquet
                                                 --output resources/data/openvid

Writes latents.safetensors (`data` of a trained row), captions.txt (its `prompts`, a line for each clip),
clips.jsonl (where each clip came from) and dropped.jsonl (which videos were left out, and why). Frames per
second, number and size of the frames and the VAE are the suite's. Started again, it goes on; processes (RANK,
WORLD_SIZE) share the list, and the one that finishes last joins their parts.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from filelock import FileLock
from torch import Tensor

from evaluation.command import command, run
from evaluation.files import file_sha256, load_json, write_text, written_whole
from models.checkpoints.containers import (
    open_safetensors,
    read_library_weights,
    read_metadata,
    read_safetensors,
    tensors_sha256,
    write_safetensors,
)
from models.codec import PATCH, LinearCodec
from models.interfaces import Codec
from models.text_and_pixels import open_codec
from models.wan_vae import PIXELS_PER_LATENT
from workflow.planning.suite import Suite
from workflow.planning.suite_file import DEFAULT_CONFIG, read_suite
from workflow.sampling.machine import choose_device
from workflow.training.video_frames import ClipForm, UnusableClip, take_frames
from workflow.training.video_sources import ClipSource, ListedFiles, ParquetFiles, RawClip

log = logging.getLogger("encode_clips")

REPOSITORY = Path(__file__).resolve().parents[2]
IDENTITY = "identity"
COPIED_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One run over one list. identity: hash of everything that shapes the result; shard: clips of a part."""

    source: ClipSource
    form: ClipForm
    output: Path
    identity: str
    shard: int

    @property
    def parts(self) -> list[Path]:
        """Files of the parts, in order; each is whole or not there."""
        count = -(-len(self.source) // self.shard)
        return [self.output / "parts" / f"{i:06d}-of-{count:06d}.safetensors" for i in range(count)]

    @property
    def result(self) -> Path:
        """The data file, written last."""
        return self.output / "latents.safetensors"

    def places(self, part: int) -> range:
        """Places in the list that belong to a part."""
        return range(part * self.shard, min((part + 1) * self.shard, len(self.source)))


def encode_parts(run: Encoding, codec: Codec, device: torch.device, *, rank: int, size: int) -> None:
    """Make those of this process' parts that are absent; its parts are consecutive, so each row is read once.

    Raises ValueError if parts that are there were made from another list, or with other settings.
    """
    mine = range(len(run.parts) * rank // size, len(run.parts) * (rank + 1) // size)
    for part in mine:
        if run.parts[part].is_file():
            check_identity(run, run.parts[part])
    todo = [part for part in mine if not run.parts[part].is_file()]
    clips = run.source.clips([place for part in todo for place in run.places(part)])
    for part in todo:
        encode_part(run, codec, device, part, clips)
        log.info("%s: %d of this process' %d parts", run.parts[part], part - mine.start + 1, len(mine))


def encode_part(
    run: Encoding, codec: Codec, device: torch.device, part: int, clips: Iterator[RawClip]
) -> None:
    """Write one part from the next clips. Raises FloatingPointError if latents are not finite."""
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    latents: list[Tensor] = []
    for place in run.places(part):
        clip = next(clips)
        identity = clip.sha256()
        about = {"place": place, "name": clip.name, "sha256": identity}
        try:
            if not clip.caption:
                raise UnusableClip("has no caption")
            taken = take_frames(clip, run.form, identity)
        except UnusableClip as why:
            dropped.append({**about, "reason": str(why)})
            continue
        made = codec.encode(taken.pixels[None].to(device))[0].float().cpu()
        if not bool(torch.isfinite(made).all()):
            raise FloatingPointError(
                f"The latents of {clip.name} are not finite, so nothing of it was written; look at the "
                "VAE's weights."
            )
        latents.append(made)
        kept.append({**about, "start": taken.start, "caption": clip.caption})
    write_safetensors(
        run.parts[part],
        {"latents": torch.stack(latents)} if latents else {},
        metadata={IDENTITY: run.identity, "kept": json.dumps(kept), "dropped": json.dumps(dropped)},
    )


def join_parts(run: Encoding) -> bool:
    """Join all parts into the result and remove them; False while parts are absent. One process at a time.

    Raises ValueError if no clip at all could be used.
    """
    run.output.mkdir(parents=True, exist_ok=True)
    with FileLock(run.output / "join.lock"):
        if run.result.is_file():
            return True
        absent = [path for path in run.parts if not path.is_file()]
        if absent:
            log.info("%d of %d parts are not there yet", len(absent), len(run.parts))
            return False
        kept, dropped, filled = [], [], []
        for path in run.parts:
            check_identity(run, path)
            about = read_metadata(path)
            own = load_json(about["kept"], str(path))
            kept += own
            dropped += load_json(about["dropped"], str(path))
            filled += [path] if own else []
        reasons = "; ".join(f"{one['name']} {one['reason']}" for one in dropped[:3])
        if not kept:
            raise ValueError(f"None of {len(dropped)} videos can be used ({reasons}); bring others.")
        write_text(run.output / "captions.txt", "".join(one["caption"] + "\n" for one in kept))
        write_text(run.output / "clips.jsonl", "".join(json.dumps(one) + "\n" for one in kept))
        write_text(run.output / "dropped.jsonl", "".join(json.dumps(one) + "\n" for one in dropped))
        _join_latents(run.result, filled, len(kept), {IDENTITY: run.identity})
        shutil.rmtree(run.output / "parts")
    log.info(
        "%s: %d clips, %d left out%s", run.result, len(kept), len(dropped), f": {reasons}" if dropped else ""
    )
    return True


def check_identity(run: Encoding, path: Path) -> None:
    """Raises ValueError if a file of the output was made by another run."""
    if read_metadata(path).get(IDENTITY) != run.identity:
        raise ValueError(
            f"{path} was made from another list, with another VAE or with other settings; remove "
            f"{run.output}, or choose another output."
        )


def _join_latents(path: Path, parts: list[Path], count: int, metadata: dict[str, str]) -> None:
    """Write `latents` [N, F, C, H, W] of all parts into one .safetensors file, a few clips in memory at a
    time.

    The library writes a file from tensors that are all in memory, so header and bytes are put together here,
    by its published format: 8 bytes of length, the header as JSON, the bytes in order.
    """
    with open_safetensors(parts[0], "np") as file:
        shape = [count, *file.get_slice("latents").get_shape()[1:]]
    size = 4 * torch.Size(shape).numel()
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": metadata, "latents": entry}).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    with written_whole(path) as unfinished:
        with unfinished.open("wb") as joined:
            joined.write(len(header).to_bytes(8, "little") + header)
            for part in parts:
                latents = read_safetensors(part)["latents"]
                for first in range(0, len(latents), COPIED_AT_ONCE):
                    joined.write(latents[first : first + COPIED_AT_ONCE].numpy().tobytes())
            joined.flush()
            os.fsync(joined.fileno())
        with open_safetensors(unfinished, "np") as file:
            found = file.get_slice("latents").get_shape()
        assert found == shape, "the joined file reads back as it was written"


def form_of(suite: Suite, codec: Codec, seed: int) -> ClipForm:
    """What the suite's networks are trained on: its number of frames, in the size of its latents."""
    stride = PATCH if isinstance(codec, LinearCodec) else PIXELS_PER_LATENT
    return ClipForm(
        pixel_frames=suite.clip.pixel_frames,
        height=suite.model.latent_height * stride,
        width=suite.model.latent_width * stride,
        fps=suite.clip.fps,
        seed=seed,
    )


def identity_of(source: ClipSource, form: ClipForm, codec: Path, shard: int) -> str:
    """Hash of list, frames, VAE and cut into parts."""
    weights = tensors_sha256(read_library_weights(codec)) if codec.is_dir() else file_sha256(codec)
    return hashlib.sha256(
        json.dumps([source.description, asdict(form), weights, shard], sort_keys=True).encode()
    ).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--list", type=Path, help=".csv (with a header) or .jsonl with file and caption")
    given.add_argument("--parquet", type=Path, nargs="+", help="files with raw_video, and caption or info")
    parser.add_argument("--videos", type=Path, help="folder of the list's files (default: the list's)")
    vbench = "workflow/config/vbench.yaml"
    parser.add_argument("--config", default=vbench, help=f"the suite, e.g. {DEFAULT_CONFIG}")
    parser.add_argument("--codec", type=Path, help="the VAE (default: the suite's)")
    parser.add_argument("--seed", type=int, default=20001019, help="of the frame that each clip starts at")
    parser.add_argument("--shard", type=int, default=32, help="clips written at once, and lost by a kill")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), help="default: the suite's")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1, help="that share the list, one a GPU, here")
    given_arguments = list(sys.argv[1:] if arguments is None else arguments)
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    where = f"[{rank} of {size}] " if size > 1 else ""

    def work(flags: argparse.Namespace) -> None:
        if flags.processes != 1 and "RANK" not in os.environ:
            share_out(flags.processes, given_arguments)
        encode(flags, rank=rank, size=size)

    return run(parser, arguments, work, where)


def share_out(processes: int, arguments: Sequence[str]) -> NoReturn:
    """Become the launcher of so many processes of this, from wherever it is called."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    launcher = ["-m", "workflow.scripts.launch", "--processes", str(processes)]
    command_line = [sys.executable, *launcher, "workflow.scripts.encode_clips", *arguments]
    os.execv(sys.executable, command_line)  # noqa: S606 (no shell)


def encode(flags: argparse.Namespace, *, rank: int, size: int) -> None:
    """Do what the flags say, as process `rank` of `size`. Raises what list, VAE and parts raise."""
    suite = read_suite(Path(flags.config), REPOSITORY)
    source: ClipSource = (
        ParquetFiles(flags.parquet) if flags.list is None else ListedFiles(flags.list, flags.videos)
    )
    if flags.shard < 1:
        raise ValueError(f"--shard is {flags.shard}, but a part needs at least 1 clip.")
    device = choose_device(flags.device or suite.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    path = flags.codec or REPOSITORY / suite.model.codec
    # as RAVEN has its VAE, under autocast (models/backbone.md#vae); a CPU computes in float32
    codec = open_codec(path, device=device, dtype=torch.float32, autocast=device.type == "cuda")
    form = form_of(suite, codec, flags.seed)
    identity = identity_of(source, form, path, flags.shard)
    encoding = Encoding(source=source, form=form, output=flags.output, identity=identity, shard=flags.shard)
    if encoding.result.is_file():
        check_identity(encoding, encoding.result)
        log.info("%s is there already", encoding.result)
        return
    log.info("%d videos in %d parts", len(source), len(encoding.parts))
    encode_parts(encoding, codec, device, rank=rank, size=size)
    join_parts(encoding)


if __name__ == "__main__":
    sys.exit(main())
