"""The fast functions of GRiT, Tag2Text, UMT and ViCLIP against the package's own networks, with random
weights: the same words, boxes and numbers.
"""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.vbench.worker.fast.grit import describe_whole_clips
from evaluation.vbench.worker.scorers.object_class import remember_errors
from evaluation.vbench.worker.watch import LoopWatch
from tests.vbench import tiny

pytestmark = [tiny.needs_environment(), pytest.mark.vbench]


def run_in_environment(program: str, *arguments: object) -> str:
    """What a program prints in VBench's environment. Fails with its last words if it does."""
    done = subprocess.run(
        [tiny.PYTHON, "-W", "ignore", "-c", program, *map(str, arguments)],
        check=False, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


LAYERS = """
import sys
from pathlib import Path
from tests.vbench.random_cache import make_vocabulary
from evaluation.vbench.worker.job import isolate_process
cache = Path(sys.argv[1])
isolate_process(cache)
make_vocabulary(cache)
import torch
torch.set_num_threads(1)
from evaluation.vbench.worker.fast.umt import attend_fused
from evaluation.vbench.worker.fast.viclip import trim
from vbench.third_party.umt.models.modeling_finetune import Attention
from vbench.third_party.ViCLIP.viclip_vision import Transformer
torch.manual_seed(0)
with torch.no_grad():
    attention = Attention(64, num_heads=4, qkv_bias=True).eval()
    attention.q_bias.normal_(), attention.v_bias.normal_()
    x = torch.randn(2, 50, 64)
    torch.testing.assert_close(attend_fused(attention, x), attention(x), rtol=1e-5, atol=1e-6)
    transformer = Transformer(64, layers=3, heads=4, checkpoint_num=3).eval()
    x = torch.randn(50, 2, 64)
    official = transformer(x)
    trim(transformer)
    found = transformer(x)
    assert found.shape == (1, 2, 64)
    torch.testing.assert_close(found[0], official[0], rtol=1e-5, atol=1e-6)
"""


def test_attention_and_encoder_give_the_package_s_values(tmp_path: Path) -> None:
    """Guards UMT's fused attention (its biases, its scale) and ViCLIP's last block, which is asked by the
    class token alone.
    """
    run_in_environment(LAYERS, tmp_path)


def test_no_error_of_the_detector_is_swallowed() -> None:
    """Guards object_class, whose own loop counts a frame in which anything fails as one without objects."""

    class Captioner:
        demo = None  # a detector that is not there

    def read_frames(model: Any, frames: list[int]) -> list[set[str]]:
        found: list[set[str]] = []
        for frame in frames:
            try:
                found.append(set(model.run_caption_tensor(frame)[0][0][2]))
            except Exception:
                found.append(set())
        return found

    module: Any = SimpleNamespace(
        DenseCaptioning=Captioner, get_dect_from_grit=read_frames, load_video=lambda path: path
    )
    describe_whole_clips(module, LoopWatch())
    remember_errors(module, LoopWatch())
    with pytest.raises(AttributeError):
        module.get_dect_from_grit(module.DenseCaptioning(), [0, 1])


GRIT = """
import sys
from pathlib import Path
from evaluation.vbench.weights import CHECKPOINTS
from evaluation.vbench.worker.job import isolate_process
from evaluation.vbench.worker.watch import LoopWatch
cache = Path(sys.argv[1])
isolate_process(cache)
import numpy as np
import torch
torch.set_num_threads(1)
from evaluation.vbench.worker.fast.grit import describe, fuse_vit, fused
from vbench.third_party.grit_model import DenseCaptioning
coarse = np.random.default_rng(3).integers(0, 256, (2, 16, 20, 3), dtype=np.uint8)
frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
sizes, lengths = set(), set()
for start in ("initialize_model", "initialize_model_det"):
    official = DenseCaptioning(torch.device("cpu"))
    getattr(official, start)(str(cache / CHECKPOINTS["grit"][0]))
    with torch.no_grad():
        expected = [official.run_caption_tensor(frame)[0] for frame in frames]
    network = official.demo.predictor.model
    with torch.no_grad():
        kind = type(network.backbone.bottom_up.blocks[0].attn)
        attention = kind(64, 4, use_rel_pos=True, input_size=(14, 14)).eval()
        for table in (attention.rel_pos_h, attention.rel_pos_w):
            table.normal_()
        for shape in ((3, 14, 14, 64), (1, 5, 7, 64)):
            x = torch.randn(shape)
            torch.testing.assert_close(fused(attention)(x), attention(x), rtol=1e-5, atol=1e-5)
    fuse_vit(network)
    for limit in (None, 1):
        found = describe(official.demo.predictor.model, frames, LoopWatch(limit=limit))
        for ours, theirs in zip(found, expected, strict=True):
            assert [box[:2] for box in ours] == [box[:2] for box in theirs], (ours, theirs)
            for box, same in zip(ours, theirs, strict=True):
                names = same[2] if start == "initialize_model_det" else same[2][:1]
                assert box[2] == names, (box, same)
    sizes |= {len(boxes) for boxes in expected}
    lengths |= {len(text.split()) for boxes in expected for text, _, _ in boxes}
assert max(sizes) > 1, sizes
assert len(lengths) > 2, lengths
"""


@pytest.mark.slow
def test_frames_are_described_as_the_package_does(tmp_path: Path) -> None:
    """Guards boxes, texts and names of both heads, texts of different lengths among them, and that smaller
    batches change none of them.
    """
    if not tiny.has_detectron2():
        pytest.skip("detectron2 is not in VBench's environment (envs/vbench/install.sh builds it)")
    tiny.make_cache(tmp_path, "bert_tokenizer", "grit")
    run_in_environment(GRIT, tmp_path / "cache")


CAPTIONS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from evaluation.vbench.weights import CHECKPOINTS
from evaluation.vbench.worker.job import isolate_process
from evaluation.vbench.worker.watch import LoopWatch
cache = Path(sys.argv[1])
isolate_process(cache)
import torch
torch.set_num_threads(1)
from vbench.third_party.tag2Text.tag2text import tag2text_caption
from evaluation.vbench.worker.fast.tag2text import caption_seen_frames
from evaluation.vbench.worker.scorers.scene import caption_one_by_one
torch.manual_seed(0)
coarse = torch.randn(4, 3, 1, 1) + torch.randn(4, 3, 12, 12)
frames = coarse.repeat_interleave(32, 2).repeat_interleave(32, 3)
def package():
    def get_caption(model, frames):
        return model.generate(frames, tag_input=None, return_tag_predict=True)[0]
    return SimpleNamespace(get_caption=get_caption, tag2text_caption=tag2text_caption, load_video=None)
official, fast, watch = package(), package(), LoopWatch()
caption_seen_frames(fast, watch)
caption_one_by_one(official, watch)
options = {"pretrained": str(cache / CHECKPOINTS["tag2text"][0]), "image_size": 384, "vit": "swin_b"}
with torch.no_grad():
    model = official.tag2text_caption(**options).eval()
    expected = official.get_caption(model, frames)
    watch.limit = 1
    assert official.get_caption(model, frames) == expected
    del model
    assert fast.get_caption(fast.tag2text_caption(**options).eval(), frames) == expected
assert expected[0] == expected[1] == expected[2] != expected[3], expected
"""


@pytest.mark.slow
def test_captions_are_those_of_the_package(tmp_path: Path) -> None:
    """Guards scene: the package captions the first third of the frames, each for three, and so must smaller
    batches and the fast backend.
    """
    tiny.make_cache(tmp_path, "bert_tokenizer", "bert_weights", "tag2text")
    run_in_environment(CAPTIONS, tmp_path / "cache")
