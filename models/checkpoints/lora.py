"""LoRA adapters on the Wan transformer (peft), and their three stored flavours: adapter, bundle, merged.

Key layouts are those of the released files (models/backbone.md#adapters): adapter
"base_model.model.<module>.lora_A.weight"; bundle "base_model.model.<module>.base_layer.weight" and
"....lora_A.default.weight"; merged has Wan's own names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from models.checkpoints.containers import json_mapping, load_strict, read_metadata, read_weights, some_of
from models.config import DtypePolicy, WanConfig
from models.wan import Wan

if TYPE_CHECKING:
    from peft import PeftModel

PREFIX = "base_model.model."
PEFT_HARMLESS = (
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora",
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_dropout", "megatron_core", "peft_version", "qalora_group_size", "revision",
    "target_modules", "task_type",
)  # fmt: skip
"""Keys of peft's adapter_config.json that are read here, or change nothing once an adapter is trained."""
MERGE_IT = "merge it into its base with peft, and use the merged weights"
PEFT_PLAIN: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, "true", "gaussian", "orthogonal", "eva"),
    "loftq_config": ({},),
}
"""Values that leave an adapter plain; every other key must be absent, empty or false. An initialisation that
changes the base (pissa, olora, corda, loftq) is none of them."""
BLOCK_LINEARS = (*tuple(f"{a}_attn.{p}" for a in ("self", "cross") for p in "qkvo"), "ffn.0", "ffn.2")
OUTER_LINEARS = (
    "text_embedding.0",
    "text_embedding.2",
    "time_embedding.0",
    "time_embedding.2",
    "time_projection.1",
    "head.head",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Of fresh adapters; what they add is scaled by alpha / rank."""

    rank: int
    alpha: float
    outer: bool = True
    """Whether the six linears outside the blocks are adapted too, as CM-GRPO does."""
    layers: tuple[str, ...] = ()
    """Name endings of the adapted linears, in place of all those; as a stored adapter has them."""


def add_lora(wan: Wan, settings: LoraSettings, *, seed: int) -> PeftModel:
    """Wrap `wan` with fresh adapters (A Kaiming-uniform, B zero), so that the wrapped model equals `wan`.

    Only adapter parameters require grad afterwards. `inner_wan` gives the callable transformer back.
    """
    # Here, since peft brings transformers: two seconds that every job without adapters would wait.
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    targets = settings.layers or BLOCK_LINEARS + (OUTER_LINEARS if settings.outer else ())
    pattern = r"(.*\.)?(" + "|".join(re.escape(name) for name in targets) + ")"
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=cast(int, settings.alpha),
        lora_dropout=0.0,
        bias="none",
        target_modules=pattern,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = cast(PeftModel, get_peft_model(cast(Any, wan), config))
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            # inputs come in the products' dtype (models/fused.py apply_linear); peft would widen them for
            # autocast to narrow them again
            cast(Any, module).cast_input_dtype_enabled = False
            cast(Any, module).is_fused = wan.dtypes.fused  # `adapted_weight` of models/fused.py
    return wrapped


def inner_wan(wrapped: PeftModel) -> Wan:
    """The transformer inside a wrapped model, adapters active; its methods run with LoRA."""
    return cast(Wan, wrapped.base_model.model)


def adapter_state(bundle: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapter flavour from a bundle: the lora tensors, without the adapter's name."""
    return {name.replace(".default.", "."): value for name, value in bundle.items() if ".lora_" in name}


def adapter_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A stored adapter under the released names: with peft's prefix, without the adapter's name."""
    return {
        f"{PREFIX}{name.removeprefix(PREFIX)}".replace(".default.", "."): value
        for name, value in state.items()
    }


def base_state(bundle: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights beneath a bundle's adapter, without it, under Wan's names."""
    return {
        name.removeprefix(PREFIX).replace(".base_layer.", "."): value
        for name, value in bundle.items()
        if ".lora_" not in name
    }


def bundle_state(base: Mapping[str, Tensor], adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bundle from base weights with Wan's names and an adapter; the tensors are shared, not copied."""
    loras = _active(adapter)
    adapted = {name.partition(".lora_")[0].removeprefix(PREFIX) for name in loras}
    bundle = {}
    for name, value in base.items():
        module, _, last = name.rpartition(".")
        bundle[f"{PREFIX}{module}.base_layer.{last}" if module in adapted else f"{PREFIX}{name}"] = value
    return bundle | loras


def _active(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An adapter's tensors under the names that peft gives them in a model: with the adapter's name."""
    return {re.sub(r"\.lora_([AB])\.weight$", r".lora_\1.default.weight", n): v for n, v in adapter.items()}


def merged_state(bundle: Mapping[str, Tensor], *, alpha: float) -> dict[str, Tensor]:
    """Merged flavour of a bundle: W + (alpha / rank) B A in float32, in W's dtype, under Wan's names."""
    merged = base_state(bundle)
    for name in (name for name in bundle if ".lora_A." in name):
        down, up = bundle[name].float(), bundle[name.replace(".lora_A.", ".lora_B.")].float()
        plain = f"{name.partition('.lora_A.')[0].removeprefix(PREFIX)}.weight"
        whole = merged[plain].float() + (alpha / down.shape[0]) * (up @ down)
        merged[plain] = whole.to(merged[plain].dtype)
    return merged


def load_bundle(
    wan: Wan, bundle: Mapping[str, Tensor], *, alpha: float, where: str, assign: bool = False
) -> PeftModel:
    """Wrap `wan` and fill base and adapter from a bundle. assign: as in `load_strict`, `wan` on meta."""
    wrapped = add_lora(wan, _settings_of(bundle, alpha), seed=0)
    load_strict(wrapped, bundle, where=where, assign=assign)
    return wrapped


class Header(NamedTuple):
    """What a native checkpoint says about itself, in the string table that its container carries."""

    config: WanConfig | None
    """Size of the model; None only where this program did not write the file."""
    alpha: float | None
    """LoRA alpha of an adapter or bundle."""
    base: str | None
    """File name of the weights beneath an adapter, as seen from the adapter's folder."""


def weights_header(
    config: WanConfig, *, alpha: float | None = None, base: str | None = None
) -> dict[str, str]:
    """The string table of a native checkpoint; alpha, base: see `Header`."""
    header = {"config": json.dumps(config.to_dict(), sort_keys=True)}
    if alpha is not None:
        header["lora_alpha"] = json.dumps(alpha)
    return header if base is None else {**header, "base": base}


def read_header(path: Path) -> Header:
    """The header of a weight file or directory, empty without one. Raises ValueError if it is damaged."""
    table = read_metadata(path) if path.is_dir() or path.suffix == ".safetensors" else {}
    alpha, where = table.get("lora_alpha"), f"in the header of {path}"
    return Header(
        parse_config(table["config"], f"config {where}") if "config" in table else None,
        None if alpha is None else parse_alpha(alpha, f"lora_alpha {where}"),
        table.get("base"),
    )


def parse_config(value: object, where: str) -> WanConfig:
    """A model size from JSON or plain values. Raises ValueError, naming `where`, if it is none."""
    sizes = json_mapping(value, where)
    known = {field.name for field in fields(WanConfig)}
    wrong = sorted(sizes.keys() - known) + sorted(
        name for name, size in sizes.items() if name in known and not isinstance(size, int | float)
    )
    if wrong or "dim" not in sizes:
        raise ValueError(
            f"{where} is no model size of this program ({', '.join(wrong) or 'dim'} "
            f"{'unknown or no number' if wrong else 'absent'}); it is damaged or of another version."
        )
    return WanConfig(**sizes)


def parse_alpha(value: object, where: str) -> float:
    """A LoRA alpha from JSON or a number. Raises ValueError, naming `where`, if it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} is {value!r}, expected a number; the file is damaged.") from error


def peft_alpha(path: Path, adapter: Mapping[str, Tensor]) -> float | None:
    """The alpha of an adapter's file by peft's adapter_config.json beside it, so that alpha / rank is its
    scale, rsLoRA or not; None without one.

    Raises ValueError for an adapter that W + scale B A with one scale does not describe (another kind than
    LoRA, DoRA, trained biases or whole modules, a base that was changed first, scales that differ between
    layers), and for the config of another adapter.
    """
    beside = path.parent / "adapter_config.json"
    if not beside.is_file():
        return None
    config = json_mapping(beside.read_bytes(), str(beside))
    odd = [
        name
        for name, value in config.items()
        if value and name not in PEFT_HARMLESS and value not in PEFT_PLAIN.get(name, ())
    ]
    if odd:
        raise ValueError(
            f"{beside} sets {odd[0]} to {str(config[odd[0]])[:80]!r}, which is more than W + scale B A; "
            f"{MERGE_IT}."
        )
    scales = set()
    for name in (name for name in adapter if ".lora_A." in name):
        layer, rank = name.partition(".lora_A.")[0].removeprefix(PREFIX), int(adapter[name].shape[0])
        alpha, said = _of_layer(config, "alpha", layer, beside), _of_layer(config, "rank", layer, beside)
        if said != rank:
            raise ValueError(
                f"{beside} says rank {said:g} of {layer}, and {path} has {rank}; they belong to different "
                "adapters."
            )
        scales.add(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)
    if len(scales) != 1:
        raise ValueError(
            f"{beside} gives layers the scales {some_of(f'{scale:g}' for scale in sorted(scales))}, expected "
            f"one for all; {MERGE_IT}."
        )
    return scales.pop() * rank


def _of_layer(config: Mapping[str, Any], what: str, layer: str, where: Path) -> float:
    """The alpha or rank that peft's config gives a layer: that of the first pattern that its name ends in."""
    patterns, key = config.get(f"{what}_pattern") or {}, {"alpha": "lora_alpha", "rank": "r"}[what]
    for pattern, value in json_mapping(patterns, f"{what}_pattern of {where}").items():
        if not re.fullmatch(r"[\w.]+", pattern):
            raise ValueError(
                f"{where} has the {what}_pattern {pattern[:80]!r}, expected names of layers; {MERGE_IT}."
            )
        if f".{layer}".endswith(f".{pattern}"):
            return _above_zero(value, f"{what}_pattern {pattern}", where)
    return _above_zero(config.get(key), key, where)


def _above_zero(value: object, what: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"{where} has {what} {value!r}, expected a number above 0; the file is damaged.")
    return float(value)


def agreed_alpha(path: Path, said: float | None, given: float | None) -> float | None:
    """The alpha that a file says, or else the one that is given. Raises ValueError if they are two."""
    if said is not None and given is not None and not math.isclose(said, given, rel_tol=1e-6):
        raise ValueError(
            f"{path} says that its scale is that of alpha {said:g} over its rank, found alpha {given:g}; "
            "leave alpha out."
        )
    return given if said is None else said


def is_native_checkpoint(path: Path) -> bool:
    """Whether this program wrote a .safetensors file or DCP directory: it says the size of the model."""
    readable = path.is_dir() or (path.suffix == ".safetensors" and path.is_file())
    return readable and "config" in read_metadata(path)


def open_native(path: Path | str, dtypes: DtypePolicy | None = None, *, base: Path | None = None) -> Wan:
    """The float32 transformer of a native checkpoint, whichever flavour: full, merged, bundle, or adapter
    with its base.

    Size, alpha and the base's name come from the header; base overrides the latter (default: that name beside
    the file). Adapters are active, not folded in. Raises ValueError if the header has no model size or the
    tensors do not fit.
    """
    path = Path(path)
    header = read_header(path)
    if header.config is None:
        raise ValueError(
            f"{path} has no model size in its header, so it was not written by this program; convert it "
            "first."
        )
    state = {name: value.float() for name, value in read_weights(path).items()}
    wan = Wan(header.config, dtypes)
    if header.alpha is None:
        load_strict(wan, state, where=str(path))
        return wan
    if header.base is None:
        return inner_wan(load_bundle(wan, state, alpha=header.alpha, where=str(path)))
    beneath = open_native(base or path.parent / header.base, dtypes)
    bundle = bundle_state(beneath.state_dict(), state)
    return inner_wan(load_bundle(beneath, bundle, alpha=header.alpha, where=str(path)))


def fold_adapters(wan: Wan) -> Wan:
    """The same transformer, its adapters folded in place: W + (alpha / rank) B A, in float32."""
    if not any(".lora_" in name for name, _ in wan.named_parameters()):
        return wan
    from peft.tuners.lora import LoraLayer  # here, as in add_lora

    for name, layer in list(wan.named_modules()):
        if isinstance(layer, LoraLayer):
            cast(nn.Module, layer).float()
            layer.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(wan.get_submodule(parent), leaf, layer.get_base_layer())
    return wan


def _settings_of(state: Mapping[str, Tensor], alpha: float) -> LoraSettings:
    ranks = {value.shape[0] for name, value in state.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise ValueError(
            f"An adapter must have one rank in all its lora_A tensors, found {sorted(ranks)}; the file is "
            "no such adapter."
        )
    return LoraSettings(rank=ranks.pop(), alpha=alpha, layers=adapted_layers(state))


def adapted_layers(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Name endings of the layers that a LoRA's tensors adapt, the same in every block."""
    layers = (name.partition(".lora_")[0].removeprefix(PREFIX) for name in state if ".lora_" in name)
    return tuple(dict.fromkeys(re.sub(r"^blocks\.\d+\.", "", layer) for layer in layers))
