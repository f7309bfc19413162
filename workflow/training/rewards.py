"""Rewards of CM-GRPO on real clips: VideoAlign and UnifiedReward in this process, VBench's networks in a
worker process.

VBench's networks need packages that exclude ours (transformers 4.33, NumPy 1.26), so each training process
starts one worker in envs/vbench, on the same GPU, for the whole run:
evaluation/vbench/worker/reward_worker.py, which says how the two speak. An error there, a worker that dies or
does not answer, and a score that is not finite become one message here and end the run: never a number.

Legend: N clips, T pixel frames, h, w pixels, F latent frames, C channels, H, W latent size.
"""

import argparse
import json
import logging
import math
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.files import load_json, remove_leftovers, unfinished_name
from models.training.video_align import FILES, VideoAlign
from models.wan_vae import WanVae
from workflow.training.reward_names import (
    REWARD_NETWORK_FILES,
    REWARD_PYTHON,
    UNIFIED_REWARD,
    UNIFIED_REWARDS,
    UNIFIED_WEIGHTS,
    check_rewards,
)

ROOT = Path(__file__).parents[2]
IN_PROCESS = "text_alignment"
VBENCH_WEIGHTS, VIDEO_ALIGN_WEIGHTS = "vbench", "videoalign"
"""Folders below that of the rewards' weights."""

START_S, ANSWER_S = 600.0, 600.0
"""How long a worker may take to load its networks, and to score a clip, in seconds."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of its own is made below)

log = logging.getLogger("rewards")


class RewardWorker:
    """A running reward worker. rewards: names it serves; log_file: where what it prints goes.

    Raises FileNotFoundError if the environment is not built, ValueError for any error of the worker.
    """

    def __init__(
        self,
        rewards: Sequence[str],
        *,
        weights: Path,
        device: str,
        log_file: Path,
        python: Path = ROOT / REWARD_PYTHON,
        start_s: float = START_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        if not python.is_file():
            raise FileNotFoundError(
                f"There is no {python}, in which the rewards {', '.join(rewards)} are computed; build it: "
                "envs/vbench/install.sh."
            )
        self.rewards, self.log_file, self.answer_s = tuple(rewards), log_file, answer_s
        command = [python, "-m", "evaluation.vbench.worker.reward_worker", "--device", device]
        command += ["--weights", weights.resolve(), "--rewards", ",".join(rewards)]
        environment = os.environ | {"VBENCH_CACHE_DIR": str(weights.resolve()), "HF_HUB_OFFLINE": "1"}
        with log_file.open("wb") as printed:
            self.process = subprocess.Popen(
                [str(part) for part in command], cwd=ROOT, env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed,
            )  # fmt: skip
        self.pending = b""
        remove_leftovers(SHARED_MEMORY)
        self.folder = tempfile.TemporaryDirectory(
            suffix=unfinished_name(""), dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        )
        versions = self._answer("ready", start_s)
        log.info("rewards %s by %s", ", ".join(rewards), versions)

    def scores(self, frames: NDArray[np.uint8], fps: float) -> dict[str, float]:
        """Raw rewards of one clip [T, h, w, 3] by name, all finite."""
        place = Path(self.folder.name)
        if shutil.disk_usage(place).free < frames.nbytes:  # containers often have 64 MB of shared memory
            self.folder.cleanup()
            self.folder = tempfile.TemporaryDirectory(suffix=unfinished_name(""))
            place = Path(self.folder.name)
        path = place / "clip.raw"
        np.ascontiguousarray(frames).tofile(path)
        request = {"frames": str(path), "shape": list(frames.shape), "fps": fps}
        assert self.process.stdin is not None, "the worker was started with a pipe"
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._error("has ended") from None
        found = self._answer("scores", self.answer_s)
        path.unlink()
        if not isinstance(found, dict) or found.keys() != set(self.rewards):
            raise self._error(f"answered {found!r} where {', '.join(self.rewards)} were asked for")
        bad = [name for name, value in found.items() if not math.isfinite(value)]
        if bad:
            raise self._error(f"gave {found[bad[0]]} as {bad[0]}")
        return {name: float(found[name]) for name in self.rewards}

    def close(self) -> None:
        """End the worker and remove what was shared with it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.folder.cleanup()

    def _answer(self, key: str, seconds: float) -> Any:
        """What the next line says under `key`. Raises ValueError for another, or if none comes in time."""
        line = self._line(seconds)
        try:
            said = load_json(line, "its answer")
        except ValueError:
            raise self._error(f"answered {line[:100]!r}, which is no JSON") from None
        if not isinstance(said, dict) or key not in said:
            raise self._error(f"says: {said.get('error') if isinstance(said, dict) else said}")
        return said[key]

    def _line(self, seconds: float) -> bytes:
        assert self.process.stdout is not None, "the worker was started with a pipe"
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise self._error(f"did not answer within {seconds:g} s")
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    raise self._error("has ended")
                self.pending += part
        line, _, self.pending = self.pending.partition(b"\n")
        return line

    def _error(self, what: str) -> ValueError:
        """The error of a worker that is of no more use; it is ended."""
        self.process.kill()
        code = self.process.wait()
        said = self.log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f", last line of {self.log_file}: {said[-1][:300]}" if said else ""
        return ValueError(
            f"The worker that computes the rewards {', '.join(self.rewards)} {what.rstrip('.')} (exit code "
            f"{code}{last}); mend that and start again, training goes on from its last checkpoint."
        )


