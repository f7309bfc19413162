"""Weight files: reading every container of the field, strict loading, hashing; writing safetensors, torch
files and distributed checkpoints.

A state dict is a flat mapping from Wan's names to tensors (models/backbone.md#state-dict). Nothing is ever
loaded partly: missing and unexpected names are an error.
"""

import enum
import hashlib
import json
import os
import pickle
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_dcp
from torch.distributed.checkpoint.state_dict_saver import save as save_dcp

from evaluation.files import file_sha256, load_json, write_text, written_whole

WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")
PREFIXES = ("model.", "net.", "diffusion_model.", "transformer.")
"""What wrappers of the network, and other trainers of LoRA, put before Wan's names."""
GENERATORS = ("generator", "generator_ema", "generator_lora")
CONTAINERS = (*GENERATORS, "model")
LEVELS = (*GENERATORS, "critic")
"""First parts of dotted names that stand for dict levels where a format has no nesting (DCP, safetensors)."""

HEADER = "header.json"
"""File of a DCP directory of ours with the string table that .safetensors files have in their header."""

STORED_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of dtypes in the header of a .safetensors file."""


OTHER_CONTENT = {
    b"version https://git-lfs": "is a pointer of Git LFS, whose file `git lfs pull` brings",
    b"<": "is a web page that was saved in its place; fetch it again",
    b"PK\3\4": "is a zip, as torch files are; name it .pt",
}
"""What lies where a .safetensors file should, by its first bytes."""

DAMAGE = (
    pickle.UnpicklingError, struct.error, ArithmeticError, AssertionError, AttributeError, EOFError,
    LookupError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What reading a damaged or hostile pickle without its code may raise."""


DCP_CLASSES = {
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
        "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size", *(name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype))),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "collections": ("OrderedDict",),
}  # fmt: skip
"""What a DCP directory's .metadata may hold: it is a pickle, which torch reads without restriction."""


class Unwrapped(NamedTuple):
    """A flat state dict with Wan's names (or peft's), and what was around it."""

    state: dict[str, Tensor]
    level: tuple[str, ...]
    """Dict levels descended."""
    others: dict[str, int]
    """Number of tensors in each level that was left."""
    prefixes: tuple[str, ...]
    """Parts of names that were removed."""


def unwrap(state: Mapping[str, object], *, key: str | None = None, where: str = "the file") -> Unwrapped:
    """Flat state dict from any container of the field.

    key: the dict level to take; None descends through "generator", "generator_ema", "generator_lora" and
    "model" as long as there is no choice. Removes every FSDP, compile and activation-checkpoint wrapper name
    and leading "model." and "net.". Raises ValueError if the level is missing (naming those the file has), if
    None leaves a choice, if something is no tensor, or if two names fall together.
    The containers of published files are listed in models/backbone.md#weight-files.
    """
    nested = _nested(state, (*LEVELS, *([key] if key else [])))
    held = {name: _count(value) for name, value in nested.items() if isinstance(value, Mapping)}
    if key is not None and not isinstance(nested.get(key), Mapping):
        raise ValueError(_no_level(key, held, nested, where))
    level = [] if key is None else [key]
    current: Mapping[str, object] = nested if key is None else _mapping(nested[key], where)
    while inner := [name for name in CONTAINERS if isinstance(current.get(name), Mapping)]:
        choice = [name for name in inner if name in GENERATORS]
        if len(choice) > 1:
            raise ValueError(
                f"{where} has the levels {', '.join(choice)}, and which one is the model cannot be "
                "guessed; set the key of the weights to one of them."
            )
        level.append(inner[0])
        current = _mapping(current[inner[0]], where)
    flat: dict[str, Tensor] = {}
    removed: dict[str, None] = {}
    for name, value in current.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{where} holds {type(value).__name__} under {name!r}, expected tensors; name the level to "
                "take."
            )
        plain = _plain(name, removed)
        if plain in flat:
            raise ValueError(
                f"{where} has two tensors named {plain!r} once wrapper prefixes are removed; the file is "
                "ambiguous."
            )
        flat[plain] = value
    others = {name: count for name, count in held.items() if name not in level[:1] and count}
    return Unwrapped(flat, tuple(level), others, tuple(removed))


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, where: str, assign: bool = False) -> None:
    """Copy `state` into `module`; every name and shape must agree.

    assign: take the tensors themselves, in their own dtype, as parameters (a module on the meta device;
    nothing is copied). Raises ValueError, which lists missing, unexpected and wrongly shaped
    tensors.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shaped = sorted(
        f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}"
        for n in own.keys() & state.keys()
        if state[n].shape != own[n].shape
    )
    wrong = [
        f"{len(names)} {what} ({some_of(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shaped))
        if names
    ]
    if wrong:
        raise ValueError(
            f"{where} does not fit {type(module).__name__}, which has {len(own)} tensors: "
            f"{', '.join(wrong)}; check the model size and the key of the weights."
        )
    module.load_state_dict(dict(state), strict=True, assign=assign)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Normalised state dict of any weight file that `read_container` reads."""
    return unwrap(read_container(path), where=str(path)).state


