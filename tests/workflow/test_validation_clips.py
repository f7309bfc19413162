"""Validation clips: of the EMA, of fixed prompts and noise, and without any trace in training."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation.clip_reader import read_clip
from evaluation.clips import write_clip
from models.checkpoints.containers import load_strict, read_dcp, tensors_sha256
from models.codec import fit_codec
from models.noise import PortableNoise, SampleKey
from models.text_and_pixels import open_codec
from models.training.loop import Preempted, RunLimits, train
from models.training.prompts import PromptPool
from models.training.rollouts import endpoints
from models.training.settings import Execution
from tests.models.test_distributed import trained
from tests.models.training_toys import CPU, SHAPE, dmd_settings, normal, raven_of, validation_of, wan_of
from workflow.planning.suite_file import read_suite
from workflow.training.validation import ValidationClips, evenly_spaced

ROOT = Path(__file__).parents[2]
FOLDERS = ("models/student", "models/student_ema", "models/fake", "optimizers/student", "optimizers/fake")
LIMITS = RunLimits(iterations=4, checkpoint_every=3)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear codec of 4 channels, fitted to random pictures."""
    path = tmp_path_factory.mktemp("codec") / "codec.safetensors"
    fit_codec(normal(8, 5, 3, 8, 8, dtype=torch.float32).clamp(-1, 1), channels=4).save(path)
    return path


