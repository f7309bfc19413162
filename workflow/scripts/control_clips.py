"""Make one shard of a control row from the checked clips of another row (evaluation/clip_controls.py)."""

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.clip_controls import altered_frames, other_prompts
from evaluation.clips import ClipShape, ClipWriter
from evaluation.command import run
from evaluation.files import canonical_sha256, unfinished_name
from evaluation.records import Clip, Prompt, clip_id, read_jsonl
from evaluation.shards import Sample, samples_to_render
from evaluation.verified_clips import open_verified_clip, verified_path
from workflow.external.ingest import ShardIntake
from workflow.external.work_list import shard_samples
from workflow.sampling.shard import ShardJob, settings_from, shard_command, wanted_clips, write_shard

log = logging.getLogger("control_clips")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlJob(ShardJob):
    """A shard of a control row, whose clips depend on those that they are made from."""

    made_from: Mapping[str, Clip]
    """The source's clip, by id of the control's."""

    def key(self, sample: Sample) -> str:
        """Digest of everything the clip of `sample` depends on."""
        return canonical_sha256([ShardJob.key(self, sample), self.made_from[sample.clip_id].sha256])


def sources(
    kind: str, prompts: Sequence[Prompt], samples: Sequence[Sample], manifest: Path
) -> dict[str, Clip]:
    """The clip that each sample is made from, by the sample's id. Raises ValueError if one is not listed."""
    shown = other_prompts(prompts) if kind == "shuffled_captions" else {}
    clips = {clip.clip_id: clip for clip in read_jsonl(Clip, manifest)}
    wanted = {s.clip_id: clip_id(shown.get(s.prompt.id, s.prompt.id), s.index) for s in samples}
    if lost := [name for name in wanted.values() if name not in clips]:
        raise ValueError(
            f"{manifest} lacks {len(lost)} of {len(wanted)} clips ({', '.join(lost[:5])}); check its row "
            "again."
        )
    return {name: clips[source] for name, source in wanted.items()}


def make_clip(kind: str, folder: Path, clip: Clip, target: Path, *, seed: str) -> None:
    """Write a control's clip from a clip of the row in `folder`. With shuffled captions it is that very file,
    which takes no room.
    """
    if kind != "shuffled_captions":
        frames = altered_frames(kind, open_verified_clip(folder, clip).frames, seed, target.parent)
        with ClipWriter(target, height=clip.height, width=clip.width, fps=clip.fps) as writer:
            for frame in frames:
                writer.append(frame[None])
        return
    source = verified_path(folder, clip)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def make_controls(flags: argparse.Namespace) -> None:
    settings = settings_from(flags.settings)
    kind, shape = settings["control"], ClipShape(**settings["clip"])
    prompts = read_jsonl(Prompt, flags.prompts)
    only = wanted_clips(flags.prompts, flags.chosen)
    samples = [
        sample
        for sample in shard_samples(samples_to_render(prompts), flags.shard)
        if only is None or sample.clip_id in only
    ]
    # As of a sampled row, a part of a shard has a journal of its own.
    part = "" if only is None else f".{canonical_sha256(sorted(only))[:12]}"
    job = ControlJob(
        row=flags.row,
        shard=flags.shard + part,
        prompts=prompts,
        folder=flags.clips,
        shape=shape,
        batch_size=1,
        noise=f"control:{kind}",
        weights_sha256=None,
        settings=settings,
        depends_on={"code": flags.code},
        whole_list=False,
        device="cpu",
        made_from=sources(kind, prompts, samples, flags.source),
    )
    intake = ShardIntake(job, samples)
    missing = intake.missing()
    log.info("%s %s: %d of %d clips are left", flags.row, flags.shard, len(missing), len(samples))
    flags.clips.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=flags.clips, suffix=unfinished_name("")) as folder:
        for sample in missing:
            started = time.perf_counter()
            clip, target = job.made_from[sample.clip_id], Path(folder, f"{sample.clip_id}.mp4")
            seed = f"{settings['of']}|{sample.clip_id}"
            make_clip(kind, flags.source.parent, clip, target, seed=seed)
            intake.take([sample], Path(folder), seconds=time.perf_counter() - started)
    write_shard(intake.in_order(), flags.manifest, flags.timings)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = shard_command(__doc__)
    parser.add_argument("--source", required=True, type=Path, help="manifest of the row it is made from")
    return run(parser, arguments, make_controls)


if __name__ == "__main__":
    sys.exit(main())
