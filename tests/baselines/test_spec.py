"""Baseline files against the comparison tables, and what a user is told about a broken file."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from baselines.build import dtypes_of, schedules_of
from baselines.foreign import ExternalBaseline, GitCode, ImportBaseline
from baselines.native import Baseline
from baselines.spec import load_all, load_baseline, load_row
from baselines.strict_yaml import parse_strict, read_strict
from models.config import WanConfig

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
FOLDER = Path(__file__).parents[2] / "baselines"
BASELINES = load_all(FOLDER)

WEIGHTS = {  # baselines/methods.md#weights-of-each-method
    **dict.fromkeys(
        ("wan_teacher", "wan_teacher_rcm", "wan_teacher_guidance3"),
        ("Wan-AI/Wan2.1-T2V-1.3B", "diffusion_pytorch_model.safetensors", None, None),
    ),
    "raven": ("mvp-lab/RAVEN", "raven_model.pt", None, None),
    "cm_grpo": ("mvp-lab/RAVEN", "raven_model.pt", None, "cmgrpo_raven_lora.safetensors"),
    "causvid": ("tianweiy/CausVid", "autoregressive_checkpoint/model.pt", "generator", None),
    "causvid_4step": (
        "tianweiy/CausVid",
        "autoregressive_checkpoint_warp_4step_cfg2/model.pt",
        "generator",
        None,
    ),
    "self_forcing": ("gdhe17/Self-Forcing", "checkpoints/self_forcing_dmd.pt", "generator_ema", None),
    **{
        f"self_forcing_window21{sink}": (
            "gdhe17/Self-Forcing",
            "checkpoints/self_forcing_dmd.pt",
            "generator_ema",
            None,
        )
        for sink in ("", "_sink3")
    },
    "longlive_infinity": (
        "Efficient-Large-Model/LongLive-1.3B",
        "models/longlive_base.pt",
        "generator",
        "models/lora.pt",
    ),
    "reward_forcing": ("JaydenLu666/Reward-Forcing-T2V-1.3B", "rewardforcing.pt", None, None),
    "causal_forcing": ("zhuhz22/Causal-Forcing", "chunkwise/causal_forcing.pt", "generator", None),
    "longlive": (
        "Efficient-Large-Model/LongLive-1.3B",
        "models/longlive_base.pt",
        "generator",
        "models/lora.pt",
    ),
    "rolling_forcing": (
        "TencentARC/RollingForcing",
        "checkpoints/rolling_forcing_dmd.pt",
        "generator_ema",
        None,
    ),
    "causal_forcing_framewise": (
        "zhuhz22/Causal-Forcing",
        "framewise/causal_forcing.pt",
        "generator_ema",
        None,
    ),
    "causal_forcing_pp_2step": (
        "zhuhz22/Causal-Forcing",
        "causal-forcing++/framewise-2step.pt",
        "generator_ema",
        None,
    ),
    "causal_forcing_pp_1step": (
        "zhuhz22/Causal-Forcing",
        "causal-forcing++/framewise-1step.pt",
        "generator_ema",
        None,
    ),
    "causal_forcing_long": ("zhuhz22/Causal-Forcing", "chunkwise/longvideo.pt", "generator_ema", None),
    **{
        f"self_forcing_{kind}": (
            "gdhe17/Self-Forcing",
            f"checkpoints/self_forcing_{kind}.pt",
            "generator_ema",
            None,
        )
        for kind in ("sid", "sid_v2", "gan")
    },
    "sgf": ("JunhaoZhuang/Self_Gradient_Forcing", "chunkwise/ar/model.pt", "generator_ema", None),
    "sgf_framewise": ("JunhaoZhuang/Self_Gradient_Forcing", "framewise/ar/model.pt", "generator_ema", None),
    **{
        row: ("ZihanSu/Self_Gradient_Forcing_Plus", file, "generator_ema", None)
        for row, file in (
            ("sgf_plus", "chunkwise/model.pt"),
            ("sgf_plus_framewise", "framewise/model.pt"),
        )
    },
    **dict.fromkeys(
        ("one_forcing", "one_forcing_ffe"),
        ("JiaqiFeng/OneForcing", "checkpoints/one_forcing.pt", "generator", None),
    ),
    "opsdv_longlive": (
        "MeiGen-AI/OPSD-V",
        "checkpoints/longlive_base.pt",
        "generator",
        "checkpoints/opsdv_longlive_lora.pt",
    ),
    "opsdv_self_forcing": (
        "MeiGen-AI/OPSD-V",
        "checkpoints/self_forcing_dmd_ema_as_generator.pt",
        "generator",
        "checkpoints/opsdv_self_forcing_lora.pt",
    ),
    **{
        f"causal_rcm_{row}": (
            "worstcoder/rcm-Wan",
            f"Causal_rCM_Wan2.1_T2V_1.3B_480p_{file}.pt",
            None,
            None,
        )
        for row, file in (
            ("c1_4step", "TF-dCM-init_SF-DMD_c1-1_step4"),
            ("c1_2step", "TF-dCM-init_SF-DMD_c1-1_step2"),
            ("c1_1step", "TF-dCM-init_SF-DMD_c1-1_step2"),
            ("c3_4step", "TF-dCM-init_SF-DMD_c3-3_step4"),
            ("c3_2step", "TF-dCM-init_SF-DMD_c3-3_step2"),
            ("c3_2step_noisy", "TF-dCM-init_SF-DMD_c3-3_step2_noisy_ctx"),
            ("scm_c3_4step", "TF-sCM-init_SF-DMD_c3-3_step4"),
        )
    },
}
FOUR = (1000.0, 937.5, 833.3333129882812, 625.0)
RAVEN = (1000.0, 938.0, 833.0, 625.0)
RCM = (1000.0, 936.0, 832.0, 624.0)
FIVE = (1000.0, 952.3810424804688, 882.3529052734375, 769.2307739257812, 555.5556030273438)
SAMPLING = {  # baselines/methods.md#sampling-settings: timesteps, policy, window, sink, licence
    "raven": (RAVEN, "absolute", None, 0, "CC BY-NC 4.0"),
    "cm_grpo": (RAVEN, "absolute", None, 0, "CC BY-NC 4.0"),
    "causvid": ((1000.0, 757.0, 522.0), "absolute", None, 0, "CC BY-NC-SA 4.0"),
    "causvid_4step": (
        (1000.0, 960.0, 888.888916015625, 727.2727661132812),
        "absolute",
        None,
        0,
        "CC BY-NC-SA 4.0",
    ),
    "self_forcing": (FOUR, "absolute", None, 0, "Apache-2.0"),
    "self_forcing_window21": (FOUR, "absolute", 21, 0, "Apache-2.0"),
    "self_forcing_window21_sink3": (FOUR, "absolute", 21, 3, "Apache-2.0"),
    "longlive_infinity": (FOUR, "slot_relative", 12, 3, "Apache-2.0"),
    "reward_forcing": (FOUR, "slot_relative", 9, 3, "Apache-2.0"),
    "causal_forcing": (FOUR, "absolute", None, 0, "Apache-2.0"),
    "longlive": (FOUR, "absolute", 12, 3, "Apache-2.0"),
    "rolling_forcing": (FIVE, "anchored_sink", 21, 3, "academic use only"),
    "causal_forcing_framewise": (FOUR, "absolute", None, 0, "Apache-2.0"),
    "causal_forcing_pp_2step": ((1000.0, 833.3333129882812), "absolute", None, 0, "Apache-2.0"),
    "causal_forcing_pp_1step": ((1000.0,), "absolute", None, 0, "Apache-2.0"),
    "causal_forcing_long": (FOUR, "anchored_sink", 21, 3, "Apache-2.0"),
    **{
        f"self_forcing_{kind}": (FOUR, "absolute", None, 0, "Apache-2.0") for kind in ("sid", "sid_v2", "gan")
    },
    **dict.fromkeys(
        ("sgf", "opsdv_longlive", "opsdv_self_forcing"), (FOUR, "slot_relative", 12, 3, "Apache-2.0")
    ),
    "sgf_framewise": (FOUR, "slot_relative", 21, 4, "Apache-2.0"),
    "sgf_plus": (FOUR, "slot_relative", 12, 3, "code Apache-2.0; weights: not stated"),
    "sgf_plus_framewise": (FOUR, "slot_relative", 21, 4, "code Apache-2.0; weights: not stated"),
    **dict.fromkeys(
        ("one_forcing", "one_forcing_ffe"),
        ((1000.0,), "absolute", None, 0, "code Apache-2.0; weights: not stated"),
    ),
    **{
        f"causal_rcm_{row}": (told, "absolute", None, 0, "Apache-2.0")
        for row, told in (
            ("c1_4step", RCM),
            ("c1_2step", (1000.0, 832.0)),
            ("c1_1step", (1000.0,)),
            ("c3_4step", RCM),
            ("c3_2step", (1000.0, 832.0)),
            ("c3_2step_noisy", (1000.0, 624.0)),
            ("scm_c3_4step", RCM),
        )
    },
}
# baselines/methods.md#causal-forcing
FIRST_CHUNK = {
    **dict.fromkeys(
        ("causal_forcing_pp_2step", "causal_forcing_pp_1step", "one_forcing", "one_forcing_ffe"), FOUR
    ),
    **{f"causal_rcm_{row}": RCM for row in ("c1_2step", "c1_1step", "c3_2step", "c3_2step_noisy")},
}
FRAME_WISE = ("causal_forcing_framewise", "causal_forcing_pp_2step", "causal_forcing_pp_1step")
CHUNKS = {
    **dict.fromkeys(
        (
            *FRAME_WISE,
            "sgf_framewise",
            "sgf_plus_framewise",
            "one_forcing",
            *(f"causal_rcm_c1_{n}step" for n in (4, 2, 1)),
        ),
        1,
    ),
    "one_forcing_ffe": (4, 1),
}


def test_weights_are_the_published_ones() -> None:
    """EMA or not, base or adapter, init file or student: the wrong choice gives plausible garbage
    (baselines/methods.md#weights-of-each-method).
    """
    assert set(BASELINES) == set(WEIGHTS)
    for name, baseline in BASELINES.items():
        adapter = baseline.adapter.file if baseline.adapter else None
        assert (baseline.weights.repo, baseline.weights.file, baseline.weights.key, adapter) == WEIGHTS[name]
        assert baseline.weights.tensors == 825
    assert [b.adapter.tensors for b in (BASELINES["longlive"], BASELINES["cm_grpo"]) if b.adapter] == [
        600,
        612,
    ]


def test_sampling_settings_are_the_published_ones() -> None:
    """baselines/methods.md#sampling-settings: what each network is really told, and what it sees."""
    for name, baseline in BASELINES.items():
        if baseline.cache is None:
            continue  # tests/baselines/test_full_sequence.py
        found = (
            schedules_of(baseline)[-1].timesteps,
            baseline.cache.policy,
            baseline.cache.window,
            baseline.cache.sink,
            baseline.licence,
        )
        assert found == SAMPLING[name], name
        first = [schedule.timesteps for schedule in schedules_of(baseline)[:-1]]
        assert first == ([FIRST_CHUNK[name]] if name in FIRST_CHUNK else []), name
        assert (baseline.rollout.chunk, baseline.rollout.frames) == (CHUNKS.get(name, 3), 21), name


BF16_THROUGHOUT = (BF16, "float64", "parameters", BF16, BF16, False)
RCM_NUMERICS = (BF16, "float32", "float32", F64, BF16, False)
TEACHER_NUMERICS = (BF16, "float64", "float32", F32, F32, False)
RAVEN_NUMERICS = (BF16, "float64", "float32", F32, F32, True)
NUMERICS = {  # matmul, rotary, time path and norms, latents, codec, its autocast; of rows not all in bfloat16
    **dict.fromkeys(("raven", "cm_grpo"), RAVEN_NUMERICS),
    **dict.fromkeys(("wan_teacher", "wan_teacher_guidance3"), TEACHER_NUMERICS),
    **dict.fromkeys(
        (*(row for row in WEIGHTS if row.startswith("causal_rcm")), "wan_teacher_rcm"), RCM_NUMERICS
    ),
}
FAMILY_DRAWS = (0, "index", "frame_major", "bfloat16", "same", "chunk", False)
RCM_DRAWS = (0, "sample", "channel_major", "float32", "same", "clip", False)
RAVEN_DRAWS = (20001019, "index", "channel_major", "float32", "forked", "chunk", True)
DRAWS = {  # seed, what is added to it, layout, dtype, generators, extent, a draw after the last step
    **dict.fromkeys(("raven", "cm_grpo"), RAVEN_DRAWS),
    **dict.fromkeys(("rolling_forcing", "causal_forcing_long"), (*FAMILY_DRAWS[:5], "window", False)),
    **dict.fromkeys((row for row in WEIGHTS if row.startswith("causal_rcm")), RCM_DRAWS),
    **dict.fromkeys(
        ("wan_teacher", "wan_teacher_guidance3"),
        (0, "index", "channel_major", "float32", "same", "chunk", False),
    ),
    "wan_teacher_rcm": (*RCM_DRAWS[:5], "chunk", False),
}


def test_numerics_and_draws_are_the_published_ones() -> None:
    """Golden: baselines/methods.md#noise, #causal-rcm, #wan-teacher and models/backbone.md#precision. Guards
    a shipped file against an edit that no loop shows: the codec's precision, the seed of a sample, and the
    rows that are sampled in float32 alone or not at all elsewhere.
    """
    for name, row in BASELINES.items():
        exact, noise = dtypes_of(row, "exact"), row.noise
        network = exact.network
        found = (exact.matmul, network.rotary, network.fp32_modules, exact.latents)
        assert (*found, exact.codec, exact.codec_autocast) == NUMERICS.get(name, BF16_THROUGHOUT), name
        drawn = (noise.seed, noise.seed_rule, noise.layout, noise.dtype, noise.renoise_generator)
        assert (*drawn, noise.extent, noise.draw_last) == DRAWS.get(name, FAMILY_DRAWS), name
    for name in ("sgf", "sgf_framewise"):  # SGF+ differs in its second set of weights alone
        plus = BASELINES[name.replace("sgf", "sgf_plus")].sampled()
        assert plus == {**BASELINES[name].sampled(), "memory": plus["memory"]}


def test_levels_are_told_rounded_and_used_exactly() -> None:
    """baselines/methods.md#causal-rcm: the network hears bfloat16 numbers, latents follow the fractions."""
    (schedule,) = schedules_of(BASELINES["causal_rcm_c3_4step"])
    assert schedule.sigmas == (1600 / 1601, 15 / 16, 5 / 6, 5 / 8)
    start = schedule.start(torch.full((1, 1, 1, 1, 1), 3.0, dtype=torch.float64)).item()
    assert start == 1600 / 1601 * 3
    assert schedule.to_x0(torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1), 2).item() == pytest.approx(
        1 / 6
    )


