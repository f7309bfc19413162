"""Keep results that older code made: say that a change of the code does not change them, and why.

    raven-bench accept sample --suite vbench --because "only a log line"

Their rules are not run again for this change. The record (results/<suite>/accepted.jsonl) holds the files
that changed and the reason, and the report shows both. `raven-bench replay` renders five clips of each row
again and compares them, which is the honest way to find out whether the reason is true.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from evaluation.code_state import this_commit
from evaluation.command import add_suite, command, log, run
from evaluation.files import plain_text
from workflow.planning.acceptance import Acceptance, CodeBook, add_acceptance
from workflow.planning.code_digest import GPU_ONLY
from workflow.planning.suite_file import read_suite


def accept(flags: Namespace) -> None:
    """Record the acceptance. Raises ValueError if no result of the stage is stale."""
    suite = read_suite(flags.config, Path())
    results = Path("results") / suite.suite
    book = CodeBook(Path(), results, GPU_ONLY if suite.device == "cpu" else ())
    stale = {one.stage.rsplit(".", 1)[-1]: one for one in book.stale()}
    if flags.stage not in stale:
        raise ValueError(
            f"no result of {flags.stage!r} in {results} was made by other code; stale are "
            f"{', '.join(stale) or 'none'}. Nothing was recorded."
        )
    because = plain_text(flags.because.strip(), where="--because, why the new code would make the same,")
    found = stale[flags.stage]
    add_acceptance(
        results,
        Acceptance(
            stage=found.stage,
            code=found.code,
            outputs=found.outputs,
            changed=found.changed,
            because=because,
            accepted=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=this_commit(),
        ),
    )
    log.info(
        "%s; they are kept. Check it: raven-bench replay, which renders five clips of each row again.", found
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    add_suite(parser, "toybox")
    parser.add_argument(
        "stage", help="script of the stage, as the log names it: sample, train_raven, check, ..."
    )
    parser.add_argument("--because", required=True, help="the reason, which the report shows")
    return run(parser, arguments, accept)


if __name__ == "__main__":
    sys.exit(main())
