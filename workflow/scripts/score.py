"""Score folders or zips of anybody's clips: a row each, one report. Names say what can be scored.

examples:
  raven-bench score my_clips                                  any names: dimensions that need no prompt
  raven-bench score ours.zip theirs/ --prompts captions.csv   two rows, compared clip by clip (file,prompt)
  raven-bench score vbench_videos --benchmark vbench          VBench's own names: all 16 dimensions
  raven-bench score clips --dimensions imaging_quality dynamic_degree --backend official --output scores/run1
  raven-bench score vbench_videos -n                          what it would do; other flags are Snakemake's

Videos of any size, length, rate and kind (.mp4 .m4v .mov .webm .mkv .avi .ts). The suite, its report, CSV and
VBench's JSON lie in --output; the same command goes on where it was stopped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.dimensions import NAMES
from evaluation.files import load_json, write_text
from evaluation.records import Interval, ScoresTable, read_json
from models.training.launch import count_gpus
from workflow.external.planned_run import own_and_other_flags, run_plan, write_plan
from workflow.external.score_plan import Asked, plan_scoring
from workflow.planning.snakemake_options import DRY

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("sources", nargs="+", type=Path, metavar="FOLDER_OR_ZIP", help="a row each")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="list: .csv .tsv .jsonl .txt")
    parser.add_argument(
        "--dimensions", nargs="+", metavar="NAME", help="default: all that is known of the prompts allows"
    )
    parser.add_argument("--benchmark", choices=("vbench", "toybox"), default="vbench", help="whose scorers")
    parser.add_argument("--backend", choices=("fast", "official"), default="fast")
    parser.add_argument("--output", type=Path, default=Path("scores"), help="default: scores/ here")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    parser.add_argument("--common", action="store_true", help="leave out clips that not every row has")
    given = list(sys.argv[1:] if arguments is None else arguments)
    mine, others = own_and_other_flags(parser, given)
    return run(parser, mine, lambda flags: score(flags, others))


def score(flags: argparse.Namespace, others: Sequence[str]) -> None:
    """Plan, run the workflow, and say what came out. Raises ValueError."""
    output = flags.output.resolve()
    clustered = any("slurm" in word for word in others)
    official = flags.benchmark == "vbench"
    device = flags.device or ("cuda" if official and (clustered or count_gpus()) else "cpu")
    asked = Asked(
        sources=flags.sources,
        prompts=flags.prompts,
        dimensions=flags.dimensions,
        benchmark=flags.benchmark,
        backend=flags.backend,
        output=output,
        device=device,
        common=flags.common,
    )
    plan = plan_scoring(asked, _ROOT)
    write_plan(plan, output, _ROOT)
    for line in plan.said:
        print(line, flush=True)
    if official and device == "cpu":
        print("No GPU was found, so VBench's networks run on the CPU: minutes for each clip.", flush=True)
    run_plan(output, _ROOT, others)
    if not DRY & {*others} and (output / "aggregate/scores.json").is_file():
        say_scores(output)


def say_scores(output: Path) -> None:
    """Write VBench's JSON of every row, and print the table and where everything lies."""
    table = read_json(ScoresTable, output / "aggregate/scores.json")
    for row in table.rows:
        write_text(output / f"{row.row}_eval_results.json", eval_results(output, row.row, table.dimensions))
    print()
    print("\n".join(table_lines(table)))
    print(
        f"\nIn {output}: report.html (plays every clip), table.csv, pairs.csv, run.json, "
        "<row>_eval_results.json (VBench's own form).\n"
        f"In Python: from evaluation.api import read_results; read_results({str(output)!r})"
    )


def eval_results(output: Path, row: str, dimensions: Sequence[str]) -> str:
    """A row's scores in one file, as VBench writes them: {dimension: [mean, [{video_path, ...}, ...]]}."""
    joined: dict[str, object] = {}
    for dimension in dimensions:
        path = output / "scores" / row / f"{dimension}.json"
        joined |= load_json(path.read_bytes(), str(path))
    return json.dumps(joined, indent=4, ensure_ascii=False, allow_nan=False) + "\n"


def table_lines(table: ScoresTable) -> list[str]:
    """The table as text: a line a metric, a column a row, normalised points with 95 % intervals."""
    names = [*("total", "quality", "semantic"), *(name for name in NAMES if name in table.dimensions)]
    cells: dict[str, list[str]] = {}
    for name in names:
        found = [
            row.totals.get(name) or (row.dimensions[name].normalised if name in row.dimensions else None)
            for row in table.rows
        ]
        if any(found):
            cells[name] = [_cell(one) for one in found]
    widths = [
        max(len(row.label), *(len(line[at]) for line in cells.values())) for at, row in enumerate(table.rows)
    ]
    first = max(map(len, cells))
    heads = "  ".join(f"{row.label:>{width}}" for row, width in zip(table.rows, widths, strict=True))
    return [
        f"{'0 to 100, [95 % interval]':{max(first, 25)}}  {heads}",
        *(
            f"{name:{max(first, 25)}}  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
            for name, line in cells.items()
        ),
    ]


def _cell(found: Interval | None) -> str:
    return "-" if found is None else f"{found.mean:z.2f} [{found.low:z.2f}, {found.high:z.2f}]"


if __name__ == "__main__":
    sys.exit(main())
