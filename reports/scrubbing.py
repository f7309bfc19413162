"""Values and command lines without secrets and machine paths, for reports, records and logs."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCRUBBED = "<removed>"
_PLAIN = "..removed.."  # needs no quotes in a shell
_NAME = (
    r"(?:[A-Za-z0-9]+[_-])*"
    r"(?:token|secret|password|passwd|credentials?|api_?-?key|access_?-?key|private_?-?key)"
)
_SECRET_KEY = re.compile(rf"^-*{_NAME}$", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"(?<![A-Za-z0-9])({_NAME}[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s\"',}}]+)", re.IGNORECASE
)
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|sk-[\w-]{20,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|(?<=Bearer )[\w.~+/=-]{12,})"
)
_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_HOME_PATH = re.compile(r"(/home/[^/\s\"']+|/Users/[^/\s\"']+|/root)(?=/|$|[\s\"':,;)])")
SHORTEST = 6
"""Environment values below so many characters are no secret: removing every `1` would leave no number."""


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of environment variables whose name says that they are secret, longest first."""
    found = {
        value for name, value in environment.items() if _SECRET_KEY.match(name) and len(value) >= SHORTEST
    }
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def scrub(value: Any, root: str, environment: Mapping[str, str] = os.environ) -> Any:
    """The same JSON value without secrets and machine paths: the root becomes ".", home folders "~".

    root: of the repository. Secrets are values under a secret's name, values assigned to one inside a text,
    tokens of known form, a URL's user, and whatever secret variables of the environment hold.
    """
    if isinstance(value, Mapping):
        return {
            key: SCRUBBED
            if _SECRET_KEY.match(str(key)) and isinstance(item, str)
            else scrub(item, root, environment)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [scrub(item, root, environment) for item in value]
    return _text(value, root, environment) if isinstance(value, str) else value


def scrub_command(words: Sequence[str], root: str, environment: Mapping[str, str] = os.environ) -> str:
    """A command line as a person would type it: the program's bare name, no value after a secret's flag."""
    shown: list[str] = []
    for place, word in enumerate(words):
        if place == 0:
            path = Path(word)
            shown.append(path.parent.name if path.name == "__main__.py" else path.name)
        elif _SECRET_KEY.match(words[place - 1]) and words[place - 1].startswith("-"):
            shown.append(SCRUBBED)
        else:
            shown.append(_text(word, root, environment))
    return " ".join(shlex.quote(word.replace(SCRUBBED, _PLAIN)).replace(_PLAIN, SCRUBBED) for word in shown)


def _text(text: str, root: str, environment: Mapping[str, str]) -> str:
    for secret in secrets_of(environment):
        text = text.replace(secret, SCRUBBED)
    text = _ASSIGNED.sub(rf"\1{SCRUBBED}", text)
    return scrub_paths(_IN_URL.sub(f"{SCRUBBED}@", _SHAPES.sub(SCRUBBED, text)), root, environment)


def scrub_paths(text: str, root: str, environment: Mapping[str, str] = os.environ) -> str:
    """A text in which the root is "." and home folders are "~"; nothing else of it changes."""
    home = environment.get("HOME", "")
    for path, short in ((root, "."), (home, "~")):
        if len(path) > 1:
            text = re.sub(re.escape(path.rstrip("/")) + r"(?![\w.-])", short, text)
    return _HOME_PATH.sub("~", text)
