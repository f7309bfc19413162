"""Kills at random, damage between stages, strange files, hostile strings: a campaign against the pipeline.

    python -m tests.campaign --kills 200 --damages 120 --files 300 --strings 100 --minutes 240
    python -m tests.campaign --only kill:17     (one trial again)

A trial ends well if what comes out is what an unbroken run gives, or if one sentence says what is wrong. What
is tried is data to extend: DAMAGES and KINDS of tests/damages.py, STRANGE of strange_clips.py and
STRANGE_FILES of strange_files.py in tests/evaluation, HOSTILE and REFUSED of tests/reports/hostile_texts.py,
SIGNALS and VICTIMS here. Trials beyond the tables are made of them by chance: damages anywhere in a file,
damaged strange files, hostile strings joined.
"""

import argparse
import importlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
import pytest

from evaluation.clip_reader import read_clip
from evaluation.command import is_expected, message_of
from evaluation.files import file_sha256
from tests.damages import DAMAGES, KINDS, STAGES, Damage, Kind, cut, flip
from tests.evaluation import test_clip_reader, test_files
from tests.evaluation.strange_clips import STRANGE
from tests.evaluation.strange_files import STRANGE_FILES
from tests.reports import test_hostile_texts
from tests.reports.hostile_texts import HOSTILE, REFUSED
from tests.workflow.project import ROOT, command_line, copy_project

Answer = Literal["identical", "refused", "nothing done"]
"""How a trial ends well: what comes out is what it should be, or one sentence says what is wrong. What leaves
the file as it was, such as a number edited where there is none, is not counted.
"""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
VICTIMS = ("everything", "Snakemake alone", "one process")
FOLDERS = ("prompts", "train", "weights", "clips", "filter", "scores", "aggregate")
"""Folders of a run in the order in which it fills them; a run to be killed begins at one of them."""
STARTS = 8
"""How often the same command is given, at most, until the run is done."""
NOT_COMPARED = ("measured", "stages", "starts", "checksum")
"""Parts of run.json that say what the run cost, how large its files are, and when it was started: a log whose
last line may be cut.
"""
TIMES = ("costs", "speed", "metrics_sha256")
"""Parts that are other ones when clips are made again, or a training is."""


class Finished:
    """A finished run of the suite `tiny` in a copy of the project, which is made unless it is there.

    files: every file that a stage read or wrote. commands: stage, module and flags, in the stages' order.
    made: what came out, as of `made`.
    """

    def __init__(self, project: Path) -> None:
        self.project, self.folder = project, project / "results/tiny"
        printed = project / "printed.txt"
        if not printed.exists():
            copy_project(project, (ROOT / "workflow/config/tiny.yaml").read_text())
            began = time.time()
            code, said = started(project)
            assert code == 0, said[-4000:]
            printed.write_text(f"{began} {time.time()}\n{said}")
        times, _, said = printed.read_text().partition("\n")
        self.began, self.ended = map(float, times.split())
        self.commands = sorted(
            (
                (stage, module, shlex.split(flags))
                for module, flags in re.findall(r"python -m (\S+) (.*?) > \S+ 2>&1", said)
                if (stage := module.split(".")[-1]) in STAGES
            ),
            key=lambda one: STAGES.index(one[0]),
        )
        assert {stage for stage, *_ in self.commands} == {*STAGES}
        self.files = {
            path: path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not {"states", "checkpoint"} & {*path.parts}
        }
        self.made = made(project)

    @cached_property
    def right(self) -> Mapping[str, Any]:
        """What an undamaged run shows; all of its stages give the same again, here in one process."""
        before = shown(self.project)
        code, said = self.run("check")
        assert code == 0, said
        after = shown(self.project)
        odd = list(differences({**before, "provenance": after["provenance"]}, after))
        assert not odd, f"{self.project} was made by other code than this; remove it: {odd[:9]}"
        return after

    def run(self, first: str) -> tuple[int, str]:
        """Run a stage and all behind it in this process, until one fails; its exit code and what was said."""
        code = 0
        with tempfile.TemporaryFile("w+", encoding="utf-8") as log:  # as jobs do, whose lines name a module
            with chdir(self.project), redirect_stderr(log):
                for stage, module, flags in self.commands:
                    if STAGES.index(stage) >= STAGES.index(first) and not code:
                        code = int(importlib.import_module(module).main(flags))
            log.seek(0)
            return code, log.read()

    def restore(self) -> None:
        """Undo the damage of the trial before."""
        for path, content in self.files.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)


