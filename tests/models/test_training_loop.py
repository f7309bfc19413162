"""The loop: resume, faults that stop, streams, settings."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch

from baselines.strict_yaml import parse_strict
from models.checkpoints.containers import read_dcp, tensors_sha256
from models.training.loop import Muon, RunLimits, Trainee, finite, orthogonalise, train
from models.training.settings import DmdSettings, OptimizerSettings, canonical
from models.training.streams import StreamNoise, Streams
from tests.models.training_toys import CPU, SHAPE, dmd_settings, normal, raven_of


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["fake_loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    """Stop after 2 of 4 iterations and continue in a new process' place: same weights, averages, optimizers
    and losses.
    """
    settings = dmd_settings()
    whole, first, second = (raven_of(settings) for _ in range(3))
    train(whole, RunLimits(iterations=4), output=tmp_path / "whole", identity="a")
    train(first, RunLimits(iterations=2), output=tmp_path / "broken", identity="a")
    assert train(second, RunLimits(iterations=4), output=tmp_path / "broken", identity="a") == 4
    for name in (
        "models/student",
        "models/student_ema",
        "models/fake",
        "optimizers/student",
        "optimizers/fake",
    ):
        one, other = (read_dcp(tmp_path / kind / "checkpoint" / name) for kind in ("whole", "broken"))
        assert tensors_sha256(one) == tensors_sha256(other), name
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken") and len(losses(tmp_path / "whole")) == 4


def test_checkpoint_of_another_run_is_not_continued(tmp_path: Path) -> None:
    """Settings, weights or code that differ start afresh, also the metrics."""
    train(raven_of(dmd_settings()), RunLimits(iterations=2), output=tmp_path, identity="a")
    train(raven_of(dmd_settings()), RunLimits(iterations=1), output=tmp_path, identity="b")
    assert len(losses(tmp_path)) == 1
    assert json.loads((tmp_path / "checkpoint" / "progress.json").read_text())["identity"] == "b"


def test_a_finished_run_is_never_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another identity gets another folder, and one log line says what stays; the older run can go on from
    where it was. A run of an earlier version, which lies in the row's folder itself, stays too.
    """

    def trained(identity: str, iterations: int) -> int:
        recipe = raven_of(dmd_settings())
        return train(recipe, RunLimits(iterations=iterations), output=tmp_path, identity=identity)

    def state(run: Path) -> str:
        return tensors_sha256(read_dcp(run / "checkpoint/models/student"))

    caplog.set_level(logging.INFO)
    assert trained("a" * 64, 2) == 2
    first = state(tmp_path)
    for name in ("states", "checkpoint", "metrics.jsonl"):  # as earlier versions wrote them
        (tmp_path / name).unlink()
    for path in (tmp_path / "runs" / ("a" * 12)).iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "runs" / ("a" * 12)).rmdir()
    caplog.clear()
    assert trained("b" * 64, 1) == 1
    assert state(tmp_path) != first and len(losses(tmp_path)) == 1
    (line,) = [text for text in caplog.messages if "training afresh" in text]
    assert f"runs/{'a' * 12} (0.00 GB) stays until you remove it" in line
    assert state(tmp_path / "runs" / ("a" * 12)) == first
    assert trained("a" * 64, 3) == 3
    assert len(losses(tmp_path)) == 3 and len(losses(tmp_path / "runs" / ("b" * 12))) == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a" * 12, "b" * 12]
    assert not any(Path(os.readlink(path)).is_absolute() for path in tmp_path.iterdir() if path.is_symlink())


def test_a_gradient_that_is_not_finite_stops_before_the_step() -> None:
    """A fault never becomes a number (reports/README.md#honesty-rules). The sentence names tensor and
    iteration, and no weight has moved.
    """
    layer = torch.nn.Linear(2, 2)
    trainee = Trainee("student", layer, OptimizerSettings(lr=0.1), ema_decay=0.9)
    before = layer.weight.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.full((2, 2), torch.nan), torch.ones(2)
    with pytest.raises(FloatingPointError, match=r"student\.weight is not finite at iteration 17"):
        trainee.step(17, 0.0)
    assert torch.equal(layer.weight, before) and trainee.updates == 0
    with pytest.raises(FloatingPointError, match="fake-score loss is inf at iteration 3"):
        finite(torch.tensor(torch.inf), "fake-score loss", 3)


