"""The progress line weighs jobs by what they cost."""

from workflow.planning.progress import clock, progress_line

COSTS = {"train": 90.0, "sample": 9.0}


def test_time_left_is_weighed_by_cost() -> None:
    """Guards against "90 % done" when the one long job is still to come: 10 cheap jobs took 10 s, training
    costs 91 of them.
    """
    line = progress_line(["score"] * 10, ["train", "sample"], COSTS, 1.0, 10.0)
    assert line == "Progress: 10 of 12 jobs, 0:10 elapsed, about 1:41 left"


def test_no_estimate_from_nothing() -> None:
    assert progress_line([], ["train"], COSTS, 1.0, 20.0) == "Progress: 0 of 1 jobs, 0:20 elapsed"


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
