"""Small recipes on small real networks, shared by the training tests: 8 latent frames of 4 x 4 x 4 in 4
chunks of 2.
"""

from pathlib import Path

import torch
from torch import Tensor

from models.checkpoints.lora import LoraSettings, add_lora, inner_wan
from models.config import DtypePolicy, WanConfig
from models.training.cm_grpo import CmGrpo, needs_base
from models.training.distributed import ALONE, Processes, shard
from models.training.raven import Raven
from models.training.settings import CmGrpoSettings, DmdSettings, OptimizerSettings
from models.training.streams import Streams
from models.wan import Wan, init_weights
from workflow.training.validation import ValidationClips

CONFIG = WanConfig(
    dim=24,
    ffn_dim=32,
    num_layers=2,
    num_heads=2,
    freq_dim=16,
    text_dim=8,
    text_len=6,
    in_channels=4,
    out_channels=4,
)
CHUNKS = (2, 2, 2, 2)
SHAPE = (8, 4, 4, 4)
CPU = torch.device("cpu")


def wan_of(seed: int, dtype: torch.dtype = torch.float32) -> Wan:
    """A trainable random network without any zero layer, rotations in its own dtype."""
    rotary = "float64" if dtype == torch.float64 else "float32"
    wan = Wan(CONFIG, DtypePolicy(rotary=rotary))
    init_weights(wan, torch.Generator().manual_seed(seed), zero_head=False)
    return wan.to(dtype)


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def dmd_settings(
    *, batch: int = 4, micro_batches: int = 1, iterations: int = 4, ema: float = 0.9
) -> DmdSettings:
    return DmdSettings(
        iterations=iterations,
        batch=batch,
        micro_batches=micro_batches,
        seed=7,
        student=OptimizerSettings(lr=1e-3, warmup=3),
        fake=OptimizerSettings(lr=1e-3, clip=1.0),  # below its gradients' norm, so that clipping is exercised
        chunks=CHUNKS,
        ema=ema,
    )


def raven_of(
    settings: DmdSettings,
    processes: Processes = ALONE,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> Raven:
    """Student, fake score and teacher with three different random weights, six prompts."""
    student, fake, teacher = (wan_of(seed, dtype).to(device) for seed in (1, 2, 3))
    nets = [shard(wan, processes) for wan in (student, fake, teacher.requires_grad_(False))]
    texts = normal(6, 6, 8, seed=5, dtype=torch.float32)
    return Raven(*nets, texts, SHAPE, settings, Streams(seed=settings.seed, device=device), processes)


def validation_of(recipe: Raven, output: Path, codec: Path, *, every: int = 2) -> ValidationClips:
    """Clips of 2 of the six prompts; `codec` is for 4 channels."""
    return ValidationClips(
        every=every,
        output=output,
        student=recipe.student,
        network=recipe.wan,
        rollout=recipe.rollout,
        runner=recipe.runner,
        texts=recipe.texts,
        shape=SHAPE,
        codec=codec,
        device=CPU,
        processes=recipe.processes,
        clips=2,
    )


def grpo_settings(*, iterations: int = 2) -> CmGrpoSettings:
    """Two of five prompts an iteration, four rollouts of each."""
    return CmGrpoSettings(
        iterations=iterations,
        prompts=2,
        group=4,
        seed=3,
        optimizer=OptimizerSettings(lr=1e-2),
        rewards={"level": 1.0},
        micro_batches=2,
        lora_rank=2,
        lora_alpha=2.0,
        chunks=CHUNKS,
    )


def grpo_of(
    processes: Processes = ALONE,
    *,
    iterations: int = 2,
    dtype: torch.dtype = torch.float32,
    settings: CmGrpoSettings | None = None,
    device: torch.device = CPU,
) -> CmGrpo:
    """A LoRA of rank 2 on a random network, rewarded by the mean of its latents, or their deviation if the
    settings say so.
    """
    settings = settings or grpo_settings(iterations=iterations)
    policy = add_lora(wan_of(1, dtype), LoraSettings(rank=2, alpha=2.0), seed=0).to(device, dtype)
    shard(inner_wan(policy), processes)
    rewards = {"level": Tensor.mean, "contrast": Tensor.std}
    return CmGrpo(
        policy,
        normal(5, 6, 8, dtype=torch.float32),
        lambda x, which: {name: rewards[name](x, (1, 2, 3, 4)) for name in settings.rewards},
        SHAPE,
        settings,
        Streams(seed=3, device=device),
        processes,
        base=shard(wan_of(3, dtype).to(device).requires_grad_(False), processes)
        if needs_base(settings)
        else None,
    )
