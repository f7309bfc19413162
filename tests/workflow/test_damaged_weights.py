"""Weights that are damaged, incomplete or of another kind: each is one sentence, and nothing is written
(models/backbone.md#weight-files).
"""

import enum
import io
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoints.containers import read_dcp, write_dcp, write_safetensors
from models.checkpoints.lora import LoraSettings, adapter_state, add_lora, weights_header
from models.checkpoints.progress import write_progress
from tests.models.training_toys import CONFIG, wan_of
from workflow.scripts.convert_weights import convert_weights

ROOT = Path(__file__).parents[2]
LAYER = "base_model.model.blocks.0.ffn.0"
State = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base.safetensors, and the same as a directory dcp."""
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "base.safetensors", wan_of(1).state_dict(), metadata=weights_header(CONFIG))
    write_dcp(folder / "dcp", wan_of(1).state_dict(), metadata=weights_header(CONFIG))
    return folder


def renamed(state: State, old: str, new: str) -> State:
    return {name.replace(old, new): value for name, value in state.items()}


FILES: dict[str, tuple[Callable[[State], object], str]] = {
    "a renamed key": (
        lambda s: renamed(s, "1.ffn.0.bias", "1.ffn.0.biass"),
        "1 missing .blocks.1.ffn.0.bias., 1 unexpected",
    ),
    "a key that shows the size": (
        lambda s: renamed(s, "0.ffn.0.weight", "0.ffn.0.wieght"),
        "lacks tensors that every Wan transformer",
    ),
    "another shape": (
        lambda s: {**s, "head.head.bias": torch.zeros(3)},
        r"1 of another shape .head.head.bias .3,. for",
    ),
    "one more": (lambda s: {**s, "head.extra": torch.zeros(3)}, "1 unexpected .head.extra."),
    "whole numbers": (
        lambda s: {**s, "head.head.bias": s["head.head.bias"].long()},
        "holds torch.int64 under head.head.bias",
    ),
    "a list": (lambda s: [s], "is list, expected a mapping"),
    "a module": (
        lambda s: {"model": torch.nn.Linear(2, 2)},
        "holds Python objects beside tensors .torch.nn.modules.linear.Linear",
    ),
    "another model": (lambda s: {"generator": {"conv.weight": torch.zeros(3)}}, "is no Wan transformer"),
}


@pytest.mark.parametrize("name", FILES)
def test_models_that_are_not_whole(folder: Path, tmp_path: Path, name: str) -> None:
    """Guards against a conversion between torch files, which need no size: a file of unknown head count went
    through unchecked.
    """
    change, sentence = FILES[name]
    torch.save(change(wan_of(1).state_dict()), tmp_path / "w.pt")
    refused(tmp_path / "w.pt", sentence)


ADAPTERS: dict[str, tuple[Callable[[State], State], str]] = {
    "DoRA": (
        lambda s: {**s, f"{LAYER}.lora_magnitude_vector.weight": torch.ones(32)},
        "lora_magnitude_vector.weight beside its pairs",
    ),
    "a pair absent": (
        lambda s: {n: v for n, v in s.items() if "blocks.1.ffn.0" not in n},
        "adapts ffn.0 in other blocks and not in block 1",
    ),
    "a block absent": (
        lambda s: {n: v for n, v in s.items() if "blocks.1." not in n},
        "adapts cross_attn.k in other blocks and not in block 1",
    ),
    "two ranks": (
        lambda s: {
            **s,
            f"{LAYER}.lora_A.weight": torch.zeros(3, 24),
            f"{LAYER}.lora_B.weight": torch.zeros(32, 3),
        },
        r"adapters of the ranks .2, 3.",
    ),
    "another name": (lambda s: renamed(s, ".lora_A.", ".lora_A.student."), "no adapter that fits its layer"),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_that_are_not_whole(folder: Path, tmp_path: Path, name: str) -> None:
    """Guards against a merge that leaves layers out, or ignores what it does not know."""
    change, sentence = ADAPTERS[name]
    whole = adapter_state(add_lora(wan_of(1), LoraSettings(rank=2, alpha=2.0), seed=0).state_dict())
    for state in (whole, change(whole)):
        torch.save(state, tmp_path / "lora.pt")
        options = {"flavour": "merged", "base": folder / "base.safetensors", "alpha": 2.0}
        if state is whole:
            convert_weights(tmp_path / "lora.pt", tmp_path / "ok.pt", **options)  # type: ignore[arg-type]
        else:
            refused(tmp_path / "lora.pt", sentence, **options)
    for alpha in (0.0, float("nan")):
        refused(tmp_path / "lora.pt", "pass a number above 0", **{**options, "alpha": alpha})


def kohya(state: State) -> State:
    """One tensor a layer, down and up, with an alpha of its own."""
    found: State = {}
    for name, value in state.items():
        layer, _, part = name.removeprefix("base_model.model.").partition(".lora_")
        flat = "lora_unet_" + layer.replace(".", "_")
        found[flat + (".lora_down.weight" if part[0] == "A" else ".lora_up.weight")] = value
        found[f"{flat}.alpha"] = torch.tensor(1.0)
    return found


NAMES: dict[str, tuple[Callable[[State], State], str | None]] = {
    "peft without its prefix": (lambda s: renamed(s, "base_model.model.", ""), None),
    "DiffSynth, ComfyUI": (lambda s: renamed(s, "base_model.model.", "diffusion_model."), None),
    "ComfyUI's checkpoints": (lambda s: renamed(s, "base_model.model.", "model.diffusion_model."), None),
    "diffusers' pipelines": (lambda s: renamed(s, "base_model.model.", "transformer."), None),
    "kohya": (kohya, r"under another program's names.*lora_unet_blocks_0"),
    "down and up": (
        lambda s: renamed(renamed(s, ".lora_A.", ".lora_down."), ".lora_B.", ".lora_up."),
        "under another program's names",
    ),
    "an alpha a layer": (lambda s: {**s, f"{LAYER}.alpha": torch.tensor(1.0)}, "of another kind than LoRA"),
    "a trained bias": (lambda s: {**s, f"{LAYER}.diff_b": torch.zeros(32)}, "of another kind than LoRA"),
    "LoKr": (lambda s: {f"{LAYER}.lokr_w1": torch.zeros(2, 2)}, "of another kind than LoRA"),
    "LoHa": (lambda s: {f"{LAYER}.hada_w1_a": torch.zeros(2, 2)}, "of another kind than LoRA"),
    "diffusers' layers": (
        lambda s: renamed(renamed(s, "base_model.model.", "transformer."), "self_attn.q", "attn1.to_q"),
        "under the names of diffusers",
    ),
    "an unknown prefix": (
        lambda s: renamed(s, "base_model.model.", "pipe.dit."),
        r"adapts pipe\.dit\.blocks\.0.*, and the model beneath has no such layer",
    ),
}
"""An adapter under the names that trainers give it: read, or refused with the reason."""


@pytest.mark.parametrize("name", NAMES)
def test_adapters_under_other_names(folder: Path, tmp_path: Path, name: str) -> None:
    """Guards against "adapter and base belong to different models" of an adapter that fits."""
    change, sentence = NAMES[name]
    torch.manual_seed(0)
    whole = adapter_state(add_lora(wan_of(1), LoraSettings(rank=2, alpha=2.0), seed=0).state_dict())
    whole = {name: torch.randn_like(value) for name, value in whole.items()}
    options: dict[str, Any] = {"flavour": "merged", "base": folder / "base.safetensors", "alpha": 2.0}
    torch.save(change(whole), tmp_path / "lora.pt")
    if sentence is not None:
        refused(tmp_path / "lora.pt", sentence, **options)
        return
    torch.save(whole, tmp_path / "peft.pt")
    for source in ("lora", "peft"):
        convert_weights(tmp_path / f"{source}.pt", tmp_path / f"{source}_merged.safetensors", **options)
    one, other = ((tmp_path / f"{source}_merged.safetensors").read_bytes() for source in ("lora", "peft"))
    assert one == other


FOLDERS = {
    "peft": ["adapter_config.json", "adapter_model.safetensors"],
    "diffusers": ["config.json", "diffusion_pytorch_model.safetensors"],
    "a pipeline": ["model_index.json", "transformer/diffusion_pytorch_model.safetensors"],
    "accelerate": ["model/pytorch_model.bin"],
    "a trainer's run": ["global_step_50/.metadata", "global_step_50/__0_0.distcp"],
    "nothing": [],
}
"""Folders that are given where weights belong, and what lies in them; the last is what is to be named."""


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_library_s_folder_is_told_which_file_to_name(tmp_path: Path, kind: str) -> None:
    """Guards against "train again or remove it" of somebody's adapter."""
    (tmp_path / "mine").mkdir()
    for name in FOLDERS[kind]:
        (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text("{}")
    with pytest.raises(FileNotFoundError, match="no finished distributed checkpoint; name") as caught:
        convert_weights(tmp_path / "mine", tmp_path / "out.pt")
    told = "a file of weights" if not FOLDERS[kind] else str(tmp_path / "mine" / FOLDERS[kind][-1])
    assert told.removesuffix("/__0_0.distcp") in str(caught.value)


def refused(source: Path, sentence: str, **options: Any) -> None:
    output = source.with_name("out.pt")
    with pytest.raises(ValueError, match=sentence) as caught:
        convert_weights(source, output, **options)
    assert "\n" not in str(caught.value)
    assert not list(source.parent.glob("out.pt*"))


@pytest.mark.parametrize(
    "header", ["{", "[]", '{"dim": "x"}', json.dumps({**CONFIG.to_dict(), "foo": 1}), "{}"]
)
def test_headers_and_facts_that_are_damaged(folder: Path, tmp_path: Path, header: str) -> None:
    """A header, and the facts of a checkpoint, that say no size of a model."""
    write_safetensors(tmp_path / "w.safetensors", wan_of(1).state_dict(), metadata={"config": header})
    refused(tmp_path / "w.safetensors", r"config in the header of .*w.safetensors (is|cannot)")
    (tmp_path / "run/models").mkdir(parents=True)
    shutil.copytree(folder / "dcp", tmp_path / "run/models/student_ema")
    for text, sentence in (("", "cannot be read as JSON"), ('{"files": {}}', "has no sha256 of its files")):
        (tmp_path / "run/progress.json").write_text(text)
        refused(tmp_path / "run", f"progress.json {sentence}")
    for facts in ({}, {"config": header}):
        write_progress(tmp_path / "run", iteration=1, identity="a", facts=facts)
        refused(tmp_path / "run", r"config in .*progress.json (is|cannot)")
    facts = {"config": CONFIG.to_dict(), "alpha": "x"}
    write_progress(tmp_path / "run", iteration=1, identity="a", facts=facts)
    refused(tmp_path / "run", "alpha in .*progress.json is 'x', expected a number")


class Loud:
    """A pickle that runs a command when it is read without restriction."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


class Home:
    """A pickle that asks for an attribute of a class that it may name."""

    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return getattr, (Path, "home")


def test_directories_that_are_damaged(folder: Path, tmp_path: Path) -> None:
    """Truncated, without a part, and with a command in its pickle, which torch itself would run."""
    for name, sentence in (
        ("__0_0.distcp", "is truncated or damaged: torch says"),
        (".metadata", "or a damaged one"),
    ):
        shutil.copytree(folder / "dcp", tmp_path / "dcp")
        whole = (tmp_path / "dcp" / name).read_bytes()
        (tmp_path / "dcp" / name).write_bytes(whole[: len(whole) // 2])
        refused(tmp_path / "dcp", sentence)
        shutil.rmtree(tmp_path / "dcp")
    shutil.copytree(folder / "dcp", tmp_path / "dcp")
    (tmp_path / "dcp/.metadata").write_bytes(pickle.dumps(Loud(tmp_path / "trace")))
    refused(tmp_path / "dcp", r"it holds \w+.system")
    assert not (tmp_path / "trace").exists()
    (tmp_path / "dcp/.metadata").write_bytes((folder / "dcp/.metadata").read_bytes())
    (tmp_path / "dcp/__0_0.distcp").unlink()
    refused(tmp_path / "dcp", "No such file or directory")


class OfPython3112(pickle._Pickler):  # the one in C has no reducer_override for enums of its own
    """Pickles members of enums by name, through getattr, as Python 3.11.0 to 3.11.3 do."""

    def reducer_override(self, value: object) -> object:
        return (getattr, (type(value), value.name)) if isinstance(value, enum.Enum) else NotImplemented


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda held: held, None),
        (
            lambda held: held.replace(b"TORCH_CONTIGUOUS_FORMAT", b"__init_subclass_to_xyz_"),
            "or a damaged one",
        ),
        (lambda held: pickle.dumps(Home()), "it asks for home of <class 'pathlib.Path'>"),
    ],
)
def test_enums_by_name(
    folder: Path, tmp_path: Path, change: Callable[[bytes], bytes], sentence: str | None
) -> None:
    """Guards against a training on Debian's Python whose own checkpoint is refused; and against getattr of
    anything but an enum.
    """
    shutil.copytree(folder / "dcp", tmp_path / "dcp")
    held = io.BytesIO()
    OfPython3112(held).dump(pickle.loads((tmp_path / "dcp/.metadata").read_bytes()))
    assert b"getattr" in held.getvalue()
    (tmp_path / "dcp/.metadata").write_bytes(change(held.getvalue()))
    if sentence is None:
        found = read_dcp(tmp_path / "dcp")
        assert all(torch.equal(value, found[name]) for name, value in wan_of(1).state_dict().items())
    else:
        refused(tmp_path / "dcp", sentence)


@pytest.mark.slow
def test_checkpoints_of_python_3_11_2(tmp_path: Path) -> None:
    """Written and read there, with this environment's packages, and read here. Debian 12 ships such one."""
    python = Path(os.environ.get("OLDPY", "/usr/bin/python3"))
    version = "import sys; sys.exit(not (3, 11, 0) <= sys.version_info[:3] <= (3, 11, 3))"
    if not python.is_file() or subprocess.run([python, "-c", version], check=False).returncode:
        pytest.skip(f"{python} is no Python 3.11.0 to 3.11.3; name one in OLDPY")
    program = (
        "import sys, torch; from models.checkpoints.containers import read_dcp, write_dcp; "
        "write_dcp(sys.argv[1], {'a': torch.arange(3)}); assert read_dcp(sys.argv[1])['a'].sum() == 3"
    )
    packages = os.pathsep.join([str(ROOT), str(Path(torch.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": packages}
    subprocess.run([python, "-c", program, tmp_path / "dcp"], env=environment, check=True)
    assert read_dcp(tmp_path / "dcp")["a"].tolist() == [0, 1, 2]


def test_dtypes_of_checkpoints_are_all_read(tmp_path: Path) -> None:
    """The restricted reader knows whatever a tensor may be: bfloat16, float8, whole numbers, truth values, no
    dimension at all.
    """
    kinds = (
        torch.bfloat16,
        torch.float16,
        torch.float64,
        torch.float8_e4m3fn,
        torch.int64,
        torch.bool,
        torch.uint8,
    )
    state: dict[str, Tensor] = {str(kind): torch.ones(3).to(kind) for kind in kinds} | {
        "none": torch.tensor(1.5)
    }
    write_dcp(tmp_path / "dcp", state)
    found = read_dcp(tmp_path / "dcp")
    assert {name: value.dtype for name, value in found.items()} == {
        name: value.dtype for name, value in state.items()
    }
    assert all(torch.equal(value.float(), state[name].float()) for name, value in found.items())
    (tmp_path / "i.safetensors.index.json").write_text("{}")
    refused(tmp_path / "i.safetensors.index.json", "weight_map of .* is NoneType, expected a JSON object")
