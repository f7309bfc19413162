"""The stand-ins for torchvision's native code that tests use on a CPU, against the rules written out
by hand.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cpu_site() -> Any:
    """The stand-ins for torchvision's native code, imported without staying among the finders of modules."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("cpu_site", ROOT / "tests/vbench/cpu/sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    before = list(sys.meta_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.meta_path[:] = before
    return module


def test_suppression_is_greedy(cpu_site: Any) -> None:
    """Guards the CPU stand-in of nms against the rule written out box by box."""
    import torch

    draw = torch.Generator().manual_seed(0)
    low = torch.rand(60, 2, generator=draw) * 50
    boxes = torch.cat([low, low + 1 + torch.rand(60, 2, generator=draw) * 30], dim=1)
    scores = torch.rand(60, generator=draw)

    def overlap(one: Any, other: Any) -> float:
        sides = (torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])).clamp(min=0)
        area = lambda box: float((box[2:] - box[:2]).prod())  # noqa: E731
        return float(sides.prod()) / (area(one) + area(other) - float(sides.prod()))

    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[i], boxes[k]) <= 0.4 for k in kept):
            kept.append(i)
    assert cpu_site.nms(boxes, scores, 0.4).tolist() == kept
    assert 5 < len(kept) < 60


@pytest.mark.parametrize("aligned", [True, False])
def test_pooling_averages_bilinear_samples(cpu_site: Any, aligned: bool) -> None:
    """Guards the CPU stand-in of roi_align against reading every sample by hand."""
    import math

    import torch

    draw = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 3, 12, 16, generator=draw)
    rois = torch.tensor([[0, 4.0, 6.0, 60.0, 40.0], [1, 0.0, 0.0, 20.0, 18.0]])
    found = cpu_site.roi_align(maps, rois, 0.25, 3, 4, 0, aligned)

    def read(image: Any, y: float, x: float) -> Any:
        y, x = min(max(y, 0.0), 11.0), min(max(x, 0.0), 15.0)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, 11), min(x0 + 1, 15)
        fy, fx = y - y0, x - x0
        top = image[:, y0, x0] * (1 - fx) + image[:, y0, x1] * fx
        return top * (1 - fy) + (image[:, y1, x0] * (1 - fx) + image[:, y1, x1] * fx) * fy

    for k, (image, *corners) in enumerate(rois.tolist()):
        x0, y0, x1, y1 = (corner * 0.25 - (0.5 if aligned else 0.0) for corner in corners)
        tall, wide = (y1 - y0) / 3, (x1 - x0) / 4
        down, across = math.ceil(tall), math.ceil(wide)
        for i in range(3):
            for j in range(4):
                values = [
                    read(
                        maps[int(image)],
                        y0 + tall * (i + (a + 0.5) / down),
                        x0 + wide * (j + (b + 0.5) / across),
                    )
                    for a in range(down)
                    for b in range(across)
                ]
                torch.testing.assert_close(
                    found[k, :, i, j], torch.stack(values).mean(0), atol=1e-5, rtol=1e-5
                )
