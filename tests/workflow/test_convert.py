"""Conversions (models/README.md#converting-weights): every container and flavour there and back bit for bit,
released layouts, and every refusal.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from baselines.released import release_of
from baselines.spec import load_baseline
from evaluation.files import file_sha256
from evaluation.records import (
    TrainManifest,
    WeightsManifest,
    read_json,
    write_json,
)
from models.checkpoints.containers import (
    read_dcp,
    read_safetensors,
    tensors_sha256,
    weights_sha256,
    write_dcp,
    write_safetensors,
    write_torch,
)
from models.checkpoints.lora import BLOCK_LINEARS, OUTER_LINEARS, weights_header
from models.checkpoints.open import open_model
from models.checkpoints.progress import write_progress
from models.checkpoints.released import Adapter, Release, check_released, open_released
from models.training.loop import RunLimits, train
from models.training.settings import canonical
from tests.models.training_toys import CONFIG, dmd_settings, grpo_of, grpo_settings, raven_of, wan_of
from workflow.scripts.convert import convert as convert_row
from workflow.scripts.convert_weights import convert_weights, main
from workflow.training.job import identity, open_for_training, verified_files

ROOT = Path(__file__).parents[2]
ALPHA = 6.0
"""Not the rank, which is 2: a scale of 1 would hide that alpha is lost."""
SETTINGS = {
    "raven": canonical(dataclasses.replace(dmd_settings(iterations=2), timesteps=(1000.0, 750.0))),
    "cm_grpo": canonical(dataclasses.replace(grpo_settings(), lora_alpha=ALPHA, timesteps=(1000.0, 750.0))),
}
"""Of both trainings, as their rules track them."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """raven/ and cm_grpo/ as training leaves them after two iterations, and raven.safetensors, the weights
    beneath the adapter.
    """
    folder = tmp_path_factory.mktemp("runs")
    facts = {"config": CONFIG.to_dict()}
    limits = RunLimits(iterations=2, checkpoint_every=1)
    raven, grpo = raven_of(dmd_settings(iterations=2)), grpo_of()
    train(raven, limits, output=folder / "raven", identity="a", facts={**facts, "recipe": "raven"})
    train(
        grpo,
        limits,
        output=folder / "cm_grpo",
        identity="b",
        facts={**facts, "recipe": "cm_grpo", "alpha": ALPHA},
    )
    write_safetensors(folder / "raven.safetensors", wan_of(1).state_dict(), metadata=weights_header(CONFIG))
    for name in ("raven", "cm_grpo"):
        record = TrainManifest(
            name=name,
            step=2,
            tensors_sha256=tensors_sha256(read_dcp(folder / name / "checkpoint/models/student_ema")),
            settings_sha256=hashlib.sha256(SETTINGS[name].encode()).hexdigest(),
            init_sha256=file_sha256(folder / "raven.safetensors"),
        )
        write_json(folder / name / "train.json", record)
    return folder


def tensors(path: Path) -> dict[str, Tensor]:
    """Everything in a flat output, by the libraries' own readers."""
    if path.is_dir():
        return read_dcp(path)
    if path.suffix == ".pt":
        return dict(torch.load(path, weights_only=True))
    return read_safetensors(path)


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype and torch.equal(value, other[name]), name


