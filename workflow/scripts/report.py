"""Make report.html, its copy and the files beside it from one results folder. Nothing is computed on a GPU.

--settings holds exactly the keys of reports.run.ReportSettings. Reads, below --results-dir (a file marked ?
may be absent; its section then says so):
  prompts/prompts.jsonl, clips/<row>/manifest.jsonl of every scored row
  clips/<row>/timings.jsonl ?, clips/<row>/mp4/<prompt>-<sample>.mp4 ?
  filter/<row>.json ?, scores/<row>/<dimension>.result.json ?, beside --scores: variance.json ?, chunks.json
  ?, protocol_moves.json ? and long.json ?
  train/<row>/{metrics.jsonl ?, train.json ?, machine.json ?}, train/<row>/heldout.json ?
  weights/<row>/<flavour>.json ?, starts.jsonl ?, replay.json ?, fetch/resources.json ?, vbench/weights.json ?
  benchmarks/<rule>.tsv ?, benchmarks/<rule>/**/*.tsv ? (not the report's own)
and --votes, the votes files of people.
Writes --copy, one file that holds clips up to the budget and loads nothing; --output, the same page, which
must lie in --results-dir and also plays all other clips from there; and beside --output the files of
reports.beside.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import load_json, write_text
from evaluation.records import parse
from reports.beside import exports_of
from reports.clips_beside import beside_clips
from reports.page import render_page
from reports.run import ReportSettings, read_run
from reports.scrubbing import scrub

log = logging.getLogger("report")


def make_report(flags: argparse.Namespace) -> None:
    """Read, render, write; report.html last, so that it is there only when everything is."""
    root = Path(__file__).resolve().parents[2]
    given = scrub(load_json(flags.settings, "--settings"), str(root))
    settings = parse(ReportSettings, json.dumps(given), "--settings")
    record = read_run(
        flags.scores, flags.results_dir, settings, root, votes=flags.votes, threads=flags.threads
    )
    page = render_page(record)
    for export in exports_of(record):
        if export.text is not None:
            write_text(flags.output.parent / export.name, export.text(record))
    write_text(flags.copy, page)
    write_text(flags.output, beside_clips(page))
    gallery = record.gallery
    inside = f"clips of {len(gallery.clips)} prompts ({gallery.size / 1e6:.1f} MB) and posters"
    posters = f"({gallery.posters_size / 1e6:.1f} MB) inside, {len(page) / 1e6:.1f} MB in all"
    log.info("%s: %d rows, %s %s", flags.output, len(record.table.rows), inside, posters)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "settings", "output")
    parser.add_argument("--scores", required=True, type=Path, help="aggregate/scores.json")
    parser.add_argument("--results-dir", required=True, type=Path, help="results/<suite>")
    parser.add_argument("--copy", required=True, type=Path, help="the page that stands alone")
    parser.add_argument("--votes", nargs="*", type=Path, default=[], help="votes files of people")
    parser.add_argument("--threads", type=int, default=1, help="for posters and small copies of clips")
    return run(parser, arguments, make_report)


if __name__ == "__main__":
    sys.exit(main())
