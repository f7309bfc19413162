"""Totals that papers print, with source and protocol: context for measured rows, never part of a rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import yaml
from pydantic import Field, ValidationError, model_validator

from evaluation.protocol import protocol_differences, protocol_tag
from evaluation.records import Protocol, Record

PUBLISHED = Path(__file__).parent / "published.yaml"
Percent = Annotated[float, Field(ge=0, le=100)]


class PublishedSource(Record, strict=True):
    """Where numbers were read."""

    title: str
    link: str
    protocol: str
    stated: Protocol = Protocol()
    """What of its protocol the source says, in the words that rows of a run have."""
    read: Literal["paper", "figure", "notes"]
    """In the paper's text, off its figure, or in reading notes that were not compared with the PDF."""


class PublishedTotals(Record, strict=True):
    """What one source prints for one method, in percent."""

    source: str
    total: Percent
    quality: Percent | None = None
    semantic: Percent | None = None
    """None where the source does not print it; never computed from the others."""
    dynamic_judge: Annotated[float, Field(ge=1, le=4)] | None = None
    """Mean rating of motion by UnifiedReward 32B ("Dyn."), which is none of VBench's dimensions."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Pixel frames per second, as the source measured them."""
    note: str | None = None


class PublishedLong(Record, strict=True):
    """What one source prints of one method's long videos, in percent but for drifts, which are in points."""

    source: str
    seconds: Annotated[int, Field(gt=5)]
    values: Annotated[
        dict[
            Literal[
                "total", "quality", "semantic", "subject", "dynamic", "imaging", "drift", "c2c_subject",
                "flow_persistence",
            ],
            Annotated[float, Field(ge=0, le=100)],
        ],
        Field(min_length=1),
    ]  # fmt: skip
    note: str | None = None


class Published(Record, strict=True):
    """The whole of published.yaml."""

    sources: dict[str, PublishedSource]
    rows: dict[str, list[PublishedTotals]]
    """By the row's name, the target paper first."""
    long: dict[str, list[PublishedLong]]
    """Of long videos: never beside totals of five seconds."""

    @model_validator(mode="after")
    def _known_sources(self) -> Published:
        used = {entry.source for entries in self.rows.values() for entry in entries}
        used |= {entry.source for entries in self.long.values() for entry in entries}
        if unknown := sorted(used - set(self.sources)):
            raise ValueError(f"sources {', '.join(unknown)} are not listed under `sources`")
        return self


class PublishedLine(NamedTuple):
    """A method's numbers in one source, ready to show."""

    source: PublishedSource
    totals: PublishedTotals

    @property
    def tag(self) -> str | None:
        """The protocol in short; None where nothing of it is stated."""
        return protocol_tag(self.source.stated) if self.source.stated != Protocol() else None

    def unlike(self, measured: Protocol | None) -> list[str]:
        """In what the stated protocol differs from that of a measured row."""
        return protocol_differences(self.source.stated, measured, "here", stated=True)


class PublishedLongLine(NamedTuple):
    """A method's numbers of long videos in one source, ready to show."""

    source: PublishedSource
    found: PublishedLong


class PublishedNumbers(NamedTuple):
    """Lines by row name."""

    totals: dict[str, list[PublishedLine]]
    long: dict[str, list[PublishedLongLine]]


def read_published(path: Path = PUBLISHED) -> PublishedNumbers:
    """What papers print. Raises ValueError naming the file and what is wrong in it."""
    try:
        found = Published.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise ValueError(
            f"{path.name} is not a valid list of published numbers ({wrong}); correct it."
        ) from error
    return PublishedNumbers(
        {
            row: [PublishedLine(found.sources[entry.source], entry) for entry in entries]
            for row, entries in found.rows.items()
        },
        {
            row: [PublishedLongLine(found.sources[entry.source], entry) for entry in entries]
            for row, entries in found.long.items()
        },
    )