@pytest.mark.parametrize(
    ("flavour", "key"),
    [
        ("full", "generator"),
        ("adapter", "generator_ema"),
        pytest.param("full", "generator_ema", marks=pytest.mark.slow),
        pytest.param("bundle", "generator", marks=pytest.mark.slow),
        pytest.param("merged", "generator_ema", marks=pytest.mark.slow),
        pytest.param("base", "generator", marks=pytest.mark.slow),
    ],
)
def test_every_pair_of_containers_there_and_back(runs: Path, tmp_path: Path, flavour: str, key: str) -> None:
    """Guards against a lost bit, name or header between any two of .safetensors, .pt and DCP; files of ours
    come back byte for byte.
    """
    source = runs / ("raven" if flavour == "full" else "cm_grpo")
    options = {"base": runs / "raven.safetensors"} if flavour == "adapter" else {}
    first = {name: tmp_path / name for name in ("one.safetensors", "one.pt", "one")}
    for path in first.values():
        convert_weights(source, path, flavour=flavour, key=key, **options)  # type: ignore[arg-type]
        assert_same(tensors(path), tensors(first["one.safetensors"]))
    stored = read_dcp(source / "checkpoint" / "models" / ("student" if key == "generator" else "student_ema"))
    if flavour in ("full", "bundle"):
        assert_same(tensors(first["one.pt"]), stored)
    own = first["one.safetensors"].read_bytes()
    hints = {**options, "like": runs / "raven.safetensors"}
    if flavour in ("adapter", "bundle"):
        hints["alpha"] = ALPHA  # type: ignore[assignment]
    for start, path in first.items():
        for end in ("two.safetensors", "two.pt", "two"):
            there = tmp_path / start.replace(".", "_") / end
            convert_weights(path, there, **(hints if start == "one.pt" else {}))  # type: ignore[arg-type]
            assert_same(tensors(there), tensors(path))
            back = there.with_name(f"{there.name}_back.safetensors".replace(".pt", "_pt"))
            convert_weights(there, back, **(hints if end == "two.pt" else {}))  # type: ignore[arg-type]
            assert_same(tensors(back), tensors(first["one.safetensors"]))
            if flavour != "adapter":  # whose header names the base as seen from its folder
                assert back.read_bytes() == own


