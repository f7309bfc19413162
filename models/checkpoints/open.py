"""The one door to a model: `open_model` makes the transformer of any file that this program can sample or
train.

wan = open_model("models/embedded/self_forcing.safetensors")
wan = open_model("resources/weights/longlive/longlive_base.pt", release=release_of(baseline, path))
wan = open_model("mine/lora.safetensors", base="mine/raven_model.pt", alpha=256)
"""

from pathlib import Path

from evaluation.files import load_json
from models.checkpoints.lora import (
    Header,
    adapted_layers,
    agreed_alpha,
    is_native_checkpoint,
    open_native,
    parse_alpha,
    parse_config,
    peft_alpha,
    read_header,
)
from models.checkpoints.released import (
    Adapter,
    Found,
    Release,
    Role,
    check_released,
    open_released,
    read_released,
)
from models.config import DtypePolicy, WanConfig
from models.wan import Wan


def open_model(
    path: Path | str,
    dtypes: DtypePolicy | None = None,
    *,
    base: Path | str | None = None,
    alpha: float | None = None,
    key: str | None = None,
    like: Path | str | None = None,
    release: Release | None = None,
    role: Role = "student",
) -> Wan:
    """The transformer in a weight file or distributed checkpoint directory, on the CPU, its adapter active.

    A native checkpoint (full, merged, bundle or adapter) says itself what it is, and comes in float32. Any
    other file is looked into, and comes in its own dtypes, memory-mapped. base: weights beneath an adapter,
    in place of those that its header names. alpha: of a LoRA whose file does not say it. key: dict level of a
    file that has several. like: a native checkpoint of the same size, for models whose heads are not of 128.
    release: what the file must be (`release_of` of baselines/released.py makes it from a baseline). role:
    what the model is used as; a student may be none of the files known to be something else.

    `cast_parameters` of models/wan.py brings the weights to the dtypes of a sampler. Raises
    FileNotFoundError, and ValueError if the file is none of these or not what it should be.
    """
    path = Path(path)
    if is_native_checkpoint(path):
        beneath = Path(base) if base is not None else base_said(path)
        if beneath is None or is_native_checkpoint(beneath):
            return open_native(path, dtypes, base=beneath)
    elif release is not None:
        return open_released(release, dtypes)
    return open_released(found_release(path, base=base, alpha=alpha, key=key, like=like, role=role), dtypes)


def check_model(
    path: Path | str,
    *,
    base: Path | str | None = None,
    alpha: float | None = None,
    key: str | None = None,
    like: Path | str | None = None,
) -> list[Found]:
    """What `open_model` would open as a student, name by name and shape by shape, without its numbers: the
    weights, and the adapter on them if it has a file of its own. Raises as `open_model`.
    """
    return check_released(
        found_release(Path(path), base=base, alpha=alpha, key=key, like=like, role="student")
    )


def found_release(
    path: Path,
    *,
    base: Path | str | None,
    alpha: float | None,
    key: str | None,
    like: Path | str | None,
    role: Role,
) -> Release:
    """What a file holds, as a release that its tensors must agree with; arguments and errors as of
    `open_model`.
    """
    found, state = read_released(path, key, shapes_only=True)
    said = _said(path)
    size = None if like is None else read_header(Path(like)).config
    whole = found.flavour == "full"
    if found.flavour == "adapter" and said.alpha is None:
        said = said._replace(alpha=peft_alpha(path, state))
    alpha = agreed_alpha(path, said.alpha, alpha)
    beneath = Path(base) if base is not None else base_said(path)
    if found.flavour == "adapter" and beneath is not None:
        under = read_released(beneath, shapes_only=True).found
        config = said.config or _said(beneath).config or under.config or size
        whole = under.flavour == "full"
    else:
        config = said.config or found.config or size
    if found.flavour == "other" or config is None or (found.flavour != "full" and alpha is None):
        raise ValueError(_what_lacks(path, found, beneath, config, role))
    if found.flavour == "full":
        return Release(path=path, key=key, role=role, config=config)
    if found.rank is None or alpha is None:
        raise ValueError(f"{path} has adapters of several ranks, expected one rank; it is mixed or damaged.")
    adapter = Adapter(
        path=path if found.flavour == "adapter" else None,
        key=key,
        rank=found.rank,
        alpha=alpha,
        tensors=sum(".lora_" in name for name in state),
        targets=adapted_layers(state),
    )
    if found.flavour == "bundle":
        return Release(path=path, key=key, adapter=adapter, role=role, config=config)
    if beneath is None or not whole:
        raise ValueError(_what_lacks(path, found, beneath if whole else None, config, role))
    return Release(path=beneath, key=None, adapter=adapter, role=role, config=config)


def _said(path: Path) -> Header:
    """The header of a checkpoint, or what `convert_weights` wrote beside a torch file, which has none."""
    record = path.with_name(f"{path.name}.json")
    if path.is_dir() or path.suffix == ".safetensors" or not record.is_file():
        return read_header(path)
    table = load_json(record.read_bytes(), str(record))
    if not isinstance(table, dict) or not {"tensors_sha256", "config", "lora_alpha", "base"} <= table.keys():
        return Header(None, None, None)
    where, held = f"in {record}", table["base"]
    return Header(
        None if table["config"] is None else parse_config(table["config"], f"config {where}"),
        None if table["lora_alpha"] is None else parse_alpha(table["lora_alpha"], f"lora_alpha {where}"),
        held["path"] if isinstance(held, dict) else None,
    )


def base_said(path: Path) -> Path | None:
    """The weights beneath an adapter that the file itself names, None if it names none."""
    base = _said(path).base
    return None if base is None else path.parent / base


def _what_lacks(path: Path, found: Found, base: Path | None, config: WanConfig | None, role: Role) -> str:
    held, advice = {
        "adapter": ("a LoRA without its base", "name the base beneath it, and its alpha"),
        "bundle": ("a base together with its LoRA", "name the alpha of its LoRA"),
        "full": (
            "a transformer whose tensors do not show its number of heads",
            "name the size by a native checkpoint (like)",
        ),
        "other": ("other tensors", f"name the {role} weights that `make fetch` brings, or your own"),
    }[found.flavour]
    if found.flavour == "adapter" and base is not None:
        held = f"a LoRA on {base}, " + ("of no known size" if config is None else "of no known alpha")
        advice = "name the size by a native checkpoint (like)" if config is None else "name the alpha"
    return (
        f"{path} is neither a checkpoint of this program nor a whole Wan transformer of a known size, "
        f"found {held}; {advice}."
    )
