"""What a run needs is said before it starts: files, time and disk, the cheaper way first."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from baselines.spec import load_row
from evaluation.prompts import count_prompts
from reports.cost import amount
from workflow.fetching.downloads import FetchSources, plan_listing
from workflow.planning.banner import expected_prompts, missing_for_jobs, run_needs
from workflow.planning.cost import estimated_cost
from workflow.planning.needs import files_of, released_alternative
from workflow.planning.resources import missing_resources, needed_resources, scorer_resources
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite
from workflow.scripts import doctor, fetch

ROOT = Path(__file__).parents[2]
VBENCH = ROOT / "workflow/config/vbench.yaml"
JOBS = {("train", "raven"), ("sample", "raven"), ("vbench_weights", None)}


def suite(name: str, **replaced: Any) -> Suite:
    return load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], replaced)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout without fetched files."""
    root = tmp_path_factory.mktemp("bare")
    for name in ("workflow", "baselines"):
        (root / name).symlink_to(ROOT / name)
    return root


def test_a_list_that_is_not_fetched_yet_is_counted(bare: Path) -> None:
    """Closed form: 75 still prompts of 25 samples and 869 of 5; eight of `color` alone; nothing of a fetched
    list.
    """
    found = expected_prompts(suite("vbench"), bare)
    assert found is not None
    assert str(count_prompts(found)) == (
        "946 lines, 944 distinct prompts, 6,220 clips per row (of 6,230 samples asked for)"
    )
    fewer = {"seed": 0, "per_dimension": 8, "samples": 2, "static_samples": 25, "static_keep": 5}
    few = expected_prompts(suite("vbench", prompts=fewer, dimensions=["color"]), bare)
    assert few is not None and count_prompts(few).clips == 16
    assert expected_prompts(suite("qualitative"), bare) is None
    toybox = expected_prompts(suite("toybox"), bare)
    assert toybox is not None and len(toybox) == 76


def test_the_cheaper_way_comes_first(bare: Path) -> None:
    """Files of both ways, the scorer's included, and GPU time; not where nothing is trained any more, or
    nothing else can be sampled.
    """
    vbench, released = suite("vbench"), released_alternative(ROOT, [VBENCH], {})
    assert released is not None and not released.train
    prompts = expected_prompts(vbench, bare)
    assert prompts is not None
    first, banner, stages, disk = "\n".join(run_needs(bare, vbench, prompts, JOBS, released)).split("\n")
    sizes = [files_of(bare, way).needed for way in (released, vbench)]
    needed = {e.path: e.size_mb for e in (*needed_resources(bare, vbench), *scorer_resources(bare, vbench))}
    assert sizes[1] == pytest.approx(sum(needed.values()))
    assert first.startswith("Cheaper first: published weights train nothing and need ")
    assert [float(size) for size in re.findall(r"(\d+) GB of files", first)] == [
        round(size / 1000) for size in sizes
    ]
    times = [amount(estimated_cost(way, prompts).total_s, "GPU") for way in (released, vbench)]
    assert first.index(times[0]) < first.index(times[1]) and "make fetch SUITE=vbench RELEASED=1" in first
    assert "6,220 clips per row" in banner and "(training 256.1 GPU-hours, sampling" in stages
    assert re.search(rf"{sizes[1] / 1000:.1f} GB of fetched files .* 67 GB of clips; .* GB are free", disk)
    assert "79 GB of checkpoints" in disk, "7 copies of 5.7 GB, two checkpoints"
    for jobs, alternative in ((JOBS - {("train", "raven")}, released), (JOBS, None)):
        assert not any("Cheaper" in line for line in run_needs(bare, vbench, prompts, jobs, alternative))
    alone = run_needs(bare, vbench, None, {("sample", "raven")}, released)
    assert len(alone) == 1 and f"{files_of(bare, vbench, scorer=False).needed / 1000:.1f} GB" in alone[0]
    toybox = suite("toybox")
    assert released_alternative(ROOT, [ROOT / "workflow/config/toybox.yaml"], {}) is None
    assert len(run_needs(bare, toybox, expected_prompts(toybox, bare), JOBS, None)) == 2
    assert len(run_needs(bare, toybox, expected_prompts(toybox, bare), JOBS, None, "")) == 1


