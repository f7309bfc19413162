"""Under which protocol a row's numbers came about, in words, and which rows may therefore be compared. Pure.

Prompts, text, filter and samples move Total by more than most papers claim as a gap, so that rows are tested
and ranked only against rows of an equal protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation.records import Prompt, Protocol
from evaluation.words import numbered

_SAID: dict[str, Callable[[Any], str]] = {
    "prompts": lambda value: f"{value} prompts",
    "text": lambda value: f"{value} text scored",
    "static_filter": lambda value: "static filter" if value else "no static filter",
    "samples": lambda value: numbered(value, "sample"),
    "length": lambda value: "standard" if value == "standard" else "long clips",
}
_ASKED = {
    "prompts": "prompts that rendered",
    "text": "text that scored",
    "static_filter": "static filter",
    "samples": "samples",
    "length": "standard or long",
}


def row_protocol(declared: Protocol | None, prompts: Sequence[Prompt], *, long: bool) -> Protocol | None:
    """The protocol of a row of a run. declared: what is said of it; None of a control, which has none.

    What is not said of filter, samples and length follows from the run's prompts. Prompts without an extended
    text of their own rendered by the short one, whichever was asked for. long: whether clips are scored as
    long ones.
    """
    if declared is None:
        return None
    free = {prompt.samples for prompt in prompts if prompt.keep is None}
    counts = free or {prompt.keep for prompt in prompts if prompt.keep is not None}
    derived = {
        "static_filter": any(prompt.keep is not None for prompt in prompts),
        "samples": counts.pop() if len(counts) == 1 else None,
        "length": "long" if long else "standard",
    }
    found = {key: value for key, value in derived.items() if getattr(declared, key) is None}
    if declared.prompts == "extended" and all(prompt.extended == prompt.prompt for prompt in prompts):
        found["prompts"] = "short"
    return declared.model_copy(update=found)


def protocol_tag(protocol: Protocol) -> str:
    """`extended prompts, short text scored, static filter, 5 samples`; behind it what is not known of prompts
    and text. Standard length is not said.
    """
    parts = protocol.model_dump()
    parts["length"] = "long" if protocol.length == "long" else None
    said = [_SAID[key](value) for key, value in parts.items() if value is not None]
    lacking = unstated(protocol)
    unsaid = f"not stated: {', '.join(lacking)}" if lacking else ""
    return f"{', '.join(said)}{f' ({unsaid})' if said and unsaid else unsaid}"


def protocol_differences(
    one: Protocol | None, other: Protocol | None, they: str, *, stated: bool = False
) -> list[str]:
    """In what `one` differs from `other`, a phrase each: `short prompts (<they>: extended prompts)`.

    stated: only in what `one` says.
    """
    mine, theirs = (found or Protocol() for found in (one, other))
    return [
        f"{_word(mine, key)} ({they}: {_word(theirs, key)})"
        for key in _SAID
        if getattr(mine, key) != getattr(theirs, key) and not (stated and getattr(mine, key) is None)
    ]


def agreed_protocol(stated: Mapping[str, Protocol | None]) -> Protocol:
    """What any of several results states of prompts, text, filter and length. Samples are not in it: of a
    comparison they are those that all have. stated: by path.

    Raises ValueError if two of them contradict each other.
    """
    agreed: dict[str, tuple[str, Any]] = {}
    for path, protocol in stated.items():
        said = {} if protocol is None else protocol.model_dump(exclude={"samples"}, exclude_none=True)
        for key, value in said.items():
            first, known = agreed.setdefault(key, (path, value))
            if known != value:
                raise ValueError(
                    f"{first} and {path} are of two protocols ({_SAID[key](known)}, {_SAID[key](value)}), "
                    "whose numbers cannot be compared; take results of one protocol."
                )
    return Protocol(**{key: value for key, (_, value) in agreed.items()})


def unstated(protocol: Protocol) -> list[str]:
    """The parts of a protocol that numbers do not show and that nobody stated, in words."""
    return [_ASKED[key] for key in ("prompts", "text") if getattr(protocol, key) is None]


def _word(protocol: Protocol, key: str) -> str:
    value = getattr(protocol, key)
    return f"{_ASKED[key]} not stated" if value is None else _SAID[key](value)


def protocol_groups(rows: Mapping[str, Protocol | None]) -> list[list[str]]:
    """The rows of each protocol, in their order. The first group is the one that is ranked: the largest, of
    several the one that comes first.
    """
    groups: dict[Protocol | None, list[str]] = {}
    for row, protocol in rows.items():
        groups.setdefault(protocol, []).append(row)
    return sorted(groups.values(), key=lambda group: -len(group))