def shown(project: Path) -> Mapping[str, Any]:
    """What the report is made from, without what the run cost."""
    record = json.loads((project / "results/tiny/run.json").read_text())
    for key in ("commit", "dirty"):  # of the checkout, which somebody may edit meanwhile
        del record["provenance"][key]
    return {key: value for key, value in record.items() if key not in NOT_COMPARED}


def made(project: Path) -> Mapping[str, Any]:
    """What a run gives: what its report shows, and the sha256 of its clips."""
    clips = sorted((project / "results/tiny/clips").rglob("*.mp4"))
    assert clips
    return {
        "shown": shown(project),
        "clips": {p.relative_to(project).as_posix(): file_sha256(p) for p in clips},
    }


def differences(right: object, found: object, where: str = "") -> Iterator[str]:
    """Where two JSON values differ but for times, with both values."""
    if isinstance(right, Mapping) and isinstance(found, Mapping):
        for key in sorted({*right, *found} - {*TIMES}):
            yield from differences(right.get(key), found.get(key), f"{where}.{key}")
    elif isinstance(right, list) and isinstance(found, list) and len(right) == len(found):
        for number, (one, other) in enumerate(zip(right, found, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif right != found:
        yield f"{where} is {str(found)[:80]}, expected {str(right)[:80]}"


class Case(NamedTuple):
    """A damage of a file, and the stage that is run first after it."""

    name: str
    kind: Kind
    damage: Damage
    first: str


def case_of(name: str, damage: Damage, when: str) -> Case:
    kind = KINDS[name]
    first = "report" if when == "when all is done" else kind.stage
    return Case(f"{name}, {damage.name}, {when}", kind, damage, first)


CASES = [
    case_of(name, damage, when)
    for name, kind in KINDS.items()
    for damage in DAMAGES
    if not damage.texts or not kind.file.endswith(".mp4")
    for when in ("before it is read", "when all is done")
    if when == "before it is read" or kind.stage != "report"
]


def answer_to_damage(finished: Finished, case: Case) -> Answer:
    """Damage a file of a finished run and go on from there: never another table, as 22 such damages gave."""
    right = finished.right
    finished.restore()
    file, sibling = finished.folder / case.kind.file, finished.folder / case.kind.sibling
    content, other = file.read_bytes(), sibling.read_bytes()
    damaged = case.damage.change(content, other)
    if damaged == content:
        return "nothing done"
    if case.damage.both:
        sibling.write_bytes(content)
    file.unlink() if damaged is None else file.write_bytes(damaged)
    code, said = finished.run(case.first)
    if code == 0:
        assert shown(finished.project) == right, "another table, and exit code 0"
        return "identical"
    lines = said.splitlines()
    assert code == 1, f"exit code {code}"
    assert " evaluation.command " in lines[-1], f"the last line is not the message: {lines[-1]}"
    assert "this is a bug" not in lines[-1], lines[-1]
    assert not any("traceback" in line.lower() for line in lines), said
    return "refused"


Run = Callable[[], Finished]
"""The finished run, made when it is first asked for: strange files and strings need none."""


class Trial(NamedTuple):
    """What is tried, in words, and how."""

    what: str
    answer: Callable[[], Answer]


def damage_trial(number: int, chance: random.Random, finished: Run, work: Path) -> Trial:
    """A case of the table, the kinds of files in turn; beyond it, a flip or a cut anywhere in a file."""
    mixed = random.Random(0).sample(CASES, len(CASES))
    turns: Counter[Kind] = Counter()
    order = []
    for case in mixed:
        order.append((turns[case.kind], case))
        turns[case.kind] += 1
    table = [case for _, case in sorted(order, key=lambda one: one[0])]
    if number < len(table):
        case = table[number]
    else:
        place, change = chance.random(), chance.choice((flip, cut))
        damage = Damage(f"{change.__name__} at {place:.6f}", change(place))
        case = case_of(chance.choice(list(KINDS)), damage, "before it is read")
    return Trial(case.name, lambda: answer_to_damage(finished(), case))


def told(check: Callable[[], object], refused: bool) -> Answer:
    check()
    return "refused" if refused else "identical"


def file_trial(number: int, chance: random.Random, finished: Run, work: Path) -> Trial:
    """A line of the tables of strange files and clips; beyond them, one of them damaged."""
    if number < len(STRANGE_FILES):
        file = STRANGE_FILES[number]
        check = test_files.test_a_strange_file_is_taken_or_refused_in_one_sentence
        return Trial(
            f"{file.kind}: {file.name}", lambda: told(lambda: check(file, work), file.said is not None)
        )
    if number < len(STRANGE_FILES) + len(STRANGE):
        clip = STRANGE[number - len(STRANGE_FILES)]
        take = test_clip_reader.test_a_strange_clip_is_taken_or_refused_with_its_reason
        return Trial(f"clip: {clip.name}", lambda: told(lambda: take(clip, work), clip.scored is not None))
    place = chance.random()
    damage = chance.choice([*DAMAGES, *[Damage(f"flip at {place:.6f}", flip(place))] * 9])
    strange, other = chance.choice((STRANGE, STRANGE_FILES)), chance.choice(STRANGE_FILES).content
    one = chance.choice(strange)
    content, kind = (one.content, one.kind) if hasattr(one, "content") else (one.make(), "x.mp4")
    changed = damage.change(content, other) if content else b""
    if changed == content:
        return Trial(f"{kind}: {one.name}, {damage.name}", lambda: "nothing done")
    return Trial(f"{kind}: {one.name}, {damage.name}", lambda: answer_to_file(work / kind, changed or b""))


def answer_to_file(path: Path, content: bytes) -> Answer:
    """Whether a file is taken, or refused in one sentence with its name."""
    path.write_bytes(content)
    reader = test_files.READERS.get(path.name.partition(".")[0], read_clip)
    try:
        reader(path)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, AssertionError) and where == test_files.__file__:
            return "identical"  # taken, though as something else than the line of the table
        said = message_of(error)
        if is_expected(error) and path.name in said and said.endswith(".") and said.isprintable():
            return "refused"
        raise
    return "identical"


def string_trial(number: int, chance: random.Random, finished: Run, work: Path) -> Trial:
    """A line of the tables of hostile strings; beyond them, two that are joined."""
    escaped = test_hostile_texts.test_a_hostile_text_is_escaped_in_every_form
    table = [(what, text, False) for what, text in HOSTILE.items()]
    table += [(what, text, True) for what, text in REFUSED.items()]
    if number < len(table):
        what, text, is_refused = table[number]
        if is_refused:
            check = test_hostile_texts.test_a_text_that_is_no_plain_line_is_refused
            return Trial(what, lambda: told(lambda: check(text, work), True))
        return Trial(what, lambda: told(lambda: escaped(what, text), False))
    (what, text), (other, more) = chance.sample(sorted(HOSTILE.items()), 2)
    return Trial(f"{what}, then {other}", lambda: told(lambda: escaped(what, f"{text} {more}"), False))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@contextmanager
def start(project: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """The run, in a session of its own as in a terminal of its own; both its streams go to `log`."""
    command = [sys.executable, "-m", "snakemake", *command_line("tiny", "--printshellcmds")]
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command,
            cwd=project,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup's children ignore it
        ) as run,
    ):
        try:
            yield run
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)


