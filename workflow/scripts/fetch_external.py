"""Clone the repositories and build the environments of a suite's external baselines, by the network.

Nothing of a repository is run, but building an environment runs what its packages bring. Only baselines that
the suite's `allow_external` names come this far.
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from baselines.foreign import ExternalBaseline, GitCode, PrefixEnvironment, UvEnvironment
from baselines.spec import load_row
from evaluation.command import command, run
from evaluation.files import write_text
from workflow.external.baseline import (
    BUILT_FROM,
    code_folder,
    environment_identity,
    environment_prefix,
    missing_code,
    missing_environment,
    missing_parts,
)
from workflow.planning.suite_file import read_suite

CONDA = ("micromamba", "mamba", "conda")

log = logging.getLogger("fetch_external")


def clone(root: Path, baseline: ExternalBaseline) -> None:
    """Bring the pinned commit, with its submodules, whole or not at all.

    Raises ValueError if there is another commit already.
    """
    assert isinstance(baseline.code, GitCode), "only repositories are cloned"
    folder = code_folder(root, baseline)
    if folder.exists():
        if error := missing_code(root, baseline):
            raise ValueError(error)
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    log.info("%s: cloning %s at %s", baseline.name, baseline.code.url, baseline.code.commit)
    _run(["git", "clone", "--no-checkout", "--", baseline.code.url, str(part)], baseline)
    _run(["git", "-C", str(part), "checkout", "--quiet", "--detach", baseline.code.commit], baseline)
    _run(["git", "-C", str(part), "submodule", "update", "--init", "--recursive"], baseline)
    os.replace(part, folder)


def build_environment(root: Path, baseline: ExternalBaseline) -> None:
    """Build .venvs/<name> from the baseline's file, unless it was built from the same one.

    Raises ValueError if that fails.
    """
    if isinstance(baseline.environment, PrefixEnvironment | None) or not missing_environment(root, baseline):
        return
    prefix, file = environment_prefix(root, baseline), root / baseline.environment.file
    assert prefix is not None, "an environment of a file has a folder"
    identity = environment_identity(root, baseline)["file_sha256"]
    if identity is None:
        raise ValueError(
            f"baselines/{baseline.name}.yaml: environment.file {file} does not exist; correct it."
        )
    log.info("%s: building %s from %s", baseline.name, prefix, file)
    shutil.rmtree(prefix, ignore_errors=True)
    if isinstance(baseline.environment, UvEnvironment):
        uv = _program(("uv",), baseline)
        version = baseline.environment.python or sys.executable
        _run([uv, "venv", "--quiet", "--python", version, str(prefix)], baseline)
        sync = [uv, "pip", "sync", "--quiet", "--allow-empty-requirements"]
        _run([*sync, "--python", str(prefix / "bin/python"), str(file)], baseline)
    else:
        create = [_program(CONDA, baseline), "env", "create", "--yes"]
        _run([*create, "--prefix", str(prefix), "--file", str(file)], baseline)
    write_text(prefix / BUILT_FROM, f"{identity}\n")


def _program(names: Sequence[str], baseline: ExternalBaseline) -> str:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    for name in names:
        if found := shutil.which(name, path=beside):
            return found
    raise ValueError(
        f"Baseline {baseline.name} needs {' or '.join(names)} for its environment, and none is in PATH; "
        "install one."
    )


def _run(command: Sequence[str], baseline: ExternalBaseline) -> None:
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    answer = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        last = " | ".join(answer.stderr.strip().splitlines()[-3:]) or "no message"
        raise ValueError(
            f"Baseline {baseline.name}: {' '.join(command[:3])} failed: {last}; look at its `code` and "
            "`environment`."
        )


def fetch_external(root: Path, names: Sequence[str]) -> list[str]:
    """Bring code and environments of the baselines `names`; a sentence for all that is missing then."""
    missing = []
    for name in names:
        baseline = load_row(root / "baselines" / f"{name}.yaml")
        assert isinstance(baseline, ExternalBaseline), "allow_external names external baselines only"
        if isinstance(baseline.code, GitCode):
            clone(root, baseline)
        build_environment(root, baseline)
        missing += missing_parts(root, baseline)
    return missing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "config")
    parser.add_argument(
        "--plan", action="store_true", help="say what is missing and where it is from, and stop"
    )
    return run(parser, arguments, fetch_all)


def fetch_all(flags: argparse.Namespace) -> None:
    """Raises ValueError if something is missing in the end, such as weights, which nothing fetches."""
    root = Path.cwd()
    names = read_suite(flags.config, root).allow_external
    if flags.plan:
        for name in names:
            baseline = load_row(root / "baselines" / f"{name}.yaml")
            assert isinstance(baseline, ExternalBaseline), "allow_external names external baselines only"
            code = (
                f"{baseline.code.url} at {baseline.code.commit}" if isinstance(baseline.code, GitCode) else ""
            )
            state = "; ".join(missing_parts(root, baseline)) or "complete"
            sys.stdout.write(
                f"External baseline {name}{': ' if code else ''}{code} ({baseline.licence}): {state}\n"
            )
        return
    if missing := fetch_external(root, names):
        raise ValueError("\n".join(missing))
    log.info("%d external baselines are complete", len(names))


if __name__ == "__main__":
    sys.exit(main())
