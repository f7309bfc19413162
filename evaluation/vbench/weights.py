"""The scorer's checkpoints: where VBench and its libraries look for each, and the folder laid out so.

The folder is a private cache of links to the fetched files, and of two files made anew. RAFT comes in a zip
of several models. AMT's file is a pickle of more than tensors, which torch rightly refuses: its tensors are
saved apart, once, after its sha256 was verified, and objects in it are never built
(evaluation/vbench/worker/networks.py). Safe loading stays on everywhere.

Standard library only: what runs in VBench's environment for tests reads the table too.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from evaluation.files import file_sha256, open_zip

SCORER_WEIGHTS = "weights/vbench"
"""Folder of the fetched files, below resources/."""
RAFT_ZIP = "raft_model/models.zip"
RAFT_MEMBER = "models/raft-things.pth"
AMT_FILE = "amt_model/amt-s.pth"
BERT = "bert-base-uncased"
BERT_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"
"""Folder name of the snapshot in the hub's layout; the commit that workflow/resources.yaml asks for."""
BERT_FOLDER = f"hf/hub/models--{BERT}/snapshots/{BERT_REVISION}"

BETWEEN = "between"
"""Folder of what measures clip-to-clip consistency of long clips, fetched and in the cache."""
DREAMSIM_ZIP = f"{BETWEEN}/dreamsim_ensemble_checkpoint.zip"
DREAMSIM = f"{BETWEEN}/dreamsim"
BETWEEN_TABLES = {
    "subject_consistency": f"{BETWEEN}/subject_mapping_table.yaml",
    "background_consistency": f"{BETWEEN}/background_mapping_table.yaml",
}
"""VBench-Long's maps to the scale of values within a piece."""

CHECKPOINTS = {
    "dino": (
        "vbench/dino_model/facebookresearch_dino_main/hubconf.py",
        "vbench/dino_model/dino_vitbase16_pretrain.pth",
        "torch/hub/checkpoints/dino_vitbase16_pretrain.pth",  # where its hub entry really looks
    ),
    "clip_b32": ("vbench/clip_model/ViT-B-32.pt",),
    "clip_l14": ("vbench/clip_model/ViT-L-14.pt",),
    "aesthetic": ("vbench/aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth",),
    "musiq": ("vbench/pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",),
    "amt": ("vbench/amt_model/amt-s.pth",),
    "raft": ("vbench/raft_model/models/raft-things.pth",),
    "umt": ("vbench/umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth",),
    "viclip": (
        "vbench/ViCLIP/ViClip-InternVid-10M-FLT.pth",
        "vbench/ViCLIP/bpe_simple_vocab_16e6.txt.gz",
    ),
    "bert_tokenizer": tuple(
        f"{BERT_FOLDER}/{name}" for name in ("config.json", "tokenizer_config.json", "vocab.txt")
    ),
    "bert_weights": (f"{BERT_FOLDER}/pytorch_model.bin",),
    "tag2text": ("vbench/caption_model/tag2text_swin_14m.pth",),
    "grit": ("vbench/grit_model/grit_b_densecap_objectdet.pth",),
}
"""Files of each network below the cache folder, whose parts are vbench/ (VBENCH_CACHE_DIR), torch/
(TORCH_HOME) and hf/ (HF_HOME); see evaluation/vbench/README.md#checkpoints.
"""


def place_of(name: str) -> str | None:
    """Where a fetched file (below weights/vbench/) belongs in the cache; None for those made anew."""
    if name in (RAFT_ZIP, AMT_FILE, DREAMSIM_ZIP):
        return None
    if name.startswith(f"{BETWEEN}/"):
        return name
    return f"{BERT_FOLDER}/{Path(name).name}" if name.startswith(f"{BERT}/") else f"vbench/{name}"


def lay_out(
    fetched: Path, names: Iterable[str], cache: Path, save_tensors: Callable[[Path, Path], None]
) -> dict[str, dict[str, int | str]]:
    """Make the cache folder anew, and return the sha256 and size of each file in it, by its path in the
    cache.

    fetched: the folder that holds `names`, each verified. save_tensors(source, target): runs
    evaluation/vbench/worker/networks.py. Raises ValueError if RAFT's zip or AMT's file is not what it should
    be.
    """
    shutil.rmtree(cache, ignore_errors=True)
    listed = sorted(names)
    for name in listed:
        place = place_of(name)
        if place is not None:
            _link(fetched / name, cache / place)
    if RAFT_ZIP in listed:
        _unpack_raft(fetched / RAFT_ZIP, cache / CHECKPOINTS["raft"][0])
    if AMT_FILE in listed:
        amt = cache / CHECKPOINTS["amt"][0]
        amt.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(fetched / AMT_FILE, amt)
    _, dino, dino_of_hub = (cache / name for name in CHECKPOINTS["dino"])
    if dino.exists():
        _link(dino, dino_of_hub)
    if DREAMSIM_ZIP in listed:
        _unpack_dreamsim(fetched / DREAMSIM_ZIP, cache / DREAMSIM)
        if dino.exists():
            _link(dino, cache / DREAMSIM / "checkpoints" / dino.name)
            for code in (cache / CHECKPOINTS["dino"][0]).parent.glob("*.py"):
                _link(code, cache / DREAMSIM / code.parent.name / code.name)
    if (cache / BERT_FOLDER / "config.json").exists():
        refs = (cache / BERT_FOLDER).parents[1] / "refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text(BERT_REVISION, encoding="utf-8")
    return {
        str(path.relative_to(cache)): {"sha256": file_sha256(path), "size": path.stat().st_size}
        for path in sorted(cache.rglob("*"))
        if path.is_file()
    }


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _unpack_dreamsim(archive: Path, target: Path) -> None:
    """All files of DreamSim's zip. Raises ValueError for a name that leads out of the folder."""
    with open_zip(archive, str(archive)) as opened:
        for member in opened.infolist():
            name = PurePosixPath(member.filename)
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(
                    f"{archive} holds {member.filename!r}, which leads out of its folder; delete the zip and "
                    "run `make fetch`."
                )
            if not member.is_dir():
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, place.open("wb") as file:
                    shutil.copyfileobj(source, file)


def _unpack_raft(archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_zip(archive, str(archive)) as opened,
        opened.open(RAFT_MEMBER) as member,
        target.open("wb") as file,
    ):
        shutil.copyfileobj(member, file)
