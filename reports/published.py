"""Totals that papers print, with source and protocol, from published.yaml. Context for measured rows, never
part of a rank.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FILE = Path(__file__).parent / "published.yaml"
Percent = Annotated[float, Field(ge=0, le=100)]


class Source(BaseModel):
    """Where numbers were read. read: "paper" (its text) or "notes" (reading notes, not compared with the
    PDF).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str
    link: str
    protocol: str
    read: Literal["paper", "notes"]


class PublishedTotals(BaseModel):
    """What one source prints for one method, percent; fps: pixel frames per second, as the source measured
    them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str
    total: Percent
    quality: Percent
    semantic: Percent
    fps: Annotated[float, Field(gt=0)] | None = None
    note: str | None = None


class Published(BaseModel):
    """The whole file. rows: by the row's name, the target paper first."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sources: dict[str, Source]
    rows: dict[str, list[PublishedTotals]]

    @model_validator(mode="after")
    def _known_sources(self) -> Published:
        used = {entry.source for entries in self.rows.values() for entry in entries}
        if unknown := sorted(used - set(self.sources)):
            raise ValueError(f"sources {', '.join(unknown)} are not listed under `sources`")
        return self


class PublishedLine(NamedTuple):
    """A method's numbers in one source, ready to show."""

    source: Source
    totals: PublishedTotals


def read_published(path: Path = FILE) -> dict[str, list[PublishedLine]]:
    """Lines by row name. Raises ValueError naming the file and what is wrong in it."""
    try:
        found = Published.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise ValueError(
            f"{path.name} is not a valid list of published numbers ({wrong}); correct it."
        ) from error
    return {
        row: [PublishedLine(found.sources[entry.source], entry) for entry in entries]
        for row, entries in found.rows.items()
    }
