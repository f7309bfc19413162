"""Make the shipped models of the toybox: codec, text encoder, base model, causal initialisation, six
students.

One stage per process; stages share a working folder on the machine:

    python -m workflow.scripts.dev.train_embedded --stage data --work W --output O --clips 40000
    python -m workflow.scripts.dev.train_embedded --stage base --work W --output O --minutes 7 --device cuda

and so on with causal_init and the names of the students. Every stage writes <name>.safetensors (float16; the
codec float32) and <name>.json (command, settings, seconds, hashes, checker scores) to the output folder.
Validation prompts choose among the EMAs seen on the way; the suite's prompts measure the choice.
"""

import argparse
import copy
import dataclasses
import json
import logging
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.build import rollout_of
from baselines.spec import load_baseline
from baselines.strict_yaml import validate_strict
from evaluation.command import command, run
from evaluation.files import file_sha256, load_json, write_text
from evaluation.records import Prompt
from evaluation.toybox.captions import VOCABULARY, caption, extended_caption
from evaluation.toybox.checkers import check_clips, means, start_workers
from evaluation.toybox.facts import sample_facts
from evaluation.toybox.render import Frames, render
from evaluation.toybox.suite import toybox_prompts
from evaluation.toybox.training_prompts import heldout_prompts
from models.checkpoints.containers import load_strict, read_safetensors, tensors_sha256, write_safetensors
from models.checkpoints.lora import LoraSettings, adapter_state, add_lora, inner_wan, weights_header
from models.checkpoints.open import open_model
from models.codec import LinearCodec, fit_codec, psnr, to_pixels
from models.config import DtypePolicy, WanConfig
from models.noise import PortableNoise, SampleKey
from models.rollout import Rollout
from models.text import ToyTextEncoder
from models.training import causal_init
from models.training.dmd import Scores
from models.training.flow_matching import CaptionedClips, FlowMatching, euler_sample
from models.training.loop import Recipe, RunLimits, train
from models.training.rollouts import consistency_rollout, endpoints
from models.training.settings import (
    BaseSettings,
    DmdSettings,
    EndpointSettings,
    OptimizerSettings,
    TeacherForcingSettings,
    canonical,
)
from models.training.streams import Streams
from models.training.students import DiffusionForcing, SelfForcing
from models.wan import Wan, init_weights

log = logging.getLogger("train_embedded")

SHAPE = (21, 16, 8, 8)
TOY_DTYPES = DtypePolicy(rotary="float32", fp32_modules="parameters")
CONFIG = WanConfig(dim=128, ffn_dim=384, num_layers=5, num_heads=4, freq_dim=64, text_dim=64, text_len=32)
TOY_STUDENTS = ("causvid", "self_forcing", "reward_forcing", "causal_forcing", "longlive", "rolling_forcing")
STAGES = ("data", "base", "causal_init", *TOY_STUDENTS)
SUITE_SEED = 20260701
VALIDATION_SEED = 11
BASE_GUIDANCE, BASE_STEPS, BASE_SHIFT = 3.0, 25, 5.0
PATH_TIMESTEPS = (1000.0, 960.0, 938.0, 882.0, 833.0, 757.0, 625.0, 540.0)
LONGLIVE_LORA = LoraSettings(rank=32, alpha=32.0, outer=False)
RESERVE_S = 25.0
VALIDATION_PROMPTS, SUITE_SAMPLES = 128, 2
CLIPS_AT_ONCE, PATHS_AT_ONCE = 128, 1024

SampleClips = Callable[[Tensor, PortableNoise], Tensor]
"""(prompt embeddings [B, L, text_dim], noise) -> clean latents [B, F, C, H, W]."""

Measure = Callable[[Mapping[str, Tensor]], dict[str, float]]
"""State dict of a student -> mean checker scores of its clips."""


