"""Run in VBench's environment (python -m tests.evaluation.vbench_reward_probe FOLDER): our rewards beside
VBench's own code.

Makes random weights under the published names, prints one JSON object. Networks have their true shapes; files
are small, because each tensor is a view of a short random buffer.
"""

import argparse
import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.vbench.worker import networks, rewards

L14 = networks.NETWORK_FILES["clip_l14"]
CPU = torch.device("cpu")
HUBCONF = """
import timm


def dino_vitb16(pretrained=True, **_):
    assert not pretrained, "weights are read strictly by us"
    model = timm.create_model("vit_base_patch16_224", num_classes=0, dynamic_img_size=True)
    model.register_forward_pre_hook(lambda _, given: (given[0][..., : given[0].shape[-1] // 16 * 16],))
    return model
"""
"""Stand-in for facebookresearch/dino: timm's ViT-B/16 has the same parameters."""
CLIP = {
    "embed_dim": 768,
    "image_resolution": 224,
    "vision_layers": 24,
    "vision_width": 1024,
    "vision_patch_size": 14,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 768,
    "transformer_heads": 12,
    "transformer_layers": 12,
}


CLIP_B32 = {
    "embed_dim": 512,
    "vision_layers": 12,
    "vision_width": 768,
    "vision_patch_size": 32,
    "transformer_width": 512,
    "transformer_heads": 8,
}
"""What is other in ViT-B/32."""


def small(value: Tensor, generator: torch.Generator) -> Tensor:
    """A tensor of the same shape on a storage of few numbers; small ones stay as they were drawn."""
    if value.numel() <= 512 or not value.is_floating_point():
        return value.detach().clone()
    steps = [0] * value.dim()
    for rank, axis in enumerate(sorted(range(value.dim()), key=lambda a: -value.shape[a])):
        steps[axis] = 2 * rank + 1
    need = 1 + sum((n - 1) * s for n, s in zip(value.shape, steps, strict=True))
    if need >= value.numel():
        return value.detach().clone()
    pick = torch.randint(0, value.numel(), (need,), generator=generator)
    return value.detach().flatten()[pick].as_strided(tuple(value.shape), steps)


def write_weights(folder: Path) -> None:
    """Every file of `networks.NETWORK_FILES`, in its published container; RAFT's in its zip too."""
    import importlib
    import zipfile

    import clip.model
    from easydict import EasyDict
    from pyiqa.archs.musiq_arch import MUSIQ
    from vbench.third_party.RAFT.core.raft import RAFT

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def state(module: nn.Module) -> dict[str, Tensor]:
        return {name: small(value, generator) for name, value in module.state_dict().items()}

    for name in networks.NETWORK_FILES.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    raft = RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False))
    torch.save(
        {f"module.{name}": value for name, value in state(raft).items()},
        folder / networks.NETWORK_FILES["raft"],
    )
    with zipfile.ZipFile(folder / networks.RAFT_ARCHIVE[0], "w") as packed:
        packed.write(folder / networks.NETWORK_FILES["raft"], networks.RAFT_ARCHIVE[1])
    amt = importlib.import_module("vbench.third_party.amt.networks.AMT-S").Model(**networks.AMT_S)
    options = argparse.Namespace(lr=1e-4)
    torch.save(
        {"state_dict": state(amt), "config": options, "epoch": 3}, folder / networks.NETWORK_FILES["amt"]
    )
    musiq = MUSIQ(pretrained=False)
    nn.init.constant_(musiq.head.bias, 50.0)
    torch.save(state(musiq), folder / networks.NETWORK_FILES["musiq"])
    head = nn.Linear(768, 1)
    nn.init.constant_(head.bias, 5.0)
    torch.save(head.state_dict(), folder / networks.NETWORK_FILES["aesthetic_head"])
    from timm import create_model

    hub = folder / networks.DINO_CODE / "hubconf.py"
    hub.parent.mkdir(parents=True, exist_ok=True)
    hub.write_text(HUBCONF)
    dino = create_model("vit_base_patch16_224", num_classes=0)
    torch.save(state(dino), folder / networks.NETWORK_FILES["dino"])
    for name, sizes in (("clip_l14", CLIP), ("clip_b32", CLIP | CLIP_B32)):
        save_script(state(clip.model.CLIP(**sizes)), folder / networks.NETWORK_FILES[name])


