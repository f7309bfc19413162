"""Weights from one container and flavour to another: checkpoints of a run, DCP directories, .safetensors and
torch files.

Flavours: "full" (a model without adapter), "adapter", "bundle" (base and adapter), "merged" (adapter folded
into the base), and "base" (what is beneath an adapter). Nothing is computed but the merged weights; every
other tensor keeps its bits and dtype. models/backbone.md#weight-files lists what published files look like.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.checkpoints.containers import (
    json_mapping,
    load_strict,
    write_dcp,
    write_safetensors,
    write_torch,
)
from models.checkpoints.lora import (
    PREFIX,
    Header,
    adapter_names,
    adapter_state,
    agreed_alpha,
    base_state,
    bundle_state,
    merged_state,
    parse_alpha,
    parse_config,
    peft_alpha,
    read_header,
    weights_header,
)
from models.checkpoints.progress import verified_progress
from models.checkpoints.released import config_of, read_released
from models.config import WanConfig
from models.wan import Wan

Flavour = Literal["full", "adapter", "bundle", "merged", "base"]
WITHOUT_ADAPTER: tuple[Flavour, ...] = ("full", "merged", "base")
FLAVOURS: tuple[Flavour, ...] = ("full", "adapter", "bundle", "merged", "base")

STUDENTS = {"generator": "student", "generator_ema": "student_ema"}
"""Folders of a training checkpoint by the level that released torch files have for the same."""

PAIR = re.compile(r"\.lora_[AB]\.weight$")
BLOCK = re.compile(r"\bblocks\.(\d+)\.(.+)$")

Container = Literal["safetensors", "torch", "dcp"]


class Layout(NamedTuple):
    """How a torch file nests and names its tensors."""

    level: str | None
    """The dict around them."""
    prefix: str
    """What stands before Wan's names."""
    flavours: tuple[Flavour, ...]
    """What is published in it."""


LAYOUTS = {
    "flat": Layout(None, "", FLAVOURS),
    "generator": Layout("generator", "model.", WITHOUT_ADAPTER),
    "generator_ema": Layout("generator_ema", "model.", WITHOUT_ADAPTER),
    "generator_lora": Layout("generator_lora", "", ("adapter",)),
}
"""By name; models/README.md says which released file has which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """Weights that were read."""

    where: str
    """Path of the weights, for messages."""
    flavour: Literal["full", "adapter", "bundle"]
    state: Mapping[str, Tensor]
    """Tensors under Wan's names or (adapter, bundle) peft's."""
    config: WanConfig | None
    """None where neither the file nor the caller says it; so too alpha."""
    alpha: float | None
    base: Path | None = None
    """Weights beneath an adapter."""
    iteration: int | None = None
    """Of a checkpoint of a training run: iterations done."""


def open_source(
    path: Path,
    *,
    key: str | None = None,
    base: Path | None = None,
    alpha: float | None = None,
    like: Path | None = None,
) -> WeightsSource:
    """Weights of any kind: a training checkpoint (a run's folder, or one of its states/), a DCP directory, or
    a file.

    key: "generator" or "generator_ema" of a training checkpoint (default: the latter), or the dict level of a
    file (None: there is
    no choice). base: weights beneath an adapter, default those that the file names. alpha, like: LoRA alpha,
    and a native checkpoint of the same model size, for sources that do not say.
    Raises FileNotFoundError; ValueError if that level is absent, if the tensors are no complete Wan
    transformer or adapter, or if alpha is not above 0 or another than the source's.
    """
    if alpha is not None and not 0 < alpha < float("inf"):
        raise ValueError(f"alpha is {alpha:g}, but LoRA's scale is alpha / rank; pass a number above 0.")
    checkpoint, iteration = _checkpoint(path), None
    if checkpoint is None:
        where, described, said = path, read_released(path, key), read_header(path)
    else:
        where = _student(checkpoint, key)
        said, iteration = _facts(checkpoint, f"models/{where.name}")
        described = read_released(where)
    flavour = described.found.flavour
    if flavour == "other":
        raise ValueError(
            f"{where} is no Wan transformer and no adapter of one (its {described.found.tensors} tensors "
            "have other names); name the weights themselves."
        )
    if flavour == "adapter" and said.alpha is None:
        said = said._replace(alpha=peft_alpha(where, described.state))
    alpha = agreed_alpha(where, said.alpha, alpha)
    hinted = said if like is None else read_header(like)
    if like is not None and hinted.config is None:
        raise ValueError(
            f"{like} does not say the size of its model; name a .safetensors file or a directory that this "
            "program wrote."
        )
    state = described.state
    if flavour != "full":
        loras = adapter_names(adapter_state(state))
        state = loras if flavour == "adapter" else bundle_state(base_state(state), loras)
    source = WeightsSource(
        where=str(where),
        flavour=flavour,
        state=state,
        config=said.config or described.found.config or hinted.config,
        alpha=hinted.alpha if alpha is None else alpha,
        base=base or (path.parent / said.base if said.base else None),
        iteration=iteration,
    )
    _check(source)
    return source


def check_base(source: WeightsSource) -> None:
    """Raise ValueError if a bundle's given base is not, but for rounding, what is beneath its adapter."""
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


def to_flavour(source: WeightsSource, flavour: Flavour) -> dict[str, Tensor]:
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
    if flavour == "merged":
        return merged_state(whole.state, alpha=_alpha(source))
    return base_state(whole.state) if flavour == "base" else dict(whole.state)


def header_of(source: WeightsSource, flavour: Flavour, base_name: str | None) -> dict[str, str]:
    """String table of a native checkpoint in that flavour. base_name: of an adapter's base, as seen from the
    file's folder.

    Raises ValueError if the model's size, the alpha or the base is not known.
    """
    config = source.config or _with_base(source).config
    if config is None:
        raise ValueError(
            f"{source.where} does not say how many heads its model has, and its tensors do not show it; "
            "name a native checkpoint of that size to go by (like)."
        )
    if flavour in WITHOUT_ADAPTER:
        return weights_header(config)
    if flavour == "bundle":
        return weights_header(config, alpha=_alpha(source))
    if base_name is None:
        raise ValueError(
            f"An adapter of {source.where} must say which weights are beneath it, and none are known; name "
            "them as the base."
        )
    return weights_header(config, alpha=_alpha(source), base=base_name)


def _alpha(source: WeightsSource) -> float:
    if source.alpha is None:
        raise ValueError(
            f"{source.where} does not say the alpha that its adapter was trained with; pass it (256 for "
            "RAVEN's and LongLive's)."
        )
    return source.alpha


def container_of(path: Path) -> Container:
    """What a name says will be written. Raises ValueError for another ending."""
    kinds: dict[str, Container] = {".safetensors": "safetensors", ".pt": "torch", ".pth": "torch", "": "dcp"}
    if path.suffix not in kinds:
        raise ValueError(
            f"{path} ends in {path.suffix}; expected .safetensors, .pt, .pth, or no ending for a "
            "distributed checkpoint directory."
        )
    return kinds[path.suffix]


def check_layout(layout: str, kind: Container, flavour: Flavour) -> None:
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
    path: Path, state: Mapping[str, Tensor], *, header: Mapping[str, str], layout: str = "flat"
) -> None:
    """Write tensors whole as the name says: .safetensors or DCP with header, a torch file in the layout."""
    kind, (level, prefix, _) = container_of(path), LAYOUTS[layout]
    if kind == "torch":
        write_torch(path, {f"{prefix}{name}": value for name, value in state.items()}, level=level)
    elif kind == "safetensors":
        write_safetensors(path, state, metadata=header)
    else:
        write_dcp(path, state, metadata=header)


