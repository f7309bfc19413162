"""Real clips for teacher and diffusion forcing: latents read as they are drawn, captions that stay with their
clips.
"""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from evaluation.toybox.captions import VOCABULARY
from models.checkpoints.containers import read_dcp, read_safetensors, write_safetensors
from models.text import ToyTextEncoder
from models.training.clips import ClipFile, read_captions
from models.training.distributed import ALONE
from models.training.settings import Execution
from workflow.training.job import Job, open_prompts

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "models/embedded"
JOB = Job(torch.device("cpu"), ALONE, Execution(), lambda: False, ())
SHAPE = (21, 16, 8, 8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips as `train_embedded --stage data` writes them: latents in half precision, two wordings of
    word ids.
    """
    path = tmp_path_factory.mktemp("clips") / "data.safetensors"
    generator = torch.Generator().manual_seed(0)
    ids = torch.zeros(5, 2, 32, dtype=torch.int16)
    ids[:, :, :4] = torch.randint(1, len(VOCABULARY), (5, 2, 4), generator=generator).short()
    write_safetensors(path, {"latents": torch.randn(5, *SHAPE, generator=generator).half(), "ids": ids})
    return path


def test_clips_are_read_one_by_one(clips: Path) -> None:
    """Guards against another order, another precision, and latents of another size than the network's."""
    pool = ClipFile(clips, SHAPE)
    assert len(pool) == 5
    drawn = pool[[3, 0, 3]]
    assert drawn.dtype == torch.float32 and drawn.shape == (3, *SHAPE)
    expected = torch.randn(5, *SHAPE, generator=skipped_ids()).half().float()
    assert torch.equal(drawn, expected[[3, 0, 3]])
    with pytest.raises(ValueError, match=r"shape \[N, 21, 16, 8, 9\], found \[5, 21, 16, 8, 8\]"):
        ClipFile(clips, (21, 16, 8, 9))
    with pytest.raises(FileNotFoundError, match="name another one as `data`"):
        ClipFile(clips.with_name("none.safetensors"), SHAPE)


def skipped_ids() -> torch.Generator:
    """The fixture's generator after it drew the word ids."""
    generator = torch.Generator().manual_seed(0)
    torch.randint(1, len(VOCABULARY), (5, 2, 4), generator=generator)
    return generator


def test_captions_stay_with_their_clips(clips: Path, tmp_path: Path) -> None:
    """The embedded clips' captions are their last wording; a list of captions keeps its double lines, which a
    prompt list drops.
    """
    flags = Namespace(prompts=None, text=EMBEDDED / "text.safetensors")
    pool = ClipFile(clips, SHAPE)
    texts = open_prompts(flags, JOB, 0, pool)
    encoder = ToyTextEncoder.load(flags.text)
    ids = read_safetensors(clips)["ids"]
    assert len(texts.pool) == 5
    torch.testing.assert_close(texts.pool[[4]], encoder(ids[[4], 1].long()).detach(), rtol=1e-5, atol=1e-5)
    path = tmp_path / "captions.txt"
    path.write_text("a cat\na dog\na cat\n")
    assert read_captions(path, 3) == ["a cat", "a dog", "a cat"]
    with pytest.raises(ValueError, match="3 lines, 0 of them empty, for 4 clips"):
        read_captions(path, 4)


@pytest.mark.slow
@pytest.mark.parametrize("forcing", ["teacher_forcing", "diffusion_forcing"])
def test_the_script_trains_on_clips(clips: Path, tmp_path: Path, forcing: str) -> None:
    """The whole path: settings and --data to a student that moved, and another identity for other clips."""
    settings = {
        "iterations": 2,
        "batch": 2,
        "seed": 1,
        "student": {"lr": 1e-4},
        "fake": {"lr": 1e-4},
        "forcing": forcing,
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "workflow.scripts.train_raven",
            "--recipe",
            "raven",
            "--settings",
            json.dumps(settings),
            "--init",
            str(EMBEDDED / "causal_init.safetensors"),
            "--teacher",
            str(EMBEDDED / "base.safetensors"),
            "--text",
            str(EMBEDDED / "text.safetensors"),
            "--codec",
            str(EMBEDDED / "codec.safetensors"),
            "--data",
            str(clips),
            "--output",
            str(tmp_path),
            "--execution",
            '{"validate_every": 2}',
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["student_grad_norm"] > 0
    assert read_dcp(tmp_path / "checkpoint/models/student_ema")
    assert len(list((tmp_path / "validation/0000002").glob("*.mp4"))) == 4
