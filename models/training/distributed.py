"""The process group of a run: who its processes are, how they talk, how parameters are sharded over them.

One process needs no process group: `ALONE` does nothing and costs nothing. Several are started by torchrun
(workflow/scripts/launch.py); they shard parameters inside a node and replicate them across nodes with FSDP2
(models/training/methods.md#sharding).

Legend: n samples of one process.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate

from models.training.data_parallel import split_batch
from models.wan import Wan

TIMEOUT = timedelta(minutes=60)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Processes:
    """The process group of a run, seen from one of its processes.

    mesh: how parameters are sharded. writers: a torch process group of its own for checkpoints, which a
    thread may write while training goes on. Both are None for a single process.
    """

    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    writers: distributed.ProcessGroup | None = None

    def split(self, batch: int, micro_batches: int) -> list[range]:
        """This process' samples of a batch: see `split_batch` (models/training/data_parallel.py)."""
        return split_batch(batch, micro_batches, rank=self.rank, size=self.size)

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

    def decide(self, value: Value) -> Value:
        """The value of process 0, in every process: what lies on a disk is looked up once."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Wait until every process is here; not while a checkpoint is written beside training."""
        if self.size > 1:
            distributed.barrier(group=self.writers)


ALONE = Processes()


def join(device: torch.device) -> Processes:
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
    return Processes(rank=distributed.get_rank(), size=size, mesh=mesh, writers=writers)


def leave(processes: Processes) -> None:
    """Leave the process group together, so that no process is ended while another still needs it."""
    if processes.size > 1:
        processes.wait()
        distributed.destroy_process_group()


def here() -> str:
    """Which process this is, e.g. " on rank 3", for error messages; empty where there is but one."""
    return f" on rank {distributed.get_rank()}" if distributed.is_initialized() else ""


def shard(wan: Wan, processes: Processes) -> Wan:
    """The same network with every block, and the rest, sharded over the processes of a node.

    Parameters are gathered in the dtype they are stored in, gradients are averaged over all processes in
    float32 (models/training/methods.md#sharding). Call it before anything holds on to the parameters, such as
    an optimizer. A single process gets `wan` back.
    """
    # velocities are views, and nobody writes into them
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    if shard_modules([*wan.blocks, wan], processes):
        for block in wan.blocks:
            register_fsdp_forward_method(block, "text_kv")
        for method in ("interleaved", "block_causal", "cached", "embed_text"):
            register_fsdp_forward_method(wan, method)
    return wan


def shard_modules(modules: Sequence[nn.Module], processes: Processes) -> bool:
    """Shard each module's own parameters as one unit, inner modules first; False for a single process."""
    if processes.mesh is None:
        return False
    mesh = processes.mesh if processes.mesh.shape[0] > 1 else processes.mesh["shard"]
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in modules:
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    return True


@contextmanager
def gathered(wan: Wan) -> Iterator[None]:
    """Gather parameters once for all calls inside, such as those of a rollout; without gradient.

    The whole network needs room meanwhile. It is freed at the end, since the copies would not see the next
    optimizer step.
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
    whole_copy = DTensor.from_local(value, other.device_mesh, copies, run_check=False)
    return whole_copy.redistribute(placements=other.placements)