def read_container(path: Path | str, *, shapes_only: bool = False) -> Mapping[str, object]:
    """What a .safetensors file, a .safetensors.index.json, a torch file or a DCP directory holds, names and
    levels as they are.

    Files are memory-mapped: no tensor data is read before it is used. A DCP directory is read whole.
    shapes_only gives tensors on
    the meta device (of torch files: mapped ones). Torch files are read with weights_only.
    Raises FileNotFoundError; ValueError for another kind of file, a truncated one, or one with other Python
    objects in it.
    """
    path = Path(path)
    if path.is_dir():
        return dict(dcp_shapes(path) if shapes_only else read_dcp(path))
    if not path.is_file():
        raise FileNotFoundError(f"There are no weights at {path}; run the stage that makes or fetches them.")
    if path.name.endswith(".safetensors"):
        return dict(read_safetensors(path, shapes_only=shapes_only))
    if path.name.endswith(".safetensors.index.json"):
        return dict(read_sharded(path, shapes_only=shapes_only))
    if path.suffix in (".pt", ".pth", ".bin"):
        return _read_torch(path)
    raise ValueError(
        f"{path} is no weight file this program reads; expected .safetensors, .safetensors.index.json, "
        ".pt, .pth, .bin or a distributed checkpoint directory."
    )


def _read_torch(path: Path) -> Mapping[str, object]:
    if path.open("rb").read(4) != b"PK\x03\x04":
        raise ValueError(
            f"{path} is no torch file of version 1.6 or later (those are zip archives); if it is a page or "
            "a Git LFS pointer that was saved in its place, fetch it again, if it is an older torch file, "
            "load and save it once with a newer torch."
        )
    try:
        return _mapping(torch.load(path, map_location="cpu", weights_only=True, mmap=True), str(path))
    except pickle.UnpicklingError as error:
        culprit = str(error).split("GLOBAL ")[-1].split(" ")[0] if "GLOBAL " in str(error) else "unknown ones"
        raise ValueError(
            f"{path} holds Python objects beside tensors ({culprit}), which are never unpickled here; save "
            "its state dict alone with torch.save, or use the released file."
        ) from error
    except DAMAGE as error:
        raise ValueError(_damaged(path, "torch", error)) from error


def read_library_weights(path: Path | str) -> dict[str, Tensor]:
    """State dict of one weight file, or of a folder of transformers or diffusers (a .safetensors or an index
    of shards).

    Raises FileNotFoundError, ValueError if the folder holds no safetensors or several variants.
    """
    path = Path(path)
    if not path.is_dir():
        return read_weights(path)
    files = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(
            f"{path} holds {len(files)} sets of "
            f"safetensors{f' ({some_of(f.name for f in files)})' if files else ''}, expected one; pass the "
            "component's own folder (text_encoder/ or vae/), or the file itself."
        )
    return read_weights(files[0])


def read_safetensors(
    path: Path | str, *, shapes_only: bool = False, endings: tuple[str, ...] = ("",)
) -> dict[str, Tensor]:
    """The tensors of one .safetensors file, names as they are, on the CPU, memory-mapped; shapes_only: on the
    meta device.

    endings: only tensors whose name ends in one of these (the system reads ahead whatever is asked for).
    Raises ValueError if it is truncated.
    """
    # not through torch for shapes alone, which would map the whole file into memory that must be free
    with open_safetensors(path, "np" if shapes_only else "pt") as file:
        names = [name for name in file.keys() if name.endswith(endings)]  # noqa: SIM118
        if not shapes_only:
            return {name: file.get_tensor(name) for name in names}
        slices = {name: file.get_slice(name) for name in names}
        return {
            name: torch.empty(held.get_shape(), dtype=_stored_dtype(path, held.get_dtype()), device="meta")
            for name, held in slices.items()
        }


