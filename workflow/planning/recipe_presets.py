"""Published training settings: workflow/config/presets/<name>.yaml, each both recipes whole, with the
variants its authors compared.

A suite asks for one with `published: <name>` or `published: <name>/<variant>`, in place of settings of its
own: nothing is mixed with what the suite's file says about `raven` and `cm_grpo`. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from baselines.fields import Count
from baselines.strict_yaml import Section, read_strict

FOLDER = "workflow/config/presets"


class RavenLayout(Section):
    """How RAVEN's batch lies on processes. It changes no result here, where noise is keyed by sample."""

    processes: Count
    samples_per_process: Count


class CmGrpoLayout(Section):
    """How CM-GRPO's rollouts lie on processes: group_size of them in each, sync_group_size processes with one
    prompt.
    """

    processes: Count
    group_size: Count
    sync_group_size: Count


class Variant(Section):
    """What a variant changes: whole keys of a recipe."""

    raven: dict[str, Any] = Field(default_factory=dict)
    cm_grpo: dict[str, Any] = Field(default_factory=dict)


class Preset(Section):
    """Settings of both recipes (models/training/settings.py), where they are from, and the machines they were
    meant for.
    """

    source: str
    prompts: str
    """The list of training prompts of both, for trained rows of real benchmarks that name none."""
    raven: dict[str, Any]
    cm_grpo: dict[str, Any]
    raven_layout: RavenLayout
    cm_grpo_layout: CmGrpoLayout
    variants: dict[str, Variant] = Field(default_factory=dict)

    @model_validator(mode="after")
    def check_layout(self) -> Preset:
        """Raises ValueError if batch or rollouts are not what the layout makes of them."""
        one, other = self.raven_layout, self.cm_grpo_layout
        found = (self.raven.get("batch"), self.cm_grpo.get("group"), self.cm_grpo.get("prompts"))
        expected = (
            one.processes * one.samples_per_process,
            other.group_size * other.sync_group_size,
            other.processes // other.sync_group_size,
        )
        if found != expected:
            raise ValueError(
                f"raven.batch, cm_grpo.group and cm_grpo.prompts are {found}, but the layouts make "
                f"{expected} of them; correct one"
            )
        return self


def preset_names(root: Path) -> list[str]:
    """Names of the presets that are there."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def load_preset(root: Path, name: str) -> Preset:
    """A preset by name. Raises ValueError if there is none, or its file is wrong."""
    if name not in preset_names(root):
        raise ValueError(
            f"published is {name!r}, but {FOLDER}/ has {', '.join(preset_names(root))}; name one of these."
        )
    return read_strict(root / FOLDER / f"{name}.yaml", Preset)


def preset_settings(root: Path, published: str) -> dict[str, dict[str, Any]]:
    """Settings of each recipe by its name. published: "<name>" or "<name>/<variant>".

    Raises ValueError if there is no such preset or variant.
    """
    name, _, chosen = published.partition("/")
    preset = load_preset(root, name)
    if chosen and chosen not in preset.variants:
        raise ValueError(
            f"published is {published!r}, but {FOLDER}/{name}.yaml has the variants "
            f"{', '.join(preset.variants) or '(none)'}; name one of these."
        )
    variant = preset.variants[chosen] if chosen else Variant()
    return {"raven": {**preset.raven, **variant.raven}, "cm_grpo": {**preset.cm_grpo, **variant.cm_grpo}}


def with_training_prompts(root: Path, published: str, train: Mapping[str, Any]) -> dict[str, Any]:
    """`train` of a suite, with the preset's list in each row that says nothing about `prompts` and trains on
    no clips, whose captions its prompts would be.
    """
    prompts = load_preset(root, published.partition("/")[0]).prompts
    return {
        row: {"prompts": prompts, **plan} if isinstance(plan, Mapping) and not plan.get("data") else plan
        for row, plan in train.items()
    }


def differences(one: Preset, other: Preset) -> list[tuple[str, Any, Any]]:
    """(dotted key, value in one, value in the other) of everything but source, prompts and variants that is
    not the same in both presets.
    """
    rows = []
    plain = [
        preset.model_dump(mode="json", exclude={"source", "prompts", "variants"}) for preset in (one, other)
    ]
    for section in plain[0]:
        keys = [*plain[0][section], *(plain[1][section].keys() - plain[0][section].keys())]
        rows += [
            (f"{section}.{key}", *(part[section].get(key) for part in plain))
            for key in keys
            if plain[0][section].get(key) != plain[1][section].get(key)
        ]
    return rows
