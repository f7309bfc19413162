"""Which test covers each property of training and sampling, and those that no other file covers."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from models.cache import KVCache
from models.plan import AttendPlan, Read, Write
from models.schedule import to_x0
from tests.models.training_toys import CHUNKS, CONFIG, SHAPE, grpo_of, normal, wan_of

TESTS = Path(__file__).parents[1]
COVERED = yaml.safe_load((TESTS / "golden/properties.yaml").read_text(encoding="utf-8"))
F64 = torch.float64


def test_the_page_and_the_list_name_the_same_properties() -> None:
    """Guards against a property that is promised and not tested, and against one that nobody can look up."""
    page = (TESTS.parent / "models/training/methods.md").read_text(encoding="utf-8")
    section = page.split("\n## Properties that must hold\n")[1].split("\n## ")[0]
    promised = [
        name
        for line in re.findall(r"^- (`.*?):", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert promised == list(COVERED)


@pytest.mark.parametrize("name", COVERED)
def test_every_property_has_its_tests(name: str) -> None:
    """Guards against a list that rots: a test that is renamed or removed must be replaced here too."""
    assert set(COVERED[name]) <= {"tests", "instead"} and COVERED[name]["tests"]
    for test in COVERED[name]["tests"]:
        file, _, function = test.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in found, f"{name}: {test} is gone; name the test that covers this property now"


def second_chunk(first_at: int, second_at: int) -> Tensor:
    """Velocity of a chunk of 2 frames that stands at `second_at`, given a clean one that was cached at
    `first_at`.
    """
    wan = wan_of(0, F64).requires_grad_(False)
    clean, noisy, text = normal(1, 2, 4, 4, 4, seed=1), normal(1, 2, 4, 4, 4, seed=2), normal(1, 6, 8, seed=3)
    cache = KVCache(CONFIG, batch=1, capacity=4, tokens_per_frame=4, device=clean.device, dtype=F64)
    keys = wan.text_kv(wan.embed_text(text))
    for x, t, at, read in ((clean, 0.0, first_at, 2), (noisy, 833.0, second_at, 4)):
        plan = AttendPlan(2, at, (), None, Write(read - 2, 2, 0, "rotated"), (Read("cache", 0, read, None),))
        v = wan.cached(x, torch.full((1, 2), t, dtype=F64), keys, cache, plan)
    return v


def test_positions_are_relative_in_the_whole_network() -> None:
    """All frame offsets shifted by a constant leave the output as it is, shifting the clean chunk alone
    changes it.
    """
    expected = second_chunk(0, 2)
    torch.testing.assert_close(second_chunk(37, 39), expected, rtol=0, atol=1e-10)
    assert float((second_chunk(1, 2) - expected).abs().max()) > 1e-3


def test_a_window_lets_gradients_through_the_chunks_in_between_alone() -> None:
    """With a window of one chunk and two layers: chunk 3 reads chunk 2, which read chunk 1; chunk 0 is out of
    reach, exactly.
    """
    wan = wan_of(0, F64)
    noisy, clean = normal(1, *SHAPE, seed=1), normal(1, *SHAPE, seed=2).requires_grad_()
    t = torch.full((1, 8), 833.0, dtype=F64)
    v = wan.interleaved(noisy, clean, t, wan.embed_text(normal(1, 4, 8, seed=3)), chunks=CHUNKS, window=1)
    to_x0(noisy, v, t / 1000)[:, 6:].square().sum().backward()
    assert clean.grad is not None
    reached = [float(clean.grad[:, 2 * j : 2 * j + 2].abs().sum()) > 0 for j in range(4)]
    assert reached == [False, True, True, False]


def test_the_average_of_an_adapter_starts_as_the_adapter() -> None:
    """The average of fresh adapters is those adapters, A included, and then the closed form of its decay, for
    adapters alone.
    """
    recipe = grpo_of()
    trainee = recipe.student
    assert trainee.ema is not None and trainee.ema.keys() == trainee.parameters.keys()
    assert trainee.ema and all(".lora_" in name for name in trainee.ema)
    expected = {name: value.detach().clone() for name, value in trainee.parameters.items()}
    assert all(torch.equal(trainee.ema[name], value) for name, value in expected.items())
    assert any(bool(value.any()) for name, value in expected.items() if ".lora_A." in name)
    for iteration in range(3):
        recipe.step(iteration, 0.0)
        for name, value in trainee.parameters.items():
            expected[name] = trainee.ema_decay * expected[name] + (1 - trainee.ema_decay) * value.detach()
    for name, value in expected.items():
        torch.testing.assert_close(trainee.ema[name], value, rtol=1e-5, atol=1e-8)
