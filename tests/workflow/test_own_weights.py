"""Weights of the user's own, of any kind and anywhere: proven before sampling, refused in one sentence."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evaluation.files import canonical_sha256, file_sha256
from evaluation.records import Clip, read_json, read_jsonl, write_json
from models.checkpoints.containers import read_safetensors, tensors_sha256, write_dcp, write_safetensors
from models.checkpoints.lora import LoraSettings, adapter_state, add_lora, weights_header
from reports.run import Run
from tests.workflow.embedded import CONFIG as SIZE
from tests.workflow.embedded import random_network
from tests.workflow.project import Job, copy_project, planned, replace_in, snakemake
from workflow.fetching.own_weights import OwnRecord, OwnWeights, fault_of, weight_files_of
from workflow.fetching.verified import verified_own, verified_weights
from workflow.planning.paths import (
    all_own_weights,
    check_weight_files,
    own_record,
    row_weights,
    weights_record,
)
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite
from workflow.scripts import own_weights as script

ROOT = Path(__file__).parents[2]
ALPHA = 6.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and a LoRA on it as an adapter and as a bundle, without headers; one small file with one."""
    folder = tmp_path_factory.mktemp("own weights")
    wan = random_network(5)
    base = {name: value.clone() for name, value in wan.state_dict().items()}
    bundle = add_lora(wan, LoraSettings(rank=2, alpha=ALPHA), seed=0).state_dict()
    bundle = {n: torch.full_like(v, 0.05) if ".lora_B." in n else v for n, v in bundle.items()}
    write_safetensors(folder / "like.safetensors", base, metadata=weights_header(SIZE))
    write_safetensors(folder / "base.safetensors", base)
    torch.save({"generator_ema": base, "generator": base}, folder / "two levels.pt")
    torch.save(base, folder / "base.pt")
    torch.save(bundle, folder / "bundle.pt")
    write_safetensors(folder / "lora.safetensors", adapter_state(bundle))
    write_dcp(folder / "dcp", base)
    return folder


def prove(folder: Path, output: Path, **weights: object) -> OwnRecord:
    told = json.dumps(OwnWeights.model_validate(weights).model_dump())
    assert script.main(["--weights", told, "--output", str(output)]) == 0
    return read_json(OwnRecord, output)


def test_identity_is_the_sha256_of_a_file_or_of_all_that_decides(own: Path, tmp_path: Path) -> None:
    """Guards against clips that survive another base or alpha, and a hash of a directory's bytes or index."""
    like, alone = str(own / "like.safetensors"), own / "base.pt"
    one = prove(own, tmp_path / "a.json", path=str(alone), like=like)
    assert one.sha256 == file_sha256(alone) == one.files[str(alone)]
    base = str(own / "base.safetensors")
    lora = {"path": str(own / "lora.safetensors"), "base": base, "like": like}
    first, second = (prove(own, tmp_path / f"{a}.json", alpha=a, **lora) for a in (ALPHA, 7.0))
    assert first.files == second.files and first.sha256 != second.sha256
    decides = {
        "weights": file_sha256(own / "lora.safetensors"),
        "base": file_sha256(Path(base)),
        "alpha": ALPHA,
    }
    assert first.sha256 == canonical_sha256(decides)
    assert [line.split(": ")[1].split(",")[0] for line in first.found] == ["full", "adapter of rank 2"]
    dcp = prove(own, tmp_path / "d.json", path=str(own / "dcp"), like=like)
    assert dcp.sha256 == tensors_sha256(read_safetensors(Path(base)))


def test_sampling_refuses_files_that_changed_since_they_were_proven(own: Path, tmp_path: Path) -> None:
    """The file itself, and what may say its scale: peft's adapter_config.json beside it."""
    path = tmp_path / "mine.pt"
    shutil.copy(own / "base.pt", path)
    record = prove(own, tmp_path / "r.json", path=str(path), like=str(own / "like.safetensors"))
    assert verified_own(record) == record.sha256
    changed = r"mine\.pt has sha256 .* when it was proven for this run; start"
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=changed):
        verified_own(record)
    (tmp_path / "adapter_config.json").unlink()
    torch.save(random_network(6).state_dict(), path)
    with pytest.raises(ValueError, match=changed):
        verified_own(record)


TRAINED_FROM = {
    "resources/w.pt": (
        "resources/w.pt",
        "but [0-9a-f]{64} when it was fetched; remove it and run `make fetch`",
    ),
    "resources/m.safetensors.index.json": (
        "resources/m-1.safetensors",
        "m-1.safetensors has sha256 .* fetched",
    ),
    "shipped.safetensors": ("shipped.safetensors", "but shipped.json says"),
    "mine.pt": ("mine.pt", "when it was proven for this run; start the run again"),
}
"""Weights of a training: the file that is damaged, and what is said of it."""


