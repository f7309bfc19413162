"""Settings of every training recipe, as frozen dataclasses. No torch: the Snakefile reads them too.

Learning rates are per step, timesteps run 0..1000. The manifest of a run holds the hash of its settings.
"""

import dataclasses
import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from models.training.chunk_weights import chunk_weights

_Steps = Annotated[int, Field(ge=1, le=10_000_000)]
_Size = Annotated[int, Field(ge=1, le=1_000_000)]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]
_Chunks = Annotated[tuple[_Size, ...], Field(min_length=1)]
_Rate = Annotated[float, Field(gt=0, le=1)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Decay = Annotated[float, Field(ge=0, lt=1)]
_Scale = Annotated[float, Field(ge=0, le=1e6)]
_Positive = Annotated[float, Field(gt=0, le=1e6)]
_Timestep = Annotated[float, Field(gt=0, le=1000)]
"""Bounds of settings, which whoever reads them from a file checks (baselines/strict_yaml.py)."""

SAMPLING_TIMESTEPS = (1000, 938, 833, 625)
CHUNKS = (3, 3, 3, 3, 3, 3, 3)

FORCINGS = (
    "training_time_test",
    "teacher_forcing",
    "diffusion_forcing",
    "diffusion_forcing_self_rollout",
    "self_forcing",
)
"""What a generator step trains on, see `DmdSettings.forcing`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """AdamW, or Muon for the matrices of the blocks and AdamW for the rest.

    The rate warms up over `warmup` steps and then stays ("constant") or falls to `final` of itself
    ("cosine"). clip: largest gradient norm; 1000 is practically off
    (models/training/methods.md#optimizers-and-ema).
    """

    lr: _Rate
    kind: str = "adamw"
    muon_lr: _Rate = 0.02
    betas: tuple[_Decay, _Decay] = (0.0, 0.999)
    eps: _Rate = 1e-8
    weight_decay: _Share = 0.0
    clip: _Positive = 1000.0
    warmup: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    schedule: str = "constant"
    final: _Share = 0.0

    def __post_init__(self) -> None:
        _one_of("optimizer kind", self.kind, ("adamw", "muon"))
        _one_of("optimizer schedule", self.schedule, ("constant", "cosine"))
        if not (self.lr > 0 and self.clip > 0 and self.warmup >= 0):
            found = f"{self.lr}, {self.clip}, {self.warmup}"
            raise ValueError(f"optimizer settings need lr > 0, clip > 0 and warmup >= 0, found {found}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """Flow matching of the bidirectional base model and its text encoder, the toy stand-in for Wan2.1."""

    iterations: _Steps
    batch: _Size
    seed: _Seed
    optimizer: OptimizerSettings
    shift: _Positive = 3.0
    text_dropout: _Share = 0.1
    ema: _Decay = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherForcingSettings:
    """Part (a) of the causal initialisation: flow matching of noisy chunks, with clean data as history."""

    iterations: _Steps
    batch: _Size
    seed: _Seed
    optimizer: OptimizerSettings
    shift: _Positive = 5.0
    text_dropout: _Share = 0.1
    ema: _Decay = 0.995
    chunks: _Chunks = CHUNKS


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Part (b) of the causal initialisation: regression from states of guided paths to their endpoints.

    paths: "causal" follows the teacher-forced model chunk by chunk, given clean data (Causal Forcing);
    "bidirectional" follows the base model on the whole clip. trajectories: size of the pool. euler_steps:
    network calls of one path. timesteps: where the pool keeps states.
    """

    iterations: _Steps
    batch: _Size
    seed: _Seed
    optimizer: OptimizerSettings
    paths: str = "causal"
    guidance: _Scale = 3.0
    trajectories: _Size = 4096
    euler_steps: _Size = 32
    timesteps: tuple[_Timestep, ...] = SAMPLING_TIMESTEPS
    ema: _Decay = 0.995
    chunks: _Chunks = CHUNKS

    def __post_init__(self) -> None:
        _one_of("paths", self.paths, ("causal", "bidirectional"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DmdSettings:
    """Distribution matching distillation, for RAVEN and the students of the embedded suite.

    forcing: what a generator step of RAVEN trains on (models/training/methods.md#forcings).
    fake_updates: fake-score steps for each generator step. micro_batches: pieces a batch is cut into to save
    memory. chunk_weighting: weights of the generator loss (models/training/methods.md#chunk-weights): a
    number, "ln_LOC_SCALE" or "mode_S", None for equal weights. sink, window: attention of the training-time
    test, in chunks; window None is all history. ema: decay of the EMA that is shipped; 0 ships the student.
    """

    iterations: _Steps
    batch: _Size
    seed: _Seed
    student: OptimizerSettings
    fake: OptimizerSettings
    forcing: str = "training_time_test"
    micro_batches: _Size = 1
    fake_updates: _Size = 2
    guidance: _Scale = 3.0
    score_shift: _Positive = 5.0
    score_range: tuple[_Share, _Share] = (0.02, 0.98)
    norm_min: _Rate = 1e-5
    chunk_weighting: float | str | None = -1.0
    ema: _Decay = 0.9675
    timesteps: tuple[_Timestep, ...] = SAMPLING_TIMESTEPS
    chunks: _Chunks = CHUNKS
    sink: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    window: _Size | None = None
    checkpoint_every: _Steps = 50

    @property
    def samples(self) -> int:
        """Samples of one iteration, over all processes."""
        return self.batch

    @property
    def uses_data(self) -> bool:
        """Whether the generator trains on real latents, whose captions are then the prompts."""
        return self.forcing in ("teacher_forcing", "diffusion_forcing")

    def __post_init__(self) -> None:
        _dividing("batch", self.batch, "micro_batches", self.micro_batches)
        _falling(self.timesteps)
        if self.score_range[0] >= self.score_range[1]:
            raise ValueError(f"score_range is {self.score_range}, expected its lower end first.")
        if self.fake_updates < 1:
            raise ValueError(
                f"fake_updates is {self.fake_updates}; it counts steps, of which 1 is the least."
            )
        _one_of("forcing", self.forcing, FORCINGS)
        if self.forcing.startswith("diffusion") and (self.sink, self.window) != (0, None):
            raise ValueError(
                f"forcing is {self.forcing!r}, in which a chunk sees every earlier one, but sink is "
                f"{self.sink} and window {self.window}; leave both out."
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}, expected a decay of at least 0 and below 1.")
        chunk_weights(self.chunks, self.chunk_weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowGrpoSettings:
    """The FlowGRPO ablation of CM-GRPO: rollouts by Euler-Maruyama steps
    (models/training/methods.md#flowgrpo).

    noise_level: 0.1, 0.4 or 0.8 in the released configs. sigma_max: largest sigma in 1 / (1 - sigma), which
    is singular at the first step. None takes the second sampling step's, 0.938. The released configs have 1,
    and their first step blows up.
    """

    noise_level: _Positive
    sigma_max: float | None = None

    def __post_init__(self) -> None:
        if self.noise_level <= 0:
            raise ValueError(
                f"noise_level is {self.noise_level}, but steps without noise have no density; set it above 0."
            )
        if self.sigma_max is not None and not 0 < self.sigma_max <= 1:
            raise ValueError(
                f"sigma_max is {self.sigma_max}, but noise levels lie above 0 and up to 1; correct it or "
                "leave it out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class KlSettings:
    """KL term of CM-GRPO (models/training/methods.md#kl-term).

    weight: 0.004 in some FlowGRPO ablations. reference: "start" is the policy with its adapters off; "base"
    is the bidirectional base model with `guidance` on the whole noisy clip, as in the released configs.
    chunk_weighting: as in `DmdSettings`, for this term.
    """

    weight: _Positive
    reference: str = "start"
    guidance: _Scale | None = None
    chunk_weighting: float | str | None = None

    def __post_init__(self) -> None:
        _one_of("kl.reference", self.reference, ("start", "base"))
        if self.weight <= 0:
            raise ValueError(
                f"kl.weight is {self.weight}, but a term without weight would still cost a reference "
                "forward; leave `kl` out."
            )
        if (self.guidance is None) != (self.reference == "start"):
            raise ValueError(
                f"kl.guidance is {self.guidance} with the reference {self.reference!r}, but 'base' needs a "
                "guidance scale (3.0 upstream) and 'start' has none; correct one of the two."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CmGrpoSettings:
    """CM-GRPO: LoRA on RAVEN, trained by policy gradient (models/training/methods.md#cm-grpo).

    prompts, group: an iteration makes `group` rollouts of each of `prompts` prompts. rewards: weight of each
    reward, by name: a graded checker of the toybox, or on real clips one of FULL_REWARDS
    (workflow/training/reward_names.py). heldout: prompts scored before and after training. micro_batches:
    pieces that the rollouts are cut into to save memory. policy_scale: factor on the policy loss.

    reward_aggregation: "normalise_then_sum" standardises each reward before their weighted mean,
    "sum_then_normalise" takes the mean of raw rewards (models/training/methods.md#reward-combination).
    reward_group, advantage_group: neighbouring rollouts of a prompt over which each reward, or the combined
    one, is standardised; None for the whole group. advantage_std: divide by the standard deviation of the
    "group" or of the whole "batch" (models/training/methods.md#advantages).

    shared_noise: all rollouts of a prompt start from the same noise. random_policy_timestep: train each
    rollout at one random step; False trains it at every step but the last. policy_timestep_reweight: weigh a
    step by the standard deviation of its transition over its length. optim_steps: updates of an iteration,
    among which rollouts and steps are dealt at random. ratio_clip: PPO's bound on the ratio of the policy to
    that of the rollouts, required from two updates on (models/training/methods.md#policy-objective).

    forcing: history of the policy's forward: the rollout's endpoints ("training_time_test"), or its own
    predictions ("self_forcing", which takes no ratio; models/training/methods.md#on-causal-forcing).
    flow_grpo: sampler of the FlowGRPO ablation; None is the consistency sampler. kl: None for no such term.
    """

    iterations: _Steps
    prompts: _Size
    group: _Size
    seed: _Seed
    optimizer: OptimizerSettings
    rewards: dict[str, _Positive]
    micro_batches: _Size = 1
    lora_rank: _Size = 32
    lora_alpha: _Positive = 32.0
    policy_scale: _Positive = 100.0
    reward_aggregation: str = "normalise_then_sum"
    reward_group: _Size | None = None
    advantage_group: _Size | None = None
    advantage_std: str = "group"
    advantage_clip: _Positive = 5.0
    chunk_weighting: float | str | None = -1.0
    ema: _Decay = 0.9675
    timesteps: tuple[_Timestep, ...] = SAMPLING_TIMESTEPS
    chunks: _Chunks = CHUNKS
    sink: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    window: _Size | None = None
    shared_noise: bool = False
    forcing: str = "training_time_test"
    random_policy_timestep: bool = True
    policy_timestep_reweight: bool = False
    optim_steps: _Size = 1
    ratio_clip: float | None = None
    flow_grpo: FlowGrpoSettings | None = None
    kl: KlSettings | None = None
    heldout: Annotated[int, Field(ge=0, le=1_000_000)] = 64
    checkpoint_every: _Steps = 10

    @property
    def samples(self) -> int:
        """Rollouts of one iteration, over all processes."""
        return self.prompts * self.group

    @property
    def pairs(self) -> int:
        """Pairs of a rollout and a trained step of it, of one iteration."""
        return self.samples * (1 if self.random_policy_timestep else len(self.timesteps) - 1)

    def __post_init__(self) -> None:
        _dividing("prompts x group", self.samples, "micro_batches", self.micro_batches)
        _falling(self.timesteps)
        if self.group < 2:
            raise ValueError(
                f"group is {self.group}, but an advantage needs at least 2 rollouts of a prompt."
            )
        if not self.rewards or any(weight <= 0 for weight in self.rewards.values()):
            raise ValueError("rewards must name at least one checker, each with a weight above 0.")
        _dividing("rollouts x trained steps", self.pairs, "optim_steps", self.optim_steps)
        if self.ratio_clip is not None and not 0 < self.ratio_clip < 1:
            raise ValueError(f"ratio_clip is {self.ratio_clip}, expected a bound above 0 and below 1.")
        if self.optim_steps > 1 and self.ratio_clip is None:
            raise ValueError(
                f"optim_steps is {self.optim_steps}, but updates after the first are made from rollouts of "
                "an older policy, which nothing bounds without ratio_clip; set ratio_clip (0.2 is PPO's), "
                "or optim_steps to 1."
            )
        _one_of("forcing", self.forcing, ("training_time_test", "self_forcing"))
        if self.forcing == "self_forcing" and self.ratio_clip is not None:
            raise ValueError(
                "forcing is 'self_forcing', whose policy has no ratio to that of the rollouts, but "
                f"ratio_clip is {self.ratio_clip}; take it out, and keep optim_steps at 1."
            )
        _one_of("reward_aggregation", self.reward_aggregation, ("normalise_then_sum", "sum_then_normalise"))
        _one_of("advantage_std", self.advantage_std, ("group", "batch"))
        for name, size in (("reward_group", self.reward_group), ("advantage_group", self.advantage_group)):
            if size is not None and (size < 2 or self.group % size):
                raise ValueError(
                    f"{name} is {size} and group is {self.group}, but {name} must divide group and be at "
                    "least 2: the mean of one rollout is itself, which leaves zeros."
                )
        if self.reward_group is not None and self.reward_aggregation == "sum_then_normalise":
            raise ValueError(
                f"reward_group is {self.reward_group}, but sum_then_normalise standardises no single "
                "reward; remove one of the two."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a run is carried out. Nothing of it changes the result, so it is no part of a recipe's settings.

    activation_checkpointing: keep of a block's activations only what attention gave, and compute the rest
    again: a quarter of the memory, 6 % more time. rollout_graphs: where one GPU trains, rollouts replay CUDA
    graphs (models/graphs.py), whose cache is kept from one to the next. keep: newest checkpoints that stay on
    disk. asynchronous: train on while a checkpoint is written, from a copy of all weights in the host's
    memory. tensorboard, wandb: send metrics there too; wandb names a project. validate_every: iterations
    between validation clips, 0 for none.
    """

    activation_checkpointing: bool = False
    rollout_graphs: bool = True
    keep: int = 2
    asynchronous: bool = False
    tensorboard: bool = False
    wandb: str | None = None
    validate_every: int = 0

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep is {self.keep}, but a run goes on from a checkpoint; keep at least 1.")
        if self.validate_every < 0:
            raise ValueError(f"validate_every is {self.validate_every}; give iterations, or 0 for no clips.")


RECIPES: dict[str, type] = {"raven": DmdSettings, "cm_grpo": CmGrpoSettings}


def canonical(settings: Any) -> str:
    """Settings as JSON with sorted keys and no spaces, which is hashed and handed between processes."""
    return json.dumps(dataclasses.asdict(settings), sort_keys=True, separators=(",", ":"))


def settings_sha256(settings: Any) -> str:
    """Sha256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(settings).encode()).hexdigest()


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}, allowed are {', '.join(allowed)}.")


def _falling(timesteps: tuple[float, ...]) -> None:
    if not timesteps or any(later >= earlier for earlier, later in itertools.pairwise(timesteps)):
        raise ValueError(f"timesteps are {timesteps}; a clip goes from noise to none, so let them fall.")


def _dividing(what: str, whole: int, by: str, parts: int) -> None:
    if parts < 1 or whole < 1 or whole % parts:
        raise ValueError(
            f"{what} is {whole} and {by} is {parts}, but {by} must divide {what} and both must be positive."
        )
