"""Checkpoints of VBench 0.1.5 read strictly, and the networks RAFT, AMT-S, MUSIQ, DINO, CLIP and LAION's
aesthetic head with their weights.

The classes are those of the pinned packages (vbench, pyiqa, openai-clip). How their files are read is ours:
no Python object of a file ever runs, and no tensor is left out. The packages are imported inside the
functions, since each takes seconds and a job needs one or two.

    python -m evaluation.vbench.worker.networks SOURCE TARGET

saves the tensors of AMT's published file, and nothing else that is in it, as a file that the package can load
safely.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from evaluation.vbench.worker.whole import whole_file

log = logging.getLogger("vbench_job")

NETWORK_FILES = {
    "raft": "raft_model/models/raft-things.pth",
    "amt": "amt_model/amt-s.pth",
    "musiq": "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",
    "dino": "dino_model/dino_vitbase16_pretrain.pth",
    "clip_b32": "clip_model/ViT-B-32.pt",
    "clip_l14": "clip_model/ViT-L-14.pt",
    "aesthetic_head": "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth",
}
"""Where each network's weights lie below VBENCH_CACHE_DIR (evaluation/vbench/README.md#checkpoints)."""

RAFT_ARCHIVE = ("raft_model/models.zip", "models/raft-things.pth")
"""The zip in which RAFT is published, and our network's name in it; read where it was not unpacked."""

AMT_S = {"corr_radius": 3, "corr_lvls": 4, "num_flows": 3}
"""network.params of vbench/third_party/amt/cfgs/AMT-S.yaml."""

DINO_CODE = "dino_model/facebookresearch_dino_main"
"""DINO's own repository, which VBench builds the network from too; its files are proven when fetched."""

CLIP_SHAPES = {
    "clip_b32": {"visual.conv1.weight": (768, 3, 32, 32), "visual.proj": (768, 512)},
    "clip_l14": {"visual.conv1.weight": (1024, 3, 14, 14), "visual.proj": (1024, 768)},
}
"""What tells CLIP ViT-B/32, ViT-L/14 and their sisters apart."""

UNREADABLE = (RuntimeError, ValueError, KeyError, OSError, EOFError, BadZipFile, pickle.UnpicklingError)
"""What torch and zipfile raise for a file that is damaged or something else."""

SCRIPT_ENTRIES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives hold beside the parameters."""


class Ignored:
    """An object of a checkpoint that is no tensor, such as training options: built, and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read_state(path: Path, *, key: str | None = None, member: str | None = None) -> dict[str, Tensor]:
    """The tensors of a torch file by name, on the CPU, without the prefix `module.`.

    key: the level they lie at. member: the torch file's name inside `path`, which is a zip of several.

    It is read with weights_only. Some published files hold other objects too (AMT's, training options): each
    class that torch would refuse is replaced by `Ignored` before anything is built, so no code of the file
    runs. Raises FileNotFoundError, or ValueError with one message.
    """
    _existing(path)
    found = _read(path, member)
    level = found.get(key) if key is not None else found
    if not isinstance(level, Mapping):
        raise ValueError(
            f"{path} has no level {key!r}, found {', '.join(sorted(map(str, found)))[:200]}; fetch the "
            "published file again."
        )
    state = {str(name).removeprefix("module."): value for name, value in level.items()}
    if len(state) != len(level) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path} holds other things than tensors where its weights should be, or two of one name; "
            "fetch the published file again."
        )
    return state


def _read(path: Path, member: str | None) -> Mapping[str, Any]:
    try:
        source = BytesIO(path.read_bytes() if member is None else ZipFile(path).read(member))
        found = _tensors_and_inert(source)
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is no torch file that can be read safely ({_first_line(error)}); delete it and fetch "
            "it again."
        ) from error
    if not isinstance(found, Mapping):
        raise ValueError(
            f"{path} holds a {type(found).__name__}, expected tensors by name; fetch the published file "
            "again."
        )
    return found


def _tensors_and_inert(source: BytesIO) -> Any:
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        source.seek(0)
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(source)
    inert: list[Any] = [(type(name, (Ignored,), {}), name) for name in unknown]
    source.seek(0)
    with torch.serialization.safe_globals(inert):
        return torch.load(source, map_location="cpu", weights_only=True)


def read_script_state(path: Path) -> dict[str, Tensor]:
    """The parameters in a TorchScript archive, which is how OpenAI publishes CLIP; its program is read by
    torch's own reader and never run.

    That reader builds tensors and TorchScript classes and knows no Python callables, unlike pickle. Raises
    FileNotFoundError, ValueError.
    """
    _existing(path)
    try:
        script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is no TorchScript archive ({_first_line(error)}); delete it and fetch it again."
        ) from error
    state: dict[str, Tensor] = script.state_dict()
    return {name: value for name, value in state.items() if name not in SCRIPT_ENTRIES}


