"""Train RAVEN: distribution matching with training-time test, from a causal initialisation and the base model
as teacher.
"""

from pathlib import Path

from baselines.strict_yaml import parse_strict
from models.checkpoints.released import Role
from models.training.clips import ClipFile
from models.training.raven import Raven
from models.training.settings import DmdSettings
from models.wan import Wan
from workflow.training.job import (
    begin,
    open_for_training,
    open_prompts,
    place,
    run_to_end,
    streams_of,
    training_parser,
    write_manifest,
)
from workflow.training.validation import ValidationClips


def main() -> None:
    flags = training_parser(__doc__).parse_args()
    job = begin(flags, "raven")
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
        student, fake, teacher, texts.pool, shape, settings, streams, job.world, texts.negative, clips
    )
    facts = {"recipe": flags.recipe, "config": student.config.to_dict()}
    every = job.execution.validate_every
    validation = None if every == 0 else ValidationClips(
        every=every, output=flags.output, student=recipe.student, network=student, rollout=recipe.rollout, texts=texts.pool, shape=shape,
        codec=flags.codec, device=job.device, world=job.world,
    )  # fmt: skip
    step = run_to_end(recipe, settings, job, flags, facts, validation=validation)
    if job.world.rank == 0:
        write_manifest(flags, settings, step)


if __name__ == "__main__":
    main()