@contextmanager
def open_safetensors(path: Path | str, framework: str = "pt") -> Iterator[Any]:
    """A .safetensors file to read from, memory-mapped. framework: "np" or "pt", what its tensors come as.

    Raises FileNotFoundError, and ValueError, also for what is read inside the block, if it is truncated or
    something else.
    """
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        with Path(path).open("rb") as stream:
            first = stream.read(32)
        what = next((what for sign, what in OTHER_CONTENT.items() if first.startswith(sign)), None)
        if what is not None or not first:
            raise ValueError(f"{path} {what or 'is empty, 0 bytes; fetch or make it again'}.") from error
        raise ValueError(_damaged(path, "safetensors", error)) from error


def _stored_dtype(path: Path | str, name: str) -> torch.dtype:
    if name not in STORED_DTYPES:
        raise ValueError(
            f"{path} holds tensors of {name}, which torch does not have; take weights of another precision."
        )
    return STORED_DTYPES[name]


def _damaged(path: Path | str, library: str, error: BaseException) -> str:
    said = _first_line(error) or type(error).__name__
    return f"{path} is truncated or damaged: {library} says {said}; delete it and run `make fetch` again."


def read_sharded(path: Path | str, *, shapes_only: bool = False) -> dict[str, Tensor]:
    """All tensors of the files that a .safetensors.index.json names, which lie beside it.

    Raises FileNotFoundError naming every absent file, ValueError if the files hold other tensors than the
    index says.
    """
    path = Path(path)
    index = json_mapping(path.read_bytes(), str(path))
    where = dict(json_mapping(index.get("weight_map"), f"weight_map of {path}"))
    shards = sorted({str(shard) for shard in where.values()})
    if any(Path(str(shard)).name != shard for shard in where.values()):
        raise ValueError(
            f"{path} names files outside its own folder; it is no index of a model, fetch it again."
        )
    absent = [shard for shard in shards if not (path.parent / shard).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{path} needs {len(shards)} files beside it and {len(absent)} are absent "
            f"({', '.join(absent)}); run `make fetch`."
        )
    whole: dict[str, Tensor] = {}
    for shard in shards:
        held = read_safetensors(path.parent / shard, shapes_only=shapes_only)
        promised = {name for name, file in where.items() if file == shard}
        if held.keys() != promised:
            raise ValueError(
                f"{path.parent / shard} holds other tensors than {path.name} says "
                f"({some_of(sorted(held.keys() ^ promised))}); index and files are of different versions, "
                "fetch them again."
            )
        whole.update(held)
    return whole


def read_metadata(path: Path | str) -> dict[str, str]:
    """The string table of a .safetensors file (its header) or a DCP directory (header.json), or empty."""
    table = Path(path) / HEADER
    if Path(path).is_dir():
        return json_mapping(table.read_bytes(), str(table)) if table.is_file() else {}
    with open_safetensors(path) as file:
        return dict(file.metadata() or {})


