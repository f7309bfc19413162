"""What every recipe shares: optimizer with checks, moving average, metrics, and the loop around a recipe's
step.

Nothing non-finite ever reaches an optimizer step: the run stops with a sentence that names iteration and
tensor.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.training.checkpoints import Checkpoints
from models.training.distributed import ALONE, World, here, local, shard_like, whole
from models.training.settings import OptimizerSettings
from models.training.watching import Watch


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices, all matrices of one shape in one batched computation.

    Five Newton-Schulz rounds; the step is scaled by sqrt(max(1, rows / columns)). Momentum is sharded as its
    matrix is; the matrices of one shape are gathered whole for the rounds, in every process the same, of
    which each keeps its shard. Source: Jordan et al. 2024, Muon.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002 (Optimizer.step takes it)
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, same in shapes.items():
                for parameter in same:
                    self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momenta = [self.state[parameter]["momentum"] for parameter in same]
                gradients = [parameter.grad for parameter in same]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                mixed = torch.stack(
                    [whole(one) for one in torch._foreach_lerp(gradients, momenta, group["momentum"])]
                )
                update = orthogonalise(mixed) * max(1.0, shape[0] / shape[1]) ** 0.5
                shards = [shard_like(one, parameter) for one, parameter in zip(update, same, strict=True)]
                torch._foreach_add_(same, shards, alpha=-group["lr"])


def orthogonalise(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly (singular values in about 0.7..1.2), of [N, rows, columns]."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Trainee:
    """A module that is trained: its optimizers, its moving average (or None) and the number of updates done."""

    def __init__(
        self, name: str, module: nn.Module, settings: OptimizerSettings, *, ema: float | None
    ) -> None:
        self.name, self.module, self.settings, self.decay = name, module, settings, ema
        self.parameters = {key: value for key, value in module.named_parameters() if value.requires_grad}
        if not self.parameters:
            raise ValueError(
                f"Model {name} has no parameter that requires a gradient, so there is nothing to train."
            )
        self.average = (
            {key: value.detach().clone() for key, value in self.parameters.items()}
            if ema is not None
            else None
        )
        self.updates = 0
        self.optimizers, self._rates = _optimizers(self.parameters, settings)

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        """One optimizer step and moving-average update from the gradients in place, which are cleared.

        fraction: share of the run done, for the cosine schedule. Returns gradient norm and rate.
        Raises FloatingPointError if a gradient is not finite; no parameter has changed then.
        """
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        size = whole(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))).item()
        if not math.isfinite(size):
            bad = [
                key
                for key, value in self.parameters.items()
                if value.grad is not None and not torch.isfinite(local(value.grad)).all()
            ]
            raise FloatingPointError(
                "The gradient of "
                f"{self.name}.{(bad or ['(norm overflow, or a shard of another rank)'])[0]} is not finite "
                f"at iteration {iteration}{here()} ({len(bad)} such tensors); the optimizer step was not "
                "taken, lower the rate."
            )
        if size > self.settings.clip:
            torch._foreach_mul_(gradients, self.settings.clip / size)
        factor = _rate_factor(self.settings, self.updates, fraction)
        for optimizer, rate in zip(self.optimizers, self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        if self.average is not None and self.decay is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.values()), list(self.parameters.values()), 1 - self.decay
                )
        return {f"{self.name}_grad_norm": size, f"{self.name}_lr": self.settings.lr * factor}

    def clear(self) -> None:
        """Drop all gradients."""
        for value in self.parameters.values():
            value.grad = None

    def averaged_state(self) -> dict[str, Tensor]:
        """State dict with the moving average in place of the trained parameters (the plain one if there is no
        average).
        """
        return {**self.module.state_dict(), **(self.average or {})}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the module computes with its moving average (if it has one); afterwards every bit is back
        where it was.

        Exchanged in place, a tensor at a time: what is sharded stays sharded, and no second model is held.
        Save nothing inside.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for key, average in (self.average or {}).items():
            kept = self.parameters[key].detach().clone()
            self.parameters[key].copy_(average)
            average.copy_(kept)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Optimizer tensors by "<parameter>|<what>", and the number of updates."""
        names = {value: key for key, value in self.parameters.items()}
        state = {
            f"{names[parameter]}|{what}": value if isinstance(value, Tensor) else torch.tensor(value)
            for optimizer in self.optimizers
            for parameter, entry in optimizer.state.items()
            for what, value in entry.items()
        }
        return {**state, "updates": torch.tensor(self.updates)}

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a checkpoint holds of it, by folder (raven.md 14.3); model and average share memory
        with what trains.
        """
        states = {f"models/{self.name}": self.module.state_dict()}
        if self.average is not None:
            states[f"models/{self.name}_ema"] = self.averaged_state()
        return {**states, f"optimizers/{self.name}": self.optimizer_state()}

    def room_for(self, optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors to read an optimizer's state into: sharded as the parameters where they have a parameter's
        shape.
        """
        room = {}
        for name, value in optimizer.items():
            parameter = self.parameters.get(name.split("|")[0])
            alike = parameter is not None and parameter.shape == value.shape and value.dim() > 0
            room[name] = torch.zeros_like(parameter) if alike else torch.zeros_like(value, device="cpu")
        return room

    def load_optimizer(self, optimizer: Mapping[str, Tensor]) -> None:
        """Continue with the optimizer tensors and the number of updates of a checkpoint."""
        self.updates = int(optimizer["updates"])
        for name, value in optimizer.items():
            if "|" in name:
                key, what = name.split("|")
                parameter = self.parameters[key]
                owner = next(
                    o
                    for o in self.optimizers
                    if any(parameter is p for g in o.param_groups for p in g["params"])
                )
                owner.state[parameter][what] = value


