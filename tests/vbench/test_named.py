"""A folder of links under VBench's names, for other tools."""

from pathlib import Path

import pytest

from evaluation.clips import write_clip
from evaluation.files import file_sha256
from evaluation.records import Clip, Prompt, write_json, write_jsonl
from evaluation.selection import hashes_of
from evaluation.static_filter import Judgement, filtered_set
from tests.vbench import tiny
from workflow.scripts.vbench_named import main


def results(folder: Path, texts: dict[str, str]) -> Path:
    """A results folder of the row `mine`: three samples of each text; of `still` the filter kept 0 and 2."""
    prompts, clips = [], []
    for number, (name, text) in enumerate(texts.items()):
        keep = 2 if name == "still" else None
        facts = {"id": name, "prompt": text, "extended": "x", "dimensions": ("color",), "samples": 3}
        prompts.append(Prompt(**facts, keep=keep, facts={}))
        for sample in range(3):
            file = f"mp4/{name}-{sample}.mp4"
            write_clip(folder / "clips/mine" / file, tiny.drifting(3 * number + sample, 2, 32, 32), fps=8)
            clips.append(
                Clip(
                    clip_id=f"{name}-{sample}", row="mine", prompt_id=name, sample=sample, file=file,
                    sha256=file_sha256(folder / "clips/mine" / file), latents_sha256=None, noise="unknown",
                    weights_sha256=None, settings_sha256="0" * 64, batch_size=1, pixel_frames=2, height=32,
                    width=32, fps=8,
                )
            )  # fmt: skip
    judged = {
        name: [Judgement(motion, motion < 0.5) for motion in (0.0, 1.0, 0.0)]
        for name in texts
        if name == "still"
    }
    listed, manifest = folder / "prompts/prompts.jsonl", folder / "clips/mine/manifest.jsonl"
    write_jsonl(listed, prompts)
    write_jsonl(manifest, clips)
    kept = filtered_set("mine", hashes_of(listed, manifest), prompts, judged, 0.5)
    write_json(folder / "filter/mine.json", kept)
    return folder


def test_links_have_vbench_s_names_and_the_filter_s_choice(tmp_path: Path) -> None:
    """Guards another tool against a still prompt's moving samples, and against numbers of its own."""
    folder = results(tmp_path / "r", {"still": "a still vase, in a garden.", "bird": "a red bird"})
    output = tmp_path / "named"

    def named(*flags: str) -> dict[str, str]:
        assert main(["--results", str(folder), "--row", "mine", "--output", str(output), *flags]) == 0
        assert all(path.is_symlink() and path.is_file() for path in output.iterdir())
        return {path.name: path.resolve().stem for path in output.iterdir()}

    bird = {f"a red bird-{k}.mp4": f"bird-{k}" for k in range(3)}
    still = "a still vase, in a garden."
    assert named() == bird | {f"{still}-0.mp4": "still-0", f"{still}-1.mp4": "still-2"}
    assert named("--unfiltered") == bird | {f"{still}-{k}.mp4": f"still-{k}" for k in range(3)}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"a": "either/or", "b": "a bird"}, "1 prompts cannot be file names of VBench's form (a): they hold"),
        ({"a": "a bird", "b": "a bird"}, "2 prompts have a short text that another one has too (a, b)"),
    ],
)
def test_names_that_cannot_be_are_said_in_a_sentence(
    tmp_path: Path, texts: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results(tmp_path / "r", texts)
    assert main(["--results", str(folder), "--row", "mine", "--output", str(tmp_path / "named")]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "named").exists()


def test_a_damaged_clip_and_a_folder_of_somebody_s_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards files of a user's that stand where the links should."""
    folder = results(tmp_path / "r", {"bird": "a red bird"})
    command = ["--results", str(folder), "--row", "mine", "--output", str(tmp_path / "named")]
    (tmp_path / "named").mkdir()
    (tmp_path / "named/mine.txt").touch()
    assert main(command) == 1
    assert "holds something else than links" in capsys.readouterr().err
    (tmp_path / "named/mine.txt").unlink()
    (folder / "clips/mine/mp4/bird-1.mp4").write_bytes(b"x")
    assert main(command) == 1
    assert "is not the file that was sampled and checked" in capsys.readouterr().err