def test_flavours_there_and_back(runs: Path, tmp_path: Path) -> None:
    """Base + adapter = bundle, and apart again, bit for bit; merged from either is one file, and W + alpha /
    rank B A.
    """
    run, raven = runs / "cm_grpo", runs / "raven.safetensors"
    made = {name: tmp_path / f"{name}.safetensors" for name in ("adapter", "bundle", "merged", "base")}
    for flavour, path in made.items():
        convert_weights(run, path, flavour=flavour, base=raven if flavour == "adapter" else None)  # type: ignore[arg-type]
    assert_same(tensors(made["base"]), tensors(raven))
    for flavour in ("bundle", "merged", "base"):
        again = tmp_path / f"{flavour}_again.safetensors"
        convert_weights(made["adapter"], again, flavour=flavour)  # type: ignore[arg-type]
        assert again.read_bytes() == made[flavour].read_bytes()
    convert_weights(made["bundle"], tmp_path / "adapter_again.safetensors", flavour="adapter", base=raven)
    assert (tmp_path / "adapter_again.safetensors").read_bytes() == made["adapter"].read_bytes()
    bundle, merged = tensors(made["bundle"]), tensors(made["merged"])
    stem = "base_model.model.blocks.1.ffn.0"
    down, up = bundle[f"{stem}.lora_A.default.weight"], bundle[f"{stem}.lora_B.default.weight"]
    assert up.abs().max() > 0
    expected = bundle[f"{stem}.base_layer.weight"] + ALPHA / 2 * up @ down
    torch.testing.assert_close(merged["blocks.1.ffn.0.weight"], expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(merged["blocks.1.ffn.0.bias"], bundle[f"{stem}.base_layer.bias"])


def test_raw_generator_and_average_are_told_apart(runs: Path, tmp_path: Path) -> None:
    """Guards against shipping the wrong one of the two: the average by default, from a run and from one of
    its states/.
    """
    made = {}
    for name, source, key in (
        ("default", runs / "raven", None),
        ("ema", runs / "raven" / "states" / "0000002", "generator_ema"),
        ("raw", runs / "raven" / "states" / "0000002", "generator"),
        ("older", runs / "raven" / "states" / "0000001", None),
    ):
        convert_weights(source, tmp_path / f"{name}.pt", key=key)
        made[name] = file_sha256(tmp_path / f"{name}.pt")
    assert made["default"] == made["ema"] and len(set(made.values())) == 3


@pytest.mark.parametrize("layout", ["flat", "generator", "generator_ema"])
def test_torch_files_have_the_released_nesting(runs: Path, tmp_path: Path, layout: str) -> None:
    """baselines/methods.md#weights-of-each-method: what each published entry point indexes. Names, level, and
    nothing but tensors; then our own reader.
    """
    convert_weights(runs / "raven", tmp_path / "w.pt", layout=layout)
    convert_weights(runs / "raven", tmp_path / "w.safetensors")
    ours = tensors(tmp_path / "w.safetensors")
    held = torch.load(tmp_path / "w.pt", weights_only=True)
    inner = held[layout] if layout.startswith("generator") else held
    prefix = "" if layout == "flat" else "model."
    assert_same({name.removeprefix(prefix): value for name, value in inner.items()}, ours)
    assert all(name.startswith(prefix) and type(value) is Tensor for name, value in inner.items())
    assert (tmp_path / "w.pt").stat().st_size < 1.5 * (tmp_path / "w.safetensors").stat().st_size
    wan = open_released(Release(path=tmp_path / "w.pt", key=None, config=CONFIG))
    assert_same(wan.state_dict(), open_model(tmp_path / "w.safetensors").state_dict())


def test_a_file_with_generator_and_ema(runs: Path, tmp_path: Path) -> None:
    """models/backbone.md#weight-files: released files carry both. Each level is what it is called."""
    levels = {}
    for level, name in (("generator", "student"), ("generator_ema", "student_ema")):
        state = read_dcp(runs / "raven/checkpoint/models" / name)
        levels[level] = {f"model.{key}": value for key, value in state.items()}
    torch.save(levels, tmp_path / "both.pt")
    for level, state in levels.items():
        convert_weights(tmp_path / "both.pt", tmp_path / f"{level}.pt", key=level, layout=level)
        assert_same(torch.load(tmp_path / f"{level}.pt", weights_only=True)[level], state)


def test_a_manifest_says_what_came_from_what(runs: Path, tmp_path: Path) -> None:
    """Hashes of output and source, and no path that another machine could not follow; the same bytes every
    time.
    """
    for level, folder in (("generator", "student"), ("generator_ema", "student_ema")):
        path = tmp_path / f"{level}.pt"
        convert_weights(runs / "cm_grpo", path, flavour="merged", key=level, layout=level)
        about = json.loads((tmp_path / f"{level}.pt.json").read_text())
        assert about["sha256"] == file_sha256(path) and about["config"] == CONFIG.to_dict()
        assert (about["file"], about["flavour"], about["layout"]) == (path.name, "merged", level)
        assert about["lora_alpha"] is None
        held = torch.load(path, weights_only=True)[level]
        plain = {name.removeprefix("model."): value for name, value in held.items()}
        assert about["tensors_sha256"] == tensors_sha256(plain)
        assert about["dtypes"] == {"float32": len(held)}
        source = runs / "cm_grpo/checkpoint/models" / folder
        assert (tmp_path / about["from"]["path"]).resolve() == source.resolve()
        assert not Path(about["from"]["path"]).is_absolute()
        assert about["from"]["sha256"] == weights_sha256(source)
    convert_weights(runs / "cm_grpo", tmp_path / "a", flavour="adapter", base=runs / "raven.safetensors")
    about = json.loads((tmp_path / "a.json").read_text())
    assert about["sha256"] is None and (about["layout"], about["lora_alpha"]) == ("dcp", ALPHA)
    assert about["base"]["sha256"] == file_sha256(runs / "raven.safetensors")
    (tmp_path / "n.pt.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"n\.pt\.json exists, and nothing is overwritten"):
        convert_weights(runs / "raven", tmp_path / "n.pt")


def test_outputs_are_raven_and_cm_grpo_releases(runs: Path, tmp_path: Path) -> None:
    """The Release of baselines/raven.yaml and cm_grpo.yaml, but for size and rank: model, adapter, bundle and
    merged all open.
    """
    folder = tmp_path / "weights" / "raven"
    names = {
        "raven_model.pt": "base",
        "cmgrpo_raven_merge.pt": "merged",
        "cmgrpo_raven_full.pt": "bundle",
        "cmgrpo_raven_lora.safetensors": "adapter",
    }
    for name, flavour in names.items():
        base = runs / "raven.safetensors" if flavour == "adapter" else None
        convert_weights(runs / "cm_grpo", folder / name, flavour=flavour, base=base)  # type: ignore[arg-type]
    raven = release_of(load_baseline(ROOT / "baselines/raven.yaml"), folder / "raven_model.pt")
    raven = dataclasses.replace(raven, config=CONFIG)
    assert_same(open_released(raven).state_dict(), wan_of(1).state_dict())
    merged = dataclasses.replace(raven, path=folder / "cmgrpo_raven_merge.pt")
    convert_weights(runs / "cm_grpo", tmp_path / "merged.safetensors", flavour="merged")
    assert_same(open_released(merged).state_dict(), open_model(tmp_path / "merged.safetensors").state_dict())
    grpo = release_of(load_baseline(ROOT / "baselines/cm_grpo.yaml"), folder / "raven_model.pt")
    assert grpo.adapter is not None and grpo.adapter.path == folder / "cmgrpo_raven_lora.safetensors"
    small = dataclasses.replace(
        grpo.adapter, rank=2, alpha=ALPHA, tensors=2 * (2 * len(BLOCK_LINEARS) + len(OUTER_LINEARS))
    )
    grpo = dataclasses.replace(grpo, config=CONFIG, adapter=small)
    assert [found.flavour for found in check_released(grpo)] == ["full", "adapter"]
    bundle = dataclasses.replace(
        grpo, path=folder / "cmgrpo_raven_full.pt", adapter=dataclasses.replace(small, path=None)
    )
    stored = {
        name.removeprefix("base_model.model."): value
        for name, value in read_dcp(runs / "cm_grpo/checkpoint/models/student_ema").items()
    }
    for release in (grpo, bundle):
        assert_same(open_released(release).state_dict(), stored)


def test_longlive_adapter_layout(runs: Path, tmp_path: Path) -> None:
    """baselines/methods.md#weights-of-each-method: generator.model.* beneath, generator_lora on top, as
    LongLive's two files.
    """
    convert_weights(runs / "raven.safetensors", tmp_path / "base.pt", layout="generator")
    convert_weights(runs / "cm_grpo", tmp_path / "lora.pt", flavour="adapter", layout="generator_lora")
    assert list(torch.load(tmp_path / "lora.pt", weights_only=True)) == ["generator_lora"]
    count = 2 * (2 * len(BLOCK_LINEARS) + len(OUTER_LINEARS))
    adapter = Adapter(
        path=tmp_path / "lora.pt",
        key="generator_lora",
        rank=2,
        alpha=ALPHA,
        tensors=count,
        targets=(*BLOCK_LINEARS, *OUTER_LINEARS),
    )
    release = Release(path=tmp_path / "base.pt", key="generator", adapter=adapter, config=CONFIG)
    convert_weights(runs / "cm_grpo", tmp_path / "bundle.safetensors", flavour="bundle")
    ours = open_model(tmp_path / "bundle.safetensors").state_dict()
    assert_same(open_released(release).state_dict(), ours)


def test_foreign_files_become_ours(runs: Path, tmp_path: Path) -> None:
    """Wrapped names, several levels, peft's prefix left out, a flattened patch: what comes out has one form
    (models/backbone.md#weight-files).
    """
    convert_weights(runs / "cm_grpo", tmp_path / "bundle.safetensors", flavour="bundle")
    bundle, state = tensors(tmp_path / "bundle.safetensors"), wan_of(1).state_dict()
    wrapped = {f"model._fsdp_wrapped_module.{name}": value for name, value in state.items()}
    wrapped["model._fsdp_wrapped_module.patch_embedding.weight"] = state["patch_embedding.weight"].flatten(1)
    torch.save({"generator": {}, "generator_ema": wrapped, "step": 3}, tmp_path / "base.pt")
    bare = {
        name.removeprefix("base_model.model."): value for name, value in bundle.items() if ".lora_" in name
    }
    torch.save({"generator_lora": bare}, tmp_path / "lora.pt")
    like = runs / "raven.safetensors"
    convert_weights(tmp_path / "base.pt", tmp_path / "base.safetensors", key="generator_ema", like=like)
    assert (tmp_path / "base.safetensors").read_bytes() == like.read_bytes()
    convert_weights(
        tmp_path / "lora.pt", tmp_path / "again.safetensors", flavour="bundle", base=like, alpha=ALPHA
    )
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "bundle.safetensors").read_bytes()
    torch.save(
        {name.removeprefix("base_model.model."): value for name, value in bundle.items()}, tmp_path / "b.pt"
    )
    convert_weights(tmp_path / "b.pt", tmp_path / "b.safetensors", alpha=ALPHA, like=like)
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "bundle.safetensors").read_bytes()


