"""How many processes a training job gets, on which nodes, and where they meet: read from the environment
(models/training/methods.md#launch).

One launcher runs on every node (under Slurm: srun with one task a node). Its variables, each with its
default: N processes of a node (the node's GPUs), NNODES (SLURM_NNODES, 1), NODE_RANK (SLURM_NODEID, 0),
MASTER_ADDR (first host of SLURM_JOB_NODELIST, localhost), MASTER_PORT (10000 + SLURM_JOB_ID modulo 20000,
7890), D (0; n > 0 debugs n processes on this node, and debugpy waits for a client at DEBUGPY_PORT, 5678, of
this node alone).
No torch here: the plan is made before anything heavy is loaded.
"""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """processes: of each node; node_rank: this node; host, port: where processes meet; debug: kernels one by
    one, checked collectives; debug_port: where the debugger listens.
    """

    processes: int
    nodes: int
    node_rank: int
    host: str
    port: int
    debug: bool
    debug_port: int

    @property
    def alone(self) -> bool:
        """Whether one process does it all, so that no launcher is needed."""
        return self.processes * self.nodes == 1 and not self.debug

    def torchrun(self, module: str, arguments: Sequence[str]) -> list[str]:
        """torchrun's arguments to start `module`. One node needs no changing meeting point."""
        return [
            f"--nnodes={self.nodes}",
            f"--nproc-per-node={self.processes}",
            f"--node-rank={self.node_rank}",
            f"--rdzv-backend={'static' if self.nodes == 1 else 'c10d'}",
            f"--rdzv-endpoint={self.host}:{self.port}",
            f"--rdzv-id={self.port}",
            "--signals-to-handle=SIGTERM,SIGUSR1,SIGINT,SIGHUP",
            "-m",
            module,
            *arguments,
        ]

    def environment(self, cores: int) -> dict[str, str]:
        """Variables for the processes, for those not set yet. cores: of this node that the job may use."""
        settings = {
            "OMP_NUM_THREADS": str(max(1, cores // self.processes)),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
            "NCCL_DEBUG": "INFO",
            "NCCL_IB_TIMEOUT": "31",
            # a step and a checkpoint may take minutes; Slurm's own limit ends them anyway
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "3600",
        }
        if self.debug:
            settings |= {"CUDA_LAUNCH_BLOCKING": "1", "TORCH_DISTRIBUTED_DEBUG": "DETAIL"}
        return settings


def plan_launch(
    environment: Mapping[str, str], gpus: Callable[[], int], resolves: Callable[[str], bool] = lambda _: True
) -> Launch:
    """The launch that the environment describes.

    gpus: counts this node's GPUs, asked if nothing else says it (0: one process, on the CPU); resolves:
    whether a host name has an address, else the address of the node that called srun stands in for the first
    host. Raises ValueError naming the variable that is no number, or out of range.
    """
    debug = _number(environment, ("D",), 0, least=0)
    processes = debug or _number(environment, ("N", "SLURM_GPUS_ON_NODE"), 0, least=0) or max(1, gpus())
    nodes = 1 if debug else _number(environment, ("NNODES", "SLURM_NNODES"), 1)
    node_rank = 0 if debug else _number(environment, ("NODE_RANK", "SLURM_NODEID"), 0, least=0)
    if node_rank >= nodes:
        raise ValueError(
            f"This is node {node_rank} of {nodes}; NODE_RANK counts from 0 to NNODES - 1, correct one of "
            "the two."
        )
    job = _number(environment, ("SLURM_JOB_ID",), -1, least=-1)
    port = _number(environment, ("MASTER_PORT",), 7890 if job < 0 else 10000 + job % 20000)
    host = environment.get("MASTER_ADDR", "")
    if not host and nodes > 1:
        host = first_host(environment.get("SLURM_JOB_NODELIST", ""))
        if host and not resolves(host):
            host = environment.get("SLURM_LAUNCH_NODE_IPADDR", "")
        if not host:
            raise ValueError(
                f"{nodes} nodes need a host to meet at, and neither MASTER_ADDR nor SLURM_JOB_NODELIST "
                "names one; set MASTER_ADDR."
            )
    return Launch(
        processes=processes,
        nodes=nodes,
        node_rank=node_rank,
        host=host or "localhost",
        port=port,
        debug=debug > 0,
        debug_port=_number(environment, ("DEBUGPY_PORT",), 5678),
    )


def srun_command(
    nodes: int, processes: int, program: Sequence[str], environment: Mapping[str, str]
) -> list[str]:
    """The command that starts one launcher of `processes` processes on each node of this Slurm job.

    program: the module and its arguments. GPUs are asked for where the job was granted some. srun does not
    inherit the number of CPUs of a task (Slurm 22.05 and later), hence the flag.
    """
    granted = any(
        environment.get(name) for name in ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS")
    )
    return [
        "srun",
        f"--nodes={nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={processes}",
        *([f"--gres=gpu:{processes}"] if granted else []),
        "--kill-on-bad-exit=1",
        "python",
        "-m",
        "workflow.scripts.launch",
        f"--processes={processes}",
        *program,
    ]


def count_gpus() -> int:
    """GPUs that this process may use: those it was given, else those nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return len([device for device in given.split(",") if device.strip()])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ") if listed.returncode == 0 else 0


def compute_capabilities() -> list[tuple[int, int]]:
    """Compute capabilities of this machine's GPUs, as nvidia-smi lists them; none where it says nothing."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    found = re.findall(r"^(\d+)\.(\d+)$", listed.stdout, re.MULTILINE) if listed.returncode == 0 else []
    return [(int(major), int(minor)) for major, minor in found]


def has_address(host: str) -> bool:
    """Whether this node can look the host up."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def devices_of(environment: Mapping[str, str], count: int) -> list[str]:
    """The first `count` devices of this process, as CUDA_VISIBLE_DEVICES names them. Raises ValueError if
    there are fewer.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    named = (
        [str(i) for i in range(count)] if given is None else [one for one in given.split(",") if one.strip()]
    )
    if len(named) < count:
        raise ValueError(
            f"N asks for {count} GPUs of a node, and CUDA_VISIBLE_DEVICES names {len(named)} ({given}); "
            "lower N, or ask for a larger allocation."
        )
    return named[:count]


def hold_device(devices: Sequence[str], folder: Path | None = None) -> str | None:
    """A device that no other process of this user holds, which then is held until this process and those
    that it becomes or starts have ended; None if all are held. folder: of the locks.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"raven-bench-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for device in devices:
        lock = os.open(folder / f"{device.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.set_inheritable(lock, True)
        return device
    return None


def hold_devices(devices: Sequence[str], count: int, wait_s: float = 0.2) -> list[str]:
    """`count` of the devices, as soon as so many are free (`hold_device`)."""
    held: list[str] = []
    while len(held) < count:
        device = hold_device([one for one in devices if one not in held])
        if device is None:
            time.sleep(wait_s)
        else:
            held.append(device)
    return held


def step_command(program: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command that runs a program as a step of this Slurm allocation, on one GPU of any of its nodes.

    Raises ValueError outside an allocation.
    """
    if not environment.get("SLURM_JOB_ID"):
        raise ValueError(
            "NNODES asks for several nodes, and this is no allocation of Slurm, whose srun reaches them; "
            "start inside one (salloc), or unset NNODES."
        )
    return ["srun", "--nodes=1", "--ntasks=1", "--exact", "--gres=gpu:1", *program]


def first_host(nodes: str) -> str:
    """First host of a Slurm node list: "gpu[003-005,9],cpu1" gives "gpu003"; empty for an empty list."""
    first = re.match(r"[^,\[]*(?:\[[^\]]*\][^,\[]*)*", nodes)
    return re.sub(r"\[([^,\-\]]*)[^\]]*\]", r"\1", first.group()) if first else ""


def _number(environment: Mapping[str, str], names: Sequence[str], default: int, *, least: int = 1) -> int:
    """The first of these variables that is set, as a whole number of at least `least`."""
    for name in names:
        if text := environment.get(name, ""):
            if not text.isdecimal() or int(text) < least:
                raise ValueError(
                    f"{name} is {text!r}, expected a whole number of at least {least}; set or unset it."
                )
            return int(text)
    return default