def _checkpoint(path: Path) -> Path | None:
    """The folder with progress.json: `path` or its newest checkpoint; None if it is neither."""
    return next((f for f in (path, path / "checkpoint") if (f / "progress.json").is_file()), None)


def _facts(checkpoint: Path, part: str) -> tuple[Header, int | None]:
    """What progress.json says of the model, and the iterations done, once that and the files of `part` are as
    they were written.
    """
    path, said = checkpoint / "progress.json", verified_progress(checkpoint, part, earlier=True)
    facts = json_mapping(said.get("facts"), f"facts in {path}")
    alpha = parse_alpha(facts["alpha"], f"alpha in {path}") if "alpha" in facts else None
    return Header(parse_config(facts.get("config"), f"config in {path}"), alpha, None), said.get("iteration")


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
        what = "EMA of the generator, it was trained without" if name.endswith("_ema") else "generator"
        other = "generator" if name.endswith("_ema") else "generator_ema"
        raise ValueError(f"{checkpoint} has no {what} (models/{name}), found {kept}; ask for {other}.")
    return folder


def _with_base(source: WeightsSource) -> WeightsSource:
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
    whole = WeightsSource(
        where=f"{source.where} on {source.base}",
        flavour="bundle",
        state=bundle_state(beneath.state, source.state),
        config=source.config or beneath.config,
        alpha=source.alpha,
    )
    _check(whole)
    return whole


def _check(source: WeightsSource) -> None:
    """Raise ValueError unless this is a whole transformer of that size, or adapters that fit it."""
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


def _check_pairs(source: WeightsSource) -> None:
    """Raise ValueError unless adapters are fitting pairs of one rank, and alike in all blocks."""
    shapes = {name.replace(".default.", "."): tuple(value.shape) for name, value in source.state.items()}
    stems = {name.partition(".lora_")[0] for name in shapes if ".lora_" in name}
    for stem in sorted(stems):
        down, up = shapes.get(f"{stem}.lora_A.weight", ()), shapes.get(f"{stem}.lora_B.weight", ())
        layer = shapes.get(f"{stem}.base_layer.weight", ())
        fits = len(down) == len(up) == 2 and down[0] == up[1]
        if source.flavour == "bundle":
            fits = fits and layer == (up[0], down[1])
        if not fits:
            if source.flavour == "bundle" and not layer and down and up:
                raise ValueError(
                    f"{source.where} adapts {stem.removeprefix(PREFIX)}, and the model beneath has no such "
                    "layer (its layers are called blocks.0.self_attn.q and so on): rename the adapter's "
                    "tensors, or name the model that it was trained on."
                )
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
    found = {(int(match[1]), match[2]) for match in map(BLOCK.search, stems) if match}
    blocks = source.config.num_layers if source.config else 1 + max((block for block, _ in found), default=0)
    for block, name in itertools.product(range(blocks), sorted({name for _, name in found})):
        if (block, name) not in found:
            raise ValueError(
                f"{source.where} adapts {name} in other blocks and not in block {block}; its tensors are not "
                "all there."
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(other.dtype), other) or torch.equal(one, other.to(one.dtype))


def _article(flavour: str) -> str:
    return {
        "full": "a model without an adapter",
        "adapter": "an adapter alone",
        "bundle": "a base with its adapter",
    }[flavour]