def test_the_ema_is_the_weighted_mean_of_all_weights() -> None:
    """Closed form after K updates: d^K w0 + (1 - d) * sum of d^(K - k) wk; a checkpoint has each under its
    own name, and sampling with it gives the weights back.
    """
    layer, decay = torch.nn.Linear(3, 2, dtype=torch.float64), 0.75
    trainee = Trainee("student", layer, OptimizerSettings(lr=0.1), ema_decay=decay)
    weights = [layer.weight.detach().clone()]
    for step in range(3):
        layer.weight.grad, layer.bias.grad = normal(2, 3, seed=step), normal(2, seed=step)
        trainee.step(step, 0.0)
        weights.append(layer.weight.detach().clone())
    expected = decay**3 * weights[0] + (1 - decay) * sum(decay ** (3 - k) * weights[k] for k in (1, 2, 3))
    states = trainee.states()
    torch.testing.assert_close(states["models/student_ema"]["weight"], expected, rtol=1e-12, atol=0)
    assert torch.equal(states["models/student"]["weight"], weights[-1])
    with trainee.with_ema():
        torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-12, atol=0)
    assert torch.equal(layer.weight.detach(), weights[-1])
    torch.testing.assert_close(trainee.ema_state()["weight"], expected, rtol=1e-12, atol=0)


def test_streams_depend_on_key_and_sample_alone() -> None:
    """The same sample gets the same noise however the batch is cut; purposes, iterations and chunks all
    differ.
    """
    streams = Streams(seed=1, device=CPU)
    whole = StreamNoise(streams=streams, iteration=5, samples=range(4), shape=SHAPE)
    part = StreamNoise(streams=streams, iteration=5, samples=range(2, 4), shape=SHAPE)
    assert torch.equal(whole.initial()[2:], part.initial())
    assert torch.equal(whole.draw_renoise(1, 2, 2, None)[2:], part.draw_renoise(1, 2, 2, None))
    draws = [streams.normal(p, i, [s], (4,)) for p in ("a", "b") for i in (0, 1) for s in (0, 1)]
    draws += [whole.draw_renoise(c, k, 1, None)[0].flatten()[None, :4] for c in (0, 1) for k in (0, 1)]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 12
    assert streams.choice("c", 0, range(300), 3).unique().tolist() == [0, 1, 2]


def test_a_group_shares_its_start_and_nothing_else() -> None:
    """With sharing 2, samples 2 and 3 start alike, samples 1 and 2 do not, and every later draw is a sample's
    own.
    """
    streams = Streams(seed=1, device=CPU)
    whole = StreamNoise(streams=streams, iteration=5, samples=range(4), shape=SHAPE, sharing=2)
    start, later = whole.initial(), whole.draw_renoise(1, 2, 2, None)
    assert torch.equal(start[2], start[3]) and not torch.equal(start[1], start[2])
    assert not torch.equal(later[2], later[3])
    part = StreamNoise(streams=streams, iteration=5, samples=range(1, 3), shape=SHAPE, sharing=2)
    assert torch.equal(part.initial(), start[1:3])


def test_orthogonalised_update() -> None:
    """Singular values end near 1 (Newton-Schulz leaves about 0.7 to 1.2) with the input's directions; a step
    moves by lr.
    """
    matrices = normal(3, 12, 20, dtype=torch.float32)
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.5 and values.max() < 1.3
    weight = torch.nn.Parameter(torch.zeros(12, 20))
    weight.grad = matrices[0]
    Muon([weight], lr=0.1).step()
    torch.testing.assert_close(weight.detach(), -0.1 * orthogonalise(matrices[:1])[0], rtol=1e-4, atol=1e-5)


def test_settings_are_read_strictly() -> None:
    """A wrong key is one sentence with place, key and allowed keys; what is written is what is read."""
    settings = dmd_settings()
    assert parse_strict(canonical(settings), DmdSettings, where="x") == settings
    values = json.loads(canonical(settings))
    with pytest.raises(
        ValueError, match=r"raven: key 'student\.rate' is unknown; allowed in 'student' are lr, kind"
    ):
        parse_strict(json.dumps({**values, "student": {"rate": 1}}), DmdSettings, where="raven")
    with pytest.raises(ValueError, match=r"raven: key 'batch' is '4' but input should be a valid integer"):
        parse_strict(json.dumps({**values, "batch": "4"}), DmdSettings, where="raven")
    with pytest.raises(ValueError, match="micro_batches must divide batch"):
        parse_strict(json.dumps({**values, "batch": 3, "micro_batches": 2}), DmdSettings, where="raven")
