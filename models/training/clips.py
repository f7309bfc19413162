"""Latents of real clips, for the forcings that train on them: a safetensors file, read clip by clip as clips
are drawn.

Which clips an iteration draws follows from seed, iteration and global sample index alone
(models/training/streams.py), so there is no position to save, and every process reads its own samples and
nobody else's.

Legend: N clips, F latent frames, C channels, H, W latent size, V wordings of a caption, L words.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from evaluation.files import text_lines, utf8_text
from models.checkpoints.containers import open_safetensors


class ClipFile:
    """Clips as a pool of latents: pool[indices] is [n, F, C, H, W], float32. The file holds `latents` [N, F,
    C, H, W].

    Raises FileNotFoundError, or ValueError if the file has no such tensor or its clips are not of `shape` (F,
    C, H, W).
    """

    def __init__(self, path: Path | str, shape: Sequence[int]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"There are no latents of real clips at {path}; make the file, or name another one as `data`."
            )
        with open_safetensors(self.path) as file:
            self.names = tuple(file.keys())
            found = file.get_slice("latents").get_shape() if "latents" in self.names else []
        if list(found[1:]) != list(shape):
            raise ValueError(
                f"{path} must hold `latents` of shape [N, {', '.join(map(str, shape))}], found "
                f"{found or 'none'}; encode the clips for this size of latents."
            )
        self.count = int(found[0])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        with open_safetensors(self.path) as file:
            latents = file.get_slice("latents")
            return torch.cat([latents[index : index + 1] for index in indices]).float()

    def word_ids(self) -> Tensor:
        """[N, L] word ids of the captions' last wording: `ids` [N, V, L] in a file of the embedded world.

        Raises ValueError if the file has none.
        """
        if "ids" not in self.names:
            raise ValueError(
                f"{self.path} has no `ids`, the captions of embedded clips; make it with `python -m "
                "workflow.scripts.dev.train_embedded --stage data`, or give a list of captions as "
                "`prompts`."
            )
        with open_safetensors(self.path) as file:
            ids: Tensor = file.get_tensor("ids")
        return ids[:, -1].to(torch.int64)


def read_captions(path: Path | str, count: int) -> list[str]:
    """The caption of every clip: one on each line, in the order of the clips, the same one as often as it
    comes.

    Raises ValueError if there are not as many lines as clips, or one is empty.
    """
    lines = [line.strip() for line in text_lines(utf8_text(Path(path).read_bytes(), str(path)))]
    if len(lines) != count or not all(lines):
        raise ValueError(
            f"{path} has {len(lines)} lines, {sum(not line for line in lines)} of them empty, for {count} "
            "clips; put each clip's caption on a line of its own."
        )
    return lines