def test_dcp_directories_start_training_and_other_tools_read_them(runs: Path, tmp_path: Path) -> None:
    """open_model and torch's own converter read it. Its hash is of tensors, since files of equal tensors
    differ, which would retrain.
    """
    convert_weights(runs / "raven.safetensors", tmp_path / "one")
    convert_weights(runs / "raven.safetensors", tmp_path / "two")
    assert_same(open_model(tmp_path / "one").state_dict(), wan_of(1).state_dict())
    dcp_to_torch_save(tmp_path / "one", tmp_path / "torch.pt")
    assert_same(torch.load(tmp_path / "torch.pt", weights_only=True), wan_of(1).state_dict())
    assert weights_sha256(tmp_path / "one") == weights_sha256(tmp_path / "two")
    assert_same(
        open_for_training(tmp_path / "one", "student", "fast", trained=True).state_dict(),
        wan_of(1).state_dict(),
    )
    settings = dmd_settings()
    flags = Namespace(
        init=tmp_path / "one",
        teacher=tmp_path / "one",
        text=ROOT / "models/embedded/text.safetensors",
        codec=runs / "raven.safetensors",
        fake=None,
        prompts=None,
        data=None,
        checksums=None,
        own=[],
        recipe="raven",
        code="",
        device="cpu",
        precision="fast",
        latent_size=(4, 4),
    )
    again = Namespace(**{**vars(flags), "init": tmp_path / "two"})
    one, other = (identity(run, settings, verified_files(run)) for run in (flags, again))
    assert one == other
    convert_weights(runs / "raven", tmp_path / "three")
    assert weights_sha256(tmp_path / "three") != weights_sha256(tmp_path / "one")


