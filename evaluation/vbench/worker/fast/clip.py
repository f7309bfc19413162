"""CLIP's three dimensions with less around the network: bytes to the device, resized there in batches, no
graph, texts encoded once.

The network, its dtype (float16 on a GPU) and the package's loops stay. Batches differ from the package's in
the order of sums: about 1e-6 of a value in float32; in float16, which the package's own values are rounded
to, by a step of that format for some frames.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from evaluation.vbench.worker.fast.frames import note_frame_values, noted_reading, over_batches, read_bytes
from evaluation.vbench.worker.watch import LoopWatch

FRAMES_AT_ONCE = 32
"""Frames that go through the network at once."""
LARGE_ON_CPU = 4
"""Of ViT-L/14 on a CPU: so few that what lies between two layers stays in its cache."""
RESIZED = 16
"""Frames at full size in float32 at once."""


def as_they_are(_: Any) -> Any:
    """No preparation of images; takes the place of one."""
    return lambda images: images


def background_in_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Background consistency: the package makes one batch of all frames of a clip, at full size in float32.

    Images are resized by the package's own transform on the CPU, ahead of the network: resized on a GPU
    they differ by 1e-6, and the cosines of the float16 features, which are themselves steps of 5e-4, then by
    3e-4 of a clip's value.
    """
    official: Any = module.background_consistency
    load: Any = module.load_video
    transform = module.clip_transform(224)
    note_frame_values(module, watch)
    module.clip_transform = as_they_are  # type: ignore[attr-defined]

    def images(path: str) -> Tensor:
        """[T, 3, 224, 224], as the network takes them."""
        frames = torch.from_numpy(load(path, return_tensor=False)).permute(0, 3, 1, 2)
        return over_batches(lambda part: transform(part.float()), frames, RESIZED)

    module.load_video = noted_reading(watch.ahead(images), watch)  # type: ignore[attr-defined]

    def background_consistency(network: Any, preprocess: Any, clips: Any, *rest: Any) -> Any:
        def encode(frames: Tensor) -> Tensor:
            return over_batches(network.encode_image, frames, watch.at_once(FRAMES_AT_ONCE))

        return official(SimpleNamespace(encode_image=encode), preprocess, clips, *rest)

    module.background_consistency = background_consistency  # type: ignore[attr-defined]


def aesthetic_in_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Aesthetic quality: the package's loop over 32 frames at a time, which are resized on the device; a
    frame's value is its rating / 10.
    """
    official: Any = module.laion_aesthetic
    transform = module.clip_transform(224)
    read_bytes(module, watch)
    module.clip_transform = as_they_are  # type: ignore[attr-defined]

    def note(_: Any, __: Any, ratings: Tensor) -> None:
        watch.frame_values[watch.clip] += (ratings.flatten() / 10).tolist()

    def laion_aesthetic(head: Any, network: Any, clips: Any, device: Any) -> Any:
        head.register_forward_hook(note)

        def encode(frames: Tensor) -> Tensor:
            return over_batches(
                lambda part: network.encode_image(transform(part.float())),
                frames,
                watch.at_once(FRAMES_AT_ONCE if device.type == "cuda" else LARGE_ON_CPU),
            )

        return official(head, SimpleNamespace(encode_image=encode, eval=network.eval), clips, device)

    module.laion_aesthetic = laion_aesthetic  # type: ignore[attr-defined]


def style_in_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Appearance style: images are prepared ahead, by PIL as in the package; each phrase is encoded once."""
    official: Any = module.appearance_style
    load: Any = module.load_video
    prepare, from_array = module.clip_transform_Image(224), module.Image.fromarray
    module.Image = SimpleNamespace(fromarray=lambda frame: frame)  # type: ignore[attr-defined]
    module.clip_transform_Image = as_they_are  # type: ignore[attr-defined]

    def images(path: str) -> Tensor:
        """[T, 3, 224, 224], as the network takes them."""
        return torch.stack([prepare(from_array(frame)) for frame in load(path, return_tensor=False)])

    read = noted_reading(watch.ahead(images), watch)

    def appearance_style(network: Any, infos: Any, device: Any, **options: Any) -> Any:
        texts: dict[tuple[int, ...], Tensor] = {}

        def features(path: str, **_: Any) -> Tensor:
            return over_batches(
                lambda part: network.encode_image(part.to(device)),
                read(path),
                watch.at_once(FRAMES_AT_ONCE),
            )

        def logits(feature: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
            """CLIP.forward from an image's feature on."""
            key = tuple(text.flatten().tolist())
            if key not in texts:
                known = network.encode_text(text)
                texts[key] = known / known.norm(dim=1, keepdim=True)
            feature = feature / feature.norm(dim=1, keepdim=True)
            of_image = network.logit_scale.exp() * feature @ texts[key].t()
            watch.frame_values[watch.clip].append(float(of_image[0][0].cpu()) / 100)
            return of_image, of_image.t()

        module.load_video = watch.reading(features)  # type: ignore[attr-defined]
        return official(logits, infos, device, **options)

    module.appearance_style = appearance_style  # type: ignore[attr-defined]
