"""The one door to a model: `open_model` makes the transformer of any file that this program can sample or
train.

wan = open_model("models/embedded/self_forcing.safetensors")
wan = open_model("resources/weights/longlive/longlive_base.pt", release=release_of(baseline, path))
"""

from pathlib import Path

from models.checkpoints.lora import is_native_checkpoint, open_native
from models.checkpoints.released import Release, Role, open_released, read_released
from models.config import DtypePolicy
from models.wan import Wan


def open_model(
    path: Path | str,
    dtypes: DtypePolicy | None = None,
    *,
    base: Path | None = None,
    release: Release | None = None,
    role: Role = "student",
) -> Wan:
    """The transformer in a weight file or distributed checkpoint directory, on the CPU, its adapter active.

    A native checkpoint (full, merged, bundle or adapter) says itself what it is, and comes in float32. base:
    weights beneath an adapter, in place of those that its header names. Any other file is a released one, and
    comes in its own dtypes, memory-mapped. release: what it must be, and its adapter (`release_of` of
    baselines/released.py makes it from a baseline); without it, the file must hold a whole model. role: what
    that model is used as; a student may be none of the files known to be something else.

    `cast_parameters` of models/wan.py brings the weights to the dtypes of a sampler. Raises
    FileNotFoundError, and ValueError if the file is none of these or not what it should be.
    """
    path = Path(path)
    if is_native_checkpoint(path):
        return open_native(path, dtypes, base=base)
    if release is not None:
        return open_released(release, dtypes)
    found = read_released(path, shapes_only=True).found
    if found.config is None or found.flavour != "full":
        held = {
            "adapter": "a LoRA without its base",
            "bundle": "a base together with its LoRA",
            "full": "a transformer whose tensors do not show its number of heads",
            "other": "other tensors",
        }[found.flavour]
        raise ValueError(
            f"{path} is neither a checkpoint of this program nor a whole Wan transformer of a known size, "
            f"found {held}; name the {role} weights that `make fetch` brings, or describe the release that "
            "the file belongs to."
        )
    return open_released(Release(path=path, key=None, role=role, config=found.config), dtypes)