def save_script(state: dict[str, Tensor], path: Path) -> None:
    """Parameters in a TorchScript archive, as OpenAI publishes CLIP."""
    root = nn.Module()
    for name, value in state.items():
        *parents, leaf = name.split(".")
        node = root
        for part in parents:
            if part not in node._modules:
                node.add_module(part, nn.Module())
            node = node._modules[part]  # type: ignore[assignment]
        node.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    torch.jit.script(root).save(str(path))


def pngs(frames: np.ndarray, folder: Path) -> Path:
    """Frames as pictures, which lose nothing."""
    import cv2

    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{i:03d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def beside_vbench(folder: Path) -> dict[str, tuple[float, float]]:
    """Ours and VBench's number of each reward on random weights and clips."""
    from easydict import EasyDict
    from vbench import (
        aesthetic_quality,
        background_consistency,
        dynamic_degree,
        imaging_quality,
        motion_smoothness,
        subject_consistency,
    )

    weights, rng = folder / "weights", np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 136, 168, 3), dtype=np.uint8)
    shown, wide = pngs(frames, folder / "clip"), rng.integers(0, 256, (1, 144, 600, 3), dtype=np.uint8)
    picture = str(pngs(wide, folder / "wide") / "000.png")
    options = EasyDict(
        model=str(weights / networks.NETWORK_FILES["raft"]),
        small=False,
        mixed_precision=False,
        alternate_corr=False,
    )
    theirs = dynamic_degree.DynamicDegree(options, CPU)
    seen = theirs.get_frames_from_img_folder(str(shown))
    with torch.no_grad():
        flows = [theirs.model(one, other, iters=20, test_mode=True)[1] for one, other in pairwise(seen)]
    raft = float(np.mean([theirs.get_score(seen[0], flow) for flow in flows]))
    config = Path(motion_smoothness.__file__).parent / "third_party/amt/cfgs/AMT-S.yaml"
    # VBench cannot read objects beside the tensors: it gets them alone
    alone = weights / "amt_tensors.pth"
    torch.save(
        {"state_dict": networks.read_state(weights / networks.NETWORK_FILES["amt"], key="state_dict")}, alone
    )
    smooth = motion_smoothness.MotionSmoothness(str(config), str(alone), CPU).motion_score(str(shown))
    musiq = networks.load_musiq(weights, CPU)
    quality, _ = imaging_quality.technical_quality(musiq, [picture], CPU)
    for module in (subject_consistency, background_consistency):
        module.load_video = lambda _: rewards.as_images(frames)
    subject, _ = subject_consistency.subject_consistency(networks.load_dino(weights, CPU), [""], CPU, False)
    b32 = networks.load_clip("clip_b32", weights, CPU)
    background, _ = background_consistency.background_consistency(b32, None, [""], CPU, False)
    clip, head = networks.load_clip("clip_l14", weights, CPU), networks.load_aesthetic_head(weights, CPU)
    rating, _ = aesthetic_quality.laion_aesthetic(head, clip, [picture], CPU)
    return {
        "raft": (rewards.open_raft(weights, CPU)(frames, 8.0), raft),
        "motion_smoothness": (rewards.open_motion_smoothness(weights, CPU)(frames, 8.0), smooth),
        "subject_consistency": (rewards.open_subject_consistency(weights, CPU)(frames, 8.0), subject),
        "background_consistency": (
            rewards.open_background_consistency(weights, CPU)(frames, 8.0),
            background,
        ),
        "imaging": (rewards.imaging_reward(musiq, wide), quality),
        "aesthetic": (rewards.aesthetic_reward(clip, head, wide), rating),
    }


