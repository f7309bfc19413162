"""Weight files: reading every container of the field, strict loading, hashing, safetensors and distributed checkpoints.

A state dict is a flat mapping from Wan's names to tensors (raven.md 14.1). Nothing is ever loaded partly: missing and unexpected
names are one sentence and an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")
CONTAINERS = ("generator", "generator_ema", "model")


def normalise_keys(
    state: Mapping[str, object], *, key: str | None = None, where: str = "the file"
) -> dict[str, Tensor]:
    """Flat state dict with Wan's names from any container of the field.

    key: the dict level to take; None descends through "generator", "generator_ema" and "model" in that order of preference.
    Removes every FSDP, compile and activation-checkpoint wrapper name and one leading "model.".
    Raises ValueError if the level is missing, something is no tensor, or two names fall together.
    Source: baselines.md 1.1, raven.md 14.2.
    """
    if key is not None and key not in state:
        raise ValueError(
            f"{where} has no level {key!r}, found {_some(state)}; set the key of the weights to one of these."
        )
    level: Mapping[str, object] = state if key is None else _mapping(state[key], f"{where}[{key!r}]")
    while inner := [name for name in CONTAINERS if isinstance(level.get(name), Mapping)]:
        level = _mapping(level[inner[0]], where)
    flat: dict[str, Tensor] = {}
    for name, value in level.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{where} holds {type(value).__name__} under {name!r}, expected tensors; name the level to take."
            )
        plain = name
        for wrapper in WRAPPERS:
            plain = plain.replace(wrapper, "")
        plain = plain.removeprefix("model.")
        if plain in flat:
            raise ValueError(
                f"{where} has two tensors named {plain!r} once wrapper prefixes are removed; the file is ambiguous."
            )
        flat[plain] = value
    return flat


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, where: str, assign: bool = False) -> None:
    """Copy `state` into `module`; every name and shape must agree.

    assign: make the tensors of `state` themselves the module's (no copy, their dtype), for a module on the meta device.
    Raises ValueError with one sentence that lists missing, unexpected and wrongly shaped tensors.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shaped = sorted(
        f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}"
        for n in own.keys() & state.keys()
        if state[n].shape != own[n].shape
    )
    wrong = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shaped))
        if names
    ]
    if wrong:
        raise ValueError(
            f"{where} does not fit {type(module).__name__}, which has {len(own)} tensors: {', '.join(wrong)}; "
            "check the model size and the key of the weights."
        )
    module.load_state_dict(dict(state), strict=True, assign=assign)


def read_weights(path: Path | str, *, key: str | None = None) -> dict[str, Tensor]:
    """Normalised state dict of a .safetensors file, a sharded .safetensors.index.json, a torch file or a DCP directory.

    Torch files are read with weights_only, memory-mapped. Raises FileNotFoundError, ValueError for another kind of file.
    """
    path = Path(path)
    if path.is_dir():
        return normalise_keys(read_dcp(path), key=key, where=str(path))
    if not path.is_file():
        raise FileNotFoundError(f"There are no weights at {path}; run the stage that makes or fetches them.")
    if path.name.endswith(".safetensors"):
        return normalise_keys(read_safetensors(path), key=key, where=str(path))
    if path.name.endswith(".safetensors.index.json"):
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        whole: dict[str, Tensor] = {}
        for shard in shards:
            whole.update(read_safetensors(path.parent / shard))
        return normalise_keys(whole, key=key, where=str(path))
    if path.suffix in (".pt", ".pth", ".bin"):
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return normalise_keys(state, key=key, where=str(path))
    raise ValueError(
        f"{path} is no weight file this program reads; expected .safetensors, .safetensors.index.json, .pt, .pth, "
        ".bin or a distributed checkpoint directory."
    )


def read_library_weights(path: Path | str) -> dict[str, Tensor]:
    """State dict of one weight file, or of a folder of transformers or diffusers (a .safetensors or an index of shards).

    Raises FileNotFoundError, ValueError if the folder holds no safetensors or several variants.
    """
    path = Path(path)
    if not path.is_dir():
        return read_weights(path)
    files = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(
            f"{path} holds {len(files)} sets of safetensors{f' ({_some(f.name for f in files)})' if files else ''}, "
            "expected one; pass the component's own folder (text_encoder/ or vae/), or the file itself."
        )
    return read_weights(files[0])


def read_safetensors(path: Path | str) -> dict[str, Tensor]:
    """All tensors of one .safetensors file, names as they are, on the CPU."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)


def read_metadata(path: Path | str) -> dict[str, str]:
    """The string table in the header of one .safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def write_safetensors(
    path: Path | str,
    state: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a .safetensors file whole or not at all, names sorted; floating tensors become `dtype` if one is given.

    Raises ValueError, naming the tensor, if a value is not finite once stored.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored: dict[str, Tensor] = {}
    for name in sorted(state):
        value = state[name].detach().cpu()
        value = value.to(dtype) if dtype is not None and value.is_floating_point() else value
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{name} has values that are not finite in {value.dtype}, so {path} was not written."
            )
        stored[name] = value.contiguous().clone()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file(stored, temporary, metadata=dict(metadata or {}))
    os.replace(temporary, path)


def write_dcp(path: Path | str, state: Mapping[str, Tensor]) -> None:
    """Write a distributed checkpoint directory through a temporary name, then rename; an old one at `path` is replaced."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    dcp.save(dict(state), checkpoint_id=temporary, no_dist=True)
    replace_directory(temporary, path)


def replace_directory(temporary: Path, path: Path) -> None:
    """Put the finished directory `temporary` at `path`; what was there is removed only after the new one is in place."""
    old = path.with_name(f"{path.name}.{os.getpid()}.old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    shutil.rmtree(old, ignore_errors=True)


def read_dcp(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a distributed checkpoint directory, read by one process.

    Raises FileNotFoundError if `.metadata` is missing (an unfinished checkpoint), ValueError if it holds other things than tensors.
    """
    path = Path(path)
    if not (path / ".metadata").is_file():
        raise FileNotFoundError(
            f"{path} has no .metadata, so it is no finished distributed checkpoint; train again or remove it."
        )
    reader = dcp.FileSystemReader(path)
    state: dict[str, Tensor] = {}
    for name, entry in reader.read_metadata().state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise ValueError(
                f"{path} holds something other than a tensor under {name!r}; expected a flat state dict."
            )
        state[name] = torch.empty(entry.size, dtype=entry.properties.dtype)
    dcp.load(state, storage_reader=reader, no_dist=True)
    return state


def file_sha256(path: Path | str) -> str:
    """Sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Sha256 over name, dtype, shape and bytes of every tensor, in name order: the same whatever file holds them."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {type(value).__name__}, expected a mapping of names to tensors.")
    return value


def _some(names: object) -> str:
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    return ", ".join(listed[:5]) + (f", and {len(listed) - 5} more" if len(listed) > 5 else "")
