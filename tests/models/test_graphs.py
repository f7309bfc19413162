"""Rollouts of training as CUDA graphs: the bits of plain calls, one cache, no stale memory.

On a CPU the same code runs without capturing, so that buffers, prompts and weights that change are tried
there too.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.cache import KVCache
from models.checkpoints.lora import LoraSettings, add_lora
from models.codec import fit_codec
from models.config import WanConfig
from models.graphs import GraphRunner
from models.rollout import Runner, plain_runner
from models.training.cm_grpo import CmGrpo
from models.training.raven import Raven
from models.training.settings import CmGrpoSettings, Execution
from models.training.streams import Streams
from models.wan import Wan, init_weights
from tests.models.training_toys import CPU, SHAPE, dmd_settings, grpo_settings, normal, validation_of
from workflow.training.job import Job, rollout_runner, training_dtypes

CONFIG = WanConfig(
    dim=64, ffn_dim=96, num_layers=2, num_heads=2, freq_dim=16, text_dim=8, text_len=8,
    in_channels=4, out_channels=4,
)  # fmt: skip
GPU = pytest.param(
    torch.device("cuda", 0),
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")],
    id="cuda",
)
DEVICES = [pytest.param(CPU, id="cpu"), GPU]
PLANS = 4  # one a chunk, its context pass having that of its denoising calls


class CountingRunner(GraphRunner):
    """Counts the calls that it records."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(capture=device.type == "cuda")
        self.recorded = 0

    def _recorded(self, bound: Any, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.recorded += 1
        return super()._recorded(bound, compute)


def wan_of(seed: int, device: torch.device, precision: str) -> Wan:
    wan = Wan(CONFIG, training_dtypes(precision, trained=True))
    init_weights(wan, torch.Generator().manual_seed(seed), zero_head=False)
    return wan.to(device)


def recipe_of(
    name: str, runner: Runner = plain_runner, device: torch.device = CPU, precision: str = "float32"
) -> Raven | CmGrpo:
    """RAVEN, or CM-GRPO, that trains in every iteration."""
    texts = normal(6, 6, 8, seed=5, dtype=torch.float32)
    if name == "raven":
        student, fake, teacher = (wan_of(seed, device, precision) for seed in (1, 2, 3))
        settings, streams = dmd_settings(micro_batches=2), Streams(seed=7, device=device)
        teacher.requires_grad_(False)
        return Raven(
            student, fake, teacher, texts, SHAPE, replace(settings, fake_updates=1), streams, runner=runner
        )
    policy = add_lora(wan_of(1, device, precision), LoraSettings(rank=2, alpha=2.0), seed=0).to(device)
    grpo: CmGrpoSettings = replace(grpo_settings(), prompts=1)

    def reward(latents: Tensor, _: list[int]) -> dict[str, Tensor]:
        return {"level": latents.mean((1, 2, 3, 4))}

    return CmGrpo(policy, texts, reward, SHAPE, grpo, Streams(seed=3, device=device), runner=runner)


def caches() -> int:
    """How many caches are alive."""
    return sum(type(thing) is KVCache for thing in gc.get_objects())


@pytest.mark.parametrize(
    ("precision", "device"), [("float32", CPU), pytest.param("fast", *GPU.values, marks=GPU.marks)]
)
@pytest.mark.parametrize("name", ["raven", "cm_grpo"])
def test_losses_are_those_of_plain_calls(name: str, precision: str, device: torch.device) -> None:
    """Iteration after iteration, with other prompts and the weights that the last step left: every metric,
    and in the end every weight, bit for bit. Each call is recorded once for all micro-batches and iterations.
    """
    runner = CountingRunner(device)
    plain, replayed = (recipe_of(name, one, device, precision) for one in (plain_runner, runner))
    for iteration in range(3 if device.type == "cuda" else 2):
        assert plain.step(iteration, 0.0) == replayed.step(iteration, 0.0)
    assert runner.recorded == PLANS
    trained = zip(plain.student.parameters.values(), replayed.student.parameters.values(), strict=True)
    assert all(torch.equal(a, b) for a, b in trained)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["raven", "cm_grpo"])