class Midpoint(nn.Module):
    """Predicts the mean of two pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, one: Tensor, other: Tensor, *_: Any, **__: Any) -> dict[str, Tensor]:
        return {"imgt_pred": (one + other) / 2}


class Watching(nn.Module):
    """Answers with constants and remembers what it was shown."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)
        self.seen: list[Tensor] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen.append(pictures)
        return self.answer.expand(len(pictures), -1)

    encode_image = forward


def closed_forms() -> dict[str, Any]:
    """Rewards with networks whose answers are known."""
    still = np.full((5, 32, 48, 3), 90, np.uint8)
    ramp = still + 10 * np.arange(5, dtype=np.uint8)[:, None, None, None]
    shaken = ramp.copy()
    shaken[1::2] += 51
    smooth = {
        name: rewards.motion_smoothness_reward(Midpoint(), clip)
        for name, clip in (("still", still), ("ramp", ramp), ("shaken", shaken))
    }
    musiq = Watching(torch.tensor([62.0]))
    imaging = rewards.imaging_reward(musiq, np.full((3, 240, 1024, 3), 255, np.uint8))
    clip, head = Watching(torch.full((768,), 3.0)), nn.Linear(768, 1)
    nn.init.constant_(head.weight, 0.01)
    nn.init.constant_(head.bias, 4.0)
    with torch.no_grad():
        aesthetic = rewards.aesthetic_reward(clip, head, np.full((40, 480, 832, 3), 128, np.uint8))
    return {
        "smooth": smooth,
        "imaging": imaging,
        "musiq_saw": [list(musiq.seen[0].shape), float(musiq.seen[0].max())],
        "aesthetic": aesthetic,
        "clip_saw": [list(one.shape) for one in clip.seen],
        "clip_mean": clip.seen[0].mean((0, 2, 3)).tolist(),
    }


def faults(folder: Path) -> dict[str, str]:
    """What loaders say about spoilt files."""
    weights, said = folder / "weights", {}

    def attempt(name: str, load: Any, spoil: Any) -> None:
        path = weights / networks.NETWORK_FILES[name]
        kept = path.read_bytes()
        spoil(path)
        try:
            load(weights, CPU)
        except ValueError as error:
            said[name] = str(error)
        path.write_bytes(kept)

    def without_one(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        state.pop(sorted(state)[0])
        torch.save(state, path)

    def infinite(path: Path) -> None:
        torch.save({"weight": torch.full((1, 768), torch.inf), "bias": torch.zeros(1)}, path)

    def load_b32(folder: Path, device: torch.device) -> nn.Module:
        return networks.load_clip("clip_b32", folder, device)

    attempt("raft", networks.load_raft, without_one)
    attempt("musiq", networks.load_musiq, without_one)
    attempt("aesthetic_head", networks.load_aesthetic_head, infinite)
    attempt("dino", networks.load_dino, without_one)
    attempt("clip_b32", load_b32, lambda path: path.write_bytes((weights / L14).read_bytes()))
    attempt(
        "clip_l14",
        lambda *given: networks.load_clip("clip_l14", *given),
        lambda path: path.write_bytes(b"PK\x03\x04 page"),
    )
    attempt("amt", networks.load_amt, lambda path: torch.save({"model": {}}, path))
    (weights / networks.NETWORK_FILES["raft"]).unlink()
    networks.load_raft(weights, CPU)  # out of the zip
    return said


def main() -> None:
    folder = Path(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)  # VBench prints
    write_weights(folder / "weights")
    if len(sys.argv) > 2:
        return
    found = {"beside": beside_vbench(folder), "closed": closed_forms(), "faults": faults(folder)}
    os.write(out, json.dumps(found).encode())


if __name__ == "__main__":
    main()