def load_whole(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The module, evaluating and frozen, with exactly these tensors. Raises ValueError if they do not fit."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shaped = sorted(n for n in own.keys() & state.keys() if own[n].shape != state[n].shape)
    errors = [
        f"{len(names)} {what} (first: {names[0]})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shaped))
        if names
    ]
    if errors:
        raise ValueError(
            f"{path} does not fit {type(module).__name__}: of its {len(own)} tensors {', '.join(errors)}; "
            "fetch the published file again."
        )
    bad = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise ValueError(
            f"{path} holds numbers that are not finite ({bad[0]}); delete it and fetch it again."
        )
    module.load_state_dict(dict(state), strict=True)
    return module.eval().requires_grad_(False)


def load_raft(folder: Path, device: torch.device) -> nn.Module:
    """RAFT (large, things): flow of two frames [1, 3, h, w] in 0..255, whose sides are multiples of 8."""
    from easydict import EasyDict
    from vbench.third_party.RAFT.core.raft import RAFT

    path, member = folder / NETWORK_FILES["raft"], None
    if not path.is_file() and (folder / RAFT_ARCHIVE[0]).is_file():
        path, member = folder / RAFT_ARCHIVE[0], RAFT_ARCHIVE[1]
    network = RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False))
    return load_whole(network, read_state(path, member=member), path).to(device)


def load_amt(folder: Path, device: torch.device) -> nn.Module:
    """AMT-S: the frame between two, [1, 3, h, w] in 0..1, sides multiples of 16."""
    path = folder / NETWORK_FILES["amt"]
    network = importlib.import_module("vbench.third_party.amt.networks.AMT-S").Model(**AMT_S)
    return load_whole(network, read_state(path, key="state_dict"), path).to(device)


def load_musiq(folder: Path, device: torch.device) -> nn.Module:
    """MUSIQ trained on SPAQ: images [N, 3, h, w] in 0..1 -> opinion scores [N, 1], 0..100."""
    from pyiqa.archs.musiq_arch import MUSIQ

    path = folder / NETWORK_FILES["musiq"]
    return load_whole(MUSIQ(pretrained=False), read_state(path), path).to(device)


def load_dino(folder: Path, device: torch.device) -> nn.Module:
    """DINO ViT-B/16: images [N, 3, h, w] -> features [N, 768]. Raises FileNotFoundError, ValueError."""
    _existing(folder / DINO_CODE / "hubconf.py")
    path = folder / NETWORK_FILES["dino"]
    state = read_state(path)
    network = torch.hub.load(str(folder / DINO_CODE), "dino_vitb16", source="local", pretrained=False)  # type: ignore[no-untyped-call]
    return load_whole(network, state, path).to(device)


def load_clip(name: str, folder: Path, device: torch.device) -> nn.Module:
    """CLIP ("clip_b32", "clip_l14") as openai-clip builds it: float16 on a GPU (VBench's numbers are such),
    float32 on the CPU.
    """
    from clip.model import build_model

    path, shapes = folder / NETWORK_FILES[name], CLIP_SHAPES[name]
    state = read_script_state(path)
    found = {tensor: tuple(state[tensor].shape) for tensor in shapes if tensor in state}
    if found != shapes:
        raise ValueError(
            f"{path} is not the CLIP of its name (shapes {found}, expected {shapes}); fetch the published "
            "file again."
        )
    network: nn.Module = build_model(dict(state))  # strict itself
    network = load_whole(network, state, path).to(device)
    return network.float() if device.type == "cpu" else network


def load_aesthetic_head(folder: Path, device: torch.device) -> nn.Module:
    """LAION's linear head: normalised CLIP ViT-L/14 features [N, 768] -> ratings [N, 1], about 0..10."""
    path = folder / NETWORK_FILES["aesthetic_head"]
    return load_whole(nn.Linear(768, 1), read_state(path), path).to(device)


@contextmanager
def complete_loading() -> Iterator[None]:
    """While this lasts, load_state_dict(strict=False), whose result VBench never looks at, raises ValueError
    if a parameter of the module is not in the checkpoint.

    Missing buffers (index tables that are computed) and names that the module does not have are counted in
    the log.
    """
    plain = nn.Module.load_state_dict

    def checked(self: Any, state: Any, strict: bool = True, *arguments: Any, **options: Any) -> Any:
        outcome = plain(self, state, strict, *arguments, **options)
        parameters = {name for name, _ in self.named_parameters()}
        unset = [name for name in outcome.missing_keys if name in parameters]
        log.info(
            "%s: %d parameters, %d missing names, %d unknown names",
            type(self).__name__,
            len(parameters),
            len(outcome.missing_keys),
            len(outcome.unexpected_keys),
        )
        if unset:
            raise ValueError(
                f"the checkpoint leaves {len(unset)} of {len(parameters)} parameters of "
                f"{type(self).__name__} unset (first: {unset[0]}), so it is another file than the "
                "published one; fetch it again"
            )
        return outcome

    nn.Module.load_state_dict = checked  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.load_state_dict = plain  # type: ignore[method-assign]


def save_tensors(source: Path, target: Path) -> None:
    """Write {"state_dict": tensors} of AMT's verified file whole. Raises FileNotFoundError, ValueError."""
    with whole_file(target) as unfinished:
        torch.save({"state_dict": read_state(source, key="state_dict")}, unfinished)


def _existing(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no weights at {path}; fetch the files of this suite (make fetch)."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


if __name__ == "__main__":
    try:
        save_tensors(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