def test_new_settings_leave_older_files_as_they_were() -> None:
    """Clips are made again when what decides them changes: a key that a file does not have is not in it."""
    found = BASELINES["self_forcing"].sampled()
    assert list(found["rollout"]) == ["kind", "chunk", "frames"]
    assert "seed_rule" not in found["noise"] and "codec" not in found["dtypes"]
    assert BASELINES["causal_rcm_c3_2step_noisy"].sampled()["rollout"]["context"] == "last_step"


def test_frame_wise_variants_differ_from_causal_forcing_in_chunk_and_steps_only() -> None:
    """baselines/methods.md#causal-forcing: weights and config only."""
    own = {"name", "title", "weights", "citation"}
    base = BASELINES["causal_forcing"].model_dump(exclude=own)
    for name in FRAME_WISE:
        other = BASELINES[name].model_dump(exclude=own)
        for section, keys in (("rollout", ("chunk",)), ("schedule", ("steps", "first_chunk_steps"))):
            for key in keys:
                other[section][key] = base[section][key]
        assert other == base


def test_five_of_six_differ_only_in_data() -> None:
    """Of the six, all but Rolling Forcing share the rollout, and all but two the policy."""
    six = ("causvid", "self_forcing", "reward_forcing", "causal_forcing", "longlive", "rolling_forcing")
    assert [BASELINES[name].rollout.kind for name in six] == ["chunked"] * 5 + ["rolling"]
    own = {"name", "title", "weights", "adapter", "licence", "citation"}
    one, other = (BASELINES[name].model_dump(exclude=own) for name in ("self_forcing", "causal_forcing"))
    assert one == other
    assert BASELINES["raven"].model_dump(exclude=own) == BASELINES["cm_grpo"].model_dump(exclude=own)


