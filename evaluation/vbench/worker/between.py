"""Cosines between the first frames of a long clip's pieces: DINOv2 for subject, DreamSim for background
consistency, as VBench-Long takes them.

    python -m evaluation.vbench.worker.between --job FILE

Runs in an environment of its own (envs/vbench_long), since DreamSim needs newer packages than VBench. The job
holds videos: files of uint8 frames [M, H, W, 3] by clip; cache: the folder of checkpoints; sizes: their bytes
by name; device, threads and output.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.job import WorkerJob, check_files, isolate_process, open_device, write_whole

log = logging.getLogger("between")

DINOV2_FILE = "between/dinov2_vitb14_pretrain.pth"
DREAMSIM_FOLDER = "between/dreamsim"
BETWEEN_FILES = (
    DINOV2_FILE,
    *(f"{DREAMSIM_FOLDER}/{name}" for name in (
        "dino_vitb16_pretrain.pth", "clip_vitb16_pretrain.pth.tar", "open_clip_vitb16_pretrain.pth.tar",
        "ensemble_lora/adapter_config.json", "checkpoints/dino_vitbase16_pretrain.pth",
        "facebookresearch_dino_main/hubconf.py",
    )),
)  # fmt: skip
"""What is read, below the cache folder; DINO's hub entry and weights lie where torch.hub looks for them."""
MEASURED_WITH = ("dreamsim", "timm", "torch", "torchvision")
SIDE, SHORT_SIDE, IMAGES_AT_ONCE = 224, 256, 16
"""Pixels of what both networks see, pixels of DINOv2's short side before the crop; images at once."""
INTERPOLATE_OFFSET = 0.1
"""Added to the number of patches a side where DINOv2 enlarges its table of positions (facebookresearch/dinov2
dinov2/models/vision_transformer.py, interpolate_pos_encoding).
"""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FeatureNetwork = Callable[[Any], Any]
"""uint8 images [M, 3, H, W] -> features [M, D]."""


def open_dinov2(path: Path, device: Any) -> FeatureNetwork:
    """DINOv2 ViT-B/14's class feature, from the published file."""
    import timm
    import torch
    from torch.nn.functional import interpolate
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize

    network = timm.create_model("vit_base_patch14_dinov2", num_classes=0, img_size=SIDE)
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    tensors.pop("mask_token", None)  # for training alone
    positions = tensors["pos_embed"]
    patches, cells = round((positions.shape[1] - 1) ** 0.5), SIDE // 14
    grid = positions[:, 1:].reshape(1, patches, patches, -1).permute(0, 3, 1, 2).float()
    factor = (cells + INTERPOLATE_OFFSET) / patches
    grid = interpolate(grid, scale_factor=(factor, factor), mode="bicubic").permute(0, 2, 3, 1)
    tensors["pos_embed"] = torch.cat([positions[:, :1], grid.reshape(1, cells * cells, -1)], dim=1)
    network.load_state_dict(tensors)
    network.to(device).eval()
    seen = Compose([Resize(SHORT_SIDE, InterpolationMode.BICUBIC), CenterCrop(SIDE)])
    normalise = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    return lambda images: network(normalise(seen(images).float().div(255.0)))


def open_dreamsim(folder: Path, device: Any) -> FeatureNetwork:
    """DreamSim's ensemble of three networks, from the published files."""
    from dreamsim import dreamsim
    from torchvision.transforms import InterpolationMode, Resize

    network, _ = dreamsim(pretrained=True, device=device, cache_dir=str(folder))
    resize = Resize((SIDE, SIDE), InterpolationMode.BICUBIC)
    return lambda images: network.embed(resize(images).float().div(255.0))


def cosines(network: FeatureNetwork, images: Any, device: Any) -> dict[str, list[float]]:
    """Of each image but the first, with the one before and with the first. images: uint8 [M, 3, H, W]."""
    import torch
    from torch.nn.functional import cosine_similarity, normalize

    with torch.no_grad():
        found = [network(part.to(device)).float() for part in images.split(IMAGES_AT_ONCE)]
    features = normalize(torch.cat(found), dim=-1)
    return {
        "previous": cosine_similarity(features[1:], features[:-1]).tolist(),
        "first": cosine_similarity(features[1:], features[:1]).tolist(),
    }


def compare_videos(job: WorkerJob) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Cosines by clip and dimension; none of a clip of one piece. Raises ValueError if one is no number."""
    import numpy as np
    import torch

    device, cache = open_device(job["device"]), Path(job["cache"])
    networks = {
        "subject_consistency": open_dinov2(cache / DINOV2_FILE, device),
        "background_consistency": open_dreamsim(cache / DREAMSIM_FOLDER, device),
    }
    answer: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, file in job["videos"].items():
        images = torch.from_numpy(np.load(file, allow_pickle=False)).permute(0, 3, 1, 2)
        answer[name] = {
            dimension: cosines(network, images, device) if len(images) > 1 else {"previous": [], "first": []}
            for dimension, network in networks.items()
        }
        values = [v for one in answer[name].values() for found in one.values() for v in found]
        if not all(abs(value) <= 1 + 1e-5 for value in values):  # also false for NaN
            raise ValueError(
                f"clip {name} has a cosine between its pieces that is none; a checkpoint of DINOv2 or "
                "DreamSim is another file than the published one: delete it in resources/weights/vbench and "
                "run `make fetch`."
            )
        log.info("%s: %d pieces", name, len(images))
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--job", type=Path, required=True, help="JSON file")
    job = json.loads(parser.parse_args(arguments).job.read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    try:
        isolate_process(Path(job["cache"]))
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # DINO's hub entry would build any object
        check_files(BETWEEN_FILES, Path(job["cache"]), job["sizes"])
        from importlib.metadata import version

        import torch

        torch.set_num_threads(job["threads"])
        answer = {"videos": compare_videos(job)}
        versions = {name: version(name) for name in MEASURED_WITH} | {
            "device": str(open_device(job["device"]))
        }
        write_whole(Path(job["output"]), answer | {"versions": versions})
    except Exception as error:
        traceback.print_exc()
        log.error("Clip-to-clip consistency: %s", " ".join(f"{error}".split()) or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