def default_settings(stage: str, seed: int) -> dict[str, Any]:
    """Settings of a stage by part; --settings overrides single keys of them."""
    endless = 10**6
    shared: dict[str, Any] = {"iterations": endless, "batch": 256}
    muon: dict[str, Any] = {"kind": "muon", "betas": (0.9, 0.95), "clip": 1.0, "schedule": "cosine"}
    if stage == "base":
        optimizer = OptimizerSettings(lr=2e-3, warmup=200, **muon)
        return {"base": BaseSettings(seed=seed, optimizer=optimizer, **shared)}
    if stage == "causal_init":
        forcing = OptimizerSettings(lr=1e-3, muon_lr=0.01, final=0.05, warmup=100, **muon)
        regress = OptimizerSettings(lr=7e-4, muon_lr=0.007, warmup=100, **muon)
        paths: dict[str, Any] = {"trajectories": 16384, "timesteps": PATH_TIMESTEPS}
        return {
            "forcing": TeacherForcingSettings(seed=seed, optimizer=forcing, **shared),
            "endpoint": EndpointSettings(seed=seed + 1, optimizer=regress, **paths, **shared),
        }
    rate = 8e-4 if stage == "longlive" else 2e-4
    student = OptimizerSettings(lr=rate, warmup=20, schedule="cosine", final=0.1, clip=10.0)
    fake = OptimizerSettings(lr=2e-4, warmup=20, clip=10.0)
    ours: dict[str, Any] = {"fake_updates": 3, "ema": 0.98, "chunk_weighting": None}
    settings = DmdSettings(iterations=endless, batch=128, seed=seed, student=student, fake=fake, **ours)
    return {"dmd": settings}


@dataclass
class StageTools:
    """What every stage needs: where it runs, how long it may, its tools. began: process start, in s."""

    arguments: argparse.Namespace
    device: torch.device
    began: float
    workers: ProcessPoolExecutor
    codec: LinearCodec
    encoder: ToyTextEncoder
    validation: list[Prompt]

    def left(self) -> float:
        """Seconds until training must stop, so that measuring and writing still fit."""
        limit: float = self.arguments.minutes * 60
        return limit - (time.monotonic() - self.began) - RESERVE_S

    def streams(self, seed: int) -> Streams:
        return Streams(seed=seed, device=self.device, per_sample=self.device.type == "cpu")

    def measure(
        self, sample: SampleClips, encoder: ToyTextEncoder, prompts: list[Prompt], samples: int
    ) -> dict[str, float]:
        """Mean checker scores of clips sampled for prompts, with the suite's portable noise."""
        jobs = [(prompt, number) for prompt in prompts for number in range(samples)]
        scores: list[dict[str, float]] = []
        for start in range(0, len(jobs), CLIPS_AT_ONCE):
            part = jobs[start : start + CLIPS_AT_ONCE]
            keys = [SampleKey(p.id, n) for p, n in part]
            noise = PortableNoise(suite="toybox", samples=keys, shape=SHAPE, device=self.device)
            with torch.no_grad():
                text = encoder.encode([prompt.extended for prompt, _ in part])
                frames = self.codec.decode_uint8(sample(text, noise)).cpu().numpy()
            scores += check_clips(frames, [prompt for prompt, _ in part], self.workers)
        return means(scores)

    def measure_suite(self, sample: SampleClips, encoder: ToyTextEncoder) -> dict[str, float]:
        """Mean checker scores on the suite's prompts, which no choice was made by."""
        return self.measure(sample, encoder, toybox_prompts(SUITE_SEED), SUITE_SAMPLES)


class Watched:
    """A recipe that is measured every few minutes; keeps the EMA with the best validation mean."""

    def __init__(self, recipe: Recipe, bench: StageTools, measure: Measure) -> None:
        self.recipe, self.bench, self.measure = recipe, bench, measure
        self.trainees = recipe.trainees
        self.curve: list[dict[str, Any]] = []
        self.best: tuple[float, int, dict[str, Tensor]] = (-1.0, 0, {})
        self.last = time.monotonic()
        self.done = 0

    def step(self, iteration: int, fraction: float) -> dict[str, float]:
        with torch.autocast(self.bench.device.type, torch.bfloat16, enabled=self.bench.arguments.autocast):
            metrics = self.recipe.step(iteration, fraction)
        self.done = iteration + 1
        if time.monotonic() - self.last > self.bench.arguments.eval_every * 60:
            self.validate()
        return metrics

    def validate(self) -> None:
        """Measure the current EMA and remember it if it is the best so far."""
        state = {name: value.detach().clone() for name, value in self.trainees[0].ema_state().items()}
        scores = self.measure(state)
        elapsed = time.monotonic() - self.bench.began
        self.curve.append({"iteration": self.done, "seconds": round(elapsed, 1), "scores": rounded(scores)})
        log.info("validation after %d iterations, %.0f s: %s", self.done, elapsed, rounded(scores))
        if scores["mean"] > self.best[0]:
            self.best = (scores["mean"], self.done, state)
        self.last = time.monotonic()