def state_of(run: Path) -> list[str]:
    """Hashes of everything that a run keeps, and its metrics without their times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [tensors_sha256(read_dcp(run / "checkpoint" / name)) for name in FOLDERS]
    return kept + [
        json.dumps({key: value for key, value in line.items() if key != "elapsed_s"}) for line in lines
    ]


def trained_with(output: Path, codec: Path | None, limits: RunLimits = LIMITS, **options: object) -> Path:
    """A run of RAVEN to the end of its limits, with validation clips every 2 iterations if there is a codec
    for them.
    """
    recipe = raven_of(dmd_settings())
    validation = None if codec is None else validation_of(recipe, output, codec)
    train(recipe, limits, output=output, identity="a", validation=validation, **options)  # type: ignore[arg-type]
    return output


def made(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "validation").iterdir())


def test_training_is_the_same_bits_with_and_without(codec: Path, tmp_path: Path) -> None:
    """Guards against a draw from a training stream, and against averages that stay in the student."""
    without, with_clips = trained_with(tmp_path / "without", None), trained_with(tmp_path / "with", codec)
    assert state_of(without) == state_of(with_clips)
    assert made(with_clips) == ["0000002", "0000004"] and not (without / "validation").exists()


def test_clips_are_of_the_average_and_of_fixed_noise(codec: Path, tmp_path: Path) -> None:
    """Byte for byte what the shipped average makes of prompts 0 and 3 with the portable noise of
    "validation".
    """
    run = trained_with(tmp_path / "run", codec)
    average, recipe, decoder = wan_of(0), raven_of(dmd_settings()), open_codec(codec)
    load_strict(average, read_dcp(run / "checkpoint/models/student_ema"), where="the average")
    assert sorted(path.name for path in (run / "validation/0000004").iterdir()) == [
        "000000.mp4",
        "000003.mp4",
    ]
    for place in (0, 3):
        noise = PortableNoise(suite="validation", samples=[SampleKey(f"prompt_{place}", 0)], shape=SHAPE)
        latents = endpoints(recipe.rollout.run(average, recipe.texts[[place]], noise))
        write_clip(tmp_path / "by_hand.mp4", decoder.decode_uint8(latents)[0].numpy(), fps=16)
        found = run / "validation/0000004" / f"{place:06d}.mp4"
        assert found.read_bytes() == (tmp_path / "by_hand.mp4").read_bytes()
        assert found.read_bytes() != (run / "validation/0000002" / found.name).read_bytes()


@pytest.mark.slow
def test_a_stopped_run_makes_up_for_its_clips(codec: Path, tmp_path: Path) -> None:
    """Stopped after 2 iterations, before their clips; then gone back to iteration 3, so clips of 4 are made
    again.
    """
    whole, broken = trained_with(tmp_path / "whole", codec), tmp_path / "broken"
    asked = iter((False, True))
    with pytest.raises(Preempted):
        trained_with(broken, codec, stop=lambda: next(asked))
    assert not (broken / "validation").exists()
    trained_with(broken, codec, RunLimits(iterations=3))
    assert made(broken) == ["0000002", "0000003"]
    (broken / "validation/0000004").mkdir()
    (broken / "validation/0000004.7.tmp").mkdir()
    trained_with(broken, codec)
    for name in ("0000002", "0000004"):
        for path in (whole / "validation" / name).iterdir():
            assert (broken / "validation" / name / path.name).read_bytes() == path.read_bytes()
    assert state_of(broken) == state_of(whole) and not list(broken.glob("validation/*.tmp"))
    recipe = raven_of(dmd_settings())
    train(
        recipe,
        RunLimits(iterations=1),
        output=broken,
        identity="b",
        validation=validation_of(recipe, broken, codec),
    )
    assert made(broken) == ["0000001"]


def test_a_fault_puts_the_weights_back(codec: Path, tmp_path: Path) -> None:
    """Latents that are not finite stop the run, name the clips, write none, and leave student and average as
    they were.
    """
    recipe = raven_of(dmd_settings())
    recipe.step(0, 0.0)
    recipe.step(1, 0.0)
    before = {key: value.detach().clone() for key, value in recipe.student.parameters.items()}
    validation = validation_of(recipe, tmp_path, codec)
    validation.texts = normal(6, 6, 8) * torch.nan
    with pytest.raises(FloatingPointError, match=r"validation clips .*0000002 are not finite"):
        validation.make(2)
    assert not (tmp_path / "validation").exists()
    validation.texts = normal(6, 6, 9)  # another size of text: the network refuses it
    with pytest.raises(RuntimeError):
        validation.make(2)
    assert all(torch.equal(value, before[key]) for key, value in recipe.student.parameters.items())
    assert recipe.student.ema is not None
    assert not all(torch.equal(value, before[key]) for key, value in recipe.student.ema.items())


def test_prompts_are_named_where_they_are_texts(codec: Path, tmp_path: Path) -> None:
    """A list of prompts stands beside its clips; a file that is no codec is refused before the first step."""
    recipe = raven_of(dmd_settings())
    rows = recipe.texts
    assert isinstance(rows, torch.Tensor)
    recipe.texts = PromptPool(
        [f"prompt {i}" for i in range(6)], lambda texts: rows[[int(t.split()[1]) for t in texts]]
    )
    validation_of(recipe, tmp_path, codec).make(2)
    assert (tmp_path / "validation/0000002/prompts.txt").read_text() == "000000 prompt 0\n000003 prompt 3\n"
    with pytest.raises(FileNotFoundError):
        validation_of(recipe, tmp_path, codec.with_name("absent"))
    assert list(evenly_spaced(3, 4)) == [0, 1, 2] and list(evenly_spaced(9, 4)) == [0, 2, 4, 6]


@pytest.mark.slow
def test_sharded_processes_take_part(codec: Path, tmp_path: Path) -> None:
    """Two processes: the same bits of training with and without clips, and clips like those of one."""
    without = trained(tmp_path / "without", processes=2)
    both = trained(tmp_path / "with", "--codec", codec, processes=2)
    assert state_of(without) == state_of(both)
    alone = trained(tmp_path / "alone", "--codec", codec)
    assert made(both) == made(alone) == ["0000002", "0000004"]
    for path in (alone / "validation/0000004").iterdir():
        one, other = (
            read_clip(run / "validation/0000004" / path.name).frames.astype(int) for run in (alone, both)
        )
        assert abs(one - other).mean() < 0.5, "sums in another order, then H.264"


def test_a_row_says_what_watches_it() -> None:
    """Keys of a trained row reach the script's --execution; none of them is part of the recipe's settings."""
    suite = read_suite(Path("workflow/config/tiny.yaml"), ROOT)
    plan = suite.train["raven"].model_copy(update={"validate_every": 5, "wandb": "causal"})
    assert json.loads(plan.execution) == {
        "activation_checkpointing": False,
        "asynchronous": False,
        "keep": 2,
        "rollout_graphs": True,
        "tensorboard": False,
        "validate_every": 5,
        "wandb": "causal",
    }
    with pytest.raises(ValueError, match="validate_every is -1"):
        Execution(validate_every=-1)
    with pytest.raises(ValueError, match="every 0 iterations are none"):
        ValidationClips(
            every=0,
            output=Path(),
            student=None,
            network=None,
            rollout=None,
            runner=None,
            texts=None,
            shape=SHAPE,
            codec=Path(),
            device=CPU,
            processes=None,
        )  # type: ignore[arg-type]


class FakeWandb(types.ModuleType):
    """The two names of wandb that are used, keeping what they are called with."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, object]] = []
        self.logged: list[tuple[int, float]] = []

    def Settings(self, **settings: object) -> dict[str, object]:  # noqa: N802
        return settings

    def init(self, **options: object) -> FakeWandb:
        self.begun.append(options)
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics["fake_loss"]))


def test_metrics_go_to_wandb_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run that a resumed training continues; without the package one sentence before the first step."""
    limits = replace(LIMITS, wandb="causal")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        ModuleNotFoundError, match="wandb project causal, but the package wandb is not installed"
    ):
        trained_with(tmp_path / "none", None, limits)
    assert (tmp_path / "none/metrics.jsonl").read_text() == ""
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    trained_with(tmp_path / "run", None, replace(limits, iterations=3))
    trained_with(tmp_path / "run", None, limits)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert fake.logged == [(line["iteration"], line["fake_loss"]) for line in lines] and len(lines) == 4
    first, second = fake.begun
    assert first["id"] == second["id"] and (first["project"], first["name"]) == ("causal", "run")
