"""Make a folder of VBench's checkpoints with random weights, in the layout and containers that the package
reads. For tests.

    PYTHONPATH=tests/vbench/cpu .venvs/vbench/bin/python -m tests.vbench.random_cache FOLDER amt clip_b32 ...

Runs in VBench's environment: every network is the class that is installed there, its state dict saved under
the published name. So that 2 GB of weights become a few MB, a matrix is saved as a strided view on a short
random vector; torch.load and load_state_dict expand it. Scores from such weights mean nothing; every line
that reads, decodes, computes and reduces is the real one.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evaluation.vbench.weights import BERT_REVISION, CHECKPOINTS
from evaluation.vbench.worker.job import environment

HUBCONF = '''"""Stand-in for facebookresearch/dino.

timm's ViT-B/16 has the same parameters, and like it takes any multiple of 16.
"""
import timm
import torch

URL = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
dependencies = ["torch", "timm"]


class WholePatches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.vit = timm.create_model("vit_base_patch16_224", num_classes=0, dynamic_img_size=True)

    def forward(self, x):
        return self.vit(x[..., : x.shape[-2] // 16 * 16, : x.shape[-1] // 16 * 16])


def dino_vitb16(pretrained=True, **_):
    model = WholePatches()
    model.vit.load_state_dict(torch.hub.load_state_dict_from_url(URL, map_location="cpu"), strict=True)
    return model.eval()
'''
CLIP_B32 = {
    "embed_dim": 512, "image_resolution": 224, "vision_layers": 12, "vision_width": 768,
    "vision_patch_size": 32,
    "transformer_width": 512, "transformer_heads": 8, "transformer_layers": 12,
}  # fmt: skip
CLIP_L14 = CLIP_B32 | {
    "embed_dim": 768, "vision_layers": 24, "vision_width": 1024, "vision_patch_size": 14,
    "transformer_width": 768,
    "transformer_heads": 12,
}  # fmt: skip


def small(tensor: Any) -> Any:
    """The same shape and about the same values on hardly any storage: steps 1, 3, 5, ... along the axes,
    longest first.
    """
    value = tensor.detach().cpu()
    if value.dim() < 2 or value.numel() < 1024 or not value.is_floating_point():
        return value.clone()
    order = sorted(range(value.dim()), key=lambda axis: -value.shape[axis])
    steps = [0] * value.dim()
    for rank, axis in enumerate(order):
        steps[axis] = 2 * rank + 1
    length = 1 + sum((size - 1) * step for size, step in zip(value.shape, steps, strict=True))
    if length >= value.numel():
        return value.clone()
    return value.flatten()[:length].clone().as_strided(tuple(value.shape), tuple(steps))


def small_state(module: Any, prefix: str = "") -> dict[str, Any]:
    """A module's state dict on hardly any storage, names prefixed."""
    return {prefix + name: small(value) for name, value in module.state_dict().items()}


