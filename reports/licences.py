"""Licences of all that a run used: weights and code of methods, prompts, networks and packages of the scorer.

They stand as each publisher states them and are never guessed.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from evaluation.records import Record

NOT_STATED = "not stated"
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial|academic|research (use )?only|S-Lab", re.IGNORECASE)

LicencePart = Literal["model", "prompts", "training", "scorer", "package", "code"]
LICENCE_PARTS: dict[LicencePart, str] = {
    "code": "This program and what it ships",
    "model": "Models",
    "training": "Training in this run",
    "prompts": "Prompts",
    "scorer": "Networks of the scorer",
    "package": "Packages of the scorer",
}


class Licence(Record):
    """The licence of one thing."""

    part: LicencePart
    name: str
    stated: str
    """As its publisher writes it, NOT_STATED if nothing was found."""
    note: str
    """What it covers, or where it stands."""

    @property
    def non_commercial(self) -> bool:
        """Whether the words of the licence forbid commercial use."""
        return _NON_COMMERCIAL.search(self.stated) is not None


class Network(NamedTuple):
    """A network of the official scorer, with the dimensions that need it."""

    begins: str
    """How the names of its files below weights/vbench/ begin."""
    title: str
    key: str
    """Of its citation."""
    dimensions: tuple[str, ...]


_GRIT = ("object_class", "multiple_objects", "color", "spatial_relationship")
NETWORKS = (
    Network("dino_model/", "DINO ViT-B/16", "dino", ("subject_consistency",)),
    Network("clip_model/ViT-B-32", "CLIP ViT-B/32", "clip", ("background_consistency", "appearance_style")),
    Network("clip_model/ViT-L-14", "CLIP ViT-L/14", "clip", ("aesthetic_quality",)),
    Network("aesthetic_model/", "LAION's aesthetic head", "laion_aesthetic", ("aesthetic_quality",)),
    Network("pyiqa_model/", "MUSIQ (SPAQ)", "musiq", ("imaging_quality",)),
    Network("amt_model/", "AMT-S", "amt", ("motion_smoothness",)),
    Network("raft_model/", "RAFT (things)", "raft", ("dynamic_degree",)),
    Network("umt_model/", "UMT ViT-L/16", "umt", ("human_action",)),
    Network("ViCLIP/", "ViCLIP-L (InternVid-10M)", "viclip", ("temporal_style", "overall_consistency")),
    Network("grit_model/", "GRiT-B", "grit", _GRIT),
    Network("caption_model/", "Tag2Text Swin-B", "tag2text", ("scene",)),
    Network("bert-base-uncased/", "BERT base (tokenizer and initialisation)", "bert", ("scene", *_GRIT)),
)
"""Networks of vbench 0.1.5 (evaluation/vbench/README.md#dimensions). temporal_flickering has none."""

_METADATA = "as its package metadata says"
SCORER_PACKAGES = tuple(
    Licence(part="package", name=name, stated=stated, note=note)
    for name, stated, note in (
        ("vbench 0.1.5", "Apache-2.0", _METADATA),
        (
            "pyiqa 0.1.10",
            "CC BY-NC-SA 4.0 and S-Lab License 1.0",
            "as its licence files say; its package metadata says Apache",
        ),
        ("openai-clip 1.0.1", NOT_STATED, "its package has no licence; openai/CLIP states MIT"),
        ("detectron2 0.6", "Apache-2.0", "as its licence file says; the four dimensions with GRiT"),
        ("timm 1.0.12", "Apache-2.0", _METADATA),
        ("transformers 4.33.2", "Apache-2.0", _METADATA),
    )
)
"""Packages that the official scorer computes with, as locked in envs/vbench."""


def networks_of(dimensions: Sequence[str]) -> list[Network]:
    """The scorer's networks that these dimensions need."""
    return [network for network in NETWORKS if set(network.dimensions) & set(dimensions)]


def as_stated(text: str) -> str:
    """A licence field as given, or NOT_STATED where it only points to somebody."""
    return NOT_STATED if text in ("", "see its publisher", "unknown") else text
