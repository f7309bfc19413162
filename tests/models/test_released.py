"""Released checkpoints: every format opens to one network, and every known mix-up is one sentence before any
GPU second.
"""

import dataclasses
import json
import re
import resource
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from baselines.native import Baseline
from baselines.released import release_of
from baselines.spec import load_all, load_baseline
from models.checkpoints.containers import unwrap, write_dcp, write_safetensors
from models.checkpoints.lora import (
    BLOCK_LINEARS,
    OUTER_LINEARS,
    LoraSettings,
    add_lora,
    bundle_state,
    fold_adapters,
)
from models.checkpoints.released import (
    WAN_14B,
    Adapter,
    Memory,
    Release,
    check_released,
    config_of,
    open_released,
    read_released,
    refuse_copies,
)
from models.config import WanConfig
from models.wan import Wan
from tests.models.training_toys import CONFIG, SHAPE, normal, wan_of

ROOT = Path(__file__).parents[2]
STATE = {name: value.detach() for name, value in wan_of(1).state_dict().items()}
WRAPPED = {
    f"model._fsdp_wrapped_module.{n}".replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."): v
    for n, v in STATE.items()
}
COMPILED = {f"_orig_mod.net.{name}": value for name, value in STATE.items()}
FLAT_PATCH = {n: v.flatten(1) if n == "patch_embedding.weight" else v for n, v in STATE.items()}
LINEARS = (*BLOCK_LINEARS, *OUTER_LINEARS)


def velocity(wan: Wan) -> Tensor:
    x, text = normal(2, *SHAPE, dtype=torch.float32), normal(2, 4, 8, dtype=torch.float32)
    with torch.no_grad():
        return wan(x, torch.full((2, 8), 700.0), wan.embed_text(text))


def lora_of(rank: int = 3, *, outer: bool = True) -> dict[str, Tensor]:
    """A random adapter for the toy, with the released files' names (no adapter name)."""
    wrapped = add_lora(wan_of(1), LoraSettings(rank=rank, alpha=6.0, outer=outer), seed=0)
    named = {n.replace(".default.", "."): v for n, v in wrapped.state_dict().items() if ".lora_" in n}
    return {n: 0.1 * normal(*v.shape, seed=i, dtype=torch.float32) for i, (n, v) in enumerate(named.items())}


def adapted_velocity(adapter: Mapping[str, Tensor], alpha: float) -> Tensor:
    """Naive reference: W + alpha / rank * B A, layer by layer."""
    state = dict(STATE)
    for name, down in adapter.items():
        if name.endswith(".lora_A.weight"):
            stem = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            up = adapter[name.replace("lora_A", "lora_B")]
            state[f"{stem}.weight"] = state[f"{stem}.weight"] + alpha / down.shape[0] * up @ down
    wan = wan_of(2)
    wan.load_state_dict(state)
    return velocity(wan)


def toy(path: Path, **changes: object) -> Release:
    return dataclasses.replace(Release(path=path, key=None, config=CONFIG), **changes)  # type: ignore[arg-type]


def saved(folder: Path, content: object, name: str = "model.pt") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)
    return folder / name


def sharded(folder: Path) -> Path:
    """A safetensors model in two files with an index, as the 14B teacher is published."""
    names = sorted(STATE)
    shards = {"m-00001-of-00002.safetensors": names[:20], "m-00002-of-00002.safetensors": names[20:]}
    for file, part in shards.items():
        write_safetensors(folder / file, {name: STATE[name] for name in part})
    index = folder / "m.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {name: file for file, part in shards.items() for name in part}})
    )
    return index