def test_the_stage_writes_what_it_always_wrote(runs: Path, tmp_path: Path) -> None:
    """Names, order, bytes of safetensors' own writer, headers and manifests of all four files of the convert
    rules.
    """
    raven = tmp_path / "weights" / "raven"
    convert_row(runs / "raven", SETTINGS["raven"], raven, None)
    base = runs / "raven.safetensors"
    folder = tmp_path / "weights" / "cm_grpo"
    convert_row(runs / "cm_grpo", SETTINGS["cm_grpo"], folder, base)
    size = json.dumps(CONFIG.to_dict(), sort_keys=True)
    state = read_dcp(runs / "raven/checkpoint/models/student_ema")
    save_file(dict(sorted(state.items())), tmp_path / "full", metadata={"config": size})
    assert (raven / "full.safetensors").read_bytes() == (tmp_path / "full").read_bytes()
    assert read_json(WeightsManifest, raven / "full.json").model_dump() == {
        **read_json(WeightsManifest, raven / "full.json").model_dump(),
        "name": "raven",
        "flavour": "full",
        "file": "full.safetensors",
        "tensors": len(state),
        "step": 2,
        "sha256": file_sha256(raven / "full.safetensors"),
        "base": None,
        "base_sha256": None,
    }
    seen = "../../../" + str(base.relative_to(tmp_path.parent))
    headers = {
        "adapter": {"base": seen, "config": size, "lora_alpha": "6.0"},
        "bundle": {"config": size, "lora_alpha": "6.0"},
        "merged": {"config": size},
    }
    for flavour, header in headers.items():
        raw = (folder / f"{flavour}.safetensors").read_bytes()
        found = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        assert next(iter(found)) == "__metadata__" and list(found["__metadata__"].items()) == list(
            header.items()
        )
        manifest = read_json(WeightsManifest, folder / f"{flavour}.json")
        assert manifest.sha256 == hashlib.sha256(raw).hexdigest() and manifest.tensors == len(found) - 1
        assert (manifest.base, manifest.base_sha256) == (
            (seen, file_sha256(base)) if flavour == "adapter" else (None, None)
        )


