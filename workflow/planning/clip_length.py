"""How long a suite's clips are, and which rows are made for that: the label of those that are not."""

from baselines.native import Baseline
from workflow.planning.suite import Suite


def check_length(suite: Suite, row: str, baseline: Baseline) -> None:
    """Raises ValueError if a row cannot sample the suite's clips, or is not made for their length and the
    suite does not say that it wants such rows.
    """
    frames, file = suite.clip.latent_frames, f"baselines/{suite.baseline_of(row)}.yaml"
    try:
        baseline.at_length(frames)
    except ValueError as error:
        raise ValueError(
            f"clip.pixel_frames is {suite.clip.pixel_frames} ({frames} latent frames), which {row} of {file} "
            f"cannot sample: {str(error).removesuffix('.')}."
        ) from error
    if baseline.is_stressed_at(frames) and not suite.stress:
        raise ValueError(
            f"clip.pixel_frames is {suite.clip.pixel_frames} ({frames} latent frames, "
            f"{suite.clip.seconds_of(frames):.1f} s), but {row} is made for {_made_for(suite, baseline)} "
            f"({file}); take the row out, or set `stress: true`, which samples it beyond that and labels it "
            "everywhere."
        )


def stress_label(suite: Suite, baseline: Baseline) -> str | None:
    """What stands behind the title of a row that the suite samples beyond its length; None for others."""
    if not baseline.is_stressed_at(suite.clip.latent_frames):
        return None
    return f"stress: made for {_made_for(suite, baseline)}"


def _made_for(suite: Suite, baseline: Baseline) -> str:
    assert baseline.longest is not None, "a row without limit is beyond nothing"
    return f"{suite.clip.seconds_of(baseline.longest):.1f} s"