CONTAINERS = {
    "flat": (STATE, None, ()),
    "generator": (
        {"generator": WRAPPED, "critic": {"x": torch.zeros(1)}, "step": 7},
        "generator",
        ("generator",),
    ),
    "ema beside the plain one": (
        {"generator": {n: v + 1 for n, v in STATE.items()}, "generator_ema": WRAPPED},
        "generator_ema",
        ("generator_ema",),
    ),
    "generator and model": ({"generator": {"model": STATE}}, None, ("generator", "model")),
    "model": ({"model": COMPILED}, None, ("model",)),
    "flattened patch": (FLAT_PATCH, None, ()),
    "Causal-rCM": ({f"net.{name}": value for name, value in FLAT_PATCH.items()}, None, ()),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_the_same_network(tmp_path: Path, name: str) -> None:
    """Guards against a layout of baselines/methods.md#weights-of-each-method that loads other tensors, or is
    not described as it is.
    """
    content, key, level = CONTAINERS[name]
    release = toy(saved(tmp_path, content), key=key)
    found = read_released(release.path, key=key, shapes_only=True).found
    assert (found.tensors, found.flavour, found.level) == (len(STATE), "full", level)
    assert found.dtypes == {"float32": len(STATE)}
    assert torch.equal(velocity(open_released(release)), velocity(wan_of(1)))


def test_files_without_nesting_are_the_same_network(tmp_path: Path) -> None:
    """Safetensors, shards with an index, DCP directories, and DCP's dotted form of a nested dict."""
    write_safetensors(tmp_path / "one.safetensors", STATE)
    write_dcp(tmp_path / "flat_dcp", STATE)
    write_dcp(
        tmp_path / "dotted_dcp",
        {f"{k}.model.{n}": v for k in ("generator", "generator_ema") for n, v in STATE.items()},
    )
    (tmp_path / "shards").mkdir()
    for path, key in (
        (tmp_path / "one.safetensors", None),
        (tmp_path / "flat_dcp", None),
        (tmp_path / "dotted_dcp", "generator_ema"),
        (sharded(tmp_path / "shards"), None),
    ):
        assert read_released(path, key=key, shapes_only=True).found.tensors == len(STATE), path
        assert torch.equal(velocity(open_released(toy(path, key=key))), velocity(wan_of(1))), path
    assert read_released(tmp_path / "dotted_dcp", key="generator", shapes_only=True).found.other_levels == {
        "generator_ema": len(STATE)
    }


def test_absent_and_foreign_shards_are_named(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    write_safetensors(tmp_path / "m-00001-of-00002.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"m-00001-of-00002\.safetensors holds other tensors than"):
        read_released(index, shapes_only=True)
    for shard in tmp_path.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"2 are absent .m-00001-of-00002\.safetensors, m-00002"):
        read_released(index, shapes_only=True)


def adapter_of(path: Path | None, *, rank: int = 3, key: str | None = None, tensors: int = 52) -> Adapter:
    return Adapter(path=path, key=key, rank=rank, alpha=6.0, tensors=tensors, targets=LINEARS)


def test_every_adapter_layout_is_the_naive_sum(tmp_path: Path) -> None:
    """LongLive's and CM-GRPO's adapter files (flat, under a level, with and without adapter name), bundles
    and merged loading.
    """
    adapter = lora_of()
    expected = adapted_velocity(adapter, alpha=6.0)
    assert (expected - velocity(wan_of(1))).abs().max() > 1e-2
    base = saved(tmp_path, {"generator": WRAPPED})
    named = {n.replace(".weight", ".default.weight"): v for n, v in adapter.items()}
    bare = {n.removeprefix("base_model.model."): v for n, v in adapter.items()}
    write_safetensors(tmp_path / "lora.safetensors", adapter)
    layouts = {
        "level.pt": {"generator_lora": adapter, "critic_lora": {}, "step": 1},
        "flat.pt": adapter,
        "named.pt": named,
        "bare.pt": {"generator_lora": bare},
        "wrapped.pt": {f"model._fsdp_wrapped_module.{n}": v for n, v in adapter.items()},
    }
    files = [saved(tmp_path, content, name) for name, content in layouts.items()]
    for path in (*files, tmp_path / "lora.safetensors"):
        release = toy(base, key="generator", adapter=adapter_of(path, key="generator_lora"))
        assert [found.flavour for found in check_released(release)] == ["full", "adapter"]
        torch.testing.assert_close(velocity(open_released(release)), expected, rtol=1e-4, atol=1e-5)
    folded = fold_adapters(open_released(release))
    assert set(folded.state_dict()) == set(STATE)
    torch.testing.assert_close(velocity(folded), expected, rtol=1e-4, atol=1e-5)
    assert fold_adapters(folded) is folded
    bundle = saved(tmp_path, bundle_state(STATE, adapter), "bundle.pt")
    release = toy(bundle, adapter=adapter_of(None))
    found = read_released(bundle, shapes_only=True).found
    assert (found.flavour, found.rank) == ("bundle", 3)
    torch.testing.assert_close(velocity(open_released(release)), expected, rtol=1e-4, atol=1e-5)
    wrapped = add_lora(wan_of(1), LoraSettings(rank=3, alpha=6.0), seed=0)
    assert bundle_state(STATE, adapter).keys() == wrapped.state_dict().keys()


def without(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n: v for n, v in state.items() if n != name}


ADAPTER = lora_of()
TRAPS: dict[str, tuple[Callable[[Path], Release], str]] = {
    "wrong level": (
        lambda d: toy(saved(d, {"student": STATE, "critic": {"a": STATE["head.head.bias"]}}),
        key="generator"),
        rf"no level 'generator', found student \({len(STATE)} tensors\), critic \(1 tensors\)",
    ),
    "no level at all": (lambda d: toy(saved(d, STATE), key="generator"),
        r"no levels at all, it is itself a dict of \d+ tensors"),
    "average absent": (
        lambda d: toy(saved(d, {"generator": STATE}), key="generator_ema"),
        "no level 'generator_ema', found generator .* which is not the running average",
    ),
    "only the average": (
        lambda d: toy(saved(d, {"generator_ema": STATE}), key="generator"),
        "no level 'generator', found generator_ema .* which is the running average",
    ),
    "choice left open": (lambda d: toy(saved(d, {"generator": STATE, "generator_ema": STATE})),
        "cannot be guessed; set the key"),
    "initialisation": (lambda d: toy(saved(d, STATE, "ode_init.pt")),
        r"initialisation checkpoint by its name \(ode_init.pt\)"),
    "initialisation's folder": (
        lambda d: toy(saved(d, STATE, "wan_causal_ode_checkpoint_model_003000/model.pt")),
        "initialisation checkpoint by its name .wan_causal_ode_checkpoint_model_003000.",
    ),
    "initialisation on the hub": (
        lambda d: toy(saved(d, STATE), published_as="chunkwise/causal_ode.pt"),
        "initialisation checkpoint by its name",
    ),
    "initialisation renamed": (
        lambda d: toy(
            saved(d, STATE),
            not_these={"an initialisation": saved(d, {"generator": {n: v.bfloat16() for n,
            v in WRAPPED.items()}}, "i.pt")},
        ),
        r"model.pt holds the same tensors as .*i\.pt, which is an initialisation",
    ),
    "bidirectional renamed": (
        lambda d: toy(saved(d, {"model": STATE}), not_these={"the bidirectional model": stored(d)}),
        "holds the same tensors as .*which is the bidirectional model",
    ),
    "bidirectional": (
        lambda d: toy(saved(d, STATE, "diffusion_pytorch_model.safetensors")),
        "is the bidirectional Wan model by its name",
    ),
    "LongLive's base alone": (lambda d: toy(saved(d, STATE, "longlive_base.pt")),
        "LongLive's base .* without its LoRA"),
    "adapter absent": (lambda d: toy(saved(d, STATE), adapter=adapter_of(d / "lora.pt")),
        "no adapter at .*lora.pt"),
    "adapter of another rank": (
        lambda d: toy(saved(d, STATE), adapter=adapter_of(saved(d, lora_of(4), "l.pt"))),
        "l.pt has LoRA rank 4, expected 3",
    ),
    "adapter of other layers": (
        lambda d: toy(saved(d, STATE), adapter=adapter_of(saved(d, lora_of(outer=False), "l.pt"))),
        r"adapts 20 layers with 40 tensors, expected 26 layers with 52: missing head.head, text_embedding.0,",
    ),
    "half a pair": (
        lambda d: toy(saved(d, STATE), adapter=adapter_of(saved(d, without(ADAPTER,
        "base_model.model.head.head.lora_B.weight"), "l.pt"))),
        "adapts 26 layers with 51 tensors, expected 26 layers with 52",
    ),
    "weights as adapter": (lambda d: toy(saved(d, STATE), adapter=adapter_of(saved(d, STATE, "l.pt"))),
        "no lora tensor among"),
    "adapter as weights": (lambda d: toy(saved(d, ADAPTER)),
        "only the 52 tensors of a LoRA of rank 3 where full weights belong"),
    "bundle as weights": (lambda d: toy(saved(d, bundle_state(STATE, ADAPTER))),
        "base together with a LoRA of rank 3"),
    "weights as bundle": (lambda d: toy(saved(d, STATE), adapter=adapter_of(None)),
        "said to have its LoRA inside"),
    "missing tensor": (lambda d: toy(saved(d, without(STATE, "head.head.bias"))),
        r"1 missing \(head\.head\.bias\)"),
    "tensor too many": (lambda d: toy(saved(d, STATE | {"extra": torch.zeros(1)})),
        r"1 unexpected \(extra\)"),
    "counters of training": (
        lambda d: toy(saved(d, {f"net.{n}": v for n, v in FLAT_PATCH.items()}
        | {"net.accum_video_sample_counter": torch.zeros(1)})),
        r"1 unexpected \(accum_video_sample_counter\)",
    ),
    "wrong shape": (
        lambda d: toy(saved(d, STATE | {"head.head.bias": torch.zeros(5)})),
        r"1 of another shape \(head.head.bias \(5,\) for \(16,\)\)",
    ),
    "page in place of a file": (lambda d: toy(page(d)), "is no torch file .*Git LFS pointer"),
    "truncated": (lambda d: toy(cut(saved(d, STATE))), "is truncated or damaged"),
    "truncated safetensors": (lambda d: toy(cut(stored(d))), "is truncated or damaged"),
    "other objects": (lambda d: toy(saved(d, {"generator": STATE, "args": Path(
        "x"
    )})), "Python objects beside tensors .pathlib"),
}  # fmt: skip


def page(folder: Path) -> Path:
    (folder / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    return folder / "model.pt"


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def stored(folder: Path) -> Path:
    write_safetensors(folder / "other.safetensors", STATE)
    return folder / "other.safetensors"


@pytest.mark.parametrize("name", TRAPS)
def test_mix_ups_are_one_sentence(tmp_path: Path, name: str) -> None:
    """Guards against the wrong file being sampled for days (baselines/methods.md#files-that-are-not-results):
    checking and opening both refuse it.
    """
    make, match = TRAPS[name]
    release = make(tmp_path)
    for attempt in (check_released, open_released):
        with pytest.raises((ValueError, FileNotFoundError), match=match) as caught:
            attempt(release)
        message = str(caught.value)
        assert "\n" not in message and message.endswith(".") and str(tmp_path) in message and "; " in message


def test_what_is_no_mix_up_is_not_refused(tmp_path: Path) -> None:
    """An initialisation as such, another training of the same size."""
    open_released(toy(saved(tmp_path, STATE, "ode_init.pt"), role="initialisation"))
    other = saved(tmp_path, dict(wan_of(5).state_dict()), "causal_ode.pt")
    open_released(
        toy(saved(tmp_path, STATE), not_these={"an initialisation": other, "absent": tmp_path / "none.pt"})
    )


RCM = "Causal_rCM_Wan2.1_T2V_1.3B_480p"
NO_STUDENTS = {
    **dict.fromkeys(
        (
            f"{RCM}_TF_Diffusion_c1-1.pt",
            f"{RCM}_TF_Diffusion_c3-3.pt",
            f"{RCM}_DF_Diffusion_c1-1.pt",
            f"{RCM}_DF_Diffusion_c3-3.pt",
            f"{RCM}_TF-dCM_c1-1.pt",
            f"{RCM}_TF-dCM_c3-3.pt",
            f"{RCM}_TF-sCM_c3-3.pt",
        ),
        "an initialisation checkpoint",
    ),
    "rCM_Wan2.1_T2V_1.3B_480p.pt": "the bidirectional Wan model",
}
"""Files beside Causal-rCM's students: causal teachers, starts of training, the bidirectional model."""


@pytest.mark.parametrize("name", NO_STUDENTS)
def test_files_beside_the_students_are_refused_by_name(tmp_path: Path, name: str) -> None:
    """On disk and as published, the tensors being right (baselines/methods.md#files-that-are-not-results)."""
    match = re.escape(f"is {NO_STUDENTS[name]} by its name ({name})")
    for release in (toy(saved(tmp_path, STATE, name)), toy(saved(tmp_path, STATE), published_as=name)):
        with pytest.raises(ValueError, match=match):
            check_released(release)


def test_no_rows_own_file_is_refused_by_name(tmp_path: Path) -> None:
    """Guards against a pattern that takes a student for its start of training: the names differ by a part
    ("TF-dCM_c3-3", "TF-dCM-init_SF-DMD_c3-3").
    """
    path = saved(tmp_path, STATE)
    published = dict.fromkeys(row.weights.file for row in STUDENTS if row.adapter is None)
    assert sum(name.startswith(RCM) for name in published) == 6
    for name in published:
        check_released(toy(path, published_as=name))


def sparse(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A float8 .safetensors file of any size that takes no disk: a header, then a hole."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = int(torch.Size(shape).numel())
        header[name] = {"dtype": "F8_E4M3", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def shapes_of(config: WanConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Wan(config).state_dict().items()}


def test_the_real_size_costs_no_memory(tmp_path: Path) -> None:
    """825 names by WanConfig() (27 a block and 15); a file of that size opens in a fraction of its size of
    memory.
    """
    shapes = shapes_of(WanConfig())
    assert len(shapes) == 825 and sum(not name.startswith("blocks.") for name in shapes) == 15
    assert sum(name.startswith("blocks.7.") for name in shapes) == 27
    path = sparse(tmp_path / "raven_model.safetensors", shapes)
    assert path.stat().st_size > 1.4e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_released(path, shapes_only=True).found
    assert found.config == WanConfig() and found.tensors == 825
    wan = open_released(Release(path=path, key=None))
    assert wan.blocks[29].ffn[2].weight.shape == (1536, 8960)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000, (
        "more than 400 MB were copied"
    )


def test_the_teacher_is_not_taken_for_a_student(tmp_path: Path) -> None:
    """14B weights where 1.3B belong, and the sharded teacher as such (1095 tensors)."""
    shapes = shapes_of(WAN_14B)
    path = sparse(tmp_path / "teacher.safetensors", shapes)
    with pytest.raises(
        ValueError,
        match=r"is Wan2.1 14B \(dim 5120, 40 blocks\), expected Wan2.1 1.3B \(dim 1536, 30 blocks\)",
    ):
        check_released(Release(path=path, key=None))
    found = check_released(Release(path=path, key=None, config=WAN_14B, role="bidirectional"))
    assert found[0].tensors == len(shapes) == 1095


def test_model_size_is_read_off_the_shapes() -> None:
    """Heads of 128 for real models; a toy's head count is in no shape, so it is asked for and never
    guessed.
    """
    assert config_of(unwrap(STATE).state) is None
    read = config_of(STATE, num_heads=2)
    assert read == dataclasses.replace(CONFIG, text_len=512)
    with torch.device("meta"):
        real = Wan(WanConfig()).state_dict()
        real["patch_embedding.weight"] = torch.empty(1536, 64)  # 16 channels, a patch of 2 x 2
    assert config_of(real) == WanConfig()
    assert config_of({"a": torch.zeros(1)}) is None


def test_baselines_say_what_their_files_are(tmp_path: Path) -> None:
    """LongLive and CM-GRPO bring an adapter of 600 and 612 tensors, and the counts follow from model size and
    targets.
    """
    with torch.device("meta"):
        linears = [n for n, layer in Wan(WanConfig()).named_modules() if isinstance(layer, torch.nn.Linear)]
    for row, tensors in (("longlive", 600), ("cm_grpo", 612)):
        release = release_of(
            load_baseline(ROOT / f"baselines/{row}.yaml"), tmp_path / "weights" / row / "model.pt"
        )
        adapter = release.adapter
        assert adapter is not None and adapter.path is not None and adapter.path.parent == release.path.parent
        adapted = [n for n in linears if any(n == t or n.endswith(f".{t}") for t in adapter.targets)]
        assert 2 * len(adapted) == adapter.tensors == tensors
    for row in ("self_forcing", "causvid", "raven"):
        release = release_of(
            load_baseline(ROOT / f"baselines/{row}.yaml"), tmp_path / "weights" / row / "model.pt"
        )
        assert release.adapter is None and release.config == WanConfig() and len(release.not_these) >= 2


STUDENTS = [row for row in load_all(ROOT / "baselines").values() if row.rollout.kind != "full"]
BY_REPO = {
    repo: [row for row in STUDENTS if row.weights.repo == repo] for repo in {s.weights.repo for s in STUDENTS}
}
SIBLINGS = {repo: rows for repo, rows in BY_REPO.items() if len({row.weights.file for row in rows}) > 1}
"""Rows of repositories that publish several students' files, which are alike in size and layout."""


@pytest.mark.parametrize("repo", sorted(SIBLINGS))
def test_the_file_of_a_sibling_is_told_apart(tmp_path: Path, repo: str) -> None:
    """Every row of a repository with every other file of it under its own name, in the layouts that are
    published. Guards against the two-step file in the four-step row, and against a refusal of what two rows
    share. Names and sizes are equal, so nothing but the values of three tensors tells.
    """
    rows = SIBLINGS[repo]
    files = dict.fromkeys(row.weights.file for row in rows)
    states = {file: wan_of(seed).state_dict() for seed, file in enumerate(files, 10)}

    def placed(row: Baseline, file: str) -> Path:
        state = {n: v.bfloat16() for n, v in states[file].items()}
        if repo == "worstcoder/rcm-Wan":
            state = {f"net.{n}": v.flatten(1) if v.dim() == 5 else v for n, v in state.items()}
        if row.weights.memory:
            state |= {second_name(n): v + 1 for n, v in state.items()}
        held: object = state if row.weights.key is None else {row.weights.key: state}
        return saved(tmp_path / row.name, held, Path(row.weights.file).name)

    for row in rows:
        placed(row, row.weights.file)
    for row in rows:
        path = placed(row, row.weights.file)
        refuse_copies(release := release_of(row, path))
        for other in rows:
            if other.weights.file == row.weights.file:
                continue
            placed(row, other.weights.file)
            with pytest.raises(ValueError, match="holds the same tensors as") as raised:
                refuse_copies(release)
            twins = [one.title for one in rows if one.weights.file == other.weights.file]
            said = str(raised.value)
            assert str(path) in said and any(f"{title}'s file" in said for title in twins)
        placed(row, row.weights.file)


def test_parameters_train_and_keep_the_files_dtype(tmp_path: Path) -> None:
    """Assigned tensors are ordinary parameters, in the dtype of the file."""
    path = saved(tmp_path, {n: v.bfloat16() for n, v in STATE.items()})
    wan = open_released(toy(path))
    assert {p.dtype for p in wan.parameters()} == {torch.bfloat16} and all(
        p.requires_grad for p in wan.parameters()
    )
    adapted = open_released(toy(path, adapter=adapter_of(saved(tmp_path, ADAPTER, "l.pt"))))
    assert {p.dtype for n, p in adapted.named_parameters() if ".lora_" in n} == {torch.float32}


def second_name(name: str) -> str:
    """baselines/methods.md#sgf-plus: the infix once, before a layer's last part or what stands on top."""
    if not name.startswith("blocks."):
        return f"memory_{name}"
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.memory_{leaf}"


def test_two_sets_of_weights_in_one_file(tmp_path: Path) -> None:
    """Each is a whole network under the first one's names; a file of one set, or with a tensor less or more,
    is refused, and so is one of two where one is expected.
    """
    other = {name: value + 0.25 for name, value in STATE.items()}
    second = {second_name(name): value for name, value in other.items()}
    both = {"generator_ema": {f"model._fsdp_wrapped_module.{n}": v for n, v in (STATE | second).items()}}
    memory = Memory(infix="memory_", tensors=len(STATE))
    path = saved(tmp_path, both)
    release = toy(path, key="generator_ema", memory=memory)
    wan = open_released(release)
    assert wan.memory is not None and wan.memory.memory is None
    for one, state in ((wan, STATE), (wan.memory, other)):
        alone = wan_of(2)
        alone.load_state_dict(state)
        assert torch.equal(velocity(one), velocity(alone))
    assert check_released(release)[0].tensors == 2 * len(STATE)
    with pytest.raises(ValueError, match=f"{len(STATE)} unexpected"):
        check_released(toy(path, key="generator_ema"))
    for lacks in (second, {"memory_head.modulation"}, {"blocks.0.memory_modulation"}):
        kept = {name: value for name, value in (STATE | second).items() if name not in lacks}
        with pytest.raises(ValueError, match="tensors of a second set of weights") as raised:
            check_released(toy(saved(tmp_path, kept, "less.pt"), memory=memory))
        assert "\n" not in str(raised.value)
    renamed = dict(STATE | second)
    renamed["blocks.0.memory_modulated"] = renamed.pop("blocks.0.memory_modulation")
    with pytest.raises(ValueError, match=r"1 missing .*1 unexpected"):
        check_released(toy(saved(tmp_path, renamed, "renamed.pt"), memory=memory))
    row = release_of(load_baseline(ROOT / "baselines/sgf_plus.yaml"), tmp_path / "weights/sgf_plus/model.pt")
    assert row.memory == Memory(infix="memory_", tensors=825)
