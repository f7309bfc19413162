"""Sample one shard of a native row: a causal network rolled out chunk by chunk under its baseline's settings."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.build import Profile, Sampler, build_sampler, precision_of
from baselines.spec import Baseline, load_baseline
from evaluation.clips import ClipShape
from evaluation.records import Prompt, read_jsonl
from evaluation.shards import Batch, Sample, full_batches, parse_shard, shard_batches, work_list
from models.noise import NoiseSource, SampleKey
from models.rollout import Finished
from models.text_and_pixels import Codec, open_codec
from workflow.device import choose_device
from workflow.model_files import (
    TextRows,
    open_network,
    proven_sha256,
    read_proof,
    row_sha256,
    text_rows,
    text_sha256,
)
from workflow.settings import SAMPLED_SECTIONS
from workflow.shard import Made, ShardJob, make_shard, settings_from, shard_parser, write_shard

log = logging.getLogger("sample")


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


class BatchSampler:
    """Turns batches into clips: text rows, sampler, codec and noise of one row."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        text: TextRows,
        codec: Codec,
        noise: str,
        suite: str,
        items: Mapping[str, int],
        prompts: Sequence[str],
    ) -> None:
        """prompts: all texts of the job; they are prepared before its first batch."""
        self.sampler, self.text, self.codec, self.prompts = sampler, text, codec, prompts
        self.noise, self.suite, self.items = noise, suite, items
        self.encoded = False

    def noise_of(self, samples: tuple[Sample, ...]) -> NoiseSource:
        """Portable noise keyed by sample, or the method's own by place in the work list."""
        if self.noise == "portable":
            return self.sampler.portable_noise(self.suite, [SampleKey(s.prompt.id, s.index) for s in samples])
        return self.sampler.upstream_noise([self.items[s.clip_id] for s in samples], self.sampler.device)

    def make(self, batch: Batch) -> list[Made]:
        """One clip per sample of the batch; each chunk is decoded as it is finished.

        Raises FloatingPointError naming a clip whose latents are not finite.
        """
        if not self.encoded:
            self.text.prepare(self.prompts)
            self.encoded = True
        started = self._now()
        device, size = self.sampler.device, len(batch.samples)
        text = self.text.rows([sample.prompt.extended for sample in batch.samples]).to(device)
        stream, frames, chunks, calls, decode_s = self.codec.stream(size), [], [], 0, 0.0
        for record in self.sampler.records(text, self.noise_of(batch.samples)):
            if isinstance(record, Finished):
                decoding = self._now()
                chunks.append(record.latents)
                frames.append(stream.push(record.latents).cpu())
                decode_s += self._now() - decoding
            else:
                calls += 1
        sample_s = self._now() - started - decode_s
        latents, pictures = torch.cat(chunks, dim=1), torch.cat(frames, dim=1).numpy()
        for sample, one in zip(batch.samples, latents, strict=True):
            if not math.isfinite(float(one.float().abs().sum())):
                raise FloatingPointError(
                    f"The latents of clip {sample.clip_id} are not finite, so no clip was written; look at the row's weights."
                )
        return [
            Made(pictures[i], latents_sha256(latents[i]), sample_s / size, decode_s / size, calls)
            for i in range(size)
        ]

    def _now(self) -> float:
        if self.sampler.device.type == "cuda":
            torch.cuda.synchronize(self.sampler.device)
        return time.perf_counter()


def main() -> None:
    parser = shard_parser(__doc__)
    parser.add_argument("--baseline", required=True, type=Path, help="baselines/<row>.yaml")
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--codec", required=True, type=Path)
    parser.add_argument("--text", required=True, type=Path)
    parser.add_argument("--embeddings", required=True, type=Path, help="folder of encoded prompts")
    parser.add_argument("--proof", type=Path, help="sha256 of fetched files, as the fetch stage proved them")
    parser.add_argument("--noise", required=True, choices=("portable", "upstream"))
    parser.add_argument("--device", required=True, choices=("cpu", "cuda", "auto"))
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    device = choose_device(flags.device)
    settings = settings_from(flags.settings)
    baseline = tracked_baseline(flags.baseline, settings)
    profile: Profile = settings["profile"]
    precision = precision_of(baseline, profile)
    proof = read_proof(flags.proof)
    weights = row_sha256(flags.weights, baseline, proof)
    codec, text = proven_sha256(flags.codec, proof), text_sha256(flags.text, proof)
    prompts = read_jsonl(Prompt, flags.prompts)
    samples = work_list(prompts)
    batches = shard_batches(full_batches(samples, settings["batch"]), *parse_shard(flags.shard))
    wan = open_network(flags.weights, baseline, precision, device)
    shape = (baseline.rollout.frames, wan.config.in_channels, *settings["latent_size"])
    maker = BatchSampler(
        sampler=build_sampler(baseline, wan, latent_shape=shape, profile=profile),
        text=text_rows(flags.text, text, flags.embeddings, device),
        codec=open_codec(
            flags.codec, device=device, dtype=precision.codec, autocast=precision.codec_autocast
        ),
        noise=flags.noise,
        suite=settings["suite"],
        items={sample.clip_id: item for item, sample in enumerate(samples)},
        prompts=list(dict.fromkeys(sample.prompt.extended for batch in batches for sample in batch.samples)),
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