def test_files_are_flat() -> None:
    """One level of nesting, so that a reader finds a key without following anything; but for a second set of
    weights, which says all on its line.
    """
    for path in FOLDER.glob("*.yaml"):
        for section in yaml.safe_load(path.read_text()).values():
            inner = [v for k, v in section.items() if k != "memory"] if isinstance(section, dict) else []
            assert not any(isinstance(value, dict) for value in inner), path


def test_reading_baselines_needs_no_torch() -> None:
    """The Snakefile reads them while parsing, many times a run; torch alone would cost seconds."""
    code = (
        "import sys; from baselines.spec import load_all; load_all('baselines'); print('torch' in "
        "sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


TEXT = (FOLDER / "longlive.yaml").read_text()
BROKEN = [
    ("  window: 12", "  widow: 12",
     "key 'cache.widow' is unknown; allowed in 'cache' are policy, window, sink, capacity"),
    ("title: LongLive 1.0\n", "", "key 'title' is missing; allowed at the top are name, title, weights"),
    ("  sink: 3\n", "", "key 'cache.sink' is missing; allowed in 'cache' are policy, window, sink"),
    ("  shift: 5.0", "  shift: five", "key 'schedule.shift' is 'five' but input should be a valid number"),
    ("  warp: true", "  warp: 1", "key 'schedule.warp' is 1 but input should be a valid boolean"),
    ("  chunk: 3", '  chunk: "3"', "key 'rollout.chunk' is '3' but input should be a valid integer"),
    ("  chunk: 3", "  chunk: 4", "rollout.chunk does not fit rollout.frames. A clip of 21 latent"),
    ("  chunk: 3", "  chunk: [4, 3]", "is not a multiple of chunk 3 after chunks of [4]"),
    ("steps: [1000, 750, 500, 250]", "steps: [1000, 750, 500, 750]", "1000, 750, 500, 750 do not fall"),
    ("steps: [1000, 750, 500, 250]", "steps: [[1000], [1000, 750]]", "steps has lists of [1, 2] entries"),
    ("  shift: 5.0\n", "  shift: 5.0\n  levels: [1.0]\n",
     "schedule has levels and shift, sigma, steps, warp, which say the noise levels"),
    ("first_chunk_steps: null", "first_chunk_steps: [1000]", "first_chunk_steps has lists of [1, 4] entries"),
    ("  frames: 21", "  frames: 21\n  context_from: 1", "rollout.context_from 1 says from which chunk on"),
    ("  frames: 21", "  frames: 21\n  frames: 24", "key 'frames' appears twice (line"),
    ("  policy: absolute", "  policy: absolut",
     "key 'cache.policy' is 'absolut' but must be one of 'absolute', 'slot_relative'"),
    ("  policy: absolute\n", "", "key 'cache.policy' is 'missing' but must be one of"),
    ("  kind: chunked", "  kind: rolling", "rollout.kind rolling does not go with cache.policy absolute"),
    ("steps: [1000, 750, 500, 250]", "steps: [1000, 750, 500, 2.5]",
     "key 'schedule.steps.3' is 2.5 but input should be a valid integer"),
    ("adapter:", "adaptor:", "key 'adaptor' is unknown"),
    ("  renoise_generator:", "  renoise:",
     "key 'noise.renoise' is called 'renoise_generator' now; rename it; allowed in"),
    ("  add_noise_dtype:", "  renoise_dtype:",
     "key 'schedule.renoise_dtype' is called 'add_noise_dtype' now; rename it"),
    ("licence:", "sources: [a page]\nlicence:",
     "key 'sources' was removed (baselines/methods.md says where every number"),
    ("  rank: 256", "  rnak: 256",
     "key 'adapter.rnak' is unknown; allowed in 'adapter' are file, sha256, key, rank"),
    ("name: longlive", "name: [longlive", "correct the file"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "sentence"), BROKEN)
def test_a_broken_file_is_explained_in_one_sentence(
    tmp_path: Path, good: str, bad: str, sentence: str
) -> None:
    """File, key and allowed keys, in one line; nothing is silently ignored or converted."""
    assert TEXT.count(good) >= 1
    path = tmp_path / "longlive.yaml"
    path.write_text(TEXT.replace(good, bad, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        load_baseline(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message


ROLLING = "rollout.kind rolling has one list of steps, one size of block and clean context"
TWICE = "  tensors: 825\n  memory: {infix: memory_, tensors: 825}\n"
UNFIT = [
    ("rolling_forcing", "steps: null", "steps: [1000, 800, 600, 400, 200]", ROLLING),
    ("rolling_forcing", "steps: [1000, 800, 600, 400, 200]", "steps: [[1000, 800], [1000]]", ROLLING),
    ("rolling_forcing", "  chunk: 3", "  chunk: [6, 3]", ROLLING),
    ("rolling_forcing", "  frames: 21", "  frames: 21\n  context: last_step", ROLLING),
    ("rolling_forcing", "extent: window", "extent: clip", "noise.extent clip needs rollout.kind chunked"),
    ("reward_forcing", "  chunk: 3", "  chunk: [6, 3]", "does not go with cache.alpha 0.999"),
    ("rolling_forcing", "  tensors: 825\n", TWICE, "weights.memory does not go with rollout.kind rolling"),
    ("longlive", "  tensors: 825\n", TWICE, "weights.memory does not go with an adapter"),
    ("sgf_plus", "  frames: 21", "  frames: 21\n  context: last_step", "with rollout.context last_step"),
    ("sgf_plus", "infix: memory_", "infix: ''", "key 'weights.memory.infix' is ''"),
    (
        "sgf_plus",
        "{infix: memory_, tensors: 825}",
        "{infix: memory_}",
        "key 'weights.memory.tensors' is missing",
    ),
    ("sgf_plus", "{infix: memory_, tensors: 825}", "other.pt", "key 'weights.memory' is 'other.pt'"),
    ("causal_forcing_pp_1step", "steps: [1000]", "steps: [[1000]]", "first_chunk_steps says nothing"),
    ("causal_forcing_pp_1step", "_steps: [1000, 750", "_steps: [750, 1000", "do not fall"),
    ("causal_rcm_c3_4step", '"5/8"]', '"5/6"]', "5/6, 5/6 do not fall"),
    ("causal_rcm_c3_4step", '"5/8"]', '"5/0"]', "key 'schedule.levels.3' is '5/0' but"),
    ("causal_rcm_c3_4step", '["1600/1601"', '["8/5"', "do not lie above 0 and at most at 1"),
    (
        "causal_rcm_c3_4step",
        "  x0_dtype",
        "  shift: 5.0\n  x0_dtype",
        "schedule has levels and shift, which say",
    ),
    ("causal_rcm_c3_2step_noisy", "context_from: 1", "context_from: 7", "is no chunk of a clip of 7, which"),
]


@pytest.mark.parametrize(("name", "good", "bad", "sentence"), UNFIT)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, name: str, good: str, bad: str, sentence: str
) -> None:
    """What one section says and another could not do is refused, never ignored."""
    text, path = (FOLDER / f"{name}.yaml").read_text(), tmp_path / f"{name}.yaml"
    assert good in text
    path.write_text(text.replace(good, bad, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_baseline(path)


def test_name_and_file_must_agree(tmp_path: Path) -> None:
    """A copied file with the old name inside would overwrite the other baseline's results."""
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    with pytest.raises(ValueError, match=r"key 'name' is 'longlive' but the file is called mine\.yaml"):
        load_baseline(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_baseline(tmp_path / "other.yaml")


@dataclass(frozen=True)
class Optimiser:
    lr: float
    betas: tuple[float, float]
    started: str | None = None


@dataclass(frozen=True)
class Recipe:
    optimiser: Optimiser
    steps: dict[str, int]


def test_standard_dataclasses_are_read_as_strictly() -> None:
    """Training settings are plain dataclasses, which pydantic alone would let carry unknown keys; 5e-6
    must be a number.
    """
    text = "optimiser: {lr: 5e-6, betas: [0, 0.999], started: 2026-01-02}\nsteps: {a: 1}\n"
    assert parse_strict(text, Recipe, where="x.yaml") == Recipe(
        Optimiser(5e-6, (0.0, 0.999), "2026-01-02"), {"a": 1}
    )
    with pytest.raises(
        ValueError,
        match=r"x\.yaml: key 'optimiser.rl' is unknown; allowed in 'optimiser' are lr, betas, started",
    ):
        parse_strict(text.replace("lr", "rl"), Recipe, where="x.yaml")
    with pytest.raises(
        ValueError, match=r"x\.yaml: key 'steps.a' is 'one' but input should be a valid integer"
    ):
        parse_strict(text.replace("a: 1", "a: one"), Recipe, where="x.yaml")
    with pytest.raises(ValueError, match=r"x\.yaml: the file is 'nothing'"):
        parse_strict("nothing", Recipe, where="x.yaml")


def test_other_modules_configs_can_be_read(tmp_path: Path) -> None:
    """A model size from YAML, with the dataclass's own checks speaking."""
    path = tmp_path / "model.yaml"
    path.write_text("dim: 48\nnum_heads: 5\n")
    with pytest.raises(ValueError, match="not a multiple of num_heads 5"):
        read_strict(path, WanConfig)


def test_a_baseline_survives_json() -> None:
    """Its JSON is what the manifest's settings digest is taken of; nothing may be lost in it."""
    for baseline in BASELINES.values():
        assert Baseline.model_validate_json(baseline.model_dump_json()) == baseline


EXTERNAL = """
name: streamer
kind: external
title: Streamer
code: {kind: git, url: "https://example.org/streamer", commit: 0123456789abcdef0123456789abcdef01234567}
environment: {kind: uv, file: resources/external/streamer/requirements.txt, python: "3.11"}
command: [python, generate.py, "--gpus={gpus}", "{work_list}", "--say", "{{hi}}"]
files: [resources/weights/streamer/model.pt]
timeout_s: 3600
gpus: 1
threads: 2
declared: {steps: 4, noise: null, seeds: null, prompts: extended, precision: null, encoder: null}
licence: MIT
citation: "Somebody, Streamer, 2026"
"""
IMPORTED = """
name: streamer
kind: import
title: Streamer
clips: {path: clips.zip}
declared: {steps: null, noise: null, seeds: null, prompts: null, precision: null, encoder: null}
licence: MIT
citation: "Somebody, Streamer, 2026"
"""


def test_the_kind_of_a_file_chooses_what_it_may_hold(tmp_path: Path) -> None:
    """A file without a kind is native; only native ones have a network to build."""
    path = tmp_path / "streamer.yaml"
    path.write_text(EXTERNAL)
    found = load_row(path)
    assert isinstance(found, ExternalBaseline)
    assert isinstance(found.code, GitCode)
    assert found.command is not None
    assert found.command[-1] == "{{hi}}"
    with pytest.raises(ValueError, match="key 'kind' is 'external', but only a native baseline"):
        load_baseline(path)
    path.write_text(IMPORTED)
    assert isinstance(load_row(path), ImportBaseline)
    assert load_all(tmp_path) == {}
    native = tmp_path / "longlive.yaml"
    native.write_text(f"kind: native\n{TEXT}")
    assert load_row(native) == BASELINES["longlive"]
    assert list(load_all(tmp_path)) == ["longlive"]


BROKEN_KINDS = [
    (EXTERNAL, "kind: external", "kind: extern",
     "key 'kind' is 'extern' but must be one of native, external, import"),
    (EXTERNAL, "kind: external", "kind: [external]", "must be one of native, external, import"),
    (EXTERNAL, "{work_list}", "{worklist}",
     "the unknown placeholder {worklist}; the known ones are {work_list}, {output}"),
    (EXTERNAL, "{gpus}", "{prompt}", "the unknown placeholder {prompt}"),
    (EXTERNAL, "{gpus}", "{gpus[0]}", "the unknown placeholder {gpus[0]}"),
    (EXTERNAL, "{gpus}", "{gpus!r}", "the unknown placeholder {gpus}"),
    (EXTERNAL, "{gpus}", "{}", "the unknown placeholder {}"),
    (EXTERNAL, "{gpus}", "{gpus", "has unpaired braces"),
    (EXTERNAL, "{work_list}", "{output}", "no argument holds {work_list}"),
    (EXTERNAL, '[python, generate.py, "--gpus={gpus}", "{work_list}", "--say", "{{hi}}"]',
     "python generate.py {work_list}", "key 'command' is 'python generate.py {work_list}' but"),
    (EXTERNAL, "01234567}", "0123456}",
     "key 'code.commit' is '0123456789abcdef0123456789abcdef0123456' but string should match"),
    (EXTERNAL, "https://example.org", "ext::sh -c id", "key 'code.url'"),
    (EXTERNAL, "commit: 0", "comit: 0",
     "key 'code.comit' is unknown; allowed in 'code' are kind, url, commit"),
    (EXTERNAL, "kind: git", "kind: hg", "key 'code.kind' is 'hg' but must be one of 'git', 'path'"),
    (EXTERNAL, 'python: "3.11"', "pyhton: null",
     "key 'environment.pyhton' is unknown; allowed in 'environment' are kind, file, python"),
    (EXTERNAL, "timeout_s: 3600\n", "",
     "key 'timeout_s' is missing; allowed at the top are name, kind, title, code, environment"),
    (EXTERNAL, "timeout_s: 3600", "timeout: 3600", "key 'timeout' is unknown"),
    (IMPORTED, "path: clips.zip", "folder: clips",
     "key 'clips.folder' is unknown; allowed in 'clips' are path"),
    (IMPORTED, "noise: null, ", "",
     "key 'declared.noise' is missing; allowed in 'declared' are steps, noise, seeds"),
    (IMPORTED, "prompts: null", "prompts: long",
     "key 'declared.prompts' is 'long' but input should be 'short', 'extended' or 'other'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "good", "bad", "sentence"), BROKEN_KINDS)
def test_other_kinds_are_read_as_strictly(
    tmp_path: Path, text: str, good: str, bad: str, sentence: str
) -> None:
    """File, key and allowed keys; no shell line, no prompt and no unknown name in a command."""
    assert good in text
    path = tmp_path / "streamer.yaml"
    path.write_text(text.replace(good, bad, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        load_row(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_command_and_its_code_go_together(tmp_path: Path) -> None:
    """Without a command the rules of the baseline's folder make the clips, so code and environment would be
    ignored.
    """
    path = tmp_path / "streamer.yaml"
    path.write_text(re.sub("command: .*", "command: null", EXTERNAL))
    with pytest.raises(ValueError, match="command and code go together"):
        load_row(path)
    path.write_text(re.sub("code: .*", "code: null", path.read_text()))
    with pytest.raises(ValueError, match="environment is of no use without a command"):
        load_row(path)


def test_a_length_is_refused_where_the_method_ends() -> None:
    """Guards against a clip that is sampled past the cache, the table of positions or the chunks."""
    assert BASELINES["longlive"].at_length(240).rollout.frames == 240
    assert BASELINES["longlive"].at_length(1023).rollout.frames == 1023
    assert BASELINES["reward_forcing"].at_length(3000).rollout.frames == 3000
    assert BASELINES["longlive"].at_length(21).sampled() == BASELINES["longlive"].sampled()
    for row, frames, words in (
        ("self_forcing", 24, "capacity is 21"),
        ("longlive", 239, "not a multiple of chunk 3"),
        ("raven", 1026, "sample at most 1024"),
        ("longlive", 1026, "sample at most 1024"),
        ("rolling_forcing", 1026, "sample at most 1024"),
        ("self_forcing_window21_sink3", 1026, "sample at most 1024"),
        ("rolling_forcing", 12, "as many blocks as steps"),
    ):
        with pytest.raises(ValueError, match=words):
            BASELINES[row].at_length(frames)


def test_only_what_releases_state_counts_as_made_for_longer_clips() -> None:
    """baselines/methods.md#beyond-the-trained-length; every other row is stressed from 24 frames on."""
    stated = {"longlive": 960, "longlive_infinity": 1050, "reward_forcing": None, "rolling_forcing": 480}
    stated["causal_forcing_long"] = 252
    assert {name: one.longest for name, one in BASELINES.items()} == {
        **dict.fromkeys(BASELINES, 21),
        **stated,
    }
    assert [BASELINES["rolling_forcing"].is_stressed_at(frames) for frames in (480, 483)] == [False, True]
    assert not BASELINES["reward_forcing"].is_stressed_at(100_000)


def test_null_keys_of_another_kind_of_schedule_are_none(tmp_path: Path) -> None:
    """Levels beside the keys of a table at null, and the other way round, are the same file."""
    for name, nulls in (
        ("causal_rcm_c3_4step", ("steps", "first_chunk_steps", "shift", "warp", "sigma", "solver")),
        ("longlive", ("levels", "solver", "negative")),
    ):
        path = tmp_path / f"{name}.yaml"
        more = "".join(f"  {key}: null\n" for key in nulls)
        text = (FOLDER / f"{name}.yaml").read_text()
        path.write_text(text.replace("schedule:\n", f"schedule:\n{more}", 1))
        assert load_baseline(path) == BASELINES[name]


@pytest.mark.parametrize(
    ("name", "change", "clause"),
    [
        ("raven", {}, None),
        ("causal_forcing_framewise", {}, None),
        ("wan_teacher", {}, "denoises all frames together"),
        ("sgf_plus", {}, "a second set of weights"),
        ("causal_rcm_c1_2step", {}, "no steps of a table"),
        ("causal_forcing_pp_2step", {}, "several lists of steps"),
        ("self_forcing", {"chunk": (4, 1)}, "chunks of several sizes"),
        ("self_forcing", {"context": "last_step"}, "keeps noisy latents"),
    ],
)
def test_what_no_recipe_trains_is_said(name: str, change: dict[str, Any], clause: str | None) -> None:
    """Recipes roll out equal chunks by one list of steps, each seen as its clean latents."""
    baseline = BASELINES[name]
    rollout = baseline.rollout.model_copy(update=change)
    found = baseline.model_copy(update={"rollout": rollout}).untrained
    assert found is None if clause is None else clause in (found or "")
