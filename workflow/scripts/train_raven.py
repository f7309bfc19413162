"""Train RAVEN: distribution matching with training-time test, from a causal initialisation and the base model as teacher."""

from __future__ import annotations

import copy

from baselines.strict_yaml import parse_strict
from evaluation.toybox.training_prompts import training_prompts
from models.lora import open_wan
from models.text import ToyTextEncoder
from models.training.loop import RunLimits, train
from models.training.raven import Raven
from models.training.settings import DmdSettings
from workflow.training_job import begin, identity, streams_of, text_rows, training_parser, write_manifest

PROMPTS = 1024
LATENT_SIZE = (8, 8)


def main() -> None:
    flags = training_parser(__doc__).parse_args()
    device = begin(flags, "raven")
    settings = parse_strict(flags.settings, DmdSettings, where="--settings")
    student, teacher = open_wan(flags.init).to(device), open_wan(flags.teacher).to(device)
    fake = copy.deepcopy(teacher)
    teacher.requires_grad_(False)
    texts = text_rows(ToyTextEncoder.load(flags.text), training_prompts(PROMPTS, settings.seed))
    shape = (sum(settings.chunks), student.config.in_channels, *LATENT_SIZE)
    recipe = Raven(student, fake, teacher, texts, shape, settings, streams_of(settings.seed, device))
    limits = RunLimits(iterations=settings.iterations, checkpoint_every=settings.checkpoint_every)
    facts = {"recipe": flags.recipe, "config": student.config.to_dict()}
    step = train(recipe, limits, output=flags.output, identity=identity(flags, settings), facts=facts)
    write_manifest(flags, settings, recipe.student, step)


if __name__ == "__main__":
    main()