def edited(path: Path, **changes: object) -> None:
    """Change values of a JSON file; of a record to one of earlier versions, which had no checksum."""
    held = json.loads(path.read_text())
    held.pop("checksum", None)
    path.write_text(json.dumps({**held, **changes}))


def flipped(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(bytes(held))


def turned(row: Path) -> None:
    (row / "checkpoint").unlink()
    (row / "checkpoint").symlink_to("states/0000001")


EMA = "checkpoint/models/student_ema"
TRAINED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of a shard": (
        lambda row: flipped(row / EMA / "__0_0.distcp"),
        "has other bytes than were written in models/student_ema/__0_0.distcp",
    ),
    "a shard cut short": (
        lambda row: os.truncate(row / EMA / "__0_0.distcp", 100),
        "has other bytes than were written in",
    ),
    "no shard": (lambda row: (row / EMA / "__0_0.distcp").unlink(), "lacks models/student_ema/__0_0.distcp"),
    "no description": (lambda row: (row / EMA / ".metadata").unlink(), "lacks models/student_ema/.metadata"),
    "a file more": (lambda row: (row / EMA / "x").touch(), "has, beside what was written, models/student_"),
    "no link": (
        lambda row: (row / "checkpoint").unlink(),
        "has no .metadata.* To mend it, remove .*train.json",
    ),
    "another step's folder": (turned, "is of iteration 1, but .*train.json of 2"),
    "another step's shard": (
        lambda row: shutil.copy(row / "states/0000001/models/student_ema/__0_0.distcp", row / EMA),
        "has other bytes than were written in",
    ),
    "the facts": (
        lambda row: edited(row / "checkpoint/progress.json", facts={"config": CONFIG.to_dict(), "alpha": 9}),
        "progress.json was changed: it no longer has the sha256",
    ),
    "progress cut short": (
        lambda row: os.truncate(row / "checkpoint/progress.json", 50),
        "progress.json cannot be read as JSON",
    ),
    "a false hash": (lambda row: edited(row / "train.json", tensors_sha256="0" * 64), "train.json says 000"),
    "a false step": (lambda row: edited(row / "train.json", step=1), "of iteration 2, but .* of 1"),
    "another row's record": (
        lambda row: edited(row / "train.json", name="raven_2"),
        "is that of the row raven_2, expected raven",
    ),
    "other settings": (
        lambda row: edited(row / "train.json", settings_sha256="0" * 64),
        "is of a training with other settings than --settings",
    ),
}
"""What may happen between training and conversion: to a finished run of two iterations, and what is said."""


