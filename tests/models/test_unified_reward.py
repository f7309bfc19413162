"""UnifiedReward on a tiny Qwen2.5-VL: what is asked, which tokens answer, and which answers are numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.training.unified_reward import (
    MAX_PIXELS,
    RATINGS,
    UnifiedReward,
    read_question,
    read_ratings,
)
from models.training.video_align import CHAT, patches, resized, sampled_frames, seen_size
from tests.models.unified_reward_toys import ANSWER, QUESTION, write_unified_reward

SIDE = 280  # at least 100,352 pixels are seen, so smaller pictures only cost time


@pytest.fixture(scope="module")
def random_judge(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, UnifiedReward]:
    """A network with random weights, and the judge that was loaded from its files."""
    folder = tmp_path_factory.mktemp("judge")
    network = write_unified_reward(folder)
    return network, UnifiedReward.load(folder, dtype=torch.float32)


def clip(frames: int = 5, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (frames, SIDE, 364, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def naive_answer(network: Any, judge: UnifiedReward, frames: Tensor, prompt: str, tokens: int) -> list[int]:
    """The same for one clip, token by token, without a cache, padding or `generate`; stops at no token."""
    places = sampled_frames(len(frames), 16)
    cut = patches(resized(frames[places], seen_size(SIDE, 364, MAX_PIXELS)))
    text = CHAT.format(video="<|video_pad|>" * cut.num_tokens, question=QUESTION.replace("{prompt}", prompt))
    ids = torch.tensor([judge.tokenizer.encode(text, add_special_tokens=False).ids])
    start = ids.shape[1]
    for _ in range(tokens):
        with torch.no_grad():
            logits = network(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=2 * (ids == judge.video_id).int(),
                pixel_values_videos=cut.values,
                video_grid_thw=torch.tensor([cut.grid]),
                second_per_grid_ts=torch.tensor([2 * len(frames) / (len(places) * 16)]),
            ).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    found: list[int] = ids[0, start:].tolist()
    return found


def test_a_batch_answers_as_each_clip_alone(
    random_judge: tuple[Any, UnifiedReward], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a loop without cache and padding: other places, order of frames, padding, or a penalty of the
    checkpoint's would change tokens of a random network.
    """
    network, judge = random_judge
    monkeypatch.setattr("models.training.unified_reward.MAX_TOKENS", 6)
    clips, prompts = [clip(), clip(seed=1)], ["a red ball", "a cat that runs through the snow"]
    said = judge.answers(clips, 16, prompts)
    naive = [naive_answer(network, judge, *one, tokens=6) for one in zip(clips, prompts, strict=True)]
    assert said == judge.tokenizer.decode_batch(naive)
    assert said[0] != said[1]
    judge.network.generation_config.repetition_penalty = 5.0
    assert judge.answers(clips, 16, prompts) == said, "the checkpoint's own penalty must not count"


def test_the_scripted_judge_rates(tmp_path: Path) -> None:
    """A network that says a known answer gives its five numbers, in bfloat16 as it is published."""
    write_unified_reward(tmp_path, scripted=True)
    judge = UnifiedReward.load(tmp_path)
    assert judge.answers([clip()], 16, ["a ball"]) == ["".join(ANSWER)]
    assert judge.score(clip(), 16, "a ball") == dict(zip(RATINGS, (4, 2, 3, 1, 2), strict=True))


def test_only_the_form_asked_for_is_a_number() -> None:
    """Guards against a digit of another line, of a sentence or out of range that becomes a score."""
    good = "".join(ANSWER)
    assert read_ratings(good)["dynamic degree"] == 3
    assert read_ratings("Dynamic Degree:  2.5 \n", ["dynamic degree"]) == {"dynamic degree": 2.5}
    for wrong in (
        "", "3", good.replace("dynamic degree: 3", "dynamic: 3"), good + "\ndynamic degree: 3",
        *(good.replace("degree: 3", f"degree: {bad}") for bad in ("5", "0", "3 of 4", "nan", "33", "-3")),
        good.replace("degree: 3\n", "degree:\n3\n"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="no one line 'dynamic degree'") as caught:
            read_ratings(wrong, ["dynamic degree"])
        assert "\n" not in str(caught.value)


def test_the_question_is_read_and_not_run(tmp_path: Path) -> None:
    """The file ends in `raise SystemExit`; a text without the place of the prompt is no question."""
    write = (tmp_path / "question.py").write_text
    write(f"f{json.dumps(QUESTION)}\nf'{{prompt}} {{other}}'\nraise SystemExit\n")
    assert read_question(tmp_path / "question.py") == QUESTION
    for text, count in ((json.dumps(QUESTION), 0), (f"f{json.dumps(QUESTION)}\n" * 2, 2)):
        write(text)
        with pytest.raises(ValueError, match=f"holds {count} questions"):
            read_question(tmp_path / "question.py")


def test_480_by_832_is_seen_almost_whole() -> None:
    """models/training/methods.md#unifiedreward: ten frames of 476 x 840."""
    assert seen_size(480, 832, MAX_PIXELS) == (476, 840)
    assert seen_size(1080, 1920, MAX_PIXELS) == (560, 1008)


def test_what_does_not_fit_is_one_sentence(tmp_path: Path, random_judge: tuple[Any, UnifiedReward]) -> None:
    """Guards against random tensors in place of missing ones, another tokenizer, and prompts that speak for
    the clip.
    """
    with pytest.raises(ValueError, match="stands for the clip"):
        random_judge[1].answers([clip()], 16, ["a ball <|video_pad|>"])
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json.*model\.safetensors\.index\.json"):
        UnifiedReward.load(tmp_path)
    network = write_unified_reward(tmp_path)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    gone = "model.language_model.layers.1.mlp.up_proj.weight"
    network.save_pretrained(tmp_path, state_dict={n: v for n, v in state.items() if n != gone})
    with pytest.raises(ValueError, match=r"1 missing_keys \(first: .*up_proj") as caught:
        UnifiedReward.load(tmp_path)
    assert "\n" not in str(caught.value)
    network.save_pretrained(tmp_path, state_dict=state | {"model.extra.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="unexpected_keys"):
        UnifiedReward.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="cannot be read as a Qwen"):
        UnifiedReward.load(tmp_path)
