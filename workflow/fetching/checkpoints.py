"""What the fetched checkpoints of a suite hold, and whether each is what its YAML says. Needs no GPU."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from baselines.released import release_of
from baselines.spec import load_baseline
from models.checkpoints.released import WAN_14B, Found, Release, Role, check_released, read_released
from models.config import WanConfig
from workflow.planning.resources import Resource
from workflow.planning.suite import Suite

PART_OF_MODEL = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
MODELS: dict[str, tuple[Role, WanConfig]] = {
    "weights/wan/diffusion_pytorch_model.safetensors": ("bidirectional", WanConfig()),
    "weights/wan_14b/diffusion_pytorch_model.safetensors.index.json": ("bidirectional", WAN_14B),
    "weights/causal_forcing/causal_ode.pt": ("initialisation", WanConfig()),
}
"""Transformers that are no student: what each must be."""


class DescribedCheckpoints(NamedTuple):
    """What fetched checkpoints hold."""

    described: dict[str, dict[str, Any]]
    """Descriptions by path, with sha256."""
    errors: list[str]
    """One sentence for every file that is not what it should be."""


def describe_checkpoints(
    root: Path, suite: Suite, entries: Sequence[Resource], hashes: Mapping[str, str], folder: Path
) -> DescribedCheckpoints:
    """Check the weights of every row and of every model that training starts from; describe all weight files.

    entries: the suite's fetched files. hashes: their sha256 by path; a file that was put there by hand, under
    a name that nothing fetches, has none. folder: resources/.
    """
    releases: list[Release] = []
    for row, path in suite.weights.items():
        if isinstance(path, str) and path.startswith("resources/"):
            weights = folder / path.removeprefix("resources/")
            releases.append(release_of(load_baseline(root / "baselines" / f"{row}.yaml"), weights))
    students = {release.path for release in releases}
    students |= {one.adapter.path for one in releases if one.adapter and one.adapter.path}
    others: list[Path] = []
    for entry in entries:
        if entry.path in MODELS:
            role, config = MODELS[entry.path]
            releases.append(Release(path=folder / entry.path, key=None, role=role, config=config))
        elif (
            entry.path.endswith((".pt", ".pth", ".safetensors"))
            and not PART_OF_MODEL.search(entry.path)
            and folder / entry.path not in students
        ):
            others.append(folder / entry.path)
    found: list[Found] = []
    errors = []
    for release in releases:
        try:
            found += check_released(release)
        except (ValueError, FileNotFoundError) as error:
            errors.append(str(error))
    for other in others:
        try:
            found.append(read_released(other, shapes_only=True).found)
        except ValueError as error:
            errors.append(str(error))
    described = {}
    for one in found:
        name = str(Path(one.path).relative_to(folder))
        described[name] = {**one.to_dict(), "path": name, "sha256": hashes.get(name)}
    return DescribedCheckpoints(described, errors)
