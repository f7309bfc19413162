"""Weights from one container and flavour to another: checkpoints of a run, DCP directories, .safetensors and
torch files.

Flavours: "full" (a model without adapter), "adapter", "bundle" (base and adapter), "merged" (adapter folded
into the base), and "base" (what is beneath an adapter). Nothing is computed but the merged weights; every
other tensor keeps its bits and dtype.
Sources: raven.md 14, baselines.md 1.1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.checkpoints.containers import (
    json_mapping,
    load_strict,
    read_metadata,
    write_dcp,
    write_safetensors,
    write_torch,
)
from models.checkpoints.lora import (
    adapter_names,
    adapter_state,
    base_state,
    bundle_state,
    is_ours,
    merged_state,
    weights_header,
)
from models.checkpoints.released import config_of, read_released
from models.config import WanConfig
from models.wan import Wan

Flavour = Literal["full", "adapter", "bundle", "merged", "base"]
PLAIN: tuple[Flavour, ...] = ("full", "merged", "base")
FLAVOURS: tuple[Flavour, ...] = ("full", "adapter", "bundle", "merged", "base")

STUDENTS = {"generator": "student", "generator_ema": "student_ema"}
"""Folders of a training checkpoint by the level that released torch files have for the same."""

PAIR = re.compile(r"\.lora_[AB]\.weight$")
BLOCK = re.compile(r"\bblocks\.(\d+)\.(.+)$")

Kind = Literal["safetensors", "torch", "dcp"]


class Layout(NamedTuple):
    """How a torch file nests and names its tensors. levels: dicts around them, none for no dict, each with
    weights of its own; prefix: before Wan's names; flavours: that it is for.
    """

    levels: tuple[str, ...]
    prefix: str
    flavours: tuple[Flavour, ...]


LAYOUTS = {
    "flat": Layout((), "", FLAVOURS),
    "prefixed": Layout((), "model.", PLAIN),
    "generator": Layout(("generator",), "model.", PLAIN),
    "generator_ema": Layout(("generator_ema",), "model.", PLAIN),
    "both": Layout(("generator", "generator_ema"), "model.", PLAIN),
    "generator_lora": Layout(("generator_lora",), "", ("adapter",)),
}
"""By name; models/README.md says which released file has which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Weights that were read, under Wan's names or (adapter, bundle) peft's.

    where: for sentences. config, alpha: None where neither the file nor the caller says so. base: weights
    beneath an adapter.
    """

    where: str
    flavour: Literal["full", "adapter", "bundle"]
    state: Mapping[str, Tensor]
    config: WanConfig | None
    alpha: float | None
    base: Path | None = None


def open_source(
    path: Path,
    *,
    key: str | None = None,
    base: Path | None = None,
    alpha: float | None = None,
    like: Path | None = None,
) -> Source:
    """Weights of any kind: a training checkpoint (a run's folder, or one of its states/), a DCP directory, or
    a file.

    key: "generator" or "generator_ema" of a training checkpoint (default: the latter), or the dict level of a
    file (None: there is
    no choice). base: weights beneath an adapter, default those that the file names. alpha, like: LoRA alpha,
    and weights of ours with the same model size, for sources that do not say.
    Raises FileNotFoundError; ValueError if that level is absent, if the tensors are no complete Wan
    transformer or adapter, or if alpha is not above 0 or another than the source's.
    """
    if alpha is not None and not 0 < alpha < float("inf"):
        raise ValueError(f"alpha is {alpha:g}, but LoRA's scale is alpha / rank; pass a number above 0.")
    checkpoint = _checkpoint(path)
    if checkpoint is None:
        where, described = path, read_released(path, key)
        said = _said(read_metadata(path) if path.is_dir() or path.suffix == ".safetensors" else {}, path)
    else:
        where, said = _student(checkpoint, key), _facts(checkpoint)
        described = read_released(where)
    flavour = described.found.flavour
    if flavour == "other":
        raise ValueError(
            f"{where} is no Wan transformer and no adapter of one (its {described.found.tensors} tensors "
            "have other names); name the weights themselves."
        )
    if alpha is not None and said.alpha is not None and alpha != said.alpha:
        raise ValueError(f"{where} says that its alpha is {said.alpha:g}, found {alpha:g}; leave alpha out.")
    hinted = said if like is None else _said_by(like)
    state = described.state
    if flavour != "full":
        loras = adapter_names(adapter_state(state))
        state = loras if flavour == "adapter" else bundle_state(base_state(state), loras)
    source = Source(
        where=str(where),
        flavour=flavour,
        state=state,
        config=said.config or described.found.config or hinted.config,
        alpha=said.alpha if said.alpha is not None else alpha if alpha is not None else hinted.alpha,
        base=base or (path.parent / said.base if said.base else None),
    )
    _check(source)
    return source


def check_base(source: Source) -> None:
    """Raise ValueError if the base that a bundle was given holds other weights than those beneath its adapter
    (but for rounding).
    """
    assert source.base is not None, "nothing to compare with"
    own, beneath = base_state(source.state), open_source(source.base).state
    differ = sorted(own.keys() ^ beneath.keys()) or sorted(
        name for name, value in own.items() if not _same(value, beneath[name])
    )
    if differ:
        raise ValueError(
            f"{source.base} holds other weights than those beneath the adapter of {source.where} "
            f"({len(differ)} of {len(own)} tensors, {differ[0]} first); name the weights that it was "
            "trained on."
        )


def to_flavour(source: Source, flavour: Flavour) -> dict[str, Tensor]:
    """The tensors of a source in a flavour; all but merged ones are the source's own, or its base's.

    Raises ValueError if the source has no adapter, or has one where a model without is asked for, if its base
    is needed and not known or does not fit, or if merging needs an alpha that nothing says.
    """
    if source.flavour == "full":
        if flavour != "full":
            raise ValueError(
                f"{source.where} is a model without an adapter, so there is no flavour {flavour!r} of it; "
                "ask for full."
            )
        return dict(source.state)
    if flavour == "full":
        raise ValueError(
            f"{source.where} is {_article(source.flavour)}, not one model without an adapter; ask for "
            "merged (base and adapter in one), or base (without the adapter)."
        )
    if flavour == "adapter":
        return adapter_state(source.state)
    whole = _with_base(source)
    if flavour == "merged" and whole.alpha is None:
        raise ValueError(
            f"{source.where} does not say the alpha that its adapter was trained with; pass it (256 for "
            "RAVEN's and LongLive's)."
        )
    if flavour == "merged":
        assert whole.alpha is not None
        return merged_state(whole.state, alpha=whole.alpha)
    return base_state(whole.state) if flavour == "base" else dict(whole.state)


def header_of(source: Source, flavour: Flavour, base_name: str | None) -> dict[str, str]:
    """String table of a file of ours in that flavour. base_name: of an adapter's base, as seen from the
    file's folder.

    Raises ValueError if the model's size, the alpha or the base is not known.
    """
    config = source.config or _with_base(source).config
    if config is None:
        raise ValueError(
            f"{source.where} does not say how many heads its model has, and its tensors do not show it; "
            "name weights of ours of that size to go by (like)."
        )
    if flavour in PLAIN:
        return weights_header(config)
    if source.alpha is None:
        raise ValueError(
            f"{source.where} does not say the alpha that its adapter was trained with; pass it (256 for "
            "RAVEN's and LongLive's)."
        )
    if flavour == "bundle":
        return weights_header(config, alpha=source.alpha)
    if base_name is None:
        raise ValueError(
            f"An adapter of {source.where} must say which weights are beneath it, and none are known; name "
            "them as the base."
        )
    return weights_header(config, alpha=source.alpha, base=base_name)


def kind_of(path: Path) -> Kind:
    """What a name says will be written. Raises ValueError for another ending."""
    kinds: dict[str, Kind] = {".safetensors": "safetensors", ".pt": "torch", ".pth": "torch", "": "dcp"}
    if path.suffix not in kinds:
        raise ValueError(
            f"{path} ends in {path.suffix}; expected .safetensors, .pt, .pth, or no ending for a "
            "distributed checkpoint directory."
        )
    return kinds[path.suffix]


def check_layout(layout: str, kind: Kind, flavour: Flavour) -> None:
    """Raise ValueError if no file of that kind has that layout, or no such flavour is published in it."""
    if layout not in LAYOUTS:
        raise ValueError(f"There is no layout {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    if kind != "torch" and layout != "flat":
        raise ValueError(
            f"Layout {layout!r} is one of torch files, and {kind} files are flat; name the output .pt."
        )
    if flavour not in LAYOUTS[layout].flavours:
        raise ValueError(
            f"Layout {layout!r} is for {' and '.join(LAYOUTS[layout].flavours)} weights, found {flavour}; "
            "use flat, as released."
        )


def write_weights(
    path: Path, states: Sequence[Mapping[str, Tensor]], *, header: Mapping[str, str], layout: str = "flat"
) -> None:
    """Write tensors as the file's name says, whole or not at all: .safetensors or DCP with the header, torch
    files in the layout.

    states: one for each level of the layout, one where there is none.
    """
    kind, (levels, prefix, _) = kind_of(path), LAYOUTS[layout]
    if kind == "torch":
        named = [{f"{prefix}{name}": value for name, value in state.items()} for state in states]
        write_torch(path, dict(zip(levels or (None,), named, strict=True)))
        return
    (state,) = states
    if kind == "safetensors":
        write_safetensors(path, state, metadata=header)
    else:
        write_dcp(path, state, metadata=header)


class _Said(NamedTuple):
    """What a header, or the facts of a checkpoint, tell."""

    config: WanConfig | None
    alpha: float | None
    base: str | None


def _said(header: Mapping[str, str], where: Path) -> _Said:
    config = _config(header["config"], f"config in the header of {where}") if "config" in header else None
    alpha = (
        _number(header["lora_alpha"], f"lora_alpha in the header of {where}")
        if "lora_alpha" in header
        else None
    )
    return _Said(config, alpha, header.get("base"))


def _config(value: object, where: str) -> WanConfig:
    sizes = json_mapping(value, where)
    known = {field.name: field.type for field in fields(WanConfig)}
    wrong = sorted(sizes.keys() - known.keys()) + sorted(
        name for name, size in sizes.items() if name in known and not isinstance(size, int | float)
    )
    if wrong or "dim" not in sizes:
        raise ValueError(
            f"{where} is no model size of this program ({', '.join(wrong) or 'dim'} "
            f"{'unknown or no number' if wrong else 'absent'}); it is damaged or of another version."
        )
    return WanConfig(**sizes)


def _number(value: object, where: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} is {value!r}, expected a number; the file is damaged.") from error


def _said_by(like: Path) -> _Said:
    if not is_ours(like):
        raise ValueError(
            f"{like} does not say the size of its model; name a .safetensors file or a directory that this "
            "program wrote."
        )
    return _said(read_metadata(like), like)


def _checkpoint(path: Path) -> Path | None:
    """The folder with progress.json: `path` itself or its newest checkpoint; None if it is neither a
    checkpoint nor a run.
    """
    return next((f for f in (path, path / "checkpoint") if (f / "progress.json").is_file()), None)


def _facts(checkpoint: Path) -> _Said:
    path = checkpoint / "progress.json"
    facts = json_mapping(
        json_mapping(path.read_text(encoding="utf-8"), str(path)).get("facts"), f"facts in {path}"
    )
    alpha = _number(facts["alpha"], f"alpha in {path}") if "alpha" in facts else None
    return _Said(_config(facts.get("config"), f"config in {path}"), alpha, None)


def _student(checkpoint: Path, key: str | None) -> Path:
    name = STUDENTS.get(key or "generator_ema")
    if name is None:
        raise ValueError(
            f"{checkpoint} is a training checkpoint, and has no {key!r}; expected generator (the raw "
            "weights) or generator_ema."
        )
    folder = checkpoint / "models" / name
    if not folder.is_dir():
        kept = ", ".join(sorted(one.name for one in folder.parent.glob("*"))) or "nothing"
        what = (
            "moving average of the generator, it was trained without"
            if name.endswith("_ema")
            else "generator"
        )
        other = "generator" if name.endswith("_ema") else "generator_ema"
        raise ValueError(f"{checkpoint} has no {what} (models/{name}), found {kept}; ask for {other}.")
    return folder


def _with_base(source: Source) -> Source:
    """The bundle of an adapter and its base; a bundle or a full model itself."""
    if source.flavour != "adapter":
        return source
    if source.base is None:
        raise ValueError(
            f"{source.where} is an adapter alone and does not say which weights are beneath it; name them "
            "as the base."
        )
    beneath = open_source(source.base)
    if beneath.flavour != "full":
        raise ValueError(
            f"{source.base} is {_article(beneath.flavour)} where the weights beneath an adapter belong; "
            "name a model without one."
        )
    whole = Source(
        where=f"{source.where} on {source.base}",
        flavour="bundle",
        state=bundle_state(beneath.state, source.state),
        config=source.config or beneath.config,
        alpha=source.alpha,
    )
    _check(whole)
    return whole


def _check(source: Source) -> None:
    """Raise ValueError unless the tensors are all of a transformer of that size, and every adapter is a pair
    that fits its layer.
    """
    other = sorted(name for name, value in source.state.items() if not value.is_floating_point())
    if other:
        raise ValueError(
            f"{source.where} holds {source.state[other[0]].dtype} under {other[0]}, expected weights."
        )
    if source.flavour != "adapter":
        plain = {name: value.to("meta") for name, value in base_state(source.state).items()}
        # names and shapes are those of any number of heads
        config = source.config or config_of(plain, num_heads=1)
        if config is None:
            raise ValueError(
                f"{source.where} lacks tensors that every Wan transformer has, or has them in other "
                "shapes; it is no whole model."
            )
        with torch.device("meta"):
            wan = Wan(config)
        load_strict(wan, plain, where=source.where, assign=True)
    _check_pairs(source)


def _check_pairs(source: Source) -> None:
    """Raise ValueError unless every adapter is a pair that fits its layer, of one rank, and alike in all
    blocks.
    """
    shapes = {name.replace(".default.", "."): tuple(value.shape) for name, value in source.state.items()}
    stems = {name.partition(".lora_")[0] for name in shapes if ".lora_" in name}
    for stem in sorted(stems):
        down, up = shapes.get(f"{stem}.lora_A.weight", ()), shapes.get(f"{stem}.lora_B.weight", ())
        layer = shapes.get(f"{stem}.base_layer.weight", ())
        fits = len(down) == len(up) == 2 and down[0] == up[1]
        if source.flavour == "bundle":
            fits = fits and layer == (up[0], down[1])
        if not fits:
            weight = f", weight {layer or 'absent'}" if source.flavour == "bundle" else ""
            raise ValueError(
                f"{source.where} has no adapter that fits its layer at {stem}: lora_A {down or 'absent'}, "
                f"lora_B {up or 'absent'}{weight}; adapter and base belong to different models."
            )
    strange = sorted(name for name in shapes if ".lora_" in name and not PAIR.search(name))
    if strange:
        raise ValueError(
            f"{source.where} has {strange[0]} beside its pairs of matrices, so it is another kind of "
            "adapter than LoRA; nothing here computes with it."
        )
    ranks = {shapes[f"{stem}.lora_A.weight"][0] for stem in stems}
    if len(ranks) > 1:
        raise ValueError(
            f"{source.where} has adapters of the ranks {sorted(ranks)}, expected one rank; it is mixed or "
            "damaged."
        )
    blocks: dict[str, set[str]] = {}
    for match in filter(None, map(BLOCK.search, stems)):
        blocks.setdefault(match[1], set()).add(match[2])
    absent = (
        sorted(set(range(source.config.num_layers)) - set(map(int, blocks)))
        if blocks and source.config
        else []
    )
    if absent:
        raise ValueError(
            f"{source.where} adapts {len(blocks)} blocks and not block {absent[0]}; its tensors are not "
            "all there."
        )
    every = set().union(*blocks.values())
    for number, own in sorted(blocks.items(), key=lambda item: int(item[0])):
        if own != every:
            raise ValueError(
                f"{source.where} adapts {', '.join(sorted(every - own))} in other blocks and not in block "
                f"{number}; its tensors are not all there."
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(other.dtype), other) or torch.equal(one, other.to(one.dtype))


def _article(flavour: str) -> str:
    return {
        "full": "a model without an adapter",
        "adapter": "an adapter alone",
        "bundle": "a base with its adapter",
    }[flavour]
