"""Clips that are read in threads before they are asked for: the same clips, and the same errors at the same
place.
"""

import threading

import pytest

from evaluation.vbench.worker.watch import ReadAhead

PATHS = [f"clips/{number}.mp4" for number in range(6)]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_clip_is_read_once_and_in_time(workers: int) -> None:
    """Guards against a clip that is read twice or mixed up, and against none being read ahead; another
    folder's name is the same clip.
    """
    read: list[str] = []
    first_asked = threading.Event()

    def reader(path: str, *, doubled: bool) -> str:
        if path != PATHS[0]:
            assert first_asked.wait(10)
        read.append(path)
        return path * (2 if doubled else 1)

    ahead = ReadAhead(reader, PATHS, workers)
    found = []
    for path in PATHS:
        found.append(ahead(path.replace("clips", "elsewhere"), doubled=True))
        first_asked.set()
        assert len(ahead.begun) == min(workers, len(PATHS) - len(found))
    assert found == [path * 2 for path in PATHS]
    assert sorted(read) == PATHS


def test_an_error_comes_when_its_clip_is_asked_for_and_a_second_round_reads_anew() -> None:
    """Guards the sentence that names the clip, and the retry with smaller batches, which begins with the
    first clip again.
    """

    def reader(path: str) -> str:
        if path == PATHS[2]:
            raise ValueError(path)
        return path

    ahead = ReadAhead(reader, PATHS, 2)
    for _ in range(2):
        assert [ahead(path) for path in PATHS[:2]] == PATHS[:2]
        with pytest.raises(ValueError, match=PATHS[2]):
            ahead(PATHS[2])
    assert ahead(PATHS[3]) == PATHS[3]
