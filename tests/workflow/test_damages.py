"""Damages between stages, and a part of the campaign (tests/campaign.py): after each the report is the same,
or one sentence says what is wrong.
"""

import pytest

from tests.campaign import CASES, LISTED, Case, Finished, answer_to_damage, campaign, table_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("damages") / "project")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_damage_is_one_sentence_or_changes_nothing(finished: Finished, case: Case) -> None:
    """Never another table: that is what 22 such damages gave before."""
    assert answer_to_damage(finished, case)


def test_a_part_of_the_campaign_survives(finished: Finished) -> None:
    """Kills, and what no table holds: damages anywhere in a file, damaged strange files, joined strings."""
    counts = {"string": 10, "file": 200, "damage": 12, "kill": 2}
    wanted = [(kind, LISTED[kind] + number) for kind, count in counts.items() for number in range(count)]
    outcomes = campaign(lambda: finished, wanted, seed=0)
    assert len(outcomes) == len(wanted)
    assert not [one.failed for one in outcomes if one.failed], table_of(outcomes, wanted)
