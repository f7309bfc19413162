"""What every command line of ours has in common: its flags, its log, and how it ends.

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = command(__doc__, "row", "prompts", "output")
        parser.add_argument("--draws", type=int, required=True)
        return run(parser, arguments, filter_row)

Whatever stops the work is one message and exit code 1. Its traceback is in the log: of a job in its own, of a
command in `TRACEBACKS`.
"""

import argparse
import json
import logging
import os
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from evaluation.files import remove_leftovers

log = logging.getLogger(__name__)

_PROJECT = Path(__file__).resolve().parents[1]
TRACEBACKS = Path(".snakemake/log/tracebacks.log")
"""Where the traceback of a command that is no job goes, seen from the repository."""
TRACEBACK_MARK = "  | "
"""What a line of a traceback starts with in a job's log."""

FLAGS: dict[str, dict[str, Any]] = {
    "suite": {"help": "name of the suite"},
    "row": {"help": "name of the row"},
    "dimension": {"help": "name of the dimension"},
    "prompts": {"type": Path, "help": "prompt records of the suite (JSON lines)"},
    "manifest": {"type": Path, "help": "the row's manifest.jsonl"},
    "filtered": {"type": Path, "help": "which samples of the row are scored (filter/<row>.json)"},
    "clips": {"type": Path, "help": "folder of the row's clips"},
    "settings": {"help": "settings as JSON, exactly as the rule tracks them"},
    "chosen": {"type": Path, "help": "the prompts of this run, which are fewer in a subset run"},
    "shard": {"help": "<i>-of-<n>"},
    "code": {"help": "digest of the code that makes the clips"},
    "timings": {"type": Path, "help": "timings.jsonl beside the manifest"},
    "baseline": {"type": Path, "help": "baselines/<row>.yaml"},
    "weights": {"type": Path, "help": "file of the row's weights"},
    "codec": {"type": Path, "help": "file or folder of the codec"},
    "text": {"type": Path, "help": "file of the text encoder"},
    "config": {"type": Path, "help": "the suite's file"},
    "output": {"type": Path, "help": "file to write"},
    "samples": {"type": int, "required": False, "help": "make the first so many of each prompt alone"},
}
"""Flags that several commands share, by name without dashes; required unless it says otherwise."""

OUTPUTS = ("output", "output_dir", "clips", "manifest", "embeddings")
"""Flags of files and folders that a command writes to."""

RENAMED_FLAGS = {
    "--numerics": "--precision",
    "--path": "--backend",
    "--own": "--custom",
    "--proof": "--checksums",
}
"""Flags of earlier versions, by the flag that took their place."""


class Parser(argparse.ArgumentParser):
    """An argument parser that names the new flag where an old one is given."""

    def error(self, message: str) -> NoReturn:
        """Print the message alone, and exit with 2: a usage of twenty lines hides it."""
        for old, new in RENAMED_FLAGS.items():
            if message.startswith("unrecognized arguments:") and old in message.split():
                message = f"{old} is called {new} now; rename it"
        self.exit(2, f"{self.prog}: {message}\n")


def command(description: str | None, *flags: str) -> Parser:
    """A parser with some of the shared `FLAGS`. description: the module's docstring."""
    parser = Parser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_flags(parser, *flags)
    return parser


