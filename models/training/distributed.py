"""Several processes that train one model: who they are, what each does of a batch, how parameters are
sharded.

One process needs no process group: `ALONE` does nothing and costs nothing. Several are started by torchrun
(workflow/scripts/launch.py), shard parameters inside a node and replicate them across nodes (raven.md 16.3,
FSDP2).

Legend: B global batch, n samples of one process.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate

from models.training.data_parallel import share
from models.wan import Wan

TIMEOUT = timedelta(minutes=60)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """The processes of a run, seen from one. mesh: how parameters are sharded; writers: a group of its own
    for checkpoints, which a thread may write while training goes on. Both are None for a single process.
    """

    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    writers: distributed.ProcessGroup | None = None

    def share(self, batch: int, slices: int) -> list[range]:
        """This process' samples of a batch of B: see `share` (models/training/data_parallel.py)."""
        return share(batch, slices, rank=self.rank, size=self.size)

    def gather(self, values: Tensor) -> Tensor:
        """[size * n, ...] on the CPU: the values [n, ...] of every process, in order of rank."""
        if self.size == 1:
            return values
        mine = values.detach().cpu().contiguous()
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(everyone, mine)
        return torch.cat(everyone)

    def mean(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Mean over processes of every number; all must have the same names."""
        if self.size == 1 or not numbers:
            return dict(numbers)
        rows = self.gather(torch.tensor([list(numbers.values())], dtype=torch.float64))
        return dict(zip(numbers, rows.mean(0).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self.gather(torch.tensor([flag])).any())

    def decide(self, number: int) -> int:
        """The number of process 0, in every process: what lies on a disk is looked up once (raven.md 18, B8)."""
        return number if self.size == 1 else int(self.gather(torch.tensor([number]))[0])

    def wait(self) -> None:
        """Until every process is here; not while a checkpoint is being written beside training."""
        if self.size > 1:
            distributed.barrier(group=self.writers)


ALONE = World()


def join(device: torch.device) -> World:
    """Join the process group that torchrun announces in the environment; `ALONE` without one.

    Raises ValueError if the processes of all nodes cannot be laid out as a mesh.
    """
    if "RANK" not in os.environ:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    size, per_node = distributed.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"])
    if size == 1:
        return ALONE
    if size % per_node:
        raise ValueError(
            f"{size} processes with {per_node} on this node are no whole number of nodes; start as many on "
            "every node."
        )
    mesh = init_device_mesh(device.type, (size // per_node, per_node), mesh_dim_names=("replicate", "shard"))
    writers = distributed.new_group(backend="gloo", timeout=TIMEOUT)
    return World(rank=distributed.get_rank(), size=size, mesh=mesh, writers=writers)


def leave(world: World) -> None:
    """Leave the process group together, so that no process is ended while another still needs it."""
    if world.size > 1:
        world.wait()
        distributed.destroy_process_group()


def here() -> str:
    """Which process this is, e.g. " on rank 3", for sentences about faults; empty where there is but one."""
    return f" on rank {distributed.get_rank()}" if distributed.is_initialized() else ""


def shard(wan: Wan, world: World) -> Wan:
    """The same network with every block, and the rest, sharded over the processes of a node; its methods work
    as before.

    Parameters are gathered in the dtype they are stored in, gradients are averaged over all processes in
    float32 (raven.md 16.3, 18 B13). Call it before anything holds on to the parameters, e.g. an optimizer. A
    single process gets `wan` back.
    """
    # velocities are views, and nobody writes into them
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    if shard_modules([*wan.blocks, wan], world):
        for block in wan.blocks:
            register_fsdp_forward_method(block, "text_kv")
        for method in ("interleaved", "block_causal", "cached", "embed_text"):
            register_fsdp_forward_method(wan, method)
    return wan


def shard_modules(modules: Sequence[nn.Module], world: World) -> bool:
    """Shard every module's own parameters as one unit, those inside others first; answers whether there was
    anything to share.
    """
    if world.mesh is None:
        return False
    mesh = world.mesh if world.mesh.shape[0] > 1 else world.mesh["shard"]
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in modules:
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    return True


@contextmanager
def gathered(wan: Wan) -> Iterator[None]:
    """Parameters are gathered once for all calls inside, e.g. of a rollout, which needs the room of the whole
    network; without gradient.

    They are freed at the end: such copies would not see the next optimizer step.
    """
    sharded = [module for module in wan.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for module in sharded:
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()


def local(value: Tensor) -> Tensor:
    """The part of a tensor that lies in this process: of a sharded one its shard, else the tensor itself."""
    return value.to_local() if isinstance(value, DTensor) else value


def whole(value: Tensor) -> Tensor:
    """A tensor with nothing sharded; every process must ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, other: Tensor) -> Tensor:
    """A tensor that every process has whole, sharded as `other` is: each keeps its part, nothing is sent."""
    if not isinstance(other, DTensor):
        return value
    copies = [Replicate()] * other.device_mesh.ndim
    return DTensor.from_local(value, other.device_mesh, copies, run_check=False).redistribute(
        placements=other.placements
    )
