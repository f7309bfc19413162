"""A part of a suite, chosen on the command line:
`--config only="rows=raven,causvid dimensions=color prompts=p0001 samples=0"`.

A subset has a folder of its own, results/<suite>/subsets/<id>, which looks like any results folder: what it
shares with the whole run is there as links. Rules know nothing of subsets, only of folders
(workflow/planning/paths.py). Rows and dimensions choose among the whole run's own files, which are made where
they are missing. Prompts and samples make lists, scores and a report of their own, from clips that are shared
with the whole run: a clip is the same in both. Nothing of the whole run's table is written or made invalid.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.files import canonical_sha256
from evaluation.records import CustomDimension, Prompt, with_checksum
from evaluation.selection import ALL_PROMPTS
from workflow.planning.prompt_plan import keep_copy
from workflow.planning.suite import Suite, clip_control

KEYS = ("rows", "dimensions", "prompts", "samples")
FORM = 'only="rows=a,b dimensions=c prompts=d,e samples=0,1"'
LISTED_NAMES = 20
"""So many names are listed; of longer lists the first and the nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """rows, dimensions, custom: what is left of the suite, in its order; prompts: ids, None for all; samples:
    the first so many of each, or None.

    note: what is left out, for the report. id: names its folder; the same choice has the same.
    """

    rows: tuple[str, ...]
    dimensions: tuple[str, ...]
    custom: tuple[str, ...]
    prompts: tuple[str, ...] | None
    samples: int | None
    note: str
    id: str

    @property
    def of_prompts(self) -> bool:
        """Whether prompts or samples are left out, so that clips are listed and scored anew, and nothing has
        a total.
        """
        return self.prompts is not None or self.samples is not None


