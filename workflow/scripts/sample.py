"""Sample one shard of a native row: a causal network rolled out chunk by chunk under its baseline's settings."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.build import Profile, Sampler, build_sampler, precision_of
from baselines.spec import Baseline, load_baseline
from evaluation.clips import ClipShape
from evaluation.records import Prompt, read_jsonl
from evaluation.shards import Batch, Sample, work_list
from models.codec import LinearCodec
from models.lora import open_wan
from models.noise import NoiseSource, SampleKey
from models.rollout import Finished
from models.text import ToyTextEncoder
from models.wan import cast_parameters
from models.weights import file_sha256
from workflow.device import choose_device
from workflow.settings import SAMPLED_SECTIONS
from workflow.shard import Made, ShardJob, make_shard, settings_from, shard_parser, write_shard

log = logging.getLogger("sample")


def described_sha256(path: Path) -> str:
    """Sha256 of a weights file, proven to be what the .json beside it says (a manifest of `convert`, or a shipped file's facts).

    Raises FileNotFoundError if either is missing, ValueError if the bytes are not the described ones.
    """
    description = path.with_suffix(".json")
    for needed in (path, description):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} does not exist; shipped files are in the repository, others come from `convert`."
            )
    facts = json.loads(description.read_text(encoding="utf-8"))
    found = file_sha256(path)
    if found != facts["sha256"]:
        raise ValueError(
            f"{path} has sha256 {found}, but {description.name} says {facts['sha256']}; restore or remake the file."
        )
    return found


def tracked_baseline(path: Path, settings: dict[str, Any]) -> Baseline:
    """The baseline's file, proven to hold the sampling settings that this job was given.

    Raises ValueError if the file was edited after the run had started.
    """
    baseline = load_baseline(path)
    found = baseline.model_dump(mode="json", include=set(SAMPLED_SECTIONS))
    differing = [name for name in SAMPLED_SECTIONS if found[name] != settings[name]]
    if differing:
        raise ValueError(
            f"{path} changed in {', '.join(differing)} since this run was planned; start the run again."
        )
    return baseline


def latents_sha256(latents: Tensor) -> str:
    """Sha256 of one clip's latents [F, C, H, W] as float32 bytes."""
    return hashlib.sha256(latents.float().cpu().contiguous().numpy().tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchSampler:
    """Turns batches into clips: text encoder, sampler, codec and noise of one row."""

    sampler: Sampler
    encoder: ToyTextEncoder
    codec: LinearCodec
    noise: str
    suite: str
    items: dict[str, int]

    def noise_of(self, samples: tuple[Sample, ...]) -> NoiseSource:
        """Portable noise keyed by sample, or the method's own by place in the work list."""
        if self.noise == "portable":
            return self.sampler.portable_noise(self.suite, [SampleKey(s.prompt.id, s.index) for s in samples])
        return self.sampler.upstream_noise([self.items[s.clip_id] for s in samples], self.sampler.device)

    def make(self, batch: Batch) -> list[Made]:
        """One clip per sample of the batch. Raises FloatingPointError naming a clip whose latents are not finite."""
        started = time.perf_counter()
        text = self.encoder.encode([sample.prompt.extended for sample in batch.samples]).to(
            self.sampler.device
        )
        chunks, calls = [], 0
        for record in self.sampler.records(text, self.noise_of(batch.samples)):
            if isinstance(record, Finished):
                chunks.append(record.latents)
            else:
                calls += 1
        latents = torch.cat(chunks, dim=1)
        sampled = time.perf_counter()
        for sample, one in zip(batch.samples, latents, strict=True):
            if not math.isfinite(float(one.abs().sum())):
                raise FloatingPointError(
                    f"The latents of clip {sample.clip_id} are not finite, so no clip was written; look at the row's weights."
                )
        frames = self.codec.decode_uint8(latents.float().cpu()).numpy()
        size = len(batch.samples)
        sample_s, decode_s = (sampled - started) / size, (time.perf_counter() - sampled) / size
        return [Made(frames[i], latents_sha256(latents[i]), sample_s, decode_s, calls) for i in range(size)]


def main() -> None:
    parser = shard_parser(__doc__)
    parser.add_argument("--baseline", required=True, type=Path, help="baselines/<row>.yaml")
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--codec", required=True, type=Path)
    parser.add_argument("--text", required=True, type=Path)
    parser.add_argument("--noise", required=True, choices=("portable", "upstream"))
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    device = choose_device(flags.device)
    settings = settings_from(flags.settings)
    baseline = tracked_baseline(flags.baseline, settings)
    profile: Profile = settings["profile"]
    precision = precision_of(baseline, profile)
    weights, codec, text = (described_sha256(path) for path in (flags.weights, flags.codec, flags.text))
    wan = open_wan(flags.weights, precision.numerics).eval().requires_grad_(False)
    wan = cast_parameters(wan, precision.matmul).to(device)
    shape = (baseline.rollout.frames, wan.config.in_channels, *settings["latent_size"])
    prompts = read_jsonl(Prompt, flags.prompts)
    maker = BatchSampler(
        sampler=build_sampler(baseline, wan, latent_shape=shape, profile=profile),
        encoder=ToyTextEncoder.load(flags.text),
        codec=LinearCodec.load(flags.codec),
        noise=flags.noise,
        suite=settings["suite"],
        items={sample.clip_id: item for item, sample in enumerate(work_list(prompts))},
    )
    job = ShardJob(
        row=flags.row,
        shard=flags.shard,
        prompts=prompts,
        folder=flags.clips,
        shape=ClipShape(**settings["clip"]),
        batch_size=settings["batch"],
        noise=f"{flags.noise}:{settings['suite'] if flags.noise == 'portable' else baseline.noise.seed}",
        weights_sha256=weights,
        settings=settings,
        depends_on={
            "code": flags.code,
            "weights": weights,
            "codec": codec,
            "text": text,
            "noise": flags.noise,
        },
        whole_list=flags.noise == "upstream",
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    )
    write_shard(make_shard(job, maker.make), flags.manifest, flags.timings)


if __name__ == "__main__":
    main()