def save(value: Any, path: Path) -> None:
    """torch.save with folders made."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)


def save_clip(path: Path, shape: Mapping[str, int]) -> None:
    """As OpenAI publishes it: a TorchScript archive, of which VBench takes the parameters only."""
    import torch
    from clip.model import CLIP

    archive = torch.nn.Module()
    for name, value in small_state(CLIP(context_length=77, vocab_size=49408, **shape)).items():
        *folders, leaf = name.split(".")
        level = archive
        for folder in folders:
            if not hasattr(level, folder):
                level.add_module(folder, torch.nn.Module())
            level = getattr(level, folder)
        level.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(archive).save(str(path))


def make_dino(cache: Path) -> None:
    import timm

    hub, weights, link = (cache / name for name in CHECKPOINTS["dino"])
    hub.parent.mkdir(parents=True, exist_ok=True)
    hub.write_text(HUBCONF)
    save(small_state(timm.create_model("vit_base_patch16_224", num_classes=0)), weights)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(weights)


def make_aesthetic(cache: Path) -> None:
    import torch

    head = torch.nn.Linear(768, 1)
    torch.nn.init.constant_(head.bias, 5.0)  # ratings near the middle of 0..10
    save(head.state_dict(), cache / CHECKPOINTS["aesthetic"][0])


def make_musiq(cache: Path) -> None:
    import torch
    from pyiqa.archs.musiq_arch import MUSIQ

    network = MUSIQ(pretrained=False)
    torch.nn.init.constant_(network.head.bias, 50.0)  # opinions near the middle of 0..100
    save(small_state(network), cache / CHECKPOINTS["musiq"][0])


def make_amt(cache: Path) -> None:
    import importlib

    network = importlib.import_module("vbench.third_party.amt.networks.AMT-S").Model(
        corr_radius=3, corr_lvls=4, num_flows=3
    )
    save({"state_dict": small_state(network)}, cache / CHECKPOINTS["amt"][0])


FLOW_SCALE = 0.02  # drawn at random, RAFT sees 50 pixels a frame everywhere; so a few clips stand still
MOVING = 2.1 * FLOW_SCALE  # dynamic degree's limit lies between what drift and noise give


def make_raft(cache: Path, scale: float = FLOW_SCALE) -> None:
    import torch
    from easydict import EasyDict
    from vbench.third_party.RAFT.core.raft import RAFT

    network = RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False))
    with torch.no_grad():
        for value in network.update_block.flow_head.conv2.parameters():
            value.mul_(scale)
    save(small_state(network, "module."), cache / CHECKPOINTS["raft"][0])


YOGA = 370  # of the 400 actions


def make_umt(cache: Path) -> None:
    """UMT that is sure of yoga, whatever it sees: drawn at random, it is sure of nothing."""
    import torch
    from vbench.third_party.umt.models.modeling_finetune import vit_large_patch16_224

    network = vit_large_patch16_224(
        num_classes=400, all_frames=16, tubelet_size=1, use_mean_pooling=True, init_scale=0.001
    )
    torch.nn.init.constant_(network.head.bias[YOGA], 4.0)
    save(small_state(network), cache / CHECKPOINTS["umt"][0])


def make_vocabulary(cache: Path) -> None:
    import clip

    target = cache / CHECKPOINTS["viclip"][1]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(clip.__file__).parent / target.name, target)


def make_viclip(cache: Path) -> None:
    import torch
    from vbench.third_party.ViCLIP.simple_tokenizer import SimpleTokenizer
    from vbench.third_party.ViCLIP.viclip import ViCLIP

    network = ViCLIP(tokenizer=SimpleTokenizer(str(cache / CHECKPOINTS["viclip"][1])), pretrain=None)
    for name, value in network.named_parameters():
        if name.endswith(("embedding", "proj", "projection")):  # left as memory happened to be
            torch.nn.init.normal_(value, std=0.02)
    save({"model": small_state(network)}, cache / CHECKPOINTS["viclip"][0])


SAID = {6794: "bird", 9721: "cat", 28205: "red", 1310: "blue", 22312: "alley"}
"""Numbers of words that GRiT (the last: Tag2Text), drawn at random, happens to say of the tiny clips, and
what they are called: so that something is found."""


def make_bert_tokenizer(cache: Path) -> None:
    """A made-up vocabulary of the right length and special places."""
    from transformers import BertConfig

    config, tokenizer, vocabulary = (cache / name for name in CHECKPOINTS["bert_tokenizer"])
    config.parent.mkdir(parents=True, exist_ok=True)
    head = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    head += letters + [f"##{letter}" for letter in letters if letter.isalnum()]
    head += [SAID.get(i, f"word{i}") for i in range(30522 - len(head))]
    vocabulary.write_text("\n".join(head) + "\n")
    config.write_text(BertConfig(architectures=["BertForMaskedLM"]).to_json_string())
    tokenizer.write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}))
    refs = config.parents[2] / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(BERT_REVISION)


def make_bert_weights(cache: Path) -> None:
    from transformers import BertConfig, BertModel

    network = BertModel(BertConfig(), add_pooling_layer=False)
    save(small_state(network, "bert."), cache / CHECKPOINTS["bert_weights"][0])


def make_tag2text(cache: Path) -> None:
    from vbench.third_party.tag2Text.tag2text import Tag2Text_Caption

    save(
        {"model": small_state(Tag2Text_Caption(image_size=384, vit="swin_b"))},
        cache / CHECKPOINTS["tag2text"][0],
    )


def make_grit(cache: Path) -> None:
    """GRiT with biases lifted: drawn at random, its heads say "nothing" everywhere and the text decoder would
    never run.
    """
    import torch
    from detectron2.modeling import build_model
    from vbench.third_party.grit_src.image_dense_captions import get_parser, setup_cfg

    path = cache / CHECKPOINTS["grit"][0]
    network = build_model(setup_cfg(get_parser(torch.device("cpu"), str(path))))
    lifted: dict[str, Callable[[Any], Any]] = {
        "agn_hm.bias": lambda bias: bias.fill_(1.0),
        "bbox_pred.bias": lambda bias: bias.fill_(
            12.0
        ),  # large boxes, of which suppression leaves about three
        "cls_score.bias": lambda bias: bias.copy_(torch.tensor([2.0] * (len(bias) - 1) + [-2.0])),
        "textual.output.bias": lambda bias: bias[102].fill_(2.2),  # the end of a text
    }
    with torch.no_grad():
        for name, value in network.named_parameters():
            for ending, lift in lifted.items():
                if name.endswith(ending) and (ending != "bbox_pred.bias" or name.startswith("proposal")):
                    lift(value)
    save({"model": small_state(network)}, path)


MAKERS: dict[str, Callable[[Path], None]] = {
    "dino": make_dino,
    "clip_b32": lambda cache: save_clip(cache / CHECKPOINTS["clip_b32"][0], CLIP_B32),
    "clip_l14": lambda cache: save_clip(cache / CHECKPOINTS["clip_l14"][0], CLIP_L14),
    "aesthetic": make_aesthetic,
    "musiq": make_musiq,
    "amt": make_amt,
    "raft_still": lambda cache: make_raft(cache, 0.0),  # sees no motion anywhere
    "raft": make_raft,
    "raft_moving": lambda cache: make_raft(cache, MOVING),
    "umt": make_umt,
    "viclip": make_viclip,
    "bert_tokenizer": make_bert_tokenizer,  # and its weights: before the two that read them
    "bert_weights": make_bert_weights,
    "tag2text": make_tag2text,
    "grit": make_grit,
}


def main(folder: Path, names: list[str]) -> None:
    """Make the named checkpoints, or all; what is there already stays."""
    os.environ.update(environment(folder))  # before vbench is imported
    make_vocabulary(folder)  # wanted whenever vbench's ViCLIP is imported
    import torch

    unknown = sorted(set(names) - MAKERS.keys())
    assert not unknown, f"there are {', '.join(MAKERS)}, not {unknown}"
    for name in [name for name in MAKERS if name in names or not names]:
        done = folder / f".{name}"
        if not done.exists():
            torch.manual_seed(0)
            MAKERS[name](folder)
            done.touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
