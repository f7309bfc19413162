"""Two sets of results compared without a clip: what the run's own table says, and what is refused."""

import json
from pathlib import Path

import pytest

from evaluation.aggregate import AggregateSettings, RowLabel
from evaluation.api import compare, read_results
from evaluation.compared_results import NamedRows, compare_results, named_rows
from evaluation.dimensions import NAMES
from evaluation.imported_results import read_foreign_results
from evaluation.records import Prompt, Protocol
from evaluation.vbench.reduce import official_score
from evaluation.vbench.results import official_json
from tests.evaluation import standard_results as made
from tests.evaluation.made_up import aggregate
from tests.evaluation.test_imported_results import JUDGED, own_row
from workflow.scripts import compare_results as script


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of the standard suite, a better one and another, as their leaderboard zips."""
    folder = tmp_path_factory.mktemp("zips")
    for row, seed, shift in (("a", 1, 0.03), ("b", 2, 0.0)):
        (folder / f"{row}.zip").write_bytes(own_row(row, seed, shift)[2])
    return folder


def read(zips: Path, *names: str) -> NamedRows:
    return named_rows([read_foreign_results(zips / f"{name}.zip") for name in names])


def test_a_comparison_of_two_zips_is_the_table_of_both_rows_to_the_last_digit(zips: Path) -> None:
    """Guards pairing, sign, strata and totals: without VBench's list of prompts, from names alone."""
    found = compare_results(read(zips, "a", "b"), draws=640)
    assert found.common.whole and set(found.common.passed) == {0}
    own = [own_row(row, seed, shift) for row, seed, shift in (("a", 1, 0.03), ("b", 2, 0.0))]
    settings = AggregateSettings(
        bounds="vbench", dimensions=NAMES, draws=640, seed=0,
        rows={row: RowLabel(label=row, kind="results") for row in "ab"},
    )  # fmt: skip
    results = [result for each, _, _ in own for result in each]
    table = aggregate("s", in_order(found.common.prompts), results, [kept for _, kept, _ in own], settings)
    for row, expected in zip(found.run.table.rows, table.rows, strict=True):
        assert {n: c.normalised.mean for n, c in row.dimensions.items()} == pytest.approx(
            {n: c.normalised.mean for n, c in expected.dimensions.items()}, abs=1e-12
        )
    assert [pair.metric for pair in found.run.table.pairs] == [pair.metric for pair in table.pairs]
    for pair, expected in zip(found.run.table.pairs, table.pairs, strict=True):
        assert pair.difference.mean == pytest.approx(expected.difference.mean, abs=1e-12)
    total = found.run.table.pairs[0]
    assert total.metric == "total" and total.holm < 0.05 and total.difference.mean > 0


def in_order(common: list[Prompt]) -> list[Prompt]:
    """The standard prompts in the order in which a zip names them."""
    own = {prompt.prompt: prompt for prompt in made.prompts()}
    return [own[prompt.prompt] for prompt in common]


def test_a_file_compared_with_itself_differs_nowhere(zips: Path) -> None:
    pairs = compare_results(read(zips, "a", "a"), draws=640).run.table.pairs
    assert all(pair.difference.mean == 0 and pair.holm == 1 for pair in pairs)


def few(folder: Path, row: str, seed: int, share: int = 12) -> Path:
    """A folder of VBench's own files, of a share of the prompts."""
    listed = made.prompts(share)
    (folder / row).mkdir()
    for name, text in made.texts(made.results(row, listed, made.filtered(row, listed, JUDGED), seed)).items():
        (folder / row / f"{name}_eval_results.json").write_text(text, encoding="utf-8")
    return folder / row


def test_what_not_every_row_has_is_left_out_and_there_are_no_totals(tmp_path: Path) -> None:
    """Guards against a total, or a mean, over what happens to be there."""
    first, second = few(tmp_path, "a", 1), few(tmp_path, "b", 2)
    path = second / "scene_eval_results.json"
    _, rows = json.loads(path.read_text())["scene"]
    kept = [row for row in rows if "number 62" not in row["video_path"]][:-1]  # a prompt, and a sample
    assert len(kept) == len(rows) - 5 - 1
    path.write_text(official_json("scene", official_score("scene", kept), kept))
    found = compare_results(named_rows([read_foreign_results(p) for p in (first, second)]), draws=640)
    assert not found.common.whole and found.common.passed[0] > 0
    assert {pair.metric for pair in found.run.table.pairs} == set(NAMES)
    assert all(row.total is None and row.incomplete for row in found.run.table.rows)
    counts = {len(found.run.results[row]["scene"].clips) for row in found.run.results}
    assert counts == {len(kept)}, "of the prompt that lacks its last sample, the first four"


