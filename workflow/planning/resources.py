"""Which files a suite needs from the network, where each comes from, and what was fetched. No network here:
workflow/fetching/downloads.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from baselines.spec import load_baseline
from baselines.strict_yaml import read_strict, validate_strict
from evaluation.custom.declaration import read_declaration
from evaluation.files import load_json
from evaluation.records import Sha256
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from evaluation.vbench.weights import AMT_FILE, CHECKPOINTS, RAFT_ZIP, SCORER_WEIGHTS, place_of
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite
from workflow.training.reward_names import REWARD_NETWORK_FILES, UNIFIED_REWARDS, UNIFIED_WEIGHTS

RAW_GITHUB = "https://raw.githubusercontent.com/"
RELEASED_MB = 5700.0  # a 1.3 B model in float32, as most baselines publish it
ADAPTER_MB = 700.0  # rank 256 on every linear layer, bfloat16

TRAINING_PROMPTS = "train_prompts"
"""Group of the lists of training prompts; a suite fetches those that its rows name."""

NOT_THERE = " "
"""State of a file that is not there at all."""

SCORER_FOLDER = "weights/vbench/"
"""Where the checkpoints of the official scorer lie below resources/."""

INITIALISATION_SHA256 = {
    "b5396b8076ab3b920c9e4f4a2b52daa2c98c9983fb5e067ae5160fdf778dce21": (
        "Self Forcing's checkpoints/ode_init.pt"
    ),
}
"""Files with the format of a student that are none (baselines/methods.md#files-that-are-not-results)."""


class Locked(BaseModel):
    """What a file was when it was first fetched. revision: the commit it came from; None where a source tells
    none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Sha256
    size: int | None
    origin: str
    revision: str | None


class Resource(BaseModel):
    """One file under resources/. Either a url, or a file of a hub repository (revision None: its newest).

    bytes: its size where it is known. members: sha256 of files in it, where it is a zip. git_blob: its id in
    a git repository, which proves a file whose sha256 nobody states. shards_mb: of a list of safetensors
    shards, what the files that it names weigh together; they lie beside it and are needed too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")]
    group: str
    url: str | None = None
    repo: str | None = None
    revision: str | None = None
    file: str | None = None
    sha256: Sha256 | None
    bytes: int | None = None
    members: dict[str, Sha256] = {}
    git_blob: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    size_mb: float
    shards_mb: float = 0.0
    licence: str

    @model_validator(mode="after")
    def check_origin(self) -> Resource:
        """Raises ValueError unless exactly one origin is given."""
        if (self.url is None) == (self.repo is None) or (self.repo is None) != (self.file is None):
            raise ValueError(f"{self.path} needs either a url, or a repo and a file")
        return self

    @property
    def whole_mb(self) -> float:
        """Its size, with that of the shards that it names."""
        return self.size_mb + self.shards_mb

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        if self.url is None:
            return f"{self.repo} : {self.file}"
        if self.url.startswith(RAW_GITHUB):
            owner, name, commit, *path = self.url.removeprefix(RAW_GITHUB).split("/")
            return f"github {owner}/{name} @ {commit[:8]} : {'/'.join(path)}"
        return self.url


def read_lock(folder: Path) -> dict[str, Locked]:
    """Every file fetched so far, by path, of `folder`/lock.json. Raises ValueError if that is no such file.

    Locks of version 0.1 held the sha256 alone.
    """
    path = folder / "lock.json"
    if not path.is_file():
        return {}
    again = "delete it and run `make fetch` again, which pins anew what is there"
    held = load_json(path.read_bytes(), str(path), advice=again)
    bare = {"size": None, "origin": "", "revision": None}
    entries = {name: {"sha256": one, **bare} if isinstance(one, str) else one for name, one in held.items()}
    return validate_strict(entries, dict[str, Locked], where=str(path))


def listed_resources(root: Path) -> list[Resource]:
    """The files of workflow/resources.yaml."""
    return list(read_strict(root / "workflow" / "resources.yaml", list[Resource]))


def released_weights(root: Path, row: str) -> list[Resource]:
    """The released files of a baseline, as its YAML names them: weights, and the adapter if it has one."""
    baseline = load_baseline(root / "baselines" / f"{row}.yaml")
    weights = baseline.weights
    about_mb = RELEASED_MB * (2 if weights.memory else 1) if weights.bytes is None else weights.bytes / 1e6
    files = [(weights.file, weights.sha256, weights.bytes, about_mb)]
    if baseline.adapter is not None:
        files.append((baseline.adapter.file, baseline.adapter.sha256, None, ADAPTER_MB))
    return [
        Resource(
            path=f"weights/{row}/{Path(file).name}",
            group="weights",
            repo=weights.repo,
            revision=weights.revision,
            file=file,
            sha256=sha256,
            bytes=size,
            size_mb=size_mb,
            licence=baseline.licence,
        )
        for file, sha256, size, size_mb in files
    ]


def needed_resources(root: Path, suite: Suite) -> list[Resource]:
    """Everything a suite must fetch: the listed groups it names, the prompts that its rows train on, what its
    rewards need, and released weights of rows with files in resources/.

    Raises ValueError for a group or a list of training prompts that workflow/resources.yaml does not have.
    """
    if not suite.resources:
        return []
    listed = listed_resources(root)
    needed = _in_groups(listed, suite, suite.resources) + _training_lists(listed, suite)
    rewarded = [row for row, plan in suite.train.items() if plan.rewards]
    if rewards := {name for row in rewarded for name in load_json(suite.train_settings(row), row)["rewards"]}:
        needed += _reward_resources(root, rewards)
    for row, path in suite.weights.items():
        if isinstance(path, str) and path.startswith(FETCHED_FOLDER):
            needed += released_weights(root, row)
    return with_shards(root, list({entry.path: entry for entry in needed}.values()))


def _reward_resources(root: Path, rewards: Collection[str]) -> list[Resource]:
    """What these rewards of real clips are computed with, apart from VideoAlign."""
    files = {f"weights/vbench/{name}" for reward in rewards for name in REWARD_NETWORK_FILES.get(reward, ())}
    group = UNIFIED_WEIGHTS if set(rewards) & UNIFIED_REWARDS.keys() else None
    return [entry for entry in listed_resources(root) if entry.path in files or entry.group == group]


def scorer_resources(root: Path, suite: Suite) -> list[Resource]:
    """What the official scorer of a suite needs, apart from all else: a new checkpoint of it must not sample
    anything again.
    """
    if suite.benchmark not in OFFICIAL_BENCHMARKS:
        return []
    entries = _in_groups(listed_resources(root), suite, suite.scoring.resources)
    if suite.row_files == "baselines":
        return entries
    # anybody's clips: what these dimensions open, and RAFT, which the static filter has
    wanted = {file for name in suite.dimensions for file in OFFICIAL_SCORERS[name].files}
    made = {RAFT_ZIP: True, AMT_FILE: bool(wanted.intersection(CHECKPOINTS["amt"]))}
    names = {entry.path: entry.path.removeprefix(f"{SCORER_WEIGHTS}/") for entry in entries}
    beside = {file.rpartition("/")[0] for file in wanted if file.endswith(".py")}  # code of DINO's hub entry
    return [
        entry
        for entry in entries
        if made.get(names[entry.path], (place := place_of(names[entry.path]) or "") in wanted)
        or (place.endswith(".py") and place.rpartition("/")[0] in beside)
    ]


def _training_lists(entries: Sequence[Resource], suite: Suite) -> list[Resource]:
    """The lists of training prompts in resources/ that trained rows name."""
    listed = {FETCHED_FOLDER + entry.path: entry for entry in entries}
    named = {
        row: plan.prompts
        for row, plan in suite.train.items()
        if plan.prompts is not None and plan.prompts.startswith(FETCHED_FOLDER) and plan.data is None
    }
    for row, name in named.items():
        if name not in listed:
            known = [path for path, entry in listed.items() if entry.group == TRAINING_PROMPTS]
            raise ValueError(
                f"train.{row}.prompts of suite {suite.suite} is {name!r}, which nothing fetches; "
                f"workflow/resources.yaml has {', '.join(known)}, and a list of your own lies elsewhere."
            )
    return [listed[name] for name in dict.fromkeys(named.values())]


def custom_resources(root: Path, suite: Suite, names: Collection[str] | None = None) -> list[Resource]:
    """What custom dimensions of a suite need, apart from all else as well. names: None for all."""
    files = [plan.file for name, plan in suite.custom_dimensions.items() if names is None or name in names]
    groups = dict.fromkeys(group for file in files for group in read_declaration(root / file).resources)
    return with_shards(root, _in_groups(listed_resources(root), suite, list(groups))) if groups else []


def with_shards(root: Path, entries: Sequence[Resource]) -> list[Resource]:
    """The entries, and the shards that those of them that are lists of shards name, where they are here.

    Raises ValueError if a fetched list is none.
    """
    found = []
    for entry in entries:
        found.append(entry)
        path = root / FETCHED_FOLDER / entry.path
        if entry.shards_mb and path.is_file():
            try:
                names = sorted(set(load_json(path.read_bytes(), str(path))["weight_map"].values()))
                found += [_shard(entry, name, len(names)) for name in names]
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ValueError(
                    f"{path} is no list of safetensors shards ({type(error).__name__}); delete it and run "
                    "`make fetch` again."
                ) from error
    return found


def _shard(listed: Resource, name: str, count: int) -> Resource:
    """A shard beside the list that names it. Raises ValueError if its name leads elsewhere."""
    assert listed.file is not None, "a list of shards lies in a repository"
    values = listed.model_dump() | {
        "path": (Path(listed.path).parent / name).as_posix(),
        "file": (Path(listed.file).parent / name).as_posix(),
        "sha256": None, "bytes": None, "size_mb": listed.shards_mb / count, "shards_mb": 0.0,
    }  # fmt: skip
    return Resource.model_validate(values)


def _in_groups(listed: Sequence[Resource], suite: Suite, groups: Sequence[str]) -> list[Resource]:
    known = {entry.group for entry in listed}
    unknown = [group for group in groups if group not in known]
    if unknown:
        raise ValueError(
            f"unknown resource group {unknown[0]!r} in suite {suite.suite}; workflow/resources.yaml has "
            f"{', '.join(sorted(known))}."
        )
    return [entry for entry in listed if entry.group in groups]


def sizes_mb(entries: Sequence[Resource]) -> dict[str, float]:
    """What each file weighs, by path, with the shards that it names; nothing of one that several rows name,
    but the first time: it is brought once, and the others are links to it (workflow/fetching/downloads.py).
    """
    sizes: dict[str, float] = {}
    for origin in dict.fromkeys(entry.origin for entry in entries):
        first, *links = (entry for entry in entries if entry.origin == origin)
        sizes |= {first.path: first.whole_mb, **dict.fromkeys((link.path for link in links), 0.0)}
    return sizes


def missing_resources(
    root: Path,
    suite: Suite,
    *,
    needed: Sequence[Resource] | None = None,
    scorer: bool = False,
    released: bool = False,
) -> str:
    """One screen naming every file of the suite that was not fetched, or is cut short, and how to get it;
    empty if all are there.

    needed: which files, by default those of the suite but for the scorer's. scorer: also of those that only
    scoring needs, in one line if others are missing too. released: whether `weights=released` was asked for
    beside the suite's file.
    """
    needed = needed_resources(root, suite) if needed is None else needed
    scoring = [e for e in scorer_resources(root, suite) if e not in needed] if scorer else []
    lock = read_lock(root / "resources")

    def absent(entries: Sequence[Resource]) -> list[tuple[Resource, str]]:
        return [(e, state) for e in entries if (state := _absence(root / "resources", e, lock))]

    missing, unscored = absent(needed), absent(scoring)
    sizes = sizes_mb([entry for entry, _ in missing + unscored])
    total = sum(sizes.values())
    if not missing and not unscored:
        return ""
    folded = [entry for entry, state in unscored if missing and state == NOT_THERE]
    listed = missing + [(entry, state) for entry, state in unscored if entry not in folded]
    lines = [(e.path, sizes[e.path], f"{e.origin}{state}".rstrip()) for e, state in listed]
    if folded:
        size = sum(sizes[entry.path] for entry in folded)
        lines.append((f"{SCORER_FOLDER} ({len(folded)} files)", size, "the official scorer's checkpoints"))
    width = max(len(path) for path, _, _ in lines)
    lines_of = [f"  {path:<{width}}  {size:>9,.1f} MB  {origin}" for path, size, origin in lines]
    also = f" and {len(scoring)} more for scoring" if scoring else ""
    less = "; without what only training needs: RELEASED=1" if suite.train else ""
    options, instead = (
        f"list alone: PLAN=1; from a folder: MIRROR=/path{less}",
        ("The embedded suite needs none of this: snakemake --profile local reports/table.html"),
    )
    if suite.row_files != "baselines":
        options = "list alone: --plan; from a folder: --mirror /path"
        instead = "Then give the same command again; --benchmark toybox needs none of this."
    return (
        f"Suite {suite.suite} needs {len(needed)} fetched files{also}, and "
        f"{len(missing) + len(unscored)} of them (about {total / 1000:.1f} GB) are not in resources/:\n"
        + "\n".join(lines_of)
        + (
            f"\nGet them, on a machine with network, with: {fetch_command(suite, released=released)}   "
            f"({options})\nNothing was started. {instead}"
        )
    )


def fetch_command(suite: Suite, *, released: bool) -> str:
    """What brings a suite's files; one that `raven-bench score` wrote lies beside the folder of its rows."""
    if suite.row_files != "baselines":
        return f"raven-bench fetch --suite {shlex.quote(str(Path(suite.row_files).parent / 'suite.yaml'))}"
    return f"make fetch SUITE={suite.suite}{' RELEASED=1' if released else ''}"


def is_whole(folder: Path, entry: Resource, lock: dict[str, Locked]) -> bool:
    """Whether a file is in `folder`, in the size that it was fetched in."""
    return not _absence(folder, entry, lock)


def _absence(folder: Path, entry: Resource, lock: dict[str, Locked]) -> str:
    """Empty if a file is there in its size; else what to add to its line, at least a blank. Hashes are the
    fetch stage's work.
    """
    path, known = folder / entry.path, lock.get(entry.path)
    if not path.is_file():
        return NOT_THERE
    size = path.stat().st_size
    if known is None or known.size in (None, size):
        return ""
    return f"  (has {size:,} of {known.size:,} bytes: delete it first)"
