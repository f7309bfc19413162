"""Start a baseline's file from another's, or say what a file means.

raven-bench new-baseline mine --like self_forcing
raven-bench baseline check mine
raven-bench baseline check drafts/mine.yaml
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from baselines.native import Baseline
from baselines.new_row import write_new_row
from baselines.spec import load_baseline, load_row
from evaluation.command import command, run
from reports.cost import amount
from workflow.planning.banner import expected_prompts
from workflow.planning.cost import estimated_cost
from workflow.planning.suite_file import read_suite

_ROOT = Path(__file__).resolve().parents[2]
ROW_FILES = _ROOT / "baselines"
PRICED = "vbench"
"""The suite whose rates say what a row costs."""
DECODING = 0.28
"""What decoding takes of a clip of self_forcing (models/README.md#speed); every row's is as long."""


def row_file(name: str) -> Path:
    """The file of a row, given by its name or as a file that ends in .yaml. Raises ValueError if there is
    none."""
    path = Path(name) if name.endswith(".yaml") else ROW_FILES / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in ROW_FILES.glob("*.yaml"))
        raise ValueError(
            f"there is no baseline {name!r}; there are {', '.join(known)}, or name a file that ends in .yaml."
        )
    return path


def start_row(flags: Namespace) -> None:
    """Write the file, and say what comes next."""
    like = load_baseline(row_file(flags.like))
    path = write_new_row(ROW_FILES, flags.name, like)
    fetched = f"resources/weights/{flags.name}/{Path(like.weights.file).name}"
    print(f"""{path.relative_to(_ROOT)} has the numbers of {like.name}, each with a comment. Next:
  1. change what is different, title, licence and citation too; then, for what the file means:
     raven-bench baseline check {flags.name}
  2. in a suite's file, workflow/config/<suite>.yaml:
     baselines: [..., {flags.name}]
     weights:
       {flags.name}: /path/to/model.pt
     or, for the released file, {fetched}, which raven-bench fetch <suite> brings
  3. raven-bench dry-run <suite>
     lists the new row's jobs and what they cost""")


def say_meaning(flags: Namespace) -> None:
    """Print what a baseline's file means. Raises ValueError with the sentence that a wrong one is told."""
    path = row_file(flags.name)
    baseline = load_row(path)
    if not isinstance(baseline, Baseline):
        print(
            f"{baseline.name}: {baseline.title}, {baseline.kind}; the file is right. Schedule, cache "
            "and draws are its program's own."
        )
        return
    from baselines.describe import described, described_clip  # torch, which a wrong file need not wait for

    try:
        clip = described_clip(baseline)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    suite = read_suite(_ROOT / f"workflow/config/{PRICED}.yaml", _ROOT)
    usual = clip.flops / described_clip(load_baseline(ROW_FILES / "self_forcing.yaml")).flops
    a_second = suite.rates.sample_s * (DECODING + (1 - DECODING) * usual)
    rates = suite.rates.model_copy(update={"sample_s": a_second})
    alone = {"baselines": (baseline.name,), "weights": {baseline.name: baseline.weights.file}, "train": {}}
    cost = estimated_cost(
        suite.model_copy(update=alone | {"rates": rates}), expected_prompts(suite, _ROOT) or ()
    )
    sampled, scored = (amount(cost.seconds[stage], cost.unit) for stage in ("sample", "score"))
    print("\n".join(described(baseline, clip)))
    print(
        f"\ncost on the {PRICED} suite, by its rate of {suite.rates.sample_s:g} s a second of video: "
        f"{sampled} of sampling, {scored} of scoring\n"
        f"  the network does {clip.flops / 1e12:,.0f} TFLOP in {len(clip.calls)} calls a clip, "
        f"{usual:.2f} times self_forcing's, for which the rate was measured"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do what it says."""
    parser = command(__doc__)
    actions = parser.add_subparsers(required=True)
    starts = actions.add_parser(
        "new", prog="raven-bench new-baseline", help="write baselines/NAME.yaml from another row's"
    )
    starts.add_argument("name", metavar="NAME", help="of the row: a-z, 0-9 and _")
    starts.add_argument("--like", required=True, metavar="ROW", help="the row whose numbers are kept")
    starts.set_defaults(work=start_row)
    checks = actions.add_parser("check", help="check a baseline's file and say what it means")
    checks.add_argument("name", metavar="NAME", help="of the row, or a file that ends in .yaml")
    checks.set_defaults(work=say_meaning)
    return run(parser, arguments, lambda flags: flags.work(flags))


if __name__ == "__main__":
    sys.exit(main())
