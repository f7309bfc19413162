"""The campaign (tests/campaign.py) says what failed and how to try it again; its trials run in
tests/workflow/test_damages.py.
"""

import pytest

from tests.campaign import main
from tests.reports.hostile_texts import HOSTILE


def test_a_campaign_ends_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the kinds that were wanted have a line."""
    assert main(["--strings", "2", "--files", "3", "--damages", "0", "--kills", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].split() == ["kind", "tried", "identical", "refused", "FAILED"]
    kinds = {line.split()[0]: line.split()[1:] for line in lines[-2:]}
    assert kinds["string"] == ["2", "of", "2", "2", "0", "0"]
    assert kinds["file"][:3] == ["3", "of", "3"] and kinds["file"][-1] == "0"


def test_a_failure_is_said_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text that is refused stands among those that are taken: exit code 1, and how to try it again."""
    monkeypatch.setitem(HOSTILE, "a colour", "\x1b[31mRAVEN")
    number = len(HOSTILE) - 1
    assert main(["--only", f"string:{number}"]) == 1
    *_, counts, failed = capsys.readouterr().out.splitlines()
    assert counts.split() == ["string", "1", "of", "1", "0", "0", "1"]
    assert failed.startswith(f"FAILED --seed 0 --only string:{number} (a colour): ")


def test_a_time_limit_begins_no_trial_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0", "--kills", "7"]) == 0
    assert ["kill", "0", "of", "7", "0", "0", "0"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.parametrize("name", ["kill", "kill:x", "row:1", ":1"])
def test_a_trial_that_there_is_not_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", name])
    assert ended.value.code == 2 and f"--only is {name}, expected" in capsys.readouterr().err
