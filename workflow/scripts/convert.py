"""Convert a finished training run: full weights of RAVEN, or adapter, bundle and merged weights of CM-GRPO.

Each flavour becomes a .safetensors file with its manifest beside it. They hold the EMA of the generator; for
anything else, and for other formats, there is convert_weights.py. The three flavours of CM-GRPO must sample
the same clip; a difference stops the job.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from baselines.strict_yaml import parse_strict
from evaluation.command import command, run
from evaluation.files import file_sha256
from evaluation.records import TrainManifest, WeightsManifest, write_json
from models.checkpoints.containers import weights_sha256, write_safetensors
from models.checkpoints.convert import WeightsSource, header_of, to_flavour
from models.checkpoints.open import open_model
from models.noise import GeneratorNoise
from models.training.rollouts import consistency_rollout, endpoints
from models.training.settings import CmGrpoSettings, DmdSettings, settings_sha256
from workflow.training.finished import open_trained

log = logging.getLogger("convert")

TOLERANCE = 1e-4
"""Of latents after a whole rollout: merging rounds W + BA once, unmerged models add two products."""


def convert(train_dir: Path, settings_json: str, output: Path, base: Path | None) -> list[Path]:
    """Write every flavour of a trained row and its manifest; returns the weight files.

    Raises as `open_trained`, and ValueError for other settings than those of the training, or if the recipe
    needs a base and none is given, or another one than it was trained on.
    """
    manifest, source = open_trained(train_dir)
    settings: DmdSettings | CmGrpoSettings
    if source.flavour == "full":
        settings = parse_strict(settings_json, DmdSettings, where="--settings")
    else:
        settings = parse_strict(settings_json, CmGrpoSettings, where="--settings")
    record = train_dir / "train.json"
    if settings_sha256(settings) != manifest.settings_sha256:
        raise ValueError(
            f"{record} is of a training with other settings than --settings; remove it and run again, which "
            "trains with these."
        )
    if isinstance(settings, DmdSettings):
        return [write_flavour(output, "full", source, manifest)]
    if base is None:
        raise ValueError(
            f"Row {manifest.name} was trained as an adapter; pass the weights beneath it with --base."
        )
    if source.alpha != settings.lora_alpha:
        raise ValueError(
            f"{source.where} was trained with alpha {source.alpha}, --settings say {settings.lora_alpha}; "
            f"remove {record} and run again, which trains with these settings."
        )
    if weights_sha256(base) != manifest.init_sha256:
        raise ValueError(
            f"{base} is not what row {manifest.name} was trained on: {record} has another sha256 of it; pass "
            "those weights with --base, or remove that record and run again, which trains on these."
        )
    files = [
        write_flavour(output, "adapter", source, manifest, base),
        write_flavour(output, "bundle", source, manifest),
        write_flavour(output, "merged", source, manifest),
    ]
    check_same_clip(files, base, settings)
    return files


def write_flavour(
    output: Path,
    flavour: Literal["full", "adapter", "bundle", "merged"],
    source: WeightsSource,
    trained: TrainManifest,
    base: Path | None = None,
) -> Path:
    """One weight file and the manifest beside it."""
    path = output / f"{flavour}.safetensors"
    state = to_flavour(source, flavour)
    base_name = Path(os.path.relpath(base, output)).as_posix() if base else None
    write_safetensors(path, state, metadata=header_of(source, flavour, base_name))
    manifest = WeightsManifest(
        name=trained.name,
        flavour=flavour,
        file=path.name,
        sha256=file_sha256(path),
        tensors=len(state),
        base=base_name,
        base_sha256=weights_sha256(base) if base else None,
        step=trained.step,
    )
    write_json(path.with_suffix(".json"), manifest)
    log.info("%s: %d tensors, %.2f MB", path.name, len(state), path.stat().st_size / 1e6)
    return path


def check_same_clip(files: list[Path], base: Path, settings: CmGrpoSettings) -> None:
    """Raise ValueError, naming the worst file, if the flavours sample different clips."""
    rollout = consistency_rollout(
        settings.timesteps, settings.chunks, sink=settings.sink, window=settings.window
    )
    clips = []
    for path in files:
        wan = open_model(path, base=base)
        generator = torch.Generator().manual_seed(0)
        text = torch.randn(1, wan.config.text_len, wan.config.text_dim, generator=generator)
        size = (2 * wan.config.patch_height, 2 * wan.config.patch_width)
        noise = GeneratorNoise(
            generator=generator, batch=1, shape=(rollout.frames, wan.config.in_channels, *size)
        )
        clips.append(endpoints(rollout.run(wan, text, noise)))
    for path, clip in zip(files[1:], clips[1:], strict=True):
        difference = float((clip - clips[0]).abs().max())
        log.info("%s and %s differ by at most %.2g in a sampled clip", files[0].name, path.name, difference)
        if not difference <= TOLERANCE * max(1.0, float(clips[0].abs().max())):
            raise ValueError(
                f"{path} samples another clip than {files[0].name} (largest difference {difference:.3g}); "
                "the checkpoint or its base is damaged, train again."
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__, "settings")
    parser.add_argument("--train-dir", required=True, type=Path, help="folder of the finished run")
    parser.add_argument("--base", type=Path, help="weights beneath an adapter")
    parser.add_argument("--output-dir", required=True, type=Path, help="folder of the weight files")
    return run(parser, arguments, lambda f: convert(f.train_dir, f.settings, f.output_dir, f.base))


if __name__ == "__main__":
    sys.exit(main())
