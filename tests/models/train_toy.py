"""A whole small training as a program, to be killed, signalled and started by torchrun: see
test_distributed.py, test_preemption.py.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from models.training.distributed import join, leave
from models.training.loop import Preempted, RunLimits, train
from models.training.preemption import EXIT_CODE, stop_requests
from models.training.raven import Raven
from models.wan import Wan
from tests.models.training_toys import dmd_settings, grpo_of, raven_of, validation_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", choices=("raven", "cm_grpo"))
    parser.add_argument("output", type=Path)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--pause-s", type=float, default=0.0, help="wait so long in every iteration")
    parser.add_argument("--asynchronous", action="store_true")
    parser.add_argument("--activation-checkpointing", action="store_true")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument(
        "--codec", type=Path, help="make validation clips every 2 iterations of RAVEN, with this codec"
    )
    parser.add_argument("--muon", action="store_true", help="train RAVEN's student with it")
    parser.add_argument("--poison", type=int, help="rank whose texts are not numbers")
    flags = parser.parse_args()
    torch.manual_seed(time.monotonic_ns() % 2**31)  # nothing may depend on a global generator
    stop, processes = stop_requests(), join(flags.device)
    limits = RunLimits(
        iterations=flags.iterations, checkpoint_every=flags.every, asynchronous=flags.asynchronous
    )
    settings = dmd_settings()
    if flags.muon:
        settings = replace(settings, student=replace(settings.student, kind="muon"))
    recipe = (
        raven_of(settings, processes, device=flags.device)
        if flags.recipe == "raven"
        else grpo_of(processes, device=flags.device)
    )
    if flags.activation_checkpointing:
        for trainee in recipe.trainees:
            next(
                module for module in trainee.module.modules() if isinstance(module, Wan)
            ).activation_checkpointing = True
    if flags.poison == processes.rank:
        recipe.texts = recipe.texts * torch.nan
    step = recipe.step

    def slow_step(iteration: int, fraction: float) -> dict[str, float]:
        time.sleep(flags.pause_s)
        return step(iteration, fraction)

    recipe.step = slow_step  # type: ignore[method-assign]
    validation = None
    if flags.codec is not None:
        assert isinstance(recipe, Raven)
        validation = validation_of(recipe, flags.output, flags.codec)
    code = 0
    try:
        train(
            recipe,
            limits,
            output=flags.output,
            identity="toy",
            processes=processes,
            stop=stop,
            validation=validation,
        )
    except Preempted:
        code = EXIT_CODE
    leave(processes)
    sys.exit(code)


if __name__ == "__main__":
    main()
