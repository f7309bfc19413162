"""Replays: clips that were rendered again, and whether they came out the same."""

from pathlib import Path
from typing import Literal

from evaluation.records import ClipId, Identifier, Record, Sha256, VersionedRecord, read_json

ReplayOutcome = Literal["bit-equal", "same pictures", "differs", "changed file"]
MEANING: dict[ReplayOutcome, str] = {
    "bit-equal": "the same latents and the same bytes of the file",
    "same pictures": "other last bits, but every decoded pixel is the same after rounding to 8 bits",
    "differs": "some decoded pixels differ",
    "changed file": "the file in the results folder is not the one of its manifest",
}
"""Outcomes of a replayed clip, best first."""


class ReplayedClip(Record):
    """A clip rendered again, and how it compares with the one of the manifest."""

    clip_id: ClipId
    outcome: ReplayOutcome
    device_then: str
    device_now: str
    max_difference: int | None
    """Largest difference of a pixel's channel, 0..255. None unless the clip differs."""
    psnr_db: float | None
    """Of all pixels against 255. None unless the clip differs."""

    @property
    def failed(self) -> bool:
        """A changed file, or other frames from a device of the same type.

        Other devices compute other last bits, which chunks amplify.
        """
        return self.outcome == "changed file" or (
            self.outcome == "differs" and self.device_then == self.device_now
        )


class ReplayedRow(Record):
    """The clips of one row, with commits and versions of packages then and now."""

    row: Identifier
    manifest_sha256: Sha256
    """Of the manifest that they were compared with."""
    commit_then: str
    commit_now: str
    software_then: dict[str, str]
    software_now: dict[str, str]
    clips: tuple[ReplayedClip, ...]

    @property
    def verdict(self) -> str:
        """The row in a few words: the worst outcome, and whether the device was of the same type."""
        worst = max((clip.outcome for clip in self.clips), key=list(MEANING).index)
        same = all(clip.device_then == clip.device_now for clip in self.clips)
        device = self.clips[0].device_now if same else "another type of device"
        return f"{worst} on {'the same type of device, ' if same else ''}{device}"


class Replay(VersionedRecord):
    """replay.json: every replayed row."""

    suite: str
    finished: str
    """UTC."""
    rows: tuple[ReplayedRow, ...]

    @property
    def failed(self) -> bool:
        return any(clip.failed for row in self.rows for clip in row.clips)


def read_replay(results_dir: Path) -> Replay | None:
    """The last replay of a results folder; None if there was none."""
    path = results_dir / "replay.json"
    return read_json(Replay, path) if path.is_file() else None


def replay_message(row: str, clip: ReplayedClip) -> str:
    """One clip for a log."""
    where = (
        clip.device_now
        if clip.device_now == clip.device_then
        else f"{clip.device_now}, made on {clip.device_then}"
    )
    how = ""
    if clip.max_difference is not None and clip.psnr_db is not None:
        how = f": pixels by up to {clip.max_difference} of 255, PSNR {clip.psnr_db:.1f} dB"
    return f"{row} {clip.clip_id} ({where}): {clip.outcome}, {MEANING[clip.outcome]}{how}"
