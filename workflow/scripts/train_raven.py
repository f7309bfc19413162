"""Train RAVEN: distribution matching with training-time test, from a causal initialisation and the base model as teacher."""

from __future__ import annotations

import copy

from baselines.strict_yaml import parse_strict
from evaluation.toybox.training_prompts import training_prompts
from models.lora import open_wan
from models.text import ToyTextEncoder
from models.training.raven import Raven
from models.training.settings import DmdSettings
from workflow.training_job import (
    begin,
    place,
    run_to_end,
    streams_of,
    text_rows,
    training_parser,
    write_manifest,
)

PROMPTS = 1024
LATENT_SIZE = (8, 8)


def main() -> None:
    flags = training_parser(__doc__).parse_args()
    job = begin(flags, "raven")
    settings = parse_strict(flags.settings, DmdSettings, where="--settings")
    student, teacher = open_wan(flags.init), open_wan(flags.teacher)
    fake = place(copy.deepcopy(teacher), job, trained=True)
    student, teacher = (
        place(student, job, trained=True),
        place(teacher.requires_grad_(False), job, trained=False),
    )
    texts = text_rows(ToyTextEncoder.load(flags.text), training_prompts(PROMPTS, settings.seed))
    shape = (sum(settings.chunks), student.config.in_channels, *LATENT_SIZE)
    streams = streams_of(settings.seed, job.device)
    recipe = Raven(student, fake, teacher, texts, shape, settings, streams, job.world)
    facts = {"recipe": flags.recipe, "config": student.config.to_dict()}
    step = run_to_end(recipe, settings, job, flags, facts)
    if job.world.rank == 0:
        write_manifest(flags, settings, step)


if __name__ == "__main__":
    main()