def parse_only(text: Any) -> dict[str, list[str]]:
    """The choice by key. Raises ValueError if it is not of the form FORM."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"only is {text!r}; write it as {FORM}, with some of these keys.")
    chosen: dict[str, list[str]] = {}
    for word in text.split():
        key, equals, values = word.partition("=")
        names = [name for name in values.split(",") if name]
        if key not in KEYS or not equals or not names:
            raise ValueError(
                f"only has {word!r}, expected one of {', '.join(f'{k}=...' for k in KEYS)} with names "
                f"between commas and no blanks; write it as {FORM}."
            )
        if key in chosen:
            raise ValueError(f"only names {key} twice; put all of them into one {key}=a,b.")
        chosen[key] = list(dict.fromkeys(names))
    return chosen


def _known(chosen: Sequence[str], allowed: Sequence[str], what: str) -> tuple[str, ...]:
    """The chosen names in the suite's order. Raises ValueError with the allowed ones for a name that is none
    of them.
    """
    for name in chosen:
        if name not in allowed:
            some = ", ".join(allowed[:LISTED_NAMES])
            if len(allowed) > LISTED_NAMES:
                near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.0)
                some = f"{len(allowed)} from {allowed[0]} to {allowed[-1]}, the nearest are {', '.join(near)}"
            raise ValueError(
                f"only names the {what} {name!r}, which this suite does not have; it has {some}."
            )
    return tuple(name for name in allowed if name in chosen)


def _count(chosen: Sequence[str]) -> int:
    """How many samples a choice of indices means. Raises ValueError unless it is 0, 1, ... without a gap."""
    if sorted(chosen) != sorted(str(index) for index in range(len(chosen))):
        raise ValueError(
            f"only has samples={','.join(chosen)}; give 0, or 0,1 and so on: the first samples of each "
            "prompt, without a gap."
        )
    return len(chosen)


def chosen_prompts(prompts: Sequence[Prompt], subset: Subset | None) -> list[Prompt]:
    """What is left of a suite's list in a subset of it; all of it in a whole run.

    Of a still prompt all samples are made and filtered, and the first `subset.samples` static ones are kept.
    """
    ids, samples = (subset.prompts, subset.samples) if subset else (None, None)
    kept = [prompt for prompt in prompts if ids is None or prompt.id in ids]
    if samples is None:
        return kept
    return [
        p.model_copy(update={"samples": min(p.samples, samples)})
        if p.keep is None
        else p.model_copy(update={"keep": min(p.keep, samples)})
        for p in kept
    ]


def choose_subset(
    text: Any,
    *,
    rows: Sequence[str],
    dimensions: Sequence[str],
    custom: Sequence[CustomDimension],
    listed: Callable[[], Sequence[Prompt]],
) -> Subset | None:
    """The subset that `only` names; None if it leaves nothing out, or was not given (`text` is None).

    listed: the suite's prompts, asked for only if they matter. Raises ValueError for a name
    that the suite does not have, with those that it has.
    """
    if text is None:
        return None
    asked = parse_only(text)
    names = [*dimensions, *(one.name for one in custom)]
    kept_rows = _known(asked.get("rows", rows), rows, "row")
    kept = _known(asked.get("dimensions", names), names, "dimension")
    ids, count, some = None, None, ""
    if "prompts" in asked or "samples" in asked:
        prompts = listed()
        every = [prompt.id for prompt in prompts]
        chosen = _known(asked.get("prompts", every), every, "prompt")
        ids = None if len(chosen) == len(every) else chosen
        count = _count(asked["samples"]) if "samples" in asked else None
        if count is not None and count >= max(p.keep or p.samples for p in prompts):
            count = None
        served = {name for prompt in prompts if prompt.id in chosen for name in prompt.dimensions}
        served |= {one.name for one in custom if one.prompts == ALL_PROMPTS or one.prompts in served}
        if lost := [name for name in asked.get("dimensions", ()) if name not in served]:
            raise ValueError(
                f"only chooses {', '.join(lost)}, but none of the prompts it chooses is scored on that; "
                "choose others."
            )
        kept = tuple(name for name in kept if name in served)
        if ids is not None:
            few = f" ({', '.join(ids)})" if len(ids) <= LISTED_NAMES else ""
            some = f"all but {len(ids)} of {len(every)} prompts{few}"
    left_out = []
    if len(kept_rows) < len(rows):
        left_out.append(f"the rows {', '.join(row for row in rows if row not in kept_rows)}")
    if len(kept) < len(names):
        left_out.append(f"the dimensions {', '.join(name for name in names if name not in kept)}")
    left_out += [some] if some else []
    if count is not None:
        left_out.append(
            f"all but the first {count} samples of a prompt" if count > 1 else "all samples but the first"
        )
    if not left_out:
        return None
    some = "; ".join(left_out)
    return Subset(
        rows=kept_rows,
        dimensions=tuple(name for name in dimensions if name in kept),
        custom=tuple(one.name for one in custom if one.name in kept),
        prompts=ids,
        samples=count,
        note=f"Subset run, not comparable with a whole run of this suite. Left out: {some}.",
        id=canonical_sha256([kept_rows, kept, ids, count])[:12],
    )


def chosen_suite(suite: Suite, subset: Subset | None) -> Suite:
    """The suite with the rows and dimensions of a subset alone; `suite` itself in a whole run.

    Raises ValueError if a row shows clips of prompts that the subset leaves out.
    """
    if subset is None:
        return suite
    shuffled = [row for row in subset.rows if row.startswith("shuffled_captions_of_")]
    if shuffled and subset.prompts is not None:
        raise ValueError(
            f"{', '.join(shuffled)} shows clips of other prompts, of which this subset has some only; leave "
            "it out by `rows=`, or take all prompts."
        )
    return suite.model_copy(
        update={
            "baselines": tuple(row for row in suite.baselines if row in subset.rows),
            "controls": tuple(row for row in suite.controls if row in subset.rows),
            "without_clips": tuple(row for row in suite.without_clips if row in subset.rows),
            "dimensions": subset.dimensions,
            "custom_dimensions": {name: suite.custom_dimensions[name] for name in subset.custom},
        }
    )


def make_subset_folder(results: Path, subset: Subset, listed: Callable[[], Sequence[Prompt]]) -> None:
    """Make the subset's folder inside the whole run's, `results`: links to what both share, and its prompts.

    listed: the suite's prompts, asked for if prompts or samples are left out. Files that are there and right
    are not touched, so that nothing reruns.
    """
    folder = results / "subsets" / subset.id
    shared = ["train", "weights"]
    if subset.of_prompts:
        # Jobs write clips and their journals through these links, so that they must lead somewhere.
        sources = [control.source for row in subset.rows if (control := clip_control(row)) is not None]
        rows = dict.fromkeys([*subset.rows, *sources])
        made = [f"clips/{row}/{part}" for row in rows for part in ("mp4", "journal")]
        for name in made:
            (results / name).mkdir(parents=True, exist_ok=True)
        shared += made
        kept = chosen_prompts(listed(), subset)
        lines = "".join(f"{prompt.model_dump_json()}\n" for prompt in kept)
        keep_copy(with_checksum(lines).encode(), folder / "prompts/prompts.jsonl")
    else:
        shared += ["prompts", "clips", "filter", "scores"]
    for name in shared:
        link = folder / name
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("../" * (2 + name.count("/")) + name)
