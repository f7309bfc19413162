"""Released checkpoints of the real models: what a file is, whether it is the right one, and the transformer
in it.

`read_released` describes a file, reading no data; `check_released` turns every known mix-up into an
error that says what to do; `open_released` makes the transformer, its parameters memory-mapped from the file.
What is published, and which files are not results, is written in baselines/methods.md.
"""

import fnmatch
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from models.checkpoints.containers import (
    GENERATORS,
    Unwrapped,
    load_strict,
    read_container,
    read_safetensors,
    some_of,
    unwrap,
)
from models.checkpoints.lora import (
    PREFIX,
    adapter_names,
    agreed_alpha,
    base_state,
    bundle_state,
    inner_wan,
    load_bundle,
    peft_alpha,
)
from models.config import DtypePolicy, WanConfig
from models.wan import Wan

log = logging.getLogger(__name__)

HEAD_SIZE = 128
"""Of every released Wan2.1 (1.3B: 12 heads, 14B: 40); the number of heads is in no tensor's shape."""

WAN_14B = WanConfig(dim=5120, ffn_dim=13824, num_layers=40, num_heads=40)
"""Wan2.1-T2V-14B, the teacher; WanConfig() itself is the 1.3B model."""

WAN_PATCH = (1, 2, 2)
"""Patch of every released Wan2.1: what gives a flattened patch-embedding weight its axes back."""

INITIALISATIONS = (
    "ode_init.pt",
    "causal_ode.pt",
    "causal_cd.pt",
    "ar_diffusion.pt",
    "wan_causal_ode_checkpoint_model_*",
    "*[TD]F_Diffusion_c*",
    "*TF-[ds]CM_c*",
)
"""Names of files and folders that hold a start of training in the format of a result
(baselines/methods.md#files-that-are-not-results)."""

BIDIRECTIONAL = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "rCM_Wan2.1_*",
)
NEEDS_ADAPTER = ("longlive_base.pt",)

PROBES = ("head.head.weight", "patch_embedding.weight", "blocks.0.self_attn.q.weight")
"""Tensors that tell two trainings apart: every method trains all of them."""

FOREIGN_ADAPTER = re.compile(
    r"^(lora|lycoris)_|\.(lora_down|lora_up|lora_mid|lora\.down|lora\.up|alpha|dora_scale|diff|diff_b)(\.weight)?$"
    r"|\.(hada|lokr|oft|boft|ia3|vera|glora)_"
)
"""Names of adapters by kohya, LyCORIS, DiffSynth and ComfyUI."""
DIFFUSERS = re.compile(r"(^|\.)(attn[12]\.to_(q|k|v|out)|condition_embedder)\.")
"""Names of Wan's layers in diffusers."""

