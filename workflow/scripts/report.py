"""Make report.html, its copy, run.json and the table's exports from one results folder. Nothing is computed
on a GPU.

Flags: --scores aggregate/scores.json, --results-dir results/<suite>, --output report.html, --copy
reports/table.html, --threads for posters and small copies of clips, --settings JSON (exactly the keys of
reports.run.ReportSettings: suite, label, bounds, clips_budget_mb,
rows {row: {label, kind, settings, licence?, citation?, scores?, scores_source?}}, config, gpus?, licences,
note?).

Reads, below --results-dir (a file marked ? may be absent; its section then says so):
  prompts/prompts.jsonl
  aggregate/variance.json ?, aggregate/chunks.json ?, beside --scores
  clips/<row>/manifest.jsonl, clips/<row>/timings.jsonl ?, clips/<row>/mp4/<prompt>-0.mp4 ?   of every scored
  row filter/<row>.json ?, scores/<row>/<dimension>.result.json ?
  train/<row>/metrics.jsonl ?, train/<row>/train.json ?, train/cm_grpo/heldout.json ? (reports.curves.HeldOut)
  train/<row>/machine.json ?, weights/<row>/<flavour>.json ?, starts.jsonl ?, fetch/resources.json ?,
  vbench/weights.json ? benchmarks/<rule>.tsv ?, benchmarks/<rule>/**/*.tsv ? (not the report's own)
Writes --copy, one file that holds clips up to the budget and loads nothing; --output, the same page, which
must lie in --results-dir and also plays all other clips from there; and beside --output: the files of
reports.report_facts.EXPORTS, and chunks.csv ?.
"""

import argparse
import json
import logging
from pathlib import Path

from evaluation.aggregate import scores_csv
from evaluation.chunks import chunks_csv
from evaluation.files import write_text
from evaluation.records import parse
from reports.exports import dimensions_latex, latex, markdown, pairs_csv
from reports.page import beside_clips, render
from reports.report_facts import trust_of
from reports.run import ReportSettings, read_run
from reports.scrubbing import scrub

ROOT = Path(__file__).resolve().parents[2]
log = logging.getLogger("report")


def main() -> None:
    """Parse flags, read, render, write; report.html last, so that it is there only when everything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scores", required=True, type=Path)
    parser.add_argument("--settings", required=True, help="JSON object, see the module's docstring")
    parser.add_argument("--results-dir", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--copy", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    given = scrub(json.loads(flags.settings), str(ROOT))
    settings = parse(ReportSettings, json.dumps(given), "--settings")
    run = read_run(flags.scores, flags.results_dir, settings, ROOT, threads=flags.threads)
    page = render(run)
    beside = flags.output.parent
    write_text(beside / "run.json", run.model_dump_json() + "\n")
    write_text(beside / "table.csv", scores_csv(run.table))
    if run.chunks is not None:
        write_text(beside / "chunks.csv", chunks_csv(run.chunks))
    write_text(beside / "pairs.csv", pairs_csv(run.table))
    write_text(beside / "table.md", markdown(run.table, settings.bounds))
    write_text(beside / "table.tex", latex(run.table, settings.bounds))
    write_text(beside / "dimensions.tex", dimensions_latex(run.table))
    trust = trust_of(run)
    write_text(beside / "methods.md", trust.methods_markdown)
    write_text(beside / "methods.tex", trust.methods_latex)
    write_text(beside / "citations.bib", trust.bibtex)
    write_text(flags.copy, page)
    write_text(flags.output, beside_clips(page))
    log.info(
        "%s: %d rows, clips of %d prompts (%.1f MB) and posters (%.1f MB) inside, %.1f MB in all", flags.output,
        len(run.table.rows), len(run.gallery.clips), run.gallery.size / 1e6, run.gallery.posters_size / 1e6, len(page) / 1e6,
    )  # fmt: skip


if __name__ == "__main__":
    main()
