"""Take in finished clips made elsewhere: all of them or none. The originals are copied and stay as they are."""

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.clips import ClipShape
from evaluation.records import Prompt, read_jsonl, write_jsonl
from evaluation.shards import Sample, samples_to_render
from workflow.external.archive import bring_all, match_names, original_files, samples_hint, zip_members
from workflow.external.changed_files import remember
from workflow.external.ingest import listed, prove
from workflow.external.work_list import shard_samples
from workflow.sampling.shard import ShardJob, clip_file, clip_record, settings_from

log = logging.getLogger("import")


def stage_clips(path: Path, samples: Sequence[Sample], shape: ClipShape, folder: Path) -> list[str]:
    """Bring every clip of `path` to `folder`/<clip_id>.mp4; one phrase for each that is missing, extra or
    wrong.

    Raises FileNotFoundError or ValueError if there is nothing to import, or a zip is not safe.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; correct clips.path or bring the clips there.")
    names = [file.name for file in original_files(path)] if path.is_dir() else list(zip_members(path))
    match = match_names(names, samples)
    faults = [f"{clip} is missing" for clip in match.missing]
    faults += [f"{name} is no clip of this suite" for name in match.extra]
    if match.missing and match.extra:
        faults[0] += f" (files are read as {match.naming})"
    if hint := samples_hint(match, samples):
        faults[0] += f" ({hint})"
    bring_all(path, match, folder)
    present = [sample for sample in samples if sample.clip_id in match.files]
    return faults + prove(folder, present, shape).faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--row", required=True)
    parser.add_argument("--from", required=True, type=Path, dest="source", help="folder or zip of clips")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--settings", required=True, help="JSON of the row's settings")
    parser.add_argument("--clips", required=True, type=Path, help="folder of the row")
    parser.add_argument("--shards", required=True, nargs="+", help="<i>-of-<n> of every manifest")
    parser.add_argument("--manifests", required=True, nargs="+", type=Path)
    parser.add_argument(
        "--timings", required=True, nargs="+", type=Path, help="left empty: nothing was made here"
    )
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = settings_from(flags.settings)
    prompts = read_jsonl(Prompt, flags.prompts)
    samples = samples_to_render(prompts)
    shape = ClipShape(**settings["clip"])
    private = flags.clips / "incoming"
    shutil.rmtree(private, ignore_errors=True)
    faults = stage_clips(flags.source, samples, shape, private)
    if faults:
        shutil.rmtree(private)
        log.error(
            "Row %s: %d faults in %s, %d clips expected: %s. Nothing was imported.",
            flags.row,
            len(faults),
            flags.source,
            len(samples),
            listed(faults),
        )
        return 1
    hashes = remember(flags.clips, original_files(flags.source))
    log.info("%s: %d clips from %d files are proven", flags.row, len(samples), len(hashes))
    (flags.clips / "mp4").mkdir(parents=True, exist_ok=True)
    for sample in samples:
        os.replace(private / f"{sample.clip_id}.mp4", flags.clips / clip_file(sample))
    shutil.rmtree(private)
    for shard, manifest, timings in zip(flags.shards, flags.manifests, flags.timings, strict=True):
        job = ShardJob(
            row=flags.row,
            shard=shard,
            prompts=prompts,
            folder=flags.clips,
            shape=shape,
            batch_size=1,
            noise="unknown",
            weights_sha256=None,
            settings=settings,
            depends_on={},
            whole_list=False,
            device="unknown",
        )
        clips = [
            clip_record(job, sample, pixel_frames=shape.pixel_frames, latents_sha256=None)
            for sample in shard_samples(samples, shard)
        ]
        write_jsonl(timings, [])
        write_jsonl(manifest, clips)
    return 0


if __name__ == "__main__":
    sys.exit(main())