class Recipe(Protocol):
    """One training algorithm: the models it trains and one iteration of it."""

    trainees: list[Trainee]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        """Run iteration number `iteration`; the numbers returned go to metrics.jsonl."""
        ...


class Validation(Protocol):
    """Something to look at, made from the weights every so often, which leaves training as it was. every:
    iterations.

    Every process must call every method.
    """

    every: int

    def forget_after(self, done: int) -> None:
        """Remove what was made later than after `done` iterations, which are done again; 0 removes
        everything.
        """
        ...

    def make(self, iteration: int) -> None:
        """Look at the weights after `iteration` iterations, unless that was done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """When a run ends and how it saves.

    iterations, seconds: whichever comes first, None for no limit. checkpoint_every: iterations, None for the
    last one only;
    keep: how many of them, the newest, stay on disk; asynchronous: train on while a copy of the state is
    written.
    tensorboard: write the metrics as TensorBoard events too; wandb: send them to this project too, None for
    none.
    """

    iterations: int
    seconds: float | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    asynchronous: bool = False
    tensorboard: bool = False
    wandb: str | None = None


def finite(loss: Tensor, name: str, iteration: int) -> Tensor:
    """The loss itself. Raises FloatingPointError naming loss and iteration if it is not finite."""
    if not bool(torch.isfinite(loss).all()):
        raise FloatingPointError(
            f"The {name} is {float(loss.detach())} at iteration {iteration}{here()}; training stopped "
            "before the backward pass. Look at the metrics before it, and lower the learning rate."
        )
    return loss


class Preempted(Exception):  # noqa: N818 (nothing went wrong)
    """The run was asked to stop, and has saved what it had done; starting it again goes on from there."""


def train(
    recipe: Recipe,
    limits: RunLimits,
    *,
    output: Path | None,
    identity: str,
    facts: Mapping[str, Any] | None = None,
    world: World = ALONE,
    stop: Callable[[], bool] = lambda: False,
    validation: Validation | None = None,
) -> int:
    """Run a recipe to its limits, resuming from `output` if its checkpoints belong to the same `identity`.
    Returns iterations done.

    identity: hash of everything that shapes the run (how many processes share the work does not); checkpoints
    of another identity
    are removed, with a line saying so. facts: what a reader of the checkpoint must know, e.g. the model's
    size; kept in progress.json. output None keeps nothing (the caller saves). Metrics are appended to
    metrics.jsonl, one line an iteration.
    stop: asked after every iteration. Raises Preempted, once a checkpoint is written, if it is true in any
    process.
    validation: made after every so many iterations and the last one, once these are saved; a resumed run
    makes up for what is missing.
    """
    if limits.seconds is not None and world.size > 1:
        raise ValueError(
            "A run of several processes cannot end after seconds, their clocks differ; give it iterations "
            "alone."
        )
    checkpoints = output and Checkpoints(output, recipe.trainees, identity, facts or {}, world, limits.keep)
    start = checkpoints.resume() if checkpoints else 0
    watch = Watch(
        output if world.rank == 0 else None,
        start=start,
        iterations=limits.iterations,
        seconds=limits.seconds,
        tensorboard=limits.tensorboard,
        wandb=limits.wandb,
    )

    def validate(done: int) -> None:
        if validation is not None and done and (done % validation.every == 0 or done == limits.iterations):
            validation.make(done)

    if validation is not None:
        validation.forget_after(start)
    iteration = start
    validate(start)
    while iteration < limits.iterations:
        elapsed = watch.elapsed_s
        if limits.seconds is not None and elapsed >= limits.seconds:
            break
        fraction = max(iteration / limits.iterations, elapsed / limits.seconds if limits.seconds else 0.0)
        metrics = world.mean(recipe.step(iteration, fraction))
        iteration += 1
        watch.note(iteration, metrics)
        last, stopped = iteration == limits.iterations, world.any(stop())
        due = limits.checkpoint_every and iteration % limits.checkpoint_every == 0
        if checkpoints and (last or stopped or due):
            checkpoints.save(iteration, wait=last or stopped or not limits.asynchronous)
        if stopped and not last:
            raise Preempted(f"asked to stop: saved after iteration {iteration} of {limits.iterations}")
        validate(iteration)
    return iteration


def _optimizers(
    parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings
) -> tuple[list[torch.optim.Optimizer], list[float]]:
    """AdamW for everything, or Muon for the matrices inside blocks and AdamW for the rest; and their base
    rates.
    """
    matrices = [
        value
        for key, value in parameters.items()
        if settings.kind == "muon" and ".weight" in key and "blocks." in key and value.dim() == 2
    ]
    chosen = {id(value) for value in matrices}
    others = [value for value in parameters.values() if id(value) not in chosen]
    adamw = torch.optim.AdamW(
        others, lr=settings.lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
    )
    if not matrices:
        return [adamw], [settings.lr]
    return [adamw, Muon(matrices, lr=settings.muon_lr)], [settings.lr, settings.muon_lr]


def _rate_factor(settings: OptimizerSettings, updates: int, fraction: float) -> float:
    warm = min(1.0, (updates + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.schedule == "constant":
        return warm
    return warm * (settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))))