@pytest.mark.parametrize("name", TRAINED)
def test_a_conversion_holds_weights_to_the_record_of_their_training(
    runs: Path, tmp_path: Path, name: str
) -> None:
    """Guards against other weights in the table than those that were trained, without a word."""
    damage, sentence = TRAINED[name]
    row = tmp_path / "raven"
    shutil.copytree(runs / "raven", row, symlinks=True)
    damage(row)
    with pytest.raises(ValueError, match=sentence) as caught:
        convert_row(row, SETTINGS["raven"], tmp_path / "out", None)
    assert "\n" not in str(caught.value) and "run" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_training_of_an_earlier_version_is_held_to_its_tensors(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against 170 GPU-hours that an upgrade throws away; and against an edited alpha, which no hash of
    theirs covers.
    """
    row, base = tmp_path / "cm_grpo", runs / "raven.safetensors"
    shutil.copytree(runs / "cm_grpo", row, symlinks=True)
    progress = row / "checkpoint/progress.json"
    held = {name: json.loads(progress.read_text())[name] for name in ("iteration", "identity", "facts")}
    progress.write_text(json.dumps(held))
    convert_row(row, SETTINGS["cm_grpo"], tmp_path / "out", base)
    assert "is of an earlier version, without sha256 of its files" in caplog.text
    edited(progress, facts={**held["facts"], "alpha": 12.0})
    with pytest.raises(ValueError, match=r"was trained with alpha 12\.0, --settings say 6\.0"):
        convert_row(row, SETTINGS["cm_grpo"], tmp_path / "out", base)
    edited(progress, facts=held["facts"])
    shutil.copy(row / "states/0000001/models/student_ema/__0_0.distcp", row / EMA)
    with pytest.raises(ValueError, match="holds tensors of sha256"):
        convert_row(row, SETTINGS["cm_grpo"], tmp_path / "out", base)


def test_an_adapter_is_converted_on_what_it_was_trained_on(runs: Path, tmp_path: Path) -> None:
    """A base of the same size would fit, and make another clip."""
    write_safetensors(tmp_path / "b.safetensors", wan_of(2).state_dict(), metadata=weights_header(CONFIG))
    with pytest.raises(ValueError, match=r"b.safetensors is not what row cm_grpo was trained on"):
        convert_row(runs / "cm_grpo", SETTINGS["cm_grpo"], tmp_path / "out", tmp_path / "b.safetensors")


def test_equal_weights_are_equal_bytes(runs: Path, tmp_path: Path) -> None:
    """Guards against safetensors' random order of header entries: every conversion would have another sha256
    and rerun what follows.
    """
    made = []
    for number in range(4):
        path = tmp_path / f"{number}.safetensors"
        convert_weights(runs / "cm_grpo", path, flavour="adapter", base=runs / "raven.safetensors")
        made.append(path.read_bytes())
    assert len(set(made)) == 1
    for name in ("a.pt", "other.pt"):
        convert_weights(runs / "raven", tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


REFUSED = {
    "no average": (
        ["no_ema", "x.pt"],
        {},
        (
            "has no EMA of the generator, it was trained without .models/student_ema., found "
            "student; ask for generator"
        ),
    ),
    "unknown level": (
        ["raven", "x.pt"],
        {"key": "critic"},
        "training checkpoint, and has no 'critic'; expected generator",
    ),
    "no adapter": (
        ["raven", "x.pt"],
        {"flavour": "adapter"},
        "is a model without an adapter, so there is no flavour 'adapter' of it; ask for full",
    ),
    "merged without adapter": (
        ["raven.safetensors", "x.pt"],
        {"flavour": "merged"},
        "no flavour 'merged' of it",
    ),
    "full of a bundle": (
        ["cm_grpo", "x.pt"],
        {"flavour": "full"},
        "is a base with its adapter, not one model .* ask for merged",
    ),
    "adapter without base": (
        ["lora.pt", "x.pt"],
        {"flavour": "bundle"},
        "does not say which weights are beneath it",
    ),
    "header without base": (
        ["cm_grpo", "x.safetensors"],
        {"flavour": "adapter"},
        "must say which weights are beneath it",
    ),
    "another base": (
        ["cm_grpo", "x.safetensors"],
        {"flavour": "adapter", "base": "raven_trained.safetensors"},
        r"other weights than those beneath .* \(\d+ of 69 tensors",
    ),
    "useless base": (
        ["cm_grpo", "x.pt"],
        {"flavour": "merged", "base": "raven.safetensors"},
        "need no base from elsewhere",
    ),
    "base with adapter": (
        ["lora.pt", "x.pt"],
        {"flavour": "bundle", "base": "bundle.safetensors"},
        "is a base with its adapter where the weights beneath",
    ),
    "no alpha": (
        ["lora.pt", "x.pt"],
        {"flavour": "merged", "base": "raven.safetensors"},
        "does not say the alpha",
    ),
    "another alpha": (
        ["cm_grpo", "x.pt"],
        {"flavour": "merged", "alpha": 2.0},
        "alpha 6 over its rank, found alpha 2",
    ),
    "no size": (["flat.pt", "x.safetensors"], {}, "does not say how many heads"),
    "foreign size": (["flat.pt", "x.safetensors"], {"like": "lora.pt"}, "does not say the size of its model"),
    "half a model": (["half.safetensors", "x.pt"], {}, "1 missing .head.head.bias."),
    "half an adapter": (
        ["half_lora.safetensors", "x.pt"],
        {},
        r"at base_model\.model\.blocks\.0\.ffn\.0: lora_A \(2, 24\), lora_B absent",
    ),
    "no transformer": (["codec.safetensors", "x.pt"], {}, "is no Wan transformer"),
    "ending": (["raven", "x.safetensor"], {}, r"ends in \.safetensor; expected"),
    "layout": (["raven", "x.pt"], {"layout": "teacher"}, "no layout 'teacher'; expected one of flat"),
    "layout of a flavour": (
        ["cm_grpo", "x.pt"],
        {"layout": "generator"},
        "is for full and merged and base weights, found bundle",
    ),
    "layout of a kind": (["raven", "x.safetensors"], {"layout": "generator"}, "safetensors files are flat"),
}


@pytest.fixture(scope="module")
def wrong(runs: Path) -> Path:
    """Beside the runs: what the refusals need."""
    (runs / "no_ema/models/student").parent.mkdir(parents=True)
    write_dcp(runs / "no_ema/models/student", wan_of(1).state_dict())
    facts = {"config": CONFIG.to_dict()}
    write_progress(runs / "no_ema", iteration=1, identity="a", facts=facts)
    convert_weights(runs / "cm_grpo", runs / "lora.pt", flavour="adapter")
    convert_weights(runs / "cm_grpo", runs / "bundle.safetensors")
    convert_weights(runs / "raven", runs / "raven_trained.safetensors")
    state, lora = wan_of(1).state_dict(), tensors(runs / "lora.pt")
    torch.save(state, runs / "flat.pt")
    state.pop("head.head.bias")
    lora.pop("base_model.model.blocks.0.ffn.0.lora_B.weight")
    write_safetensors(runs / "half.safetensors", state, metadata=weights_header(CONFIG))
    write_safetensors(
        runs / "half_lora.safetensors", lora, metadata=weights_header(CONFIG, alpha=6.0, base="b")
    )
    write_safetensors(runs / "codec.safetensors", {"basis": torch.zeros(3)})
    return runs


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_sentence_and_leave_nothing(wrong: Path, tmp_path: Path, name: str) -> None:
    (source, output), options, sentence = REFUSED[name]
    options = {
        key: wrong / str(value) if key in ("base", "like") else value for key, value in options.items()
    }
    with pytest.raises(ValueError, match=sentence) as caught:
        convert_weights(wrong / source, tmp_path / output, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_nothing_is_overwritten(runs: Path, tmp_path: Path) -> None:
    """Guards against a directory of the user's that is replaced by a checkpoint."""
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine exists, and nothing is overwritten"):
        convert_weights(runs / "raven", tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        convert_weights(tmp_path / "absent.pt", tmp_path / "x.pt")
    with pytest.raises(FileNotFoundError, match=r"no \.metadata"):
        convert_weights(tmp_path / "mine", tmp_path / "x.pt")


def test_the_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags reach the function; a refusal is its sentence alone and exit status 1."""
    source = str(runs / "raven")
    assert main([source, str(tmp_path / "a.pt"), "--layout", "generator"]) == 0
    assert list(torch.load(tmp_path / "a.pt", weights_only=True)) == ["generator"]
    assert main([source, str(tmp_path / "b.pt"), "--flavour", "adapter"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{source}" in last and "no flavour 'adapter'" in last and not (tmp_path / "b.pt").exists()


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """safetensors writes with mode 0600, which keeps a group from sampling the weights that one of it
    trained.
    """
    (tmp_path / "plain").write_text("")
    write_safetensors(tmp_path / "w.safetensors", {"x": torch.zeros(1)})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_slice_is_stored_alone(tmp_path: Path) -> None:
    """torch.save writes the whole memory behind a view: an adapter out of a bundle could bring the bundle
    along.
    """
    write_torch(tmp_path / "w.pt", {"part": torch.zeros(100_000)[:2]})
    assert (tmp_path / "w.pt").stat().st_size < 10_000
