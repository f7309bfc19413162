"""Make a folder of links `<short prompt>-<k>.mp4` to a row's clips, VBench's own names, for other tools.

python -m workflow.scripts.vbench_named --results results/vbench --row raven --output raven_named

Of a still prompt the samples that the static filter kept are there, numbered anew from 0 as VBench does; with
--unfiltered every sample is, under its own number, for tools that filter themselves. Links become files with
`cp -rL`. Every clip is compared with the manifest first. `snakemake vbench_named` does it for all rows.
"""

import argparse
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.prompts import is_safe_name
from evaluation.selection import ALL_PROMPTS, ScoredPrompt, read_row, select_clips
from evaluation.vbench.plan import link_clips

log = logging.getLogger("vbench_named")

SHOWN = 5


def refuse_names(entries: Sequence[ScoredPrompt]) -> None:
    """Raise ValueError, naming the prompts, if some cannot be file names or share one."""
    unsafe = [e.prompt.id for e in entries if not is_safe_name(e.prompt.prompt, max(1, len(e.clips)))]
    if unsafe:
        raise ValueError(
            f"{len(unsafe)} prompts cannot be file names of VBench's form ({', '.join(unsafe[:SHOWN])}): "
            "they hold a slash, a quote or the like, end in -<number>, or are too long. Nothing was "
            'linked; leave them out (only="prompts=..."), or take the clips by id.'
        )
    times = Counter(entry.prompt.prompt for entry in entries)
    if doubled := [entry.prompt.id for entry in entries if times[entry.prompt.prompt] > 1]:
        raise ValueError(
            f"{len(doubled)} prompts have a short text that another one has too "
            f"({', '.join(doubled[:SHOWN])}), so that VBench's names do not tell their clips apart. Nothing "
            "was linked; take the clips by id."
        )


def name_clips(flags: argparse.Namespace) -> None:
    """Raises ValueError or FileNotFoundError, and leaves no folder, if a clip or a name is wrong."""
    folder = flags.results / "clips" / flags.row
    row = read_row(
        flags.row,
        flags.results / "prompts/prompts.jsonl",
        folder / "manifest.jsonl",
        flags.results / f"filter/{flags.row}.json",
    )
    kept = {p.id: range(p.samples) for p in row.prompts} if flags.unfiltered else row.kept
    selected = select_clips(ALL_PROMPTS, row.prompts, row.manifest, kept, prompts_of=ALL_PROMPTS)
    refuse_names(selected)
    if flags.output.exists() and any(not path.is_symlink() for path in flags.output.iterdir()):
        raise ValueError(
            f"{flags.output} holds something else than links; name an empty folder, or one that this made."
        )
    shutil.rmtree(flags.output, ignore_errors=True)
    flags.output.mkdir(parents=True)
    try:
        link_clips(selected, folder, flags.output)
    except (OSError, ValueError):
        shutil.rmtree(flags.output)
        raise
    log.info("%s: %d clips of row %s", flags.output, sum(len(e.clips) for e in selected), flags.row)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "row", "output")
    parser.add_argument("--results", required=True, type=Path, help="folder of the suite or the subset")
    parser.add_argument(
        "--unfiltered", action="store_true", help="every sample of still prompts, under its own number"
    )
    return run(parser, arguments, name_clips)


if __name__ == "__main__":
    sys.exit(main())
