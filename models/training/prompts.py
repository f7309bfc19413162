"""Training prompts at full size: a list of texts, encoded when they are drawn.

Which prompts an iteration draws follows from seed, iteration and global sample index alone
(models/training/streams.py), uniformly and with replacement. So there is no position to save: a resumed run
draws what an unbroken one would have drawn, and every process encodes its own samples and nobody else's. The
list's order means nothing, hence it is not shuffled.

Legend: n drawn prompts, L tokens of a prompt, D text size.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.training.settings import CmGrpoSettings

# ruff: noqa: RUF001 (full-width commas are Chinese)
NEGATIVE = (
    "slow motion, time dilation, 高帧率，"
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，"
    "形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""What the teacher is guided away from: three phrases of RAVEN's and Wan2.1's own negative prompt
(models/training/methods.md#negative-prompt; Apache-2.0).
"""


class PromptPool:
    """Prompts as a pool of embeddings: pool[indices] encodes those prompts, one call of the encoder each.

    encode: prompts -> [B, L, D]. Every process makes as many calls as it has samples, so the encoder itself
    may be sharded.
    """

    def __init__(self, prompts: Sequence[str], encode: Callable[[Sequence[str]], Tensor]) -> None:
        self.prompts, self.encode = prompts, encode

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """[n, L, D] embeddings of n prompts by their place in the list."""
        return torch.cat([self.encode([self.prompts[index]]) for index in indices])


def read_training_prompts(path: Path | str) -> list[str]:
    """The distinct prompts of a text file, one on each line that is not empty, in the file's order.

    Lines end at line feeds (and carriage returns) alone: a prompt may hold other separators of Unicode.
    Raises FileNotFoundError, or ValueError if there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no list of training prompts at {path}; fetch it, or name another file as `prompts`."
        )
    lines = dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    lines.pop("", None)
    if not lines:
        raise ValueError(f"{path} holds no prompt; put one on each line.")
    return list(lines)


class PromptSplit(NamedTuple):
    """Prompts to train on, and prompts that no training sees."""

    trained: list[str]
    heldout: list[str]


def split_prompts(prompts: Sequence[str], settings: CmGrpoSettings) -> PromptSplit:
    """`heldout` prompts, drawn by the seed, and the rest, in order. Raises ValueError for too few."""
    if len(prompts) < settings.heldout + settings.prompts:
        raise ValueError(
            f"The list has {len(prompts)} prompts, but cm_grpo.heldout is {settings.heldout} and an "
            f"iteration draws {settings.prompts}; take a longer list or hold out fewer."
        )
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(settings.seed))
    kept = set(order[: settings.heldout].tolist())
    return PromptSplit(
        [prompt for i, prompt in enumerate(prompts) if i not in kept],
        [prompt for i, prompt in enumerate(prompts) if i in kept],
    )
