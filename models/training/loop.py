"""What every recipe shares: optimizer with checks, EMA, and the loop around a recipe's step.

Nothing non-finite ever reaches an optimizer step: the run stops with a message that names iteration and
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

from models.training.checkpoints import RunCheckpoints
from models.training.distributed import ALONE, Processes, here, local, shard_like, whole
from models.training.runs import open_run
from models.training.settings import OptimizerSettings
from models.training.watching import Watch


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices, all of one shape in one batched computation (Jordan et al. 2024).

    Five Newton-Schulz rounds; the step is scaled by sqrt(max(1, rows / columns)). Momentum is sharded as its
    matrix is. Every process gathers the matrices of one shape whole for the rounds and keeps its shard of
    them.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 (Optimizer.step takes it)
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, same in shapes.items():
                for parameter in same:
                    self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momenta = [self.state[parameter]["momentum"] for parameter in same]
                gradients = [parameter.grad for parameter in same if parameter.grad is not None]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                lerped = torch._foreach_lerp(gradients, momenta, group["momentum"])
                mixed = torch.stack([whole(one) for one in lerped])
                update = orthogonalise(mixed) * max(1.0, shape[0] / shape[1]) ** 0.5
                shards = [shard_like(one, parameter) for one, parameter in zip(update, same, strict=True)]
                torch._foreach_add_(same, shards, alpha=-group["lr"])


def orthogonalise(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices of [N, rows, columns], roughly: singular values of 0.7 to 1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = torch.transpose(matrices, 1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return torch.transpose(x, 1, 2) if tall else x


class Trainee:
    """A module that is trained: its optimizers, its EMA (None without one) and the number of updates done."""

    def __init__(
        self, name: str, module: nn.Module, settings: OptimizerSettings, *, ema_decay: float | None
    ) -> None:
        self.name, self.module, self.settings, self.ema_decay = name, module, settings, ema_decay
        self.parameters = {key: value for key, value in module.named_parameters() if value.requires_grad}
        if not self.parameters:
            raise ValueError(
                f"Model {name} has no parameter that requires a gradient, so nothing would train."
            )
        self.ema: dict[str, Tensor] | None = None
        if ema_decay is not None:
            self.ema = {key: value.detach().clone() for key, value in self.parameters.items()}
        self.updates = 0
        self.optimizers, self._rates = _optimizers(self.parameters, settings)

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        """One optimizer step and EMA update from the gradients in place, which are cleared.

        fraction: part of the run done, for the cosine schedule. Returns gradient norm and rate.
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
            first = bad[0] if bad else "(norm overflow, or a shard of another rank)"
            raise FloatingPointError(
                f"The gradient of {self.name}.{first} is not finite at iteration {iteration}{here()} "
                f"({len(bad)} such tensors); the optimizer step was not taken, lower the rate."
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
        if self.ema is not None and self.ema_decay is not None:
            with torch.no_grad():
                new: list[Tensor] = list(self.parameters.values())
                torch._foreach_lerp_(list(self.ema.values()), new, 1 - self.ema_decay)
        return {f"{self.name}_grad_norm": size, f"{self.name}_lr": self.settings.lr * factor}

    def clear(self) -> None:
        """Drop all gradients."""
        for value in self.parameters.values():
            value.grad = None

    def ema_state(self) -> dict[str, Tensor]:
        """State dict with the EMA in place of the trained parameters; the plain one without an EMA."""
        return {**self.module.state_dict(), **(self.ema or {})}

    @contextmanager
    def with_ema(self) -> Iterator[None]:
        """Inside, the module computes with its EMA, if it has one; afterwards every bit is back in its place.

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
        for key, ema in (self.ema or {}).items():
            kept = self.parameters[key].detach().clone()
            self.parameters[key].copy_(ema)
            ema.copy_(kept)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Optimizer tensors by "<parameter>|<what>", and the number of updates."""
        names: dict[Tensor, str] = {value: key for key, value in self.parameters.items()}
        state = {
            f"{names[parameter]}|{what}": value if isinstance(value, Tensor) else torch.tensor(value)
            for optimizer in self.optimizers
            for parameter, entry in optimizer.state.items()
            for what, value in entry.items()
        }
        return {**state, "updates": torch.tensor(self.updates)}

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a checkpoint holds of it, by folder, in the memory of what trains."""
        states = {f"models/{self.name}": self.module.state_dict()}
        if self.ema is not None:
            states[f"models/{self.name}_ema"] = self.ema_state()
        return {**states, f"optimizers/{self.name}": self.optimizer_state()}

    def room_for(self, optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors to read an optimizer's state into, sharded as a parameter where they have its shape."""
        room = {}
        for name, value in optimizer.items():
            parameter = self.parameters.get(name.split("|")[0])
            if parameter is not None and parameter.shape == value.shape and value.dim() > 0:
                room[name] = torch.zeros_like(parameter)
            else:
                room[name] = torch.zeros_like(value, device="cpu")
        return room

    def load_optimizer(self, optimizer: Mapping[str, Tensor]) -> None:
        """Continue with the optimizer tensors and the number of updates of a checkpoint."""
        self.updates = int(optimizer["updates"])
        owners = {
            parameter: owner
            for owner in self.optimizers
            for group in owner.param_groups
            for parameter in group["params"]
        }
        for name, value in optimizer.items():
            if "|" in name:
                key, what = name.split("|")
                parameter = self.parameters[key]
                owners[parameter].state[parameter][what] = value


class Recipe(Protocol):
    """One training algorithm: the models it trains and one iteration of it."""

    trainees: list[Trainee]

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        """Run iteration number `iteration`; the numbers returned go to metrics.jsonl."""
        ...


class Validation(Protocol):
    """Something to look at, made from the weights every so many iterations, which leaves training as it was.

    Every process must call every method.
    """

    every: int

    def forget_after(self, done: int) -> None:
        """Remove what was made after more than `done` iterations, which are done again; 0 removes all."""
        ...

    def make(self, iteration: int) -> None:
        """Look at the weights after `iteration` iterations, unless that was done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """When a run ends and how it saves.

    iterations, seconds: whichever comes first; None for no limit. checkpoint_every: iterations, None for the
    last one only. keep: newest checkpoints that stay on disk. asynchronous: train on while a copy of the
    state is written. tensorboard, wandb: send the metrics there too; wandb names a project.
    """

    iterations: int
    seconds: float | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    asynchronous: bool = False
    tensorboard: bool = False
    wandb: str | None = None


def finite(loss: Tensor, name: str, iteration: int) -> Tensor:
    """The loss itself. Raises FloatingPointError naming it and the iteration if it is not finite."""
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
    processes: Processes = ALONE,
    stop: Callable[[], bool] = lambda: False,
    validation: Validation | None = None,
) -> int:
    """Run a recipe to its limits, resuming what `output` has of the same `identity`; returns iterations done.

    output: folder of the row, None to keep nothing (models/training/runs.py). identity: hash of everything
    that shapes the run, which the number of processes does not. facts: what a reader of a checkpoint must
    know, such as the model's size; kept in progress.json. validation: made every so many iterations and after
    the last one, once these are saved; a resumed run makes up for what is missing. stop: asked after every
    iteration; if it is true in any process, a checkpoint is written and Preempted raised.
    """
    if limits.seconds is not None and processes.size > 1:
        raise ValueError(
            "Clocks of processes differ, so a run of several ends after iterations, not seconds."
        )
    without = [
        *(() if validation else ("validation",)),
        *(() if limits.tensorboard else ("tensorboard",)),
    ]
    run = output and open_run(output, identity, processes, without=without)
    checkpoints = run and RunCheckpoints(run, recipe.trainees, identity, facts or {}, processes, limits.keep)
    start = checkpoints.resume() if checkpoints else 0
    watch = Watch(
        run if processes.rank == 0 else None,
        name=output.name if output else "",
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
        metrics = processes.mean(recipe.step(iteration, fraction))
        iteration += 1
        watch.note(iteration, metrics)
        last, stopped = iteration == limits.iterations, processes.any(stop())
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
    """The optimizers that the settings ask for, and the base rate of each."""
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