Contents = Literal["full", "bundle", "adapter", "other"]
Role = Literal["student", "initialisation", "bidirectional"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A released LoRA on top of full weights, and what its file must hold."""

    path: Path | None
    """None if the weights are a bundle that has it inside."""
    key: str | None
    """Dict level; a file without any level is accepted too."""
    rank: int
    alpha: float
    tensors: int
    """Number of lora tensors."""
    targets: tuple[str, ...]
    """Name endings of the adapted linear layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A second full set of weights in the same file, for context passes (baselines/methods.md#sgf-plus)."""

    infix: str
    """What makes a name of the first set one of the second."""
    tensors: int
    """Number of tensors of the second set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Where a model's released weights are, and what they must be."""

    path: Path
    key: str | None
    """Dict level, None if the file decides."""
    adapter: Adapter | None = None
    memory: Memory | None = None
    config: WanConfig = field(default_factory=WanConfig)
    """The size, Wan2.1-T2V-1.3B by default."""
    role: Role = "student"
    """Files of the other roles are refused by their names where a student is wanted."""
    published_as: str | None = None
    """The file's name on the hub, checked beside its own."""
    not_these: Mapping[str, Path] = field(default_factory=dict)
    """Files it must not equal, by what they are ("an initialisation"); absent ones are passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a checkpoint file holds."""

    path: str
    level: tuple[str, ...]
    """Dict levels descended."""
    other_levels: dict[str, int]
    """Number of tensors in each level left aside."""
    prefixes: tuple[str, ...]
    """Parts of names that were removed."""
    tensors: int
    dtypes: dict[str, int]
    """Number of tensors of each dtype."""
    flavour: Contents
    """"other" if it is no Wan DiT."""
    config: WanConfig | None
    """Model size by the shapes; None for adapters, for others, and where the heads cannot be told."""
    rank: int | None
    """Of its lora tensors."""

    def summary(self) -> str:
        """One line for people and logs."""
        level = f"level {'/'.join(self.level)}" if self.level else "no dict level"
        others = f", left aside {_listed(self.other_levels)}" if self.other_levels else ""
        prefixes = f", removed {', '.join(self.prefixes)}" if self.prefixes else ""
        rank = f" of rank {self.rank}" if self.rank else ""
        size = f", {size_name(self.config)}" if self.config else ""
        return (
            f"{self.path}: {self.flavour}{rank}, {level}{others}{prefixes}, {self.tensors} tensors "
            f"({_listed(self.dtypes)}){size}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class DescribedState(NamedTuple):
    """A file's description, and its tensors with their canonical names (nothing of them was read yet)."""

    found: Found
    state: dict[str, Tensor]


def check_released(release: Release) -> list[Found]:
    """Descriptions of a model's weights (and adapter), once both are checked; reads a few MB at most.

    Raises FileNotFoundError, or ValueError for every mix-up of
    baselines/methods.md#files-that-are-not-results.
    """
    return [described.found for described in _checked(release, shapes_only=True)]


def open_released(release: Release, dtypes: DtypePolicy | None = None) -> Wan:
    """The transformer of released weights, on the CPU, in the dtypes of the file; cast it with models/wan.py
    cast_parameters.

    Parameters are the file's memory-mapped tensors, so that nothing is copied before it is cast or moved. A
    second set of weights becomes the network's `memory`. An adapter stays unfolded, as LongLive runs it
    (`fold_adapters` of models/checkpoints/lora.py folds it, a rounding apart:
    baselines/methods.md#longlive). What was found is logged. Raises as `check_released`.
    """
    base, *top = _checked(release, shapes_only=False)
    for described in (base, *top):
        log.info("%s", described.found.summary())
    with torch.device("meta"):
        wan = Wan(release.config, dtypes)
    adapter = release.adapter
    if adapter is None:
        state, *memory = _weight_sets(base, release.memory)
        load_strict(wan, state, where=base.found.path, assign=True)
        for second in memory:
            with torch.device("meta"):
                wan.memory = Wan(release.config, dtypes)
            load_strict(wan.memory, second, where=base.found.path, assign=True)
        return wan
    bundle = bundle_state(base.state, top[0].state) if top else base.state
    where = " with ".join(described.found.path for described in (base, *top))
    with torch.device("meta"):
        return inner_wan(load_bundle(wan, bundle, alpha=adapter.alpha, where=where, assign=True))


def _checked(release: Release, *, shapes_only: bool) -> list[DescribedState]:
    """Weights and, where it has a file of its own, adapter; shapes_only: maybe on the meta device."""
    adapter = release.adapter
    if release.role == "student":
        for name in (str(release.path), release.published_as or ""):
            _refuse_by_name(release.path, name, alone=adapter is None)
    base = read_released(release.path, release.key, shapes_only=shapes_only)
    bundle = adapter is not None and adapter.path is None
    for state in _weight_sets(base, release.memory):
        _check_full(base._replace(state=state), release.config, bundle=bundle)
    refuse_copies(release)
    if adapter is None:
        return [base]
    top = base if adapter.path is None else _describe_adapter(adapter, shapes_only=shapes_only)
    _check_adapter(top, adapter, release.config)
    return [base] if adapter.path is None else [base, top]


def _weight_sets(base: DescribedState, memory: Memory | None) -> list[dict[str, Tensor]]:
    """The state dict, or the two that a file with a second set holds, both with the names of the first.

    Raises ValueError if the second set is not there, or has another number of tensors.
    """
    if memory is None:
        return [base.state]
    part = re.compile(rf"(^|\.){memory.infix}")
    second = {
        part.sub(r"\1", name, count=1): value for name, value in base.state.items() if part.search(name)
    }
    if len(second) != memory.tensors:
        raise ValueError(
            f"{base.found.path} has {len(second)} tensors of a second set of weights (names with "
            f"{memory.infix}) among its {base.found.tensors}, expected {memory.tensors}; without them it "
            "would be another method, so fetch the file that the baseline's YAML names."
        )
    return [
        {name: value for name, value in base.state.items() if not part.search(name)},
        _with_patch_axes(second),
    ]


def refuse_copies(release: Release) -> None:
    """Raise ValueError if the weights equal one of the release's `not_these`, however those are packed or
    rounded.

    Compared on three tensors that every training changes, in bfloat16. Directories are not compared: nothing
    is published as one.
    """
    others = {what: path for what, path in release.not_these.items() if path.is_file()}
    if not others or release.path.is_dir():
        return
    (own,) = _probes_in(release.path, [release.key])
    for what, other in others.items():
        if any(all(_same(own, theirs, name) for name in PROBES) for theirs in _probes_in(other)):
            raise ValueError(
                f"{release.path} holds the same tensors as {other}, which is {what} and not the weights of "
                "this method; fetch the released file named in the baseline's YAML."
            )


def config_of(state: Mapping[str, Tensor], *, num_heads: int | None = None) -> WanConfig | None:
    """Model size by the shapes of Wan's tensors; None if it is no Wan DiT.

    num_heads: None takes a head size of 128, and answers None if dim is no multiple of it.
    """
    needed = (
        "patch_embedding.weight",
        "text_embedding.0.weight",
        "time_embedding.0.weight",
        "head.head.weight",
    )
    if any(name not in state for name in (*needed, "blocks.0.ffn.0.weight")):
        return None
    patch = state["patch_embedding.weight"].shape
    dim = int(patch[0])
    if len(patch) not in (2, 5) or (num_heads is None and dim % HEAD_SIZE):
        return None
    height, width = (int(patch[3]), int(patch[4])) if len(patch) == 5 else WAN_PATCH[1:]
    layers = {int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    return WanConfig(
        dim=dim,
        ffn_dim=int(state["blocks.0.ffn.0.weight"].shape[0]),
        num_layers=max(layers) + 1,
        num_heads=num_heads or dim // HEAD_SIZE,
        freq_dim=int(state["time_embedding.0.weight"].shape[1]),
        text_dim=int(state["text_embedding.0.weight"].shape[1]),
        in_channels=int(patch[1]) if len(patch) == 5 else int(patch[1]) // (height * width),
        out_channels=int(state["head.head.weight"].shape[0]) // (height * width),
        patch_height=height,
        patch_width=width,
    )


def size_name(config: WanConfig) -> str:
    """A model size in words."""
    kind = {(1536, 30): "Wan2.1 1.3B", (5120, 40): "Wan2.1 14B"}.get((config.dim, config.num_layers), "Wan")
    channels = "" if config.in_channels == config.out_channels else f", {config.in_channels} input channels"
    return f"{kind} (dim {config.dim}, {config.num_layers} blocks{channels})"


def read_released(path: Path | str, key: str | None = None, *, shapes_only: bool = False) -> DescribedState:
    """What is in a checkpoint of any format, and its tensors.

    Tensors of files are memory-mapped, and read when they are used. shapes_only: they may be on the meta
    device. key: the dict level to look into, None if there is no choice. Raises FileNotFoundError; ValueError
    for a file that cannot be read, an absent level, or a choice of levels that the key does not make.
    """
    return _described(path, unwrap(read_container(path, shapes_only=shapes_only), key=key, where=str(path)))


def _describe_adapter(adapter: Adapter, *, shapes_only: bool) -> DescribedState:
    """An adapter's file: under its key, or without any level."""
    assert adapter.path is not None, "a bundle has no adapter file"
    if not adapter.path.exists():
        raise FileNotFoundError(
            f"There is no adapter at {adapter.path}, and the base weights alone are not this method; run "
            "`make fetch`."
        )
    held = read_container(adapter.path, shapes_only=shapes_only)
    levels = any(isinstance(value, Mapping) for value in held.values())
    described = _described(
        adapter.path, unwrap(held, key=adapter.key if levels else None, where=str(adapter.path))
    )
    return DescribedState(described.found, adapter_names(described.state))


def _described(path: Path | str, unwrapped: Unwrapped) -> DescribedState:
    """Raises ValueError for names that only other programs use, which nothing here computes with."""
    state = _with_patch_axes(unwrapped.state)
    if foreign := sorted(name for name in state if FOREIGN_ADAPTER.search(name)):
        raise ValueError(
            f"{path} is an adapter under another program's names, or of another kind than LoRA "
            f"({some_of(foreign)}), expected pairs lora_A.weight and lora_B.weight as peft names them; save "
            "it so with the program that made it, or merge it there and use the merged weights."
        )
    if foreign := sorted(name for name in state if DIFFUSERS.search(name)):
        raise ValueError(
            f"{path} has a transformer under the names of diffusers ({foreign[0]}), expected Wan's own; take "
            "the file of the model's original repository."
        )
    loras = {name: value for name, value in state.items() if ".lora_" in name}
    plain = {name.removeprefix(PREFIX).replace(".base_layer.", "."): value for name, value in state.items()}
    config = config_of(plain)
    flavour: Contents = "adapter" if loras and len(loras) == len(state) else "bundle" if loras else "full"
    if flavour == "full" and "patch_embedding.weight" not in plain:
        flavour = "other"
    ranks = {int(value.shape[0]) for name, value in loras.items() if ".lora_A." in name}
    found = Found(
        path=str(path),
        level=unwrapped.level,
        other_levels=unwrapped.others,
        prefixes=unwrapped.prefixes,
        tensors=len(state),
        dtypes=dict(Counter(str(value.dtype).removeprefix("torch.") for value in state.values())),
        flavour=flavour,
        config=config,
        rank=ranks.pop() if len(ranks) == 1 else None,
    )
    return DescribedState(found, state)


def _with_patch_axes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with a flattened patch embedding [dim, C * 4] as [dim, C, 1, 2, 2]."""
    whole = dict(state)
    for name in ("patch_embedding.weight", f"{PREFIX}patch_embedding.weight"):
        if name in whole and whole[name].dim() == 2:
            whole[name] = whole[name].unflatten(1, (-1, *WAN_PATCH))
    return whole


def _refuse_by_name(path: Path, name: str, *, alone: bool) -> None:
    for part in PurePosixPath(name).parts:
        if any(fnmatch.fnmatch(part, pattern) for pattern in INITIALISATIONS):
            raise ValueError(
                f"{path} is an initialisation checkpoint by its name ({part}): it has the format of a "
                "trained student and makes much worse video; use the released student that the baseline's "
                "YAML names."
            )
        if any(fnmatch.fnmatch(part, pattern) for pattern in BIDIRECTIONAL):
            raise ValueError(
                f"{path} is the bidirectional Wan model by its name ({part}): it loads into a causal "
                "student but is not one; use the released student that the baseline's YAML names."
            )
        if alone and part in NEEDS_ADAPTER:
            raise ValueError(
                f"{path} is LongLive's base ({part}), which is not the published model without its LoRA; "
                "name models/lora.pt as the adapter."
            )


def _check_full(base: DescribedState, config: WanConfig, *, bundle: bool) -> None:
    """The weights are full (or a bundle, where one is expected) and of the expected size, name by name."""
    found = base.found
    if found.flavour == "adapter":
        raise ValueError(
            f"{found.path} holds only the {found.tensors} tensors of a LoRA of rank {found.rank} where "
            "full weights belong; name it as the adapter, and the base it was trained on as the weights."
        )
    if found.flavour == "bundle" and not bundle:
        raise ValueError(
            f"{found.path} is a base together with a LoRA of rank {found.rank} ({found.tensors} tensors) "
            "where plain weights belong; use the merged file, or say that the adapter is in this file and "
            "what its alpha is."
        )
    if found.flavour == "full" and bundle:
        raise ValueError(
            f"{found.path} is said to have its LoRA inside, but has no lora tensor among its "
            f"{found.tensors}; name the adapter's file."
        )
    if found.config and (found.config.dim, found.config.num_layers) != (config.dim, config.num_layers):
        raise ValueError(
            f"{found.path} is {size_name(found.config)}, expected {size_name(config)}; use the released "
            "file of the expected size."
        )
    with torch.device("meta"):
        wan = Wan(config)
    plain = {name: value.to("meta") for name, value in base_state(base.state).items()}
    load_strict(wan, plain, where=found.path, assign=True)


def _check_adapter(top: DescribedState, adapter: Adapter, config: WanConfig) -> None:
    """The lora tensors have the declared count, rank and targets, and a pair for every such layer."""
    found = top.found
    loras = {name.replace(".default.", "."): value for name, value in top.state.items() if ".lora_" in name}
    if found.flavour in ("full", "other"):
        raise ValueError(
            f"{found.path} has no lora tensor among its {found.tensors}, so it is no adapter; name full "
            "weights as the weights and the released LoRA as the adapter."
        )
    if found.flavour == "bundle" and adapter.path is not None:
        raise ValueError(
            f"{found.path} is a base together with its LoRA where an adapter alone belongs; name it as "
            "weights and as adapter both."
        )
    if adapter.path is not None:
        agreed_alpha(adapter.path, peft_alpha(adapter.path, top.state), adapter.alpha)
    if found.rank != adapter.rank:
        raise ValueError(
            f"{found.path} has LoRA rank {found.rank or 'that differs between layers'}, expected "
            f"{adapter.rank}; use the released adapter."
        )
    with torch.device("meta"):
        linears = {name for name, layer in Wan(config).named_modules() if isinstance(layer, torch.nn.Linear)}
    expected = {name for name in linears if any(_ends(name, target) for target in adapter.targets)}
    adapted = {re.sub(r"\.lora_[AB]\.weight$", "", name).removeprefix(PREFIX) for name in loras}
    missing, unexpected = sorted(expected - adapted), sorted(adapted - expected)
    if missing or unexpected or len(loras) != adapter.tensors:
        raise ValueError(
            f"{found.path} adapts {len(adapted)} layers with {len(loras)} tensors, expected "
            f"{len(expected)} layers with {adapter.tensors}: missing {some_of(missing)}, unexpected "
            f"{some_of(unexpected)}; use the adapter that was trained on these weights."
        )


def _probes_in(path: Path, keys: Sequence[str | None] = ()) -> list[dict[str, Tensor]]:
    """State dicts of a file, or at least the probes of them, with their data: those under `keys`, or by
    default of every generator level, or of the file itself.
    """
    held = (
        dict(read_safetensors(path, endings=PROBES))
        if path.suffix == ".safetensors"
        else read_container(path)
    )
    keys = keys or [name for name in GENERATORS if isinstance(held.get(name), Mapping)] or [None]
    return [_described(path, unwrap(held, key=key, where=str(path))).state for key in keys]


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str) -> bool:
    return (
        name in one
        and name in other
        and one[name].shape == other[name].shape
        and torch.equal(one[name].to(torch.bfloat16), other[name].to(torch.bfloat16))
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