def train_measured(
    recipe: Recipe, bench: StageTools, iterations: int, seconds: float, measure: Measure
) -> Watched:
    """Train until the first limit, then measure once more."""
    watched = Watched(recipe, bench, measure)
    limits = RunLimits(iterations=iterations, seconds=max(seconds, 1.0))
    watched.done = train(watched, limits, output=None, identity="")
    watched.validate()
    return watched


def make_data(arguments: argparse.Namespace, began: float) -> None:
    """Fit the codec, render and encode the training clips; latents and word ids go to the work folder."""
    output, work = Path(arguments.output), Path(arguments.work)
    workers = start_workers(arguments.workers)
    keys = [(arguments.seed, n) for n in range(min(1024, arguments.clips))]
    first = list(workers.map(render_clip, keys, chunksize=8))
    pixels = to_pixels(torch.from_numpy(np.stack(first)))
    codec = fit_codec(pixels[: len(pixels) * 3 // 4])
    held = pixels[len(pixels) * 3 // 4 :]
    quality = psnr(held, codec.decode(codec.encode(held)))
    codec.save(output / "codec.safetensors")
    prompts = toybox_prompts(SUITE_SEED)
    truth = np.stack([render(prompt.facts, 0) for prompt in prompts])
    decoded = codec.decode_uint8(codec.encode(to_pixels(torch.from_numpy(truth)))).numpy()
    scores = {
        "truth": rounded(means(check_clips(truth, prompts, workers))),
        "decoded": rounded(means(check_clips(decoded, prompts, workers))),
    }
    log.info("codec: %.2f dB, suite scores %s", quality, scores)
    jobs = [
        (arguments.seed, start, min(64, arguments.clips - start), str(output / "codec.safetensors"))
        for start in range(0, arguments.clips, 64)
    ]
    pieces = list(workers.map(encode_clips, jobs))
    workers.shutdown()
    latents, ids = torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])
    write_safetensors(work / "data.safetensors", {"latents": latents, "ids": ids})
    std, seconds = float(latents[:512].float().std()), time.monotonic() - began
    log.info("%d clips, standard deviation of latents %.3f, %.0f s", len(latents), std, seconds)
    facts = {
        "sha256": file_sha256(output / "codec.safetensors"),
        "psnr_db": round(quality, 2),
        "suite_scores": scores,
        "clips": len(latents),
    }
    write_facts(arguments, "codec", began, facts)


def render_clip(key: tuple[int, int]) -> Frames:
    """Training clip number key[1]: uint8 [81, 32, 32, 3]."""
    return render(sample_facts(np.random.Generator(np.random.Philox(key=key))), key[1])


def encode_clips(job: tuple[int, int, int, str]) -> tuple[Tensor, Tensor]:
    """Latents (float16) and word ids (int16, short and long caption) of `count` clips from `start`."""
    seed, start, count, path = job
    codec, encoder = LinearCodec.load(path), ToyTextEncoder(VOCABULARY)
    numbers = range(start, start + count)
    facts = [sample_facts(np.random.Generator(np.random.Philox(key=(seed, n)))) for n in numbers]
    clips = np.stack([render(one, start + n) for n, one in enumerate(facts)])
    ids = torch.stack([encoder.tokenize([caption(one), extended_caption(one)]) for one in facts])
    return codec.encode(to_pixels(torch.from_numpy(clips))).half(), ids.to(torch.int16)


def train_base(bench: StageTools) -> None:
    """The bidirectional base model and its text encoder, which stays as it is where --init is given."""
    arguments, settings = bench.arguments, chosen_settings(bench.arguments)["base"]
    encoder = bench.encoder
    if arguments.init:
        wan = load_wan(Path(arguments.init), bench.device)
    else:
        wan = Wan(CONFIG, TOY_DTYPES).to(bench.device)
        init_weights(wan, torch.Generator(bench.device).manual_seed(settings.seed))
    judge, judge_encoder = copy.deepcopy(wan), copy.deepcopy(encoder)
    if arguments.compile:
        wan.compile(dynamic=False)

    def sample(text: Tensor, noise: PortableNoise) -> Tensor:
        return euler_sample(
            judge, text, noise.initial(), scale=BASE_GUIDANCE, steps=BASE_STEPS, shift=BASE_SHIFT
        )

    def use(state: Mapping[str, Tensor]) -> None:
        load_strict(judge, part_of(state, "wan."), where="the EMA")
        load_strict(judge_encoder, part_of(state, "text."), where="the EMA")

    def measure(state: Mapping[str, Tensor]) -> dict[str, float]:
        use(state)
        return bench.measure(sample, judge_encoder, bench.validation, 1)

    recipe = FlowMatching(
        wan, encoder, load_clips(arguments, bench.device), settings, bench.streams(settings.seed)
    )
    watched = train_measured(recipe, bench, settings.iterations, bench.left(), measure)
    state = {name: value.half().float() for name, value in watched.best[2].items()}
    use(state)
    if not arguments.init:
        text = Path(arguments.output) / "text.safetensors"
        judge_encoder.save(text, dtype=torch.float16)
        written = {"sha256": file_sha256(text), "words": len(VOCABULARY), "trained_with": "base"}
        write_facts(arguments, "text", bench.began, written)
    scores = bench.measure_suite(sample, judge_encoder)
    facts = {"settings": {"base": dataclasses.asdict(settings)}}
    finish(bench, "base", part_of(state, "wan."), wan.config, watched, scores, facts)


def train_causal_init(bench: StageTools) -> None:
    """Teacher forcing on data, guided paths, regression to their endpoints."""
    arguments, settings = bench.arguments, chosen_settings(bench.arguments)
    forcing, endpoint = settings["forcing"], settings["endpoint"]
    base = load_wan(source(arguments, "base"), bench.device)
    clips = load_clips(arguments, bench.device)
    student, judge = copy.deepcopy(base), copy.deepcopy(base)
    timesteps = (*endpoint.timesteps[:1], 938.0, 833.0, 625.0)
    sample = rollout_sample(judge, consistency_rollout(timesteps, endpoint.chunks))

    def measure(state: Mapping[str, Tensor]) -> dict[str, float]:
        load_strict(judge, state, where="the EMA")
        return bench.measure(sample, bench.encoder, bench.validation, 1)

    def encode(ids: Tensor) -> Tensor:
        with torch.no_grad():
            embeddings: Tensor = bench.encoder(ids)
        return embeddings

    if arguments.compile:
        student.interleaved = torch.compile(student.interleaved, dynamic=False)  # type: ignore[method-assign]
    total = bench.left()
    part_a = causal_init.TeacherForcing(student, clips, encode, forcing, bench.streams(forcing.seed))
    first = train_measured(part_a, bench, forcing.iterations, arguments.forcing_share * total, measure)
    load_strict(student, first.recipe.trainees[0].ema_state(), where="the teacher-forced model")
    paths = follow_paths(bench, base, copy.deepcopy(student), clips, encode, endpoint, until=0.15 * total)
    part_b = causal_init.EndpointRegression(student, paths, endpoint, bench.streams(endpoint.seed))
    second = train_measured(part_b, bench, endpoint.iterations, bench.left(), measure)
    state = rounded_state(second.best[2])
    load_strict(judge, state, where="the chosen state")
    scores = bench.measure_suite(sample, bench.encoder)
    facts = {
        "settings": {name: dataclasses.asdict(value) for name, value in settings.items()},
        "teacher_forcing_curve": first.curve,
        "trajectories": len(paths.endpoints),
        "init_sha256": file_sha256(source(arguments, "base")),
    }
    finish(bench, arguments.stage, state, base.config, second, scores, facts)


def follow_paths(
    bench: StageTools,
    base: Wan,
    causal: Wan,
    clips: CaptionedClips,
    encode: Callable[[Tensor], Tensor],
    settings: EndpointSettings,
    until: float,
) -> causal_init.GuidedPaths:
    """The pool of guided paths, as many as fit into `until` seconds and at most as the settings say."""
    began, made = time.monotonic(), 0
    pieces: list[causal_init.GuidedPaths] = []
    streams = bench.streams(settings.seed)
    size = min(PATHS_AT_ONCE, settings.trajectories)
    while made < settings.trajectories and (not pieces or time.monotonic() - began < until):
        rows = range(made, made + size)
        home = clips.latents.device
        which = streams.choice("path clip", made, rows, len(clips.latents))[:, 0].to(home)
        wording = streams.choice("path wording", made, rows, clips.ids.shape[1])[:, 0].to(home)
        text = encode(clips.ids[which, wording].to(bench.device, torch.int64))
        noise = streams.normal("path noise", made, rows, SHAPE)
        with torch.no_grad():
            if settings.paths == "causal":
                history = clips.latents[which].to(bench.device, torch.float32)
                pieces.append(causal_init.causal_paths(causal, text, history, noise, settings))
            else:
                pieces.append(causal_init.bidirectional_paths(base, text, noise, settings))
        made += size
    log.info("%d %s paths in %.0f s", made, settings.paths, time.monotonic() - began)
    return causal_init.join_paths(pieces)


def train_student(bench: StageTools) -> None:
    """One baseline's student by DMD, under its own schedule, cache policy and rollout."""
    arguments, settings = bench.arguments, chosen_settings(bench.arguments)["dmd"]
    stage = arguments.stage
    init = source(arguments, "causal_init")
    student = load_wan(init, bench.device)
    teacher = load_wan(Path(arguments.output) / "base.safetensors", bench.device)
    fake = copy.deepcopy(teacher)
    teacher.requires_grad_(False)
    if arguments.compile:
        teacher.compile(dynamic=False)
        fake.compile(dynamic=False)
    clips, streams = load_clips(arguments, bench.device), bench.streams(settings.seed)
    texts = encode_all(bench.encoder, clips.ids, bench.device)
    rollout = baseline_rollout(stage)
    judge = copy.deepcopy(student)
    trained: torch.nn.Module = student
    judged: torch.nn.Module = judge
    if stage == "longlive":
        trained, judged = pair = [
            add_lora(one, LONGLIVE_LORA, seed=settings.seed) for one in (student, judge)
        ]
        student, judge = map(inner_wan, pair)
    sample = rollout_sample(judge, rollout)

    def measure(state: Mapping[str, Tensor]) -> dict[str, float]:
        load_strict(judged, state, where="the EMA")
        return bench.measure(sample, bench.encoder, bench.validation, 1)

    scores_of = Scores(fake, teacher, settings, streams)
    recipe: Recipe
    if stage == "causvid":
        steps = [*rollout.schedule.steps, *baseline_rollout("causvid_4step").schedule.steps[1:]]
        recipe = DiffusionForcing(student, scores_of, clips.latents, texts[:, 1], steps, settings, streams)
    else:
        flat = texts.flatten(0, 1)
        recipe = SelfForcing(student, trained, scores_of, flat, SHAPE, rollout, settings, streams)
    watched = train_measured(recipe, bench, settings.iterations, bench.left(), measure)
    state = rounded_state(watched.best[2])
    load_strict(judged, state, where="the chosen state")
    scores = bench.measure_suite(sample, bench.encoder)
    facts: dict[str, Any] = {
        "settings": {"dmd": dataclasses.asdict(settings)},
        "init": init.name,
        "init_sha256": file_sha256(init),
    }
    header = None
    if stage == "longlive":
        state = adapter_state(state)
        facts |= {"flavour": "adapter", "lora": dataclasses.asdict(LONGLIVE_LORA), "base": init.name}
        header = weights_header(student.config, alpha=LONGLIVE_LORA.alpha, base=init.name)
    finish(bench, arguments.stage, state, student.config, watched, scores, facts, header)


def baseline_rollout(name: str) -> Rollout:
    """The rollout that a baseline's file describes, in float32."""
    return rollout_of(load_baseline(Path("baselines") / f"{name}.yaml"), SHAPE[0], "float32")


def rollout_sample(wan: Wan, rollout: Rollout) -> SampleClips:
    """Sampling with a rollout, as evaluation wants it."""

    def sample(text: Tensor, noise: PortableNoise) -> Tensor:
        return endpoints(rollout.run(wan, text, noise))

    return sample


def load_wan(path: Path, device: torch.device) -> Wan:
    """A transformer of the size its file names, in float32."""
    return open_model(path, TOY_DTYPES).to(device)


def load_clips(arguments: argparse.Namespace, device: torch.device) -> CaptionedClips:
    """The training clips of the working folder, on the device."""
    state = read_safetensors(Path(arguments.work) / "data.safetensors")
    return CaptionedClips(state["latents"].to(device), state["ids"].to(device))


@torch.no_grad()
def encode_all(encoder: ToyTextEncoder, ids: Tensor, device: torch.device) -> Tensor:
    """Embeddings [N, V, L, text_dim], float16, of all captions."""
    parts = torch.split(ids.flatten(0, 1), 4096)
    embeddings = torch.cat([encoder(part.to(device, torch.int64)).half() for part in parts])
    return embeddings.view(*ids.shape[:2], *embeddings.shape[1:])


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def rounded_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state as it is read back from a float16 file, so that the printed scores are those of the file."""
    return {name: value.half().float() for name, value in state.items()}


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}


def source(arguments: argparse.Namespace, default: str) -> Path:
    """The file a stage starts from: --init, or the default one of the output folder."""
    return Path(arguments.init) if arguments.init else Path(arguments.output) / f"{default}.safetensors"


def chosen_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Default settings of the stage with the keys of --settings put over them."""
    chosen = default_settings(arguments.stage, arguments.seed)
    for part, changes in load_json(arguments.settings, "--settings").items():
        if part not in chosen:
            raise ValueError(
                f"--settings names the part {part!r}; stage {arguments.stage} has {', '.join(chosen)}."
            )
        values = load_json(canonical(chosen[part]), part)
        for key, value in changes.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
        chosen[part] = validate_strict(values, type(chosen[part]), where=f"--settings {part}")
    return chosen


def finish(
    bench: StageTools,
    name: str,
    state: Mapping[str, Tensor],
    config: WanConfig,
    watched: Watched,
    scores: Mapping[str, float],
    facts: Mapping[str, Any],
    header: dict[str, str] | None = None,
) -> None:
    """Write the chosen weights and what is known about them."""
    path = Path(bench.arguments.output) / f"{name}.safetensors"
    write_safetensors(path, state, dtype=torch.float16, metadata=header or weights_header(config))
    stored = read_safetensors(path)
    log.info("%s: suite scores %s", name, rounded(scores))
    suite = {"suite_prompts": len(toybox_prompts(SUITE_SEED)), "suite_samples": SUITE_SAMPLES}
    whole = {
        **facts,
        "config": config.to_dict(),
        "sha256": file_sha256(path),
        "tensors_sha256": tensors_sha256(stored),
        "tensors": len(stored),
        "parameters": sum(value.numel() for value in stored.values()),
        "steps": watched.done,
        "chosen_step": watched.best[1],
        "validation_curve": watched.curve,
        **suite,
        "suite_scores": rounded(scores),
    }
    write_facts(bench.arguments, name, bench.began, whole)


def write_facts(arguments: argparse.Namespace, name: str, began: float, facts: Mapping[str, Any]) -> None:
    """<name>.json: how the file beside it was made and what was measured."""
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    folders = {arguments.work: "WORK", arguments.output: "OUTPUT"}
    words = [folders.get(word, word) for word in sys.argv[1:]]
    whole = {
        "name": name,
        "command": "python -m workflow.scripts.dev.train_embedded " + shlex.join(words),
        "seed": arguments.seed,
        "device": device,
        "torch": torch.__version__,
        "seconds": round(time.monotonic() - began, 1),
        **facts,
    }
    write_text(Path(arguments.output) / f"{name}.json", json.dumps(whole, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--work", required=True, help="folder for training data, shared by the stages")
    parser.add_argument(
        "--output", required=True, help="folder of the files to ship, which later stages read"
    )
    parser.add_argument("--init", help="weights to start from, in place of base or causal_init of the output")
    parser.add_argument("--minutes", type=float, default=5.0, help="time limit of the whole process")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--settings", default="{}", help='JSON, e.g. {"dmd": {"student": {"lr": 1e-4}}}')
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clips", type=int, default=40000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--eval-every", type=float, default=1.5, help="minutes between validations")
    parser.add_argument("--forcing-share", type=float, default=0.4, help="part of causal_init for part (a)")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--autocast", action="store_true", help="products in bfloat16 (base, causal_init)")
    return run(parser, arguments, train_stage)


def train_stage(arguments: argparse.Namespace) -> None:
    """Make the files of one stage."""
    began = time.monotonic()
    output, device = Path(arguments.output), torch.device(arguments.device)
    output.mkdir(parents=True, exist_ok=True)
    Path(arguments.work).mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    if arguments.compile:
        torch._dynamo.config.suppress_errors = True
    if arguments.stage == "data":
        make_data(arguments, began)
        return
    if arguments.stage == "base" and not arguments.init:
        torch.manual_seed(arguments.seed)
        encoder = ToyTextEncoder(VOCABULARY).to(device)
    else:
        encoder = ToyTextEncoder.load(output / "text.safetensors").to(device)
    workers = start_workers(arguments.workers)
    bench = StageTools(
        arguments=arguments,
        device=device,
        began=began,
        workers=workers,
        encoder=encoder,
        codec=LinearCodec.load(output / "codec.safetensors").to(device),
        validation=heldout_prompts(VALIDATION_PROMPTS, VALIDATION_SEED),
    )
    stages = {"base": train_base, "causal_init": train_causal_init}
    stages.get(arguments.stage, train_student)(bench)
    workers.shutdown()


if __name__ == "__main__":
    sys.exit(main())
