"""Take in a row's scores that were computed elsewhere: verified, matched to prompts, as our records.

--settings is JSON of workflow.planning.row_plan.results_settings. Reads --from (a leaderboard's zip, a folder
of VBench's *_eval_results.json or a run.json); writes where they are from (--output), which samples were
scored (--filtered) and the scores (--results, one file of each dimension, in the order of the settings).
What a run.json states of its protocol and of the length of its clips must be what the row's file and the
suite say.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import file_sha256, load_json
from evaluation.imported_results import (
    chosen_of,
    filtered_of,
    imported_results,
    match_results,
    named_source,
    read_foreign_results,
    require_one_length,
    result_files,
    results_part,
)
from evaluation.protocol import agreed_protocol
from evaluation.records import ImportedSource, Inputs, Prompt, Protocol, read_jsonl, write_json
from workflow.external.changed_files import remember

log = logging.getLogger("import")


def import_results(flags: argparse.Namespace) -> None:
    """Write all files of the row. Raises ValueError, or FileNotFoundError, in one sentence."""
    settings = load_json(flags.settings, "--settings")
    found = read_foreign_results(flags.source, settings["row"])
    if settings["sha256"] not in (None, found.sha256):
        raise ValueError(
            f"{flags.source} has the sha256 {found.sha256}, expected {settings['sha256']} of results.sha256; "
            "bring the file that is meant, or correct that key."
        )
    if found.benchmark != settings["benchmark"]:
        raise ValueError(
            f"{flags.source} holds scores of the {found.benchmark} benchmark, the suite is of "
            f"{settings['benchmark']}, whose scores are other numbers; take row {flags.row} out."
        )
    suite, seconds = f"row {flags.row} of this suite", settings.get("seconds")
    declared = Protocol(**settings["protocol"])
    length = declared.length or ("standard" if seconds is None else "long")
    agreed_protocol(
        {named_source(found): found.protocol, suite: declared.model_copy(update={"length": length})}
    )
    require_one_length({named_source(found): found.seconds, suite: seconds})
    prompts, chosen = read_jsonl(Prompt, flags.prompts), read_jsonl(Prompt, flags.chosen)
    passed = 0
    if settings["common"]:
        found, passed = results_part(found, prompts)
    matched = chosen_of(match_results(found, prompts, settings["dimensions"]), chosen)
    source = ImportedSource(
        row=flags.row,
        benchmark=found.benchmark,
        sha256=found.sha256,
        of=found.row,
        scorer=settings["scorer"],
        version=settings["version"],
        protocol=declared,
        dimensions=tuple(settings["dimensions"]),
        passed_over=passed,
    )
    remember(flags.remember, result_files(flags.source))
    write_json(flags.output, source)
    inputs = Inputs(prompts=file_sha256(flags.chosen), manifest=file_sha256(flags.output))
    write_json(flags.filtered, filtered_of(flags.row, matched, chosen, inputs))
    inputs = inputs.model_copy(update={"filtered": file_sha256(flags.filtered)})
    scorer = f"{source.scorer} {source.version}"
    results = imported_results(flags.suite, flags.row, found, matched, inputs, scorer)
    for name, path in zip(settings["dimensions"], flags.results, strict=True):
        write_json(path, results[name])
        log.info(
            "%s of %s: mean %.4f over %d clips", name, flags.row, results[name].mean, len(results[name].clips)
        )
    log.info("%s: scores of %s, sha256 %s; %d passed over", flags.row, flags.source, source.sha256, passed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "suite", "row", "prompts", "settings", "output")
    parser.add_argument("--from", dest="source", required=True, type=Path)
    parser.add_argument("--chosen", required=True, type=Path, help="prompts of a subset, or all")
    parser.add_argument("--remember", required=True, type=Path, help="folder of what was verified")
    parser.add_argument("--filtered", required=True, type=Path)
    parser.add_argument("--results", required=True, type=Path, nargs="+")
    return run(parser, arguments, import_results)


if __name__ == "__main__":
    sys.exit(main())
