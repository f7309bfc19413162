"""Train RAVEN: distribution matching with training-time test, from a causal initialisation and the base model
as teacher.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from baselines.strict_yaml import parse_strict
from evaluation.command import run
from models.checkpoints.released import Role
from models.training.clips import ClipFile
from models.training.raven import Raven
from models.training.settings import DmdSettings
from models.wan import Wan
from workflow.training.job import (
    begin_training,
    open_for_training,
    open_prompts,
    place,
    rollout_runner,
    run_to_end,
    streams_of,
    training_parser,
    validation_of,
)


def train_raven(flags: argparse.Namespace) -> None:
    """Train to the end and write train.json. Raises ValueError for settings and files that do not fit."""
    job = begin_training(flags, "raven")
    settings = parse_strict(flags.settings, DmdSettings, where="--settings")

    def network(path: Path, role: Role, *, trained: bool) -> Wan:
        return place(open_for_training(path, role, flags.precision, trained=trained), job, trained=trained)

    student = network(flags.init, "initialisation", trained=True)
    teacher = network(flags.teacher, "bidirectional", trained=False)
    fake = network(flags.fake or flags.teacher, "bidirectional", trained=True)
    shape = (sum(settings.chunks), student.config.in_channels, *flags.latent_size)
    clips = ClipFile(flags.data, shape) if flags.data else None
    texts = open_prompts(flags, job, settings.seed, clips)
    streams = streams_of(settings.seed, job.device)
    recipe = Raven(
        student,
        fake,
        teacher,
        texts.pool,
        shape,
        settings,
        streams,
        job.processes,
        texts.negative,
        clips,
        runner=rollout_runner(job),
    )
    facts = {"recipe": flags.recipe, "config": student.config.to_dict()}
    validation = validation_of(flags, job, recipe, recipe.rollout)
    run_to_end(recipe, settings, job, flags, facts, validation=validation)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(training_parser(__doc__), arguments, train_raven)


if __name__ == "__main__":
    sys.exit(main())
