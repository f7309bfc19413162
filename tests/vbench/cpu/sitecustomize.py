"""Lets a torchvision built for CUDA import beside a CPU torch: put this folder on PYTHONPATH. For tests; a
CUDA torch is left alone.

The wheel's native library needs CUDA libraries, so the operators that torchvision declares fakes for do not
exist and its import dies. Before that import, this declares the two operators and gives `nms` a kernel;
afterwards it gives roi_align a form that needs little memory. Nothing else of torchvision's native code is
called by VBench.
"""

import math
import sys
from importlib.machinery import PathFinder
from typing import Any

LIBRARIES: list[Any] = []  # an operator lives as long as its library object


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Greedy suppression. boxes [N, 4] as x0, y0, x1, y1; indices of the kept ones, best first."""
    import torch

    corners = boxes.detach().double()
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    waiting = torch.argsort(scores.detach(), descending=True, stable=True)
    kept = []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        kept.append(int(best))
        low = torch.maximum(corners[best, :2], corners[rest, :2])
        high = torch.minimum(corners[best, 2:], corners[rest, 2:])
        common = (high - low).clamp(min=0).prod(1)
        waiting = rest[common <= iou_threshold * (areas[best] + areas[rest] - common)]
    return torch.tensor(kept, dtype=torch.int64)


def _bilinear_rows(start: float, step: float, bins: int, samples: int, length: int) -> Any:
    """[bins, length]: each row averages `samples` bilinear reads, evenly spread over one bin of an axis."""
    import torch

    places = start + (torch.arange(bins * samples) + 0.5) * (step / samples)
    weight = ((places >= -1) & (places <= length)).float() / samples
    places = places.clamp(0, length - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=length - 1)
    rows = torch.zeros(bins * samples, length)
    at = torch.arange(bins * samples)
    rows[at, low] += weight * (1 - (places - low))
    rows[at, high] += weight * (places - low)
    return rows.view(bins, samples, length).sum(1)


def roi_align(
    maps: Any, rois: Any, scale: float, height: int, width: int, sampling_ratio: int, aligned: bool
) -> Any:
    """As torchvision's: bilinear pooling on a grid is separable, so every box is two small matrix
    products.
    """
    import torch

    shift = 0.5 if aligned else 0.0
    pooled = maps.new_zeros(len(rois), maps.shape[1], height, width)
    for index, (image, *corners) in enumerate(rois.tolist()):
        x0, y0, x1, y1 = (value * scale - shift for value in corners)
        least = 0.0 if aligned else 1.0
        tall, wide = max(y1 - y0, least), max(x1 - x0, least)
        down = sampling_ratio if sampling_ratio > 0 else max(math.ceil(tall / height), 1)
        across = sampling_ratio if sampling_ratio > 0 else max(math.ceil(wide / width), 1)
        rows = _bilinear_rows(y0, tall / height, height, down, maps.shape[2])
        columns = _bilinear_rows(x0, wide / width, width, across, maps.shape[3])
        pooled[index] = torch.matmul(rows, torch.matmul(maps[int(image)].float(), columns.T))
    return pooled


class Finder:
    """First among the finders of modules; changes three of torchvision's as they are imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """A spec with a step more, or None for every other module."""
        if name not in ("torchvision", "torchvision.extension", "torchvision.ops.roi_align"):
            return None
        import torch

        if torch.version.cuda is not None:
            return None
        if name == "torchvision":
            if not LIBRARIES:
                library = torch.library.Library("torchvision", "DEF")
                for operator in ("nms", "qnms"):
                    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                library.impl("nms", nms, "CPU")
                LIBRARIES.append(library)
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None, name
        assert spec.loader is not None, name
        execute = spec.loader.exec_module

        def execute_and_change(module: Any) -> None:
            execute(module)
            if name == "torchvision.extension":
                module._assert_has_ops = lambda: None
            else:
                module._roi_align = roi_align

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
