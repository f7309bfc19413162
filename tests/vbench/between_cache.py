"""Random checkpoints of DINOv2 and DreamSim where the worker looks for them, on hardly any storage. Runs in
the environment of envs/vbench_long:

    python -m tests.vbench.between_cache <cache folder>
"""

import sys
from pathlib import Path

from evaluation.vbench.worker.between import DINOV2_FILE, DREAMSIM_FOLDER
from tests.vbench.random_cache import save, small_state

HUBCONF = '''"""Stand-in for facebookresearch/dino: DreamSim has a copy of its network."""
import torch
from dreamsim.feature_extraction.vision_transformer import vit_base

URL = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
dependencies = ["torch"]


def dino_vitb16(pretrained=True, **_):
    model = vit_base(patch_size=16, num_classes=0)
    model.load_state_dict(torch.hub.load_state_dict_from_url(URL, map_location="cpu"), strict=True)
    return model
'''


def main(cache: Path) -> None:
    """Make every file of evaluation/vbench/worker/between.py's BETWEEN_FILES, and those that they lead to."""
    import timm
    import torch
    from dreamsim.config import dreamsim_args
    from dreamsim.feature_extraction.vision_transformer import DINOHead, vit_base
    from dreamsim.model import PerceptualModel
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    folder = cache / DREAMSIM_FOLDER
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "facebookresearch_dino_main").mkdir()
    (folder / "facebookresearch_dino_main/hubconf.py").write_text(HUBCONF)
    network = timm.create_model("vit_base_patch14_dinov2", num_classes=0, img_size=518, init_values=1.0)
    save(small_state(network) | {"mask_token": torch.zeros(1, 768)}, cache / DINOV2_FILE)
    backbone = small_state(vit_base(patch_size=16, num_classes=0))
    save(backbone, folder / "checkpoints/dino_vitbase16_pretrain.pth")
    head = small_state(DINOHead(768, 2048))
    weights = {f"module.head.{name}": value for name, value in head.items() if "mlp" in name}
    weights["module.head.last_layer.weight"] = torch.zeros(2048, 256)
    save({"student": weights}, folder / "dino_vitb16_pretrain.pth")
    ln = {f"pos_drop.{name}": value for name, value in torch.nn.LayerNorm(768).state_dict().items()}
    for name in ("clip", "open_clip"):
        save({"state_dict": backbone | ln | {"proj": torch.randn(768, 512)}},
             folder / f"{name}_vitb16_pretrain.pth.tar")  # fmt: skip
    ensemble = PerceptualModel(
        **dreamsim_args["model_config"]["ensemble"], device="cpu", load_dir=str(folder)
    )
    lora = LoraConfig(r=16, lora_alpha=8, lora_dropout=0.3, bias="none", target_modules=["qkv"])
    get_peft_model(ensemble, lora).save_pretrained(folder / "ensemble_lora")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