def started(project: Path) -> tuple[int, str]:
    """Start the run and wait for it; exit code and what it said."""
    log = project / "said.txt"
    with start(project, log) as run:
        code = run.wait(timeout=580)
    return code, log.read_text(errors="replace")


def kill_trial(number: int, chance: random.Random, finished: Run, work: Path) -> Trial:
    """A run of which something is killed once or twice, begun at the start or where some folder is empty."""
    begin = chance.randrange(len(FOLDERS) + 1)
    kills = [(chance.random(), chance.choice(VICTIMS), chance.choice(SIGNALS), chance.random())]
    if chance.random() < 0.25:
        kills.append((chance.random(), chance.choice(VICTIMS), chance.choice(SIGNALS), chance.random()))
    said = ", then ".join(f"{number.name} to {victim} at {part:.2f}" for part, victim, number, _ in kills)
    from_ = FOLDERS[begin] if begin < len(FOLDERS) else "the report"
    return Trial(f"from {from_} on, {said}", lambda: answer_to_kills(finished(), work, begin, kills))


def answer_to_kills(
    finished: Finished, work: Path, begin: int, kills: list[tuple[float, str, signal.Signals, float]]
) -> Answer:
    """Kill, give the same command until the run is done, and compare with the unbroken run."""
    finished.restore()
    project = work / "project"
    shutil.copytree(finished.project, project, symlinks=True)
    for folder in FOLDERS[begin:]:
        shutil.rmtree(project / "results/tiny" / folder)
    (project / "reports/table.html").unlink()
    whole = finished.ended - finished.began  # a run that begins later takes a start, and what is left of it
    spent = whole * max(1 - begin / (len(FOLDERS) + 1), 0.3)
    seen: list[psutil.Process] = []
    hits = 0
    for part, victim, number, which in kills:
        log = project / "said.txt"
        with start(project, log) as run:
            with suppress(subprocess.TimeoutExpired):
                run.wait(timeout=0.9 * part * spent)
            hits += run.poll() is None
            with suppress(psutil.NoSuchProcess):
                everything = psutil.Process(run.pid).children(recursive=True)
                seen += everything
                if victim == "everything":
                    for process in everything:
                        with suppress(psutil.NoSuchProcess):
                            process.send_signal(number)
                if victim == "one process" and everything:
                    with suppress(psutil.NoSuchProcess):
                        everything[int(which * len(everything))].send_signal(number)
                else:
                    run.send_signal(number)
            run.wait(timeout=580)
    answers: list[str] = []
    try:
        for _ in range(STARTS):
            code, said = started(project)
            assert "Traceback (most recent call last)" not in said, said[-3000:]
            answers.append(f"exit code {code}: {said[-1500:]}")
            if code == 0:
                break
            time.sleep(3)
        assert code == 0, f"not done after {STARTS} starts: {answers[-1]}"
    finally:
        for process in psutil.wait_procs(seen, timeout=60)[1]:
            process.kill()
    odd = list(differences(finished.made, made(project)))
    assert not odd, f"{len(odd)} differences: {'; '.join(odd[:9])}"
    return "identical" if hits else "nothing done"