def test_what_one_file_states_of_its_protocol_holds_for_all(zips: Path) -> None:
    """Guards rows of a comparison from standing apart because a zip states nothing, and from being compared
    against what it states.
    """
    a, b = (read_foreign_results(zips / f"{name}.zip") for name in "ab")
    stated = a._replace(protocol=Protocol(text="short", samples=3))
    for row in compare_results(named_rows([stated, b]), draws=640).run.table.rows:
        assert row.protocol is not None and row.protocol.text == "short"
    with pytest.raises(
        ValueError, match=r"a\.zip and .*b\.zip are of two protocols \(short text scored, ext"
    ):
        compare_results(named_rows([stated, b._replace(protocol=Protocol(text="extended"))]), draws=640)


def test_long_clips_are_compared_with_long_clips_of_their_length(zips: Path) -> None:
    """Guards against half a minute beside a minute, both of the protocol of long clips, and against long
    clips beside short ones.
    """
    a, b = (read_foreign_results(zips / f"{name}.zip") for name in "ab")
    long = Protocol(length="long")
    minute = a._replace(row="a", protocol=long, seconds=59.8125)
    for other in (b._replace(protocol=long, seconds=59.8125), b._replace(protocol=long), b):
        rows = compare_results(named_rows([minute, other]), draws=640).run.table.rows
        assert [row.protocol.length for row in rows if row.protocol] == ["long", "long"]
    half = b._replace(row="b", protocol=long, seconds=29.8125)
    said = (
        r"a\.zip:a is of clips of 59\.8 s, .*b\.zip:b of clips of 29\.8 s, whose numbers cannot be compared"
    )
    with pytest.raises(ValueError, match=said):
        compare_results(named_rows([minute, half]), draws=640)
    with pytest.raises(ValueError, match=r"two protocols \(long clips, standard\)"):
        compare_results(named_rows([minute, b._replace(protocol=Protocol(length="standard"))]), draws=640)


def test_the_command_prints_a_table_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [few(tmp_path, row, seed) for row, seed in (("a", 1), ("b", 2))]
    output = tmp_path / "compared.csv"
    assert script.main([*map(str, files), "--output", str(output)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[3].split()[0] == "total" and printed[-2].endswith("(Holm's correction, 5 %).")
    assert printed[-1].endswith("no file states: prompts that rendered, text that scored.")
    lines = output.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("a,b,family,metric,difference") and len(lines) == 1 + 3 + len(NAMES)
    frame = compare(*files)
    assert frame["metric"].tolist() == [line.split(",")[3] for line in lines[1:]]
    (one,) = read_results(files[0]).dimensions["row"].unique()
    assert one == "a" and len(read_results(files[0]).clips) == sum(
        len(json.loads(path.read_text())[path.name.removesuffix("_eval_results.json")][1])
        for path in files[0].iterdir()
    )


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            '{"scene": [0.5, [{"video_path": "nobody-0.mp4", "video_results": 0.5}]]}',
            "share no prompt of scene",
        ),
        (
            '{"scene": [0.5, [{"video_path": "x-0_000.mp4", "video_results": 0.5}]]}',
            "cannot be matched to a prompt; of long clips a run.json is read",
        ),
        ('{"scene": [0.9, [{"video_path": "x-0.mp4", "video_results": 0.5}]]}', "states the score 0.9"),
        ('{"scene": [0.5, [{"video_path": "x-0.mp4", "video_results": NaN}]]}', "NaN"),
        ("[]", "expected {"),
        ("", "second.json"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    zips: Path, tmp_path: Path, second: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "second.json").write_text(second, encoding="utf-8")
    assert script.main([str(zips / "a.zip"), str(tmp_path / "second.json")]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
