"""Where VBench looks for each checkpoint, below a cache folder of ours: vbench/ (VBENCH_CACHE_DIR), torch/
(TORCH_HOME), hf/ (HF_HOME).

Data only; imports nothing. Every name comes from vbench 0.1.5 and the libraries it calls (vbench.md 6).
"""

from __future__ import annotations

BERT_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"
"""Folder name of the snapshot in the hub's layout; the commit that workflow/resources.yaml asks for."""

_BERT = f"hf/hub/models--bert-base-uncased/snapshots/{BERT_REVISION}"

DINO = (
    "vbench/dino_model/facebookresearch_dino_main/hubconf.py",
    "vbench/dino_model/dino_vitbase16_pretrain.pth",
    "torch/hub/checkpoints/dino_vitbase16_pretrain.pth",  # where its hub entry really looks
)
CLIP_B32 = ("vbench/clip_model/ViT-B-32.pt",)
CLIP_L14 = ("vbench/clip_model/ViT-L-14.pt",)
AESTHETIC_HEAD = ("vbench/aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth",)
MUSIQ = ("vbench/pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",)
AMT = ("vbench/amt_model/amt-s.pth",)
RAFT = ("vbench/raft_model/models/raft-things.pth",)
UMT = ("vbench/umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth",)
VICLIP = ("vbench/ViCLIP/ViClip-InternVid-10M-FLT.pth", "vbench/ViCLIP/bpe_simple_vocab_16e6.txt.gz")
BERT_TOKENIZER = tuple(f"{_BERT}/{name}" for name in ("config.json", "tokenizer_config.json", "vocab.txt"))
BERT_WEIGHTS = (f"{_BERT}/pytorch_model.bin",)
GRIT = ("vbench/grit_model/grit_b_densecap_objectdet.pth", *BERT_TOKENIZER)
TAG2TEXT = ("vbench/caption_model/tag2text_swin_14m.pth", *BERT_TOKENIZER, *BERT_WEIGHTS)
