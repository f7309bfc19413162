"""The report has teeth: other weights or another cache policy give other numbers, on real sampled clips."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.build import build_sampler
from baselines.native import Baseline
from baselines.spec import load_baseline
from evaluation.records import Prompt
from evaluation.toybox.scorers import color, imaging_quality, object_class, scene
from evaluation.toybox.suite import toybox_prompts
from models.checkpoints.open import open_model
from models.codec import LinearCodec
from models.noise import SampleKey
from models.text import ToyTextEncoder
from models.wan import Wan, init_weights

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "embedded"
SCORERS = {
    "color": color.score,
    "imaging_quality": imaging_quality.score,
    "object_class": object_class.score,
    "scene": scene.score,
}


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """Four prompts of the suite that are scored on all four dimensions."""
    fitting = [p for p in toybox_prompts(20260701) if SCORERS.keys() <= set(p.dimensions)]
    return fitting[:4]


def scores(baseline: Baseline, wan: Wan, prompts: list[Prompt]) -> dict[str, NDArray[np.float64]]:
    """Score of every prompt's clip by dimension, sampled and decoded as the suite does, without the mp4 in
    between.
    """
    codec, encoder = (
        LinearCodec.load(SHIPPED / "codec.safetensors"),
        ToyTextEncoder.load(SHIPPED / "text.safetensors"),
    )
    sampler = build_sampler(baseline, wan, latent_shape=(21, 16, 8, 8), precision="float32")
    noise = sampler.portable_noise("toybox", [SampleKey(prompt.id, 0) for prompt in prompts])
    with torch.inference_mode():
        text = encoder.encode([prompt.extended for prompt in prompts])
        latents = torch.cat([chunk.latents for chunk in sampler.sample(text, noise)], dim=1)
        frames = codec.decode_uint8(latents).numpy()
    return {
        name: np.array(
            [score(clip, prompt.facts).value for clip, prompt in zip(frames, prompts, strict=True)]
        )
        for name, score in SCORERS.items()
    }


def test_random_weights_and_swapped_caches_change_the_numbers(prompts: list[Prompt]) -> None:
    """Guards against a harness whose table would look the same whatever was sampled."""
    self_forcing = load_baseline(ROOT / "baselines" / "self_forcing.yaml")
    reward_forcing = load_baseline(ROOT / "baselines" / "reward_forcing.yaml")
    wan = open_model(SHIPPED / "self_forcing.safetensors")
    own = scores(self_forcing, wan, prompts)
    assert min(own["color"].mean(), own["object_class"].mean(), own["scene"].mean()) > 0.8

    swapped = scores(self_forcing.model_copy(update={"cache": reward_forcing.cache}), wan, prompts)
    assert (np.abs(swapped["imaging_quality"] - own["imaging_quality"]) > 1e-3).all()

    random = Wan(wan.config)
    init_weights(random, torch.Generator().manual_seed(0), zero_head=False)
    noise = scores(self_forcing, random, prompts)
    for name in ("color", "object_class", "scene"):
        assert noise[name].mean() < 0.2