def write_safetensors(
    path: Path | str,
    state: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a .safetensors file whole or not at all, names sorted; floating tensors become `dtype` if one is
    given.

    Equal tensors and metadata give equal bytes. Raises ValueError, naming the tensor, if a value is not
    finite once stored.
    """
    stored = _stored(state, path, dtype)
    with written_whole(path) as unfinished:
        save_file(stored, unfinished, metadata=dict(metadata or {}))
        if len(metadata or {}) > 1:
            _sort_metadata(unfinished)
        umask = os.umask(0)  # there is no way to ask without setting it
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)  # the library lets nobody else read its files, a group must


def write_torch(path: Path | str, state: Mapping[str, Tensor], *, level: str | None = None) -> None:
    """Write a torch file whole or not at all: plain tensors, names sorted, in a dict called `level` if one is
    named.

    Equal tensors give equal bytes, whatever the file's name. Raises as `write_safetensors`.
    """
    stored = _stored(state, path)
    with written_whole(path) as unfinished, unfinished.open("wb") as file:  # torch stores a name it is given
        torch.save(stored if level is None else {level: stored}, file)


def _stored(
    state: Mapping[str, Tensor], path: Path | str, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Copies on the CPU, in name order, each with memory of its own; path: for the error."""
    stored: dict[str, Tensor] = {}
    for name in sorted(state):
        value = state[name].detach().cpu()
        value = value.to(dtype) if dtype is not None and value.is_floating_point() else value
        # torch cannot ask this of numbers of one byte
        seen = value.float() if value.itemsize == 1 else value
        if value.is_floating_point() and not bool(torch.isfinite(seen).all()):
            raise ValueError(
                f"{name} has values that are not finite in {value.dtype}, so {path} was not written."
            )
        stored[name] = value.contiguous().clone()
    return stored


def _sort_metadata(path: Path) -> None:
    """Sort the string table of a .safetensors file in place: the library's order changes every time."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = load_json(file.read(size), str(path))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        assert len(ordered) == size, "the same header in another order has another length"
        file.seek(8)
        file.write(ordered)


def write_dcp(
    path: Path | str, state: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a distributed checkpoint directory whole or not at all.

    metadata: goes to header.json in it, which other readers pass over. Raises as `write_safetensors`, and
    OSError if there is a directory already.
    """
    stored = _stored(state, path)
    with written_whole(path) as unfinished:
        save_dcp(stored, checkpoint_id=unfinished, no_dist=True)
        if metadata:
            write_text(unfinished / HEADER, json.dumps(dict(metadata), indent=1, sort_keys=True) + "\n")


def read_dcp(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a distributed checkpoint directory, read by one process.

    Raises FileNotFoundError if `.metadata` is missing (an unfinished checkpoint), ValueError if it is
    damaged.
    """
    path = Path(path)
    state = {name: torch.empty_like(value, device="cpu") for name, value in dcp_shapes(path).items()}
    _load_dcp(path, state, None, alone=True)
    return state


def fill_from_dcp(
    path: Path | str, state: Mapping[str, Tensor], *, group: ProcessGroup | None = None, alone: bool = True
) -> None:
    """Fill tensors in place, sharded ones too, from a distributed checkpoint directory, however it was
    sharded when written.

    alone: one process reads; else every process of the group (None: the default one) must ask, each for its
    own shards. Raises as `dcp_shapes`, and ValueError if names or shapes differ.
    """
    stored = dcp_shapes(path)
    differ = sorted(stored.keys() ^ state.keys()) or sorted(
        name for name, value in state.items() if value.shape != stored[name].shape
    )
    if differ:
        raise ValueError(
            f"{path} holds {len(stored)} tensors and {len(state)} are wanted; these are in one only or of "
            f"another shape: {some_of(differ)}. It belongs to another model; remove it."
        )
    _load_dcp(Path(path), dict(state), group, alone=alone)


def _load_dcp(path: Path, state: dict[str, Tensor], group: ProcessGroup | None, *, alone: bool) -> None:
    try:
        load_dcp(state, storage_reader=FileSystemReader(path), process_group=group, no_dist=alone)
    except CheckpointException as failed:
        cause = next(iter(failed.failures.values()))[0]
        raise ValueError(
            f"{path} is truncated or damaged: torch says {_first_line(cause)}; take another checkpoint."
        ) from failed


def dcp_shapes(path: Path | str) -> dict[str, Tensor]:
    """A DCP directory's tensors on the meta device: names, shapes, dtypes. Raises as `read_dcp`.

    Plain values beside them (a step, an optimizer's settings) are pickles, and passed over.
    """
    path = Path(path)
    if not (path / ".metadata").is_file():
        endings = ("*.safetensors", "*.pt", "*.pth", "*.bin", ".metadata")
        held = sorted({str(file) for name in endings for file in (*path.glob(name), *path.glob(f"*/{name}"))})
        held = [name.removesuffix("/.metadata") for name in held]
        raise FileNotFoundError(
            f"{path} has no .metadata, so it is no finished distributed checkpoint; "
            + (f"name what it holds itself: {some_of(held)}." if held else "name a file of weights.")
        )
    _check_metadata(path / ".metadata")
    entries = FileSystemReader(path).read_metadata().state_dict_metadata
    return {
        name: torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }


class _MetadataUnpickler(pickle.Unpickler):
    """Finds the classes of `DCP_CLASSES` and no other, and members of an enum by getattr, as Python 3.11.0 to
    3.11.3 pickle them.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _enum_member
        if name not in DCP_CLASSES.get(module, ()):
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return super().find_class(module, name)


def _enum_member(kind: Any, name: str) -> enum.Enum:
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        raise pickle.UnpicklingError(f"it asks for {name} of {kind}")
    return kind[name]


def _check_metadata(path: Path) -> None:
    """Raise ValueError unless reading this pickle can make descriptions of tensors only."""
    try:
        with path.open("rb") as file:
            _MetadataUnpickler(file).load()
    except DAMAGE as error:
        raise ValueError(
            f"{path} is no description of a distributed checkpoint, or a damaged one "
            f"({_first_line(error)}); take another checkpoint."
        ) from error


def json_mapping(value: object, where: str) -> dict[str, Any]:
    """A JSON object, given as itself or as text. Raises ValueError, naming `where`, if it is none."""
    read = load_json(value, where) if isinstance(value, str | bytes) else value
    if not isinstance(read, dict):
        raise ValueError(f"{where} is {type(read).__name__}, expected a JSON object; take another file.")
    return read


def weights_sha256(path: Path | str) -> str:
    """Sha256 of a weight file's bytes; of a DCP directory, whose bytes always differ, of its tensors."""
    return tensors_sha256(read_dcp(path)) if Path(path).is_dir() else file_sha256(path)


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Sha256 over name, dtype, shape and bytes of every tensor, by name: the same in whatever file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _nested(state: Mapping[str, object], levels: Sequence[str]) -> dict[str, object]:
    """The mapping with dotted names of these levels ("generator.x") gathered into them."""
    nested: dict[str, object] = {}
    for name, value in state.items():
        level, dot, rest = name.partition(".")
        if dot and level in levels and isinstance(value, Tensor):
            gathered = nested.setdefault(level, {})
            if not isinstance(gathered, dict):
                raise ValueError(f"The level {level} is a tensor and a dict at once; the file is ambiguous.")
            gathered[rest] = value
        else:
            nested[name] = value
    return nested


def _plain(name: str, removed: dict[str, None]) -> str:
    """The name without wrappers and leading prefixes; what was removed is noted in `removed`."""
    for wrapper in WRAPPERS:
        if wrapper in name:
            removed[wrapper] = None
            name = name.replace(wrapper, "")
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        removed[prefix] = None
        name = name.removeprefix(prefix)
    return name


def _count(value: object) -> int:
    """Tensors below a level."""
    return sum(map(_count, value.values())) if isinstance(value, Mapping) else int(isinstance(value, Tensor))


def _no_level(key: str, held: Mapping[str, int], state: Mapping[str, object], where: str) -> str:
    flat = sum(isinstance(value, Tensor) for value in state.values())
    levels = [f"{name} ({count} tensors)" for name, count in held.items()]
    found = ", ".join(levels) if levels else f"no levels at all, it is itself a dict of {flat} tensors"
    advice = (
        "set the key of the weights to the level that holds this method's model, or use the released file"
    )
    other = {"generator": "generator_ema", "generator_ema": "generator"}.get(key)
    if other in held:
        advice = (
            f"it has {other}, which is "
            f"{'the running average' if other == 'generator_ema' else 'not the running average'} and "
            "another model; which of the two is used belongs to the method, so use the released file"
        )
    return f"{where} has no level {key!r}, found {found}; {advice}."


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {type(value).__name__}, expected a mapping of names to tensors.")
    if odd := [name for name in value if not isinstance(name, str)]:
        raise ValueError(
            f"{where} has the key {odd[0]!r}, expected names of tensors; save its state dict alone."
        )
    return value


def some_of(names: Iterable[object]) -> str:
    """The first five names, and how many there are beside them; "none" without any."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:5]) + (f", and {len(listed) - 5} more" if len(listed) > 5 else "") or "none"
