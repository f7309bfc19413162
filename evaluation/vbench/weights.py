"""The fetched files laid out as VBench and its libraries look for them: a private cache folder of links, and
two files made anew.

RAFT comes in a zip of several models. AMT's file is a pickle of more than tensors, which torch rightly
refuses: its tensors are saved apart, once, after its sha256 was proven; objects in it are never built
(evaluation/vbench/worker/networks.py). Safe loading stays on everywhere.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from evaluation.files import file_sha256
from evaluation.vbench.worker import files

FETCHED = "weights/vbench"
RAFT_ZIP = "raft_model/models.zip"
RAFT_MEMBER = "models/raft-things.pth"
AMT_FILE = "amt_model/amt-s.pth"
BERT = "bert-base-uncased"


def place_of(name: str) -> str | None:
    """Where a fetched file (a path below weights/vbench/) belongs in the cache; None for those that are made
    anew.
    """
    if name in (RAFT_ZIP, AMT_FILE):
        return None
    if name.startswith(f"{BERT}/"):
        return f"{Path(files.BERT_TOKENIZER[0]).parent}/{Path(name).name}"
    return f"vbench/{name}"


def lay_out(
    fetched: Path, names: Iterable[str], cache: Path, save_tensors: Callable[[Path, Path], None]
) -> dict[str, dict[str, int | str]]:
    """Make the cache folder anew and say of each file in it what it is: sha256 and size, by its path in the
    cache.

    fetched: the folder that holds `names`, each proven. save_tensors(source, target): runs
    evaluation/vbench/worker/amt_tensors.py. Raises ValueError if RAFT's zip or AMT's file is not what it
    should be.
    """
    shutil.rmtree(cache, ignore_errors=True)
    listed = sorted(names)
    for name in listed:
        place = place_of(name)
        if place is not None:
            _link(fetched / name, cache / place)
    if RAFT_ZIP in listed:
        _unpack_raft(fetched / RAFT_ZIP, cache / files.RAFT[0])
    if AMT_FILE in listed:
        (cache / files.AMT[0]).parent.mkdir(parents=True, exist_ok=True)
        save_tensors(fetched / AMT_FILE, cache / files.AMT[0])
    if (cache / files.DINO[1]).exists():
        _link((cache / files.DINO[1]).resolve(), cache / files.DINO[2])
    revision = cache / files.BERT_TOKENIZER[0]
    if revision.exists():
        refs = revision.parents[2] / "refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text(files.BERT_REVISION, encoding="utf-8")
    return {
        str(path.relative_to(cache)): {"sha256": file_sha256(path), "size": path.stat().st_size}
        for path in sorted(cache.rglob("*"))
        if path.is_file()
    }


def missing(needed: Iterable[str], cache: Path) -> list[str]:
    """Files that a dimension needs and the cache does not have."""
    return [name for name in needed if not (cache / name).is_file()]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _unpack_raft(archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            zipfile.ZipFile(archive) as opened,
            opened.open(RAFT_MEMBER) as member,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(member, file)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{archive} is no zip with {RAFT_MEMBER} in it ({error}); delete it and fetch it again."
        ) from error