@pytest.mark.parametrize("name", TRAINED_FROM)
def test_training_refuses_weights_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of every kind: fetched, in several files, shipped or converted, the user's own. Guards against a
    teacher with a flipped bit, which trains another student without a word.
    """
    monkeypatch.chdir(tmp_path)
    Path("resources").mkdir()
    for path in ("resources/w.pt", "resources/m-1.safetensors", "shipped.safetensors", "mine.pt"):
        Path(path).write_bytes(path.encode() * 10)
    Path("resources/m.safetensors.index.json").write_text('{"weight_map": {"a": "m-1.safetensors"}}')
    Path("shipped.json").write_text(json.dumps({"sha256": file_sha256("shipped.safetensors")}))
    checksums = {path.name: file_sha256(path) for path in Path("resources").iterdir()}
    mine = file_sha256("mine.pt")
    record = OwnRecord(weights=OwnWeights(path="mine.pt"), files={"mine.pt": mine}, sha256=mine, found=())
    write_json(Path("record.json"), record)
    paths = [*map(Path, TRAINED_FROM)]
    hashes = verified_weights(paths, checksums, [Path("record.json")])
    assert len(set(hashes)) == len(paths) and hashes[0] == file_sha256("resources/w.pt")
    damaged, sentence = TRAINED_FROM[name]
    held = bytearray(Path(damaged).read_bytes())
    held[5] ^= 1
    Path(damaged).write_bytes(bytes(held))
    with pytest.raises(ValueError, match=sentence):
        verified_weights(paths, checksums, [Path("record.json")])


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"path": "lora.safetensors"}, "a LoRA without its base; name the base beneath it, and its alpha"),
        ({"path": "lora.safetensors", "base": "like.safetensors"}, "of no known alpha; name the alpha"),
        ({"path": "bundle.pt"}, "a base together with its LoRA; name the alpha of its LoRA"),
        ({"path": "base.pt"}, "do not show its number of heads; name the size by a native checkpoint (like)"),
        ({"path": "two levels.pt"}, "has the levels generator, generator_ema"),
        ({"path": "two levels.pt", "key": "ema"}, "has no level 'ema'"),
    ],
)
def test_what_a_file_does_not_say_is_asked_for_by_its_key(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: dict[str, str], sentence: str
) -> None:
    told = {key: str(own / name) if key in ("path", "base") else name for key, name in weights.items()}
    flags = ["--weights", json.dumps(told), "--output", str(tmp_path / "r.json")]
    assert script.main(flags) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def toy(weights: object) -> Suite:
    """A suite of Self Forcing alone, from other weights."""
    replaced = {
        "baselines": ["self_forcing"],
        "weights": {"self_forcing": weights},
        "train": {},
        "raven": None,
        "cm_grpo": None,
    }
    return load_suite(ROOT, [ROOT / "workflow/config/toybox.yaml"], replaced)


def write(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


@pytest.mark.parametrize(
    ("name", "make", "clause"),
    [
        ("absent.pt", lambda path: None, "which does not exist"),
        ("page.pt", write(b"<html>"), "which is no torch file"),
        ("cut.safetensors", write((10**6).to_bytes(8, "little") + b"{}"), "or cut short"),
        ("notes.txt", write(b"x"), "which is no weight file by its name"),
        ("folder", lambda path: path.mkdir(), "without .metadata, so no distributed checkpoint"),
        (
            "a.safetensors.index.json",
            write(b'{"weight_map": {"x": "b.safetensors"}}'),
            "b.safetensors are not",
        ),
        ("b.safetensors.index.json", write(b"[]"), "which is no index of safetensors"),
    ],
)
def test_planning_refuses_what_is_no_weight_file(
    tmp_path: Path, name: str, make: Callable[[Path], object], clause: str
) -> None:
    """One sentence that names the key and the path, before any job; of a base too."""
    make(tmp_path / name)
    wrong = str(tmp_path / name)
    for weights in (wrong, {"path": "models/embedded/causvid.safetensors", "base": wrong, "alpha": 1.0}):
        with pytest.raises(ValueError, match=r"^weights\.self_forcing names ") as caught:
            check_weight_files(toy(weights), ROOT)
        assert wrong in str(caught.value) and clause in str(caught.value)


def test_good_files_pass_and_shards_of_an_index_are_all_of_it(own: Path, tmp_path: Path) -> None:
    for name in ("base.pt", "dcp", "base.safetensors"):
        assert fault_of(own / name) == ""
    write_safetensors(tmp_path / "s.safetensors", {"x": torch.zeros(1)})
    index = tmp_path / "i.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "s.safetensors"}}))
    assert fault_of(index) == ""
    assert [path.name for path in weight_files_of(index)] == [index.name, "s.safetensors"]
    check_weight_files(toy(str(own / "base.pt")), ROOT)


def test_shipped_trained_and_fetched_weights_stay_what_they_were(own: Path) -> None:
    """Guards against rows of today's suites that would be sampled again."""
    for name in ("toybox", "ci", "tiny", "vbench", "qualitative"):
        assert all_own_weights(load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], {})) == {}
    mine = toy(str(own / "base.pt"))
    (record,) = own_record(mine, row_weights(mine, "self_forcing"))
    assert re.fullmatch(r"results/toybox/weights/own-files/base-pt-[0-9a-f]{8}/record\.json", record)
    assert weights_record(mine, row_weights(mine, "self_forcing")) == record
    told = toy({"path": str(own / "base.pt"), "key": "generator"})
    assert weights_record(told, row_weights(told, "self_forcing")) != record


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"file": "x.pt"}, "weights.self_forcing"),
        ({"path": "x.pt", "alpha": 0}, "alpha"),
        ({"path": "x.pt", "bases": "y"}, "bases"),
    ],
)
def test_keys_of_weights_are_strict(weights: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        toy(weights)
    assert "\n" not in str(caught.value)


CONFIG = """
suite: mine
benchmark: toybox
label: "Own weights"
device: cpu
baselines: [raven, self_forcing, causvid, causal_forcing]
controls: []
dimensions: [color]
prompts: {seed: 0, per_dimension: 3, samples: 1, static_samples: 2, static_keep: 1}
clip: {pixel_frames: 81, height: 128, width: 128, fps: 16}
sample: {batch: 2, shards: 1, noise: portable, precision: float32}
model:
  codec: models/embedded/codec.safetensors
  text: models/embedded/text.safetensors
  latent_height: 8
  latent_width: 8
weights:
  self_forcing: FOLDER/base.pt
  causvid: {path: FOLDER/lora.safetensors, base: FOLDER/base.safetensors, alpha: 6.0}
  causal_forcing: FOLDER/dcp
train:
  raven:
    recipe: raven
    init: FOLDER/like.safetensors
    teacher: models/embedded/base.safetensors
    flavour: full
raven: {iterations: 1, batch: 1, seed: 1, student: {lr: 1e-4}, fake: {lr: 1e-4}}
cm_grpo: null
aggregate: {draws: 2000, seed: 0}
report: {clips_budget_mb: 2, note: null}
rates: {train_s: 5, sample_s: 0.0198, score_s: 0.00395, job_s: 1.0, video_mb: 0.00198}
resources: []
"""


@pytest.mark.slow
def test_own_weights_from_anywhere_stand_in_a_report(own: Path, tmp_path: Path) -> None:
    """A torch file, a LoRA with its base and a DCP directory in a folder with a blank, and a start of a
    training; another content is proven and sampled again, a touch reruns nothing.
    """
    folder, project = tmp_path / "my weights", tmp_path / "project"
    shutil.copytree(own, folder)
    copy_project(project, CONFIG.replace("FOLDER", str(folder)))
    answer = snakemake(project, "mine")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-6000:]
    clips = {
        row: read_jsonl(Clip, project / f"results/mine/clips/{row}/manifest.jsonl")[0]
        for row in ("self_forcing", "causvid", "causal_forcing")
    }
    assert clips["self_forcing"].weights_sha256 == file_sha256(folder / "base.pt")
    assert clips["causal_forcing"].weights_sha256 == tensors_sha256(
        read_safetensors(folder / "base.safetensors")
    )
    run = read_json(Run, project / "results/mine/run.json")
    assert len(run.provenance["own_weights"]) == 4
    assert planned(project, "mine") == set()
    for path in folder.rglob("*"):
        path.touch()
    assert planned(project, "mine") == set()
    torch.save(random_network(9).state_dict(), folder / "base.pt")
    jobs: set[Job] = {("own_weights",), ("sample", "self_forcing"), ("check", "self_forcing")}
    assert jobs <= planned(project, "mine")
    assert not [job for job in planned(project, "mine") if job[1:2] and job[1] != "self_forcing"]
    replace_in(project / "workflow/config/mine.yaml", "base.pt", "gone.pt")
    refused = snakemake(project, "mine", "-n")
    assert refused.returncode != 0
    assert (
        f"weights.self_forcing names {folder}/gone.pt, which does not exist;"
        in refused.stdout + refused.stderr
    )