def frames_of(vae: WanVae, latents: Tensor) -> Tensor:
    """Bytes [T, h, w, 3] of one clip's latents [F, C, H, W] (models/training/methods.md#rewards).

    Raises FloatingPointError if a pixel is not finite.
    """
    return torch.cat([as_bytes(pixels[0]) for pixels in vae.stream().decoded(latents[None])])


def as_bytes(pixels: Tensor) -> Tensor:
    """Bytes [T, h, w, 3] of pixels [3, T, h, w]: round((x + 1) * 127.5) of x clamped to [-1, 1].

    Raises FloatingPointError if a pixel is not finite.
    """
    if not bool(torch.isfinite(pixels).all()):
        raise FloatingPointError(
            "A decoded clip has pixels that are not finite, so it has no reward; look at the metrics "
            "before it, and lower the rate."
        )
    scaled = (pixels.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0)


class ClipRewards:
    """Raw rewards of clips by name. worker, text_alignment, ratings: None where not asked for; fps: of the
    clips; judged: those of UNIFIED_REWARDS that are asked for.
    """

    def __init__(
        self,
        vae: WanVae,
        worker: RewardWorker | None,
        text_alignment: Callable[[Tensor, float, str], float] | None,
        fps: float,
        ratings: Callable[[Tensor, float, str], Mapping[str, float]] | None = None,
        judged: Sequence[str] = (),
    ) -> None:
        self.vae, self.worker, self.text_alignment, self.fps = vae, worker, text_alignment, fps
        self.ratings, self.judged = ratings, judged

    def score(self, latents: Tensor, prompt: str) -> dict[str, float]:
        """Rewards of one clip, latents [F, C, H, W]. Raises ValueError or FloatingPointError if one is not
        finite.
        """
        frames = frames_of(self.vae, latents)
        found: dict[str, float] = {}
        if self.text_alignment is not None:
            found[IN_PROCESS] = self.text_alignment(frames, self.fps, prompt)
            if not math.isfinite(found[IN_PROCESS]):
                raise ValueError(
                    f"VideoAlign gave {found[IN_PROCESS]} for the prompt {prompt[:60]!r}; look at its "
                    "weights."
                )
        if self.ratings is not None:
            rated = self.ratings(frames, self.fps, prompt)
            found |= {name: rated[UNIFIED_REWARDS[name]] for name in self.judged}
        if self.worker is not None:
            found |= self.worker.scores(frames.cpu().numpy(), self.fps)
        return found

    def batch(self, latents: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Rewards [N] in float64, on the CPU, of clips [N, F, C, H, W]."""
        scores = [self.score(one, prompt) for one, prompt in zip(latents, prompts, strict=True)]
        return {name: torch.tensor([one[name] for one in scores], dtype=torch.float64) for name in scores[0]}

    def close(self) -> None:
        """End the worker."""
        if self.worker is not None:
            self.worker.close()


def reward_files(weights: Mapping[str, float], folder: Path) -> tuple[Path, ...]:
    """The files that the weighted rewards are computed with, below the folder of their weights."""
    names = [f"{VIDEO_ALIGN_WEIGHTS}/{name}" for name in FILES] if IN_PROCESS in weights else []
    for reward in weights:
        names += [f"{VBENCH_WEIGHTS}/{name}" for name in REWARD_NETWORK_FILES.get(reward, ())]
    if weights.keys() & UNIFIED_REWARDS.keys():
        names += sorted(f"{UNIFIED_WEIGHTS}/{path.name}" for path in (folder / UNIFIED_WEIGHTS).glob("*"))
    return tuple(folder / name for name in names if (folder / name).is_file())


def rewards_of(
    flags: argparse.Namespace, weights: Mapping[str, float], device: torch.device, log_file: Path
) -> ClipRewards:
    """The rewards that have a weight, ready on a device, by the flags of `add_reward_flags` and --codec.

    The VAE has float32 weights under bfloat16 autocast (models/training/methods.md#rewards).
    log_file: of the worker. Raises ValueError for an unknown reward, and as the parts do.
    """
    if flags.rewards is None:
        raise ValueError(
            "CM-GRPO on a list of prompts needs --rewards, the folder with the weights of its rewards "
            "(`rewards` of the row)."
        )
    check_rewards(weights, "cm_grpo.rewards", real_clips=True)
    served = [name for name in weights if name in REWARD_NETWORK_FILES]
    judged = [name for name in weights if name in UNIFIED_REWARDS]
    worker = align = ratings = None
    if served:
        worker = RewardWorker(
            served,
            weights=flags.rewards / VBENCH_WEIGHTS,
            device=f"{device.type}:{device.index or 0}" if device.type == "cuda" else device.type,
            log_file=log_file,
            python=flags.reward_python,
        )
    if IN_PROCESS in weights:
        align = VideoAlign.load(flags.rewards / VIDEO_ALIGN_WEIGHTS, device=device).score
    if judged:
        judge = import_module(UNIFIED_REWARD).UnifiedReward
        ratings = judge.load(flags.rewards / UNIFIED_WEIGHTS, device=device).score
    vae = WanVae.load(flags.codec, device=device, dtype=torch.float32, autocast=True)
    return ClipRewards(vae, worker, align, flags.fps, ratings, judged)
