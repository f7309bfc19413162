"""How VBench's worker scores each dimension: the checkpoints, the functions that it needs, what a value can
be.

The worker is told all of this in its job. A rule tracks what is said of its dimension and the digest of
`modules`, so that a change to one dimension, here or in its functions, scores no other one again.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from evaluation.records import SecondScoring
from evaluation.vbench.weights import CHECKPOINTS

WORKER = "evaluation.vbench.worker"
"""Package that runs in VBench's environment; functions below are named from it on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialScorer:
    """How one dimension is scored."""

    checkpoints: tuple[str, ...]
    """Keys of `CHECKPOINTS`."""
    speed_up: str
    """Called with the package's module of the dimension and the watch by the fast backend, before everything
    else. It replaces functions and classes of the module by ones that give the same values up to the rounding
    of sums, in batches that obey the watch's limit.
    """
    adapt: str | None = None
    """Called likewise by both backends. It returns what is called with the rows afterwards, or None."""
    around: str | None = None
    """A context manager around the whole run."""
    batched: bool = False
    """Whether `adapt` makes the network obey the watch's limit, so that a smaller batch can be tried."""
    may_leave_out: bool = False
    """Whether the package may leave clips out on purpose."""
    limits: tuple[float, float] = (0.0, 1.0)
    """What a clip's own value can be, on the scale of the package's rows."""

    @property
    def files(self) -> tuple[str, ...]:
        """Its checkpoints, below the cache folder."""
        return tuple(file for name in self.checkpoints for file in CHECKPOINTS[name])

    @property
    def modules(self) -> list[str]:
        """Modules whose code decides its values."""
        functions = [name for name in (self.speed_up, self.adapt, self.around) if name is not None]
        return [f"{WORKER}.runner", *(f"{WORKER}.{name.rpartition('.')[0]}" for name in functions)]

    def as_job(self) -> dict[str, Any]:
        """What a job says of it, as plain JSON values."""
        said = asdict(self) | {"files": list(self.files), "limits": list(self.limits)}
        del said["checkpoints"]
        return said


def second_scorer(dimension: str, second: SecondScoring) -> OfficialScorer:
    """How a dimension is scored once more."""
    scorer = OFFICIAL_SCORERS[dimension]
    by_text = second == "extended_text"
    return replace(scorer, adapt="scorers.given_text.read_given_text") if by_text else scorer


def _grit(**options: Any) -> OfficialScorer:
    return OfficialScorer(
        checkpoints=("grit", "bert_tokenizer"), speed_up="fast.grit.describe_whole_clips", **options
    )


OFFICIAL_SCORERS = {
    "subject_consistency": OfficialScorer(
        checkpoints=("dino",),
        speed_up="fast.dino.encode_in_batches",
        adapt="scorers.subject_consistency.note_sums",
    ),
    "background_consistency": OfficialScorer(
        checkpoints=("clip_b32",),
        speed_up="fast.clip.background_in_batches",
        adapt="scorers.clip.limit_batches",
        batched=True,
    ),
    "temporal_flickering": OfficialScorer(checkpoints=(), speed_up="fast.flicker.difference_of_bytes"),
    "motion_smoothness": OfficialScorer(checkpoints=("amt",), speed_up="fast.amt.predict_in_batches"),
    "dynamic_degree": OfficialScorer(
        checkpoints=("raft",),
        speed_up="fast.motion.stop_early",
        adapt="scorers.dynamic_degree.refuse_no_numbers",
    ),
    "aesthetic_quality": OfficialScorer(
        checkpoints=("clip_l14", "aesthetic"),
        speed_up="fast.clip.aesthetic_in_batches",
        adapt="scorers.clip.limit_batches",
        batched=True,
    ),
    "imaging_quality": OfficialScorer(
        checkpoints=("musiq",), speed_up="fast.musiq.score_in_batches", limits=(0.0, 100.0)
    ),
    "object_class": _grit(adapt="scorers.object_class.remember_errors"),
    "multiple_objects": _grit(),
    "human_action": OfficialScorer(
        checkpoints=("umt",), speed_up="fast.umt.fuse_umt", around="networks.complete_loading"
    ),
    "color": _grit(may_leave_out=True),  # clips in which the object is never seen with any colour
    "spatial_relationship": _grit(),
    "scene": OfficialScorer(
        checkpoints=("tag2text", "bert_tokenizer", "bert_weights"),
        speed_up="fast.tag2text.caption_seen_frames",
        adapt="scorers.scene.caption_one_by_one",
        around="networks.complete_loading",
        batched=True,
    ),
    "appearance_style": OfficialScorer(
        checkpoints=("clip_b32",), speed_up="fast.clip.style_in_batches", limits=(-1.0, 1.0)
    ),
    "temporal_style": OfficialScorer(
        checkpoints=("viclip",), speed_up="fast.viclip.trim_encoder", limits=(-1.0, 1.0)
    ),
    "overall_consistency": OfficialScorer(
        checkpoints=("viclip",), speed_up="fast.viclip.trim_encoder", limits=(-1.0, 1.0)
    ),
}
"""By dimension."""