def test_gradients_are_untouched_and_never_missing(name: str, device: torch.device) -> None:
    """A replay leaves no gradient and asks for none; a call that wants one is refused, not answered."""
    runner = CountingRunner(device)
    recipe = recipe_of(name, runner, device)
    text = normal(2, 6, 8, dtype=torch.float32).to(device)
    for _ in range(2):
        rolled = recipe.roll_out(0, range(2), text)
    assert not rolled.states.requires_grad and not rolled.endpoints.requires_grad
    assert all(value.grad is None for value in recipe.wan.parameters())
    calls = runner(recipe.wan, text, 8)
    with pytest.raises(ValueError, match="has no gradient; use plain_runner"):
        calls.denoise(rolled.states[0, :, :2], torch.zeros(2, 2, device=device), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", DEVICES)
def test_another_shape_takes_the_place_of_the_last(device: torch.device) -> None:
    """Of another batch: recorded anew, equal to plain calls, and never two caches at once."""
    runner, before = CountingRunner(device), caches()
    recipe = recipe_of("raven", runner, device)
    for number, batch in enumerate((2, 1)):
        text = normal(batch, 6, 8, seed=batch, dtype=torch.float32).to(device)
        for iteration in range(2):
            found = recipe.roll_out(iteration, range(batch), text)
            assert caches() == before + 1 and runner.recorded == PLANS * (number + 1)
            recipe.runner = plain_runner
            assert torch.equal(found.states, recipe.roll_out(iteration, range(batch), text).states)
            recipe.runner = runner
    runner.release()
    assert caches() == before


@pytest.mark.parametrize("device", DEVICES)
def test_weights_that_moved_are_found(device: torch.device) -> None:
    """Guards against graphs that read memory of weights which were cast or loaded into another place."""
    runner = CountingRunner(device)
    recipe = recipe_of("raven", runner, device)
    text = normal(1, 6, 8, dtype=torch.float32).to(device)
    first = recipe.roll_out(0, range(1), text)
    for parameter in recipe.wan.parameters():
        parameter.data = 2 * parameter.data
    moved = recipe.roll_out(0, range(1), text)
    assert runner.recorded == 2 * PLANS and not torch.equal(first.states, moved.states)
    recipe.runner = plain_runner
    assert torch.equal(moved.states, recipe.roll_out(0, range(1), text).states)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_validation_shares_the_cache_of_training(device: torch.device, tmp_path: Path) -> None:
    """Clips of single prompts between iterations of two: the same files and the same training as with plain
    calls, and the memory of the one is given back before the other takes its own.
    """
    codec = tmp_path / "codec.safetensors"
    fit_codec(normal(8, 5, 3, 8, 8, dtype=torch.float32).clamp(-1, 1), channels=4).save(codec)
    before, found = caches(), []
    for name, runner in (("plain", plain_runner), ("graphs", CountingRunner(device))):
        recipe = recipe_of("raven", runner, device)
        assert isinstance(recipe, Raven)
        metrics = []
        validation = validation_of(recipe, tmp_path / name, codec)
        validation.device = device
        for iteration in range(2):
            metrics.append(recipe.step(iteration, 0.0))
            if iteration == 0:
                validation.make(1)
            assert caches() == before + (name == "graphs")
        clips = sorted((tmp_path / name / "validation").rglob("*.mp4"))
        found.append((metrics, [clip.read_bytes() for clip in clips]))
    assert found[0] == found[1] and len(found[0][1]) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_released_memory_comes_back() -> None:
    """Graphs, their pool and the cache: what was reserved before them is reserved afterwards."""
    device = torch.device("cuda", 0)
    runner = CountingRunner(device)
    recipe = recipe_of("raven", runner, device)
    text = normal(2, 6, 8, dtype=torch.float32).to(device)

    def held() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated(device)

    recipe.runner = plain_runner
    recipe.roll_out(0, range(2), text)
    sizes = []
    for _ in range(3):
        recipe.runner = runner
        recipe.roll_out(0, range(2), text)
        runner.release()
        sizes.append(held())
    assert sizes[0] == sizes[1] == sizes[2]


def test_sharded_weights_and_the_switch_ask_for_plain_calls() -> None:
    """Guards against graphs of weights that FSDP gathers into another place in every rollout."""
    cuda = torch.device("cuda", 0)

    def runner_of(device: torch.device, *, mesh: object = None, graphs: bool = True) -> Runner:
        processes: Any = type("Sharded", (), {"mesh": mesh})
        return rollout_runner(Job(device, processes, Execution(rollout_graphs=graphs), lambda: False, ()))

    assert isinstance(runner_of(cuda), GraphRunner)
    others = runner_of(cuda, mesh="a mesh"), runner_of(cuda, graphs=False), runner_of(CPU)
    assert others == (plain_runner,) * 3