def add_flags(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add some of the shared `FLAGS` to a parser."""
    for flag in flags:
        parser.add_argument(f"--{flag}", **({"required": True} | FLAGS[flag]))


def add_suite(
    parser: argparse.ArgumentParser, default: str, *, ahead: bool = False, released: bool = False
) -> None:
    """Add `--config`, and `--replace` where `released`: what rules give, and raven-bench puts in the place of
    what people say. Its help shows that instead.

    default: the suite that it takes if nothing is said. ahead: it takes a suite as its first word too.
    """
    hidden = parser.prog.startswith("raven-bench ")
    if hidden:
        said = f"a name in workflow/config, or a file (default: {default})"
        if ahead:
            parser.add_argument("named", nargs="?", metavar="SUITE", type=_not_ahead, help=said)
        else:
            parser.add_argument("--suite", metavar="SUITE", help=said)
        if released:
            parser.add_argument("--released", action="store_true", help="published weights, nothing trained")
    parser.add_argument(
        "--config", type=Path, required=True,
        help=argparse.SUPPRESS if hidden else FLAGS["config"]["help"],
    )  # fmt: skip
    if released:
        shown = argparse.SUPPRESS if hidden else "JSON of top-level keys to replace"
        parser.add_argument("--replace", type=json.loads, default={}, help=shown)


def _not_ahead(word: str) -> NoReturn:
    """What raven-bench took for no suite, since it stands behind an option."""
    raise argparse.ArgumentTypeError(f"{word!r} is taken for a suite in front of all options alone")


def start_log(where: str = "", level: int = logging.INFO) -> None:
    """Log to standard error, an event a line: in a log file with time and module, to a person without.

    where: what stands in front, such as a rank.
    """
    shown = f"%(asctime)s {where}%(name)s %(message)s" if _is_file(sys.stderr) else f"{where}%(message)s"
    logging.basicConfig(level=level, format=shown, stream=sys.stderr, force=True)


def _is_file(stream: TextIO) -> bool:
    """Whether what is written is kept in a file, as of a job; a terminal and a pipe are read at once."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it is no file at all
        return False


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace], object],
    where: str = "",
) -> int:
    """Parse, log, remove what dead processes left unfinished where this one writes, and work: the one end of
    every script. Returns the exit code: 0, or 1 if the work raised.

    What is raised ends as one message: its own words of ValueError, OSError and ModuleNotFoundError, which a
    user can mend; else what it was and where, since an input is not what it should be, or we have a bug.
    where: as of `start_log`.
    """
    flags = parser.parse_args(arguments)
    start_log(where)
    given = vars(flags)
    for path in {given[name] for name in OUTPUTS if isinstance(given.get(name), Path)}:
        for left in remove_leftovers(path if path.is_dir() else path.parent):
            log.info("removed %s, which a process that is gone left unfinished", left)
    return ended(lambda: work(flags))


def ended(work: Callable[[], object]) -> int:
    """Work, and the exit code as of `run`."""
    try:
        work()
    except KeyboardInterrupt:
        log.error("Stopped.")
        return 130
    except Exception as error:  # here, and nowhere else
        kept = keep_traceback(error)
        log.error("%s", message_of(error) + ("" if is_expected(error) else f" The traceback is in {kept}."))
        return 1
    return 0


def is_expected(error: BaseException) -> bool:
    """Whether an error's own words are meant for the user."""
    return isinstance(error, ValueError | OSError | ModuleNotFoundError) and bool(str(error))


def message_of(error: BaseException) -> str:
    """What an error says to the user: a message without a traceback."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        what = error.strerror.lower()
        return f"{error.filename}: {what}; check the path, its rights and the room on its disk."
    if isinstance(error, json.JSONDecodeError):
        return f"{error.doc[:60]!r} is no JSON ({error.msg} in line {error.lineno}); correct it."
    if isinstance(error, UnicodeDecodeError):
        return f"A file that begins with {error.object[:20]!r} is no UTF-8 text; save it so, or name another."
    if is_expected(error):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT)] or frames
    where = f" at {Path(ours[-1].filename).name} line {ours[-1].lineno}" if ours else ""
    said = " ".join(str(error).split())
    return (
        f"Stopped by {type(error).__name__}{f' ({said[:300]})' if said else ''}{where}: an input is not what "
        "it should be, or this is a bug of raven-bench."
    )


def keep_traceback(error: BaseException) -> Path:
    """Write a traceback to the log, and say which: that of the job if standard error goes to one."""
    text = "".join(traceback.format_exception(error))
    try:
        job_log = Path(os.readlink("/proc/self/fd/2"))
    except OSError:
        job_log = Path()
    if job_log.suffix == ".log":
        sys.stderr.write("".join(f"{TRACEBACK_MARK}{line}\n" for line in text.splitlines()))
        return job_log
    for path in (_PROJECT / TRACEBACKS, Path(tempfile.gettempdir()) / f"raven-bench-{os.getuid()}.log"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(f"{' '.join(sys.argv)}\n{text}\n")
        except OSError:
            continue
        return path
    return Path("no file, since none could be written")
