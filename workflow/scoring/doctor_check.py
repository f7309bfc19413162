"""One line of what `make doctor` says."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """verdict: "MISSING" is what a run would stop at; what: was looked at; found: and, if it is not right,
    what brings it.
    """

    verdict: Literal["ok", "note", "MISSING"]
    what: str
    found: str
