"""What the page says where the official scorer counts in its own way: clips that color leaves out, averages
of several processes.
"""

import json

import pytest

from reports.page import render_section
from reports.run import ReportSettings, Run
from reports.sections.limits import not_comparable
from tests.reports import synthetic


def with_cells(run: Run, **changes: dict[str, object]) -> Run:
    """The run with other facts in cells of its first row, by dimension."""
    first, *others = run.table.rows
    cells = {name: cell.model_copy(update=changes.get(name, {})) for name, cell in first.dimensions.items()}
    rows = (first.model_copy(update={"dimensions": cells}), *others)
    return run.model_copy(update={"table": run.table.model_copy(update={"rows": rows})})


@pytest.mark.slow
def test_left_out_clips_and_the_other_averages_are_shown(finished_run: Run) -> None:
    """Guards the number that color's mean is over, and readers who compare with scores made on several GPUs;
    else nothing is said.
    """
    run = finished_run
    plain = render_section(run, "dimensions")
    assert "leaves a clip out of color" not in plain
    assert "As several official processes" not in plain
    clips = run.table.rows[0].dimensions["color"].clips
    changed = with_cells(run, color={"left_out": 3}, appearance_style={"several_processes": 12.34567})
    page = render_section(changed, "dimensions")
    label = run.table.rows[0].label
    assert f"{label} 3 of {clips + 3} clips left out" in page
    assert "As several official processes would print it" in page
    assert "<td>12.3457</td>" in page
    assert page.count("<td>12.3457</td>") == 1


def test_an_imported_row_of_another_shape_is_not_comparable_in_silence(finished_run: Run) -> None:
    """Guards readers against a size, length or rate that only one row has; where all are alike, nothing is
    said.
    """
    run, plain = finished_run, synthetic.report_settings()
    assert not [line for line in not_comparable(run, published=False) if "its clips have" in line]
    row = run.table.rows[0].row
    plain["rows"][row]["settings"]["clip"] = {"pixel_frames": 121, "height": 720, "width": 1280, "fps": 24}
    shaped = run.model_copy(update={"settings": ReportSettings.model_validate_json(json.dumps(plain))})
    (said,) = [line for line in not_comparable(shaped, published=False) if "its clips have" in line]
    assert said.startswith(
        f"{run.table.rows[0].label}: its clips have 121 frames of 1280x720 pixels at 24 per second, the "
        "suite's 81 frames"
    )
