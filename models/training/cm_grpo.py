"""CM-GRPO: policy gradient on the consistency sampler's Gaussian transitions, with LoRA.

A rollout's step carries x_t to x_s by N((1 - sigma_s) x0, sigma_s^2), or by FlowGRPO's Euler-Maruyama step.
One interleaved forward gives x0 with gradient for all chunks of a rollout at one of its steps. The reward's
advantage inside the prompt's group weighs the log-probability, and a KL term may hold the transition near a
reference's. Source: models/training/methods.md#cm-grpo.

A pair is a rollout and one of its steps, on which the policy is trained. Legend: N pairs or rollouts, F
latent frames, C channels, H, W latent size, P prompts, G rollouts of a prompt, S steps, L tokens of a prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from peft import PeftModel
from torch import Tensor

from models.checkpoints.lora import inner_wan
from models.noise import LatentShape
from models.rollout import Rollout, Runner, plain_runner
from models.schedule import EulerMaruyama, Transition, to_x0
from models.training.chunk_weights import frame_weights
from models.training.data_parallel import rows_of
from models.training.distributed import ALONE, Processes, gathered
from models.training.flow_matching import guided_velocity
from models.training.loop import Trainee, finite
from models.training.prompts import PromptPool
from models.training.rollouts import Trajectory, consistency_rollout, replay, replay_cached, trajectory
from models.training.settings import CmGrpoSettings
from models.training.streams import StreamNoise, Streams
from models.wan import Wan

Reward = Callable[[Tensor, list[int]], Mapping[str, Tensor]]
"""(latents [N, F, C, H, W], prompt index of each) -> raw rewards [N] by name."""


class PolicyTerms(NamedTuple):
    """loss: mean of -advantage * ratio, clipped if asked for; ratio: [N], 1 on policy; kl: mean, or None."""

    loss: Tensor
    ratio: Tensor
    kl: Tensor | None = None


def combined_reward(rewards: Mapping[str, Tensor], settings: CmGrpoSettings) -> Tensor:
    """Combined reward [P, G] of rewards [P, G] by name (models/training/methods.md#reward-combination)."""
    if settings.reward_aggregation == "sum_then_normalise":
        return weighted_mean(rewards, settings.rewards)
    return normalise_then_sum(rewards, settings.rewards, over=settings.reward_group)


def normalise_then_sum(
    rewards: Mapping[str, Tensor], weights: Mapping[str, float], *, over: int | None = None
) -> Tensor:
    """Weighted mean [P, G] of the weighted rewards, each standardised over `over` neighbours, or all."""
    scores = {name: standardise(values, over=over) for name, values in rewards.items() if name in weights}
    return weighted_mean(scores, weights)


def weighted_mean(rewards: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """sum(w r) / sum(|w|), [P, G]. Raises ValueError if a weighted reward is missing."""
    missing = sorted(weights.keys() - rewards.keys())
    if missing:
        raise ValueError(
            f"The reward gave {', '.join(sorted(rewards))} but {', '.join(missing)} is weighted too; "
            "correct `rewards`."
        )
    total = sum(abs(weight) for weight in weights.values())
    return torch.stack([weight * rewards[name] for name, weight in weights.items()]).sum(0) / total


def standardise(values: Tensor, *, over: int | None = None, std_of: str = "group") -> Tensor:
    """(r - mean) / (max(std, 1e-4) + 1e-5) of values [P, G]; zero where all are equal.

    over: neighbours of the last axis that share a mean, None for all of them. std_of: whose population
    standard deviation: that of the same neighbours ("group") or of all values ("batch").
    """
    groups = values.reshape(*values.shape[:-1], -1, over or values.shape[-1])
    std = groups.std(-1, correction=0, keepdim=True) if std_of == "group" else groups.std(correction=0)
    return ((groups - groups.mean(-1, keepdim=True)) / (std.clamp_min(1e-4) + 1e-5)).flatten(-2)


def advantages(rewards: Tensor, clip: float, *, over: int | None = None, std_of: str = "group") -> Tensor:
    """[P, G] standardised rewards, clipped to +-clip (models/training/methods.md#advantages)."""
    return standardise(rewards, over=over, std_of=std_of).clamp(-clip, clip)


def log_probability(action: Tensor, transition: Transition, weights: Tensor) -> Tensor:
    """[N] weighted mean over elements of log N(action; mean, std^2), without its constant.

    action: [N, F, C, H, W]; transition: std above 0; weights: [F], mean 1.
    """
    return frame_mean(-0.5 * ((action - transition.mean) / transition.std).square(), weights)


def kl_divergence(transition: Transition, reference: Transition, weights: Tensor) -> Tensor:
    """[N] weighted mean over elements of KL(transition || reference), which have the same std.

    Means [N, F, C, H, W]; weights: [F], mean 1 (models/training/methods.md#kl-term).
    """
    return frame_mean(0.5 * ((transition.mean - reference.mean) / transition.std).square(), weights)


def frame_mean(values: Tensor, weights: Tensor) -> Tensor:
    """[N] weighted mean over elements of values [N, F, C, H, W]; weights: [F], mean 1."""
    return (values * weights[:, None, None, None]).flatten(1).mean(1)


def policy_loss(
    log_probability: Tensor, rolled_log_probability: Tensor, advantage: Tensor, *, clip: float | None = None
) -> PolicyTerms:
    """Mean of -advantage * exp(logp - logp of the rollout), all [N]; the rollout's is a constant.

    clip: a pair whose ratio has left 1 +- clip in the direction of its advantage gives no gradient any more
    (PPO); None for no clip.
    """
    ratio = (log_probability - rolled_log_probability.detach()).exp()
    gain = advantage * ratio
    if clip is not None:
        gain = torch.minimum(gain, advantage * ratio.clamp(1 - clip, 1 + clip))
    return PolicyTerms(-gain.mean(), ratio.detach())


def step_weights(std: Tensor, timesteps: Sequence[float], step: Tensor) -> Tensor:
    """[N] sigma_s / max(|t - s| / 1000, 1e-6), by which `policy_timestep_reweight` weighs a step.

    std: [N, 1, 1, 1, 1] of the transitions (models/training/methods.md#one-iteration-of-cm-grpo).
    """
    times = torch.tensor([*timesteps, 0.0], dtype=torch.float32, device=step.device)
    length = (times[step] - times[step + 1]).abs() / 1000
    return std.flatten() / length.clamp_min(1e-6)


class CmGrpo:
    """Recipe: P prompts x G rollouts of the current policy, their rewards, and an update of the LoRA
    parameters.

    policy: wrapped model. texts: prompt embeddings [T, L, text_dim], of which an iteration draws P without
    replacement. reward: scores clean latents of pool prompts. base: the bidirectional model, only where
    `kl.reference` asks for it; the other reference is the policy with its adapters off, not a second copy.
    negative: prompt embeddings [1, L, text_dim] that base is guided away from, None where they are zeros.
    runner: how rollouts call the policy. The last transition is never trained. Raises ValueError if the pool
    is too small, base and settings do not agree, or a process cannot deal its pairs into updates.
    """

    def __init__(
        self,
        policy: PeftModel,
        texts: Tensor | PromptPool,
        reward: Reward,
        shape: LatentShape,
        settings: CmGrpoSettings,
        streams: Streams,
        processes: Processes = ALONE,
        *,
        base: Wan | None = None,
        negative: Tensor | None = None,
        runner: Runner = plain_runner,
    ) -> None:
        if (base is not None) != needs_base(settings):
            raise ValueError(
                f"CM-GRPO {'got' if base is not None else 'lacks'} a base model, which is the reference of "
                f"kl.reference 'base' alone, but kl is {settings.kl}; make the two agree."
            )
        if len(texts) < settings.prompts:
            raise ValueError(
                f"CM-GRPO draws {settings.prompts} prompts an iteration, the pool has {len(texts)}; "
                "enlarge the pool."
            )
        if settings.pairs % (processes.size * settings.optim_steps):
            raise ValueError(
                f"CM-GRPO has {settings.pairs} pairs of a rollout and a step, which {processes.size} "
                f"processes cannot deal equally into {settings.optim_steps} updates; change optim_steps, "
                "prompts, group or the number of processes."
            )
        self.settings, self.streams, self.processes = settings, streams, processes
        self.texts, self.negative, self.reward, self.shape = texts, negative, reward, shape
        self.wan, self.base, self.adapted, self.runner = inner_wan(policy), base, policy, runner
        self.student = Trainee("student", policy, settings.optimizer, ema_decay=settings.ema)
        self.trainees = [self.student]
        self.rollout = policy_rollout(settings)
        kl_rule = settings.kl.chunk_weighting if settings.kl else None
        self.weights, self.kl_weights = (
            torch.tensor(frame_weights(settings.chunks, rule), device=streams.device)
            for rule in (settings.chunk_weighting, kl_rule)
        )

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        settings = self.settings
        generator = self.streams.generator("prompts", iteration)
        order = torch.randperm(len(self.texts), generator=generator)[: settings.prompts]
        batches = self.processes.split(settings.samples, settings.micro_batches)
        mine = slice(batches[0].start, batches[-1].stop)
        prompts = [int(p) for p in order for _ in range(settings.group)][mine]
        # each prompt is encoded once, by every process: the text encoder may lie across them
        drawn = self.texts[order.tolist()]
        text = drawn[[sample // settings.group for sample in range(mine.start, mine.stop)]]
        text = text.to(self.streams.device, torch.float32)
        rolled = join_trajectories(
            [self.roll_out(iteration, one, text[rows_of(one, batches)]) for one in batches]
        )
        raw = self.reward(rolled.endpoints, prompts)
        # groups may lie across processes, so every process standardises all of them
        shape = (settings.prompts, settings.group)
        grouped = {name: self.processes.gather(raw[name]).view(shape) for name in sorted(raw)}
        gain = advantages(
            combined_reward(grouped, settings),
            settings.advantage_clip,
            over=settings.advantage_group,
            std_of=settings.advantage_std,
        ).flatten()[mine]
        gain = gain.to(self.streams.device, torch.float32)
        pairs = self.pairs(iteration, range(mine.start, mine.stop))
        total, divergence, ratios, updated = 0.0, 0.0, [], {}
        for part in updates(pairs, settings.optim_steps, self.streams, iteration):
            size = len(batches[0])
            for micro in (part[i : i + size] for i in range(0, len(part), size)):
                weight = len(micro) / len(part)
                policy = self.policy(rolled, micro, text, gain)
                loss = settings.policy_scale * weight * policy.loss
                if settings.kl is not None and policy.kl is not None:
                    loss = loss + settings.kl.weight * weight * policy.kl
                    divergence += policy.kl.item() * weight / settings.optim_steps
                torch.autograd.backward(finite(loss, "policy loss", iteration))
                total += policy.loss.item() * weight / settings.optim_steps
                ratios.append(policy.ratio)
            updated = self.student.step(iteration, fraction)
        ratio = self.processes.gather(torch.cat(ratios))
        metrics = {f"reward_{name}": float(values.mean()) for name, values in grouped.items()}
        weighted = sum(weight * metrics[f"reward_{name}"] for name, weight in settings.rewards.items())
        std = torch.stack([grouped[name].std(-1, correction=0).mean() for name in settings.rewards])
        metrics |= {
            "reward": weighted / sum(settings.rewards.values()),
            "policy_loss": total,
            "reward_spread": float(std.mean()),
            "ratio_error": float((ratio - 1).abs().max()),
        }
        if settings.ratio_clip is not None:
            metrics["ratio_outside"] = float(((ratio - 1).abs() > settings.ratio_clip).float().mean())
        if settings.kl is not None:
            metrics["kl"] = divergence
        return {**metrics, **updated}

    def pairs(self, iteration: int, samples: range) -> list[Pair]:
        """What is trained of some rollouts: each at one random step, or at all before the last."""
        trained = self.rollout.num_steps - 1
        if not self.settings.random_policy_timestep:
            return [Pair(row, sample, step) for row, sample in enumerate(samples) for step in range(trained)]
        drawn = trained_steps(self.streams, iteration, samples, self.rollout.num_steps).tolist()
        return [Pair(row, sample, drawn[row]) for row, sample in enumerate(samples)]

    def roll_out(self, iteration: int, samples: range, text: Tensor) -> Trajectory:
        """Rollouts of some samples with the current policy, without gradient."""
        noise = StreamNoise(
            streams=self.streams,
            iteration=iteration,
            samples=samples,
            shape=self.shape,
            sharing=self.settings.group if self.settings.shared_noise else 1,
        )
        with gathered(self.wan):
            records = self.rollout.run(self.wan, text, noise, runner=self.runner)
            return trajectory(records, self.rollout.num_steps)

    def policy(self, rolled: Trajectory, pairs: Sequence[Pair], text: Tensor, gain: Tensor) -> PolicyTerms:
        """Policy loss, and KL if asked for, of pairs. rolled, text, gain: of this process' rollouts."""
        rows = torch.tensor([pair.row for pair in pairs], device=text.device)
        step = torch.tensor([pair.step for pair in pairs], device=text.device)
        taken = taken_transitions(rolled, step, self.settings.timesteps, rows=rows)
        history, text = rolled.endpoints[rows], text[rows]
        schedule, kl = self.rollout.schedule, None
        # before the policy's forward: no graph may be open while adapters are off
        reference = None if self.settings.kl is None else self.reference_x0(taken, history, text)
        now = schedule.transition(taken.noisy, self.replayed_x0(taken, history, text), step)
        if reference is not None:
            kl = kl_divergence(now, schedule.transition(taken.noisy, reference, step), self.kl_weights).mean()
        then = schedule.transition(taken.noisy, taken.x0, step)
        advantage = gain[rows]
        if self.settings.policy_timestep_reweight:
            advantage = advantage * step_weights(now.std, self.settings.timesteps, step)
        found = log_probability(taken.action, now, self.weights)
        rolled_out = log_probability(taken.action, then, self.weights)
        if self.settings.forcing == "self_forcing":
            # another history than the rollout's, so not the policy that made it: published without a ratio
            # (models/training/methods.md#on-causal-forcing)
            loss = policy_loss(found, found, advantage)._replace(ratio=(found - rolled_out).detach().exp())
        else:
            loss = policy_loss(found, rolled_out, advantage, clip=self.settings.ratio_clip)
        return loss._replace(kl=kl)

    def replayed_x0(self, taken: TrainedSteps, history: Tensor, text: Tensor) -> Tensor:
        """Clean predictions [N, F, C, H, W] of the policy for all chunks.

        Each chunk is given the finished chunks before it, or in self forcing what this call predicted for
        them.
        """
        if self.settings.forcing == "self_forcing":
            return replay_cached(self.wan, taken.noisy, taken.t, text, self.rollout)
        return replay(self.wan, taken.noisy, history, taken.t, text, self.settings)

    @torch.no_grad()
    def reference_x0(self, taken: TrainedSteps, history: Tensor, text: Tensor) -> Tensor:
        """Clean predictions of KL's reference: the policy without adapters, or the guided base model."""
        kl = self.settings.kl
        if self.base is not None and kl is not None and kl.guidance is not None:
            v = guided_velocity(self.base, taken.noisy, taken.t, text, kl.guidance, self.negative)
            return to_x0(taken.noisy, v, taken.t / 1000)
        with self.adapted.disable_adapter():
            return self.replayed_x0(taken, history, text)


def needs_base(settings: CmGrpoSettings) -> bool:
    """Whether KL's reference is the bidirectional base model, which must be loaded then."""
    return settings.kl is not None and settings.kl.reference == "base"


class Pair(NamedTuple):
    """A rollout and its trained step. row: place among this process' rollouts; sample: place among all."""

    row: int
    sample: int
    step: int


def updates(pairs: Sequence[Pair], count: int, streams: Streams, iteration: int) -> Iterator[Sequence[Pair]]:
    """The pairs dealt into `count` updates, the same way however the batch is split over processes.

    Of every `count` neighbours one goes to each update, at random, so an update sees every prompt. Raises
    ValueError if they do not deal out.
    """
    if len(pairs) % count:
        raise ValueError(f"{len(pairs)} pairs cannot be dealt into {count} updates; change optim_steps.")
    hands: list[list[Pair]] = [[] for _ in range(count)]
    for start in range(0, len(pairs), count):
        block = pairs[start : start + count]
        key = streams.generator("update", iteration, block[0].sample, block[0].step)
        deal = torch.randperm(count, generator=key).tolist() if count > 1 else [0]
        for hand, pair in zip(deal, block, strict=True):
            hands[hand].append(pair)
    yield from hands


class TrainedSteps(NamedTuple):
    """One step of each of N rollouts, which carried noisy to action, and its prediction x0, all [N, F, C, H,
    W].

    t: [N] timestep of noisy.
    """

    noisy: Tensor
    action: Tensor
    t: Tensor
    x0: Tensor


def taken_transitions(
    rolled: Trajectory, step: Tensor, timesteps: Sequence[float], *, rows: Tensor | None = None
) -> TrainedSteps:
    """The transition from step[n] to step[n] + 1 of every pair n.

    step: [N], each below the last; rows: [N] rollouts, None for all.
    """
    row = torch.arange(len(step), device=step.device) if rows is None else rows
    times = torch.tensor(timesteps, dtype=torch.float32, device=step.device)
    noisy, action = rolled.states[step, row], rolled.states[step + 1, row]
    return TrainedSteps(noisy, action, times[step], rolled.x0[step, row])


def join_trajectories(pieces: Sequence[Trajectory]) -> Trajectory:
    """Trajectories of several micro-batches as one."""
    return Trajectory(
        torch.cat([one.states for one in pieces], dim=1),
        torch.cat([one.x0 for one in pieces], dim=1),
        torch.cat([one.endpoints for one in pieces]),
    )


def policy_rollout(settings: CmGrpoSettings) -> Rollout:
    """How the policy samples while it is trained: consistency steps, or those of the FlowGRPO ablation."""
    rollout = consistency_rollout(
        settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
    )
    ablation, plain = settings.flow_grpo, rollout.schedule
    if ablation is None:
        return rollout
    schedule = EulerMaruyama(
        steps=plain.steps,
        x0_dtype=plain.x0_dtype,
        add_noise_dtype=plain.add_noise_dtype,
        noise_level=ablation.noise_level,
        sigma_max=plain.sigmas[1] if ablation.sigma_max is None else ablation.sigma_max,
    )
    return dataclasses.replace(rollout, schedules=(schedule,))


def trained_steps(streams: Streams, iteration: int, samples: range, num_steps: int) -> Tensor:
    """[N] step index of each rollout, uniform over all but the last, whose transition to sigma 0 has no
    density.

    FlowGRPO's last has one, and is left out all the same (models/training/methods.md#flowgrpo).
    """
    return streams.choice("policy step", iteration, samples, num_steps - 1)[:, 0]