def test_one_screen_has_what_scoring_needs_too(bare: Path) -> None:
    """Guards against 9.5 GB that are first missed after days of sampling; and against a list of pages."""
    vbench = suite("vbench")
    baselines = {row: load_row(ROOT / "baselines" / f"{row}.yaml") for row in vbench.baselines}
    screen = missing_for_jobs(bare, vbench, baselines, JOBS)
    assert len(screen.splitlines()) <= 45
    extra = {e.path for e in scorer_resources(bare, vbench)} - {
        e.path for e in needed_resources(bare, vbench)
    }
    assert (
        f"and {len(extra)} more for scoring" in screen and f"weights/vbench/ ({len(extra)} files)" in screen
    )
    assert f"(about {files_of(bare, vbench).needed / 1000:.1f} GB)" in screen
    assert "for scoring" not in missing_for_jobs(bare, vbench, baselines, {("sample", "raven")})
    assert "with: make fetch SUITE=vbench   (" in screen and "RELEASED=1)" in screen
    released = missing_resources(bare, suite("vbench", weights="released"), released=True)
    assert "with: make fetch SUITE=vbench RELEASED=1   (" in released


def test_a_suite_without_published_weights_refuses_them_at_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against control rows that run while nothing can fetch the others' weights."""
    monkeypatch.chdir(ROOT)
    words = (
        r"toybox\.yaml: weights is 'released', but the suite fetches nothing .* choose a suite such as vbench"
    )
    with pytest.raises(ValueError, match=words):
        suite("toybox", weights="released")
    with pytest.raises(ValueError, match="has no native baseline"):
        suite("vbench", weights="released", baselines=[], train={})
    given = ["--config", "workflow/config/toybox.yaml", "--replace", '{"weights":"released"}']
    for command in (doctor, fetch):
        assert command.main(given) == 1
        said = capfd.readouterr()
        assert "fetches nothing" in said.err and "Traceback" not in said.err and said.out == ""


def test_a_plan_lists_every_file_and_fetches_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Size, licence and source of every file, the scorer's too; no socket is opened and no file is made."""
    monkeypatch.chdir(ROOT)
    vbench = suite("vbench")
    entries = {e.path: e for e in (*needed_resources(ROOT, vbench), *scorer_resources(ROOT, vbench))}
    assert fetch.main(["--config", "workflow/config/vbench.yaml", "--plan"]) == 0
    said = capsys.readouterr().out
    for path, entry in entries.items():
        (line,) = [line for line in said.splitlines() if line.split()[:1] == [path]]
        assert f"{entry.size_mb:,.1f} MB" in line and entry.licence in line
    total = sum(entry.size_mb for entry in entries.values()) / 1000
    assert f"{len(entries)} files, {total:.1f} GB; " in said and said.endswith("Nothing was fetched.\n")
    assert "Licences: Apache-2.0 (" in said and "CC BY-NC 4.0 (1 file, " in said
    few = list(entries.values())[:2]
    (tmp_path / few[0].path).parent.mkdir(parents=True)
    (tmp_path / few[0].path).touch()
    listing = plan_listing(few, tmp_path, FetchSources(offline=True, cache=tmp_path))
    assert "MB  Apache-2.0  here" in listing and "nowhere: " in listing and "2 files, " in listing
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [Path(few[0].path).name]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("doctor", "SUITE=vbench", "RELEASED=1"), "raven-bench doctor vbench --released"),
        (("fetch", "RELEASED=1", "PLAN=1"), "raven-bench fetch vbench --released --plan"),
        (("fetch", "PLAN=1"), "raven-bench fetch vbench --plan"),
        (("dry-run", "SUITE=vbench", "RELEASED=1", "ONLY=rows=raven"), '--only "rows=raven" --released'),
    ],
)
def test_make_hands_on_what_it_is_told(arguments: tuple[str, ...], command: str) -> None:
    said = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    assert command in re.sub(" +", " ", said.stdout)