TRIALS = {"string": string_trial, "file": file_trial, "damage": damage_trial, "kill": kill_trial}
"""By the name of a kind; those that cost least are first."""
LISTED = {
    "string": len(HOSTILE) + len(REFUSED),
    "file": len(STRANGE_FILES) + len(STRANGE),
    "damage": len(CASES),
    "kill": 0,
}
"""How many trials of a kind the tables hold; those of higher numbers are left to chance."""


class Outcome(NamedTuple):
    """How a trial ended. failed: why, or None."""

    kind: str
    answer: Answer | None
    failed: str | None


def campaign(
    finished: Run, wanted: Sequence[tuple[str, int]], seed: int, end: float = float("inf")
) -> list[Outcome]:
    """Try what is wanted, (kind, number) each, until it is done or time.monotonic() is past `end`."""
    outcomes = []
    for kind, number in wanted:
        if time.monotonic() > end:
            break
        chance = random.Random(f"{seed} {kind} {number}")
        with tempfile.TemporaryDirectory(prefix="campaign-") as work:
            trial = TRIALS[kind](number, chance, finished, Path(work))
            began = time.monotonic()
            try:
                outcome = Outcome(kind, trial.answer(), None)
            except (Exception, pytest.fail.Exception) as error:
                why = f"{type(error).__name__}: {error}"
                outcome = Outcome(kind, None, f"--seed {seed} --only {kind}:{number} ({trial.what}): {why}")
        said = outcome.answer or f"FAILED {outcome.failed}"
        print(f"{kind}:{number} {trial.what}: {said}, {time.monotonic() - began:.1f} s", flush=True)
        outcomes.append(outcome)
    return outcomes


def table_of(outcomes: Sequence[Outcome], wanted: Sequence[tuple[str, int]]) -> str:
    """The campaign in a table, a line a kind of trial, and below it what failed and how to repeat it."""
    lines = [f"{'kind':8}{'tried':>14}{'identical':>12}{'refused':>10}{'FAILED':>9}"]
    for kind in TRIALS:
        count = Counter(one.answer or "FAILED" for one in outcomes if one.kind == kind)
        if all_ := sum(of == kind for of, _ in wanted):
            tried = f"{count.total() - count['nothing done']} of {all_}"
            lines.append(
                f"{kind:8}{tried:>14}{count['identical']:>12}{count['refused']:>10}{count['FAILED']:>9}"
            )
    return "\n".join([*lines, *(f"FAILED {one.failed}" for one in outcomes if one.failed)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=len(CASES))
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--strings", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no trial after so long")
    parser.add_argument("--seed", type=int, default=0, help="of all that is left to chance")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one trial, such as kill:17")
    parser.add_argument("--folder", type=Path, help="where the unbroken run is kept for the next campaign")
    flags = parser.parse_args(arguments)
    end = time.monotonic() + 60 * flags.minutes
    wanted = [(kind, number) for kind in TRIALS for number in range(getattr(flags, f"{kind}s"))]
    if flags.only:
        kind, _, number = flags.only.partition(":")
        if kind not in TRIALS or not number.isdecimal():
            parser.error(f"--only is {flags.only}, expected one of {', '.join(TRIALS)} and a number: kill:17")
        wanted = [(kind, int(number))]
    os.environ |= environment()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        project = Path(folder).resolve() / "project"
        if flags.folder:  # which no trial touches
            shutil.copytree(Finished(flags.folder.resolve() / "project").project, project, symlinks=True)
        outcomes = campaign(cache(lambda: Finished(project)), wanted, flags.seed, end)
    print(table_of(outcomes, wanted))
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
