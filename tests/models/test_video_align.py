"""VideoAlign's text alignment on a tiny Qwen2-VL: which frames and pixels it sees, which token it reads, and
what files it refuses.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.training.video_align import (
    MEAN,
    REWARD_TOKENS,
    STD,
    VideoAlign,
    patches,
    read_template,
    resized,
    sampled_frames,
    seen_size,
    split_state,
)
from tests.models.videoalign_toys import CONFIG, QUESTION, RANK, state, tokenizer, write_videoalign

SIDE = 280  # at least 100,352 pixels are seen, so smaller pictures only cost time


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videoalign")
    write_videoalign(folder)
    return folder


def clip(frames: int = 9, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (frames, SIDE, 364, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def test_ten_frames_at_two_a_second() -> None:
    """models/training/methods.md#rewards: 81 frames at 16 fps are 10, from first to last; an even number, at
    least 4, never more than there are.
    """
    assert sampled_frames(81, 16) == [0, 9, 18, 27, 36, 44, 53, 62, 71, 80]
    assert len(sampled_frames(81, 8)) == 20
    assert sampled_frames(9, 16) == [0, 3, 5, 8]
    assert sampled_frames(3, 16) == [0, 2]
    with pytest.raises(ValueError, match="found a clip of 1"):
        sampled_frames(1, 16)


def test_the_budget_of_pixels() -> None:
    """models/training/methods.md#rewards: 480 x 832 is seen as 336 x 588; a picture of few pixels is
    enlarged, sides are multiples of 28.
    """
    assert seen_size(480, 832) == (336, 588)
    assert seen_size(720, 1280) == (336, 588)
    for size in ((64, 64), (480, 832), (1080, 1920)):
        high, wide = seen_size(*size)
        assert high % 28 == wide % 28 == 0
        assert 128 * 28 * 28 <= high * wide <= 200_704


def test_resizing_keeps_bytes() -> None:
    """A constant stays itself, and overshoot of the cubic stays inside 0..255 in whole numbers: the frames
    are bytes again.
    """
    constant = torch.full((1, 40, 60, 3), 77, dtype=torch.uint8)
    assert torch.equal(resized(constant, (28, 56)), torch.full((1, 3, 28, 56), 77.0))
    edge = torch.zeros(1, 40, 60, 3, dtype=torch.uint8)
    edge[:, :, 30:] = 255
    found = resized(edge, (28, 56))
    assert float(found.min()) == 0 and float(found.max()) == 255
    assert torch.equal(found, found.round())


def test_patches_are_those_of_the_image_processor() -> None:
    """Guards against another order of patches or channels: transformers' own processor cuts a picture shown
    twice.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    picture = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    theirs = Qwen2VLImageProcessorPil()(images=[picture], do_resize=False, return_tensors="pt")
    ours = patches(torch.from_numpy(picture).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1))
    torch.testing.assert_close(ours.values, theirs["pixel_values"], rtol=1e-5, atol=1e-5)
    assert [list(ours.grid)] == theirs["image_grid_thw"].tolist()
    assert ours.num_tokens == 2 * 3


def naive_score(held: dict[str, Tensor], frames: Tensor, prompt: str) -> float:
    """The same by the whole Qwen2-VL with folded adapters, its embedding of clips, and places counted on."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    words = tokenizer()
    words.add_special_tokens(list(REWARD_TOKENS))
    config = Qwen2VLConfig(**json.loads(json.dumps(CONFIG)))
    config.text_config.vocab_size = words.get_vocab_size()
    config.video_token_id = words.token_to_id("<|video_pad|>")
    model = Qwen2VLForConditionalGeneration(config).eval()
    merged = {}
    for name, value in held.items():
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        if ".lora_" in plain or plain.startswith("rm_head"):
            continue
        stem = name.removesuffix(".base_layer.weight")
        if stem != name:
            down, up = held[f"{stem}.lora_A.default.weight"], held[f"{stem}.lora_B.default.weight"]
            value = value + 128 / RANK * up @ down
        new = plain if plain.startswith("lm_head") else f"model.{plain}"
        merged[new.replace("model.model.", "model.language_model.")] = value
    merged["lm_head.weight"] = merged["model.language_model.embed_tokens.weight"]
    model.load_state_dict(merged)
    shown = frames[sampled_frames(len(frames), 16)]
    cut = patches(resized(shown, seen_size(*frames.shape[1:3])))
    question = QUESTION.replace("{text_prompt}", prompt)
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        + "<|video_pad|>" * cut.num_tokens
        + f"<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = torch.tensor([words.encode(text).ids])
    with torch.no_grad():
        hidden = model.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values_videos=cut.values,
            video_grid_thw=torch.tensor([cut.grid]),
            position_ids=torch.arange(ids.shape[1]).view(1, 1, -1).expand(3, 1, -1),
        ).last_hidden_state[0]
    third = int((ids[0] == words.token_to_id("<|TA_reward|>")).nonzero()[0])
    return (float(held["base_model.model.rm_head.weight"][2] @ hidden[third]) - MEAN) / STD


def test_the_score_is_the_third_logit_at_the_third_token(folder: Path) -> None:
    """Against transformers' whole model with folded adapters, in float32: adapters and their scale, places,
    token, row, constants.
    """
    scorer, frames = VideoAlign.load(folder, dtype=torch.float32), clip()
    found = scorer.score(frames, 16, "a red ball")
    assert found == pytest.approx(naive_score(state(), frames, "a red ball"), abs=2e-4)
    assert abs(found - scorer.score(frames, 16, "a cat")) > 1e-3, "the prompt must matter"
    assert abs(found - scorer.score(clip(seed=1), 16, "a red ball")) > 1e-4, "the clip must matter"


def test_a_head_of_one_row_and_bfloat16(tmp_path: Path) -> None:
    """output_dim 1 has one row for all three tokens; in bfloat16 a score is near that in float32."""
    write_videoalign(tmp_path, rows=1)
    one, exact = (
        VideoAlign.load(tmp_path, dtype=dtype).score(clip(), 16, "a red ball")
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert one == pytest.approx(exact, abs=1.0) and one != exact


def test_prompts_cannot_speak_for_the_question(folder: Path) -> None:
    """A prompt that names the reward token would be read in place of the question's."""
    scorer = VideoAlign.load(folder, dtype=torch.float32)
    with pytest.raises(ValueError, match="tokens of the question"):
        scorer.score(clip(), 16, "a ball <|TA_reward|>")
    assert scorer.score(clip(), 16, "a {ball}") != 0, "braces in a prompt are text"


def test_the_question_is_read_and_not_run(folder: Path, tmp_path: Path) -> None:
    """The file ends in `raise SystemExit`: running it would end the tests."""
    assert read_template(folder / "prompt_template.py") == QUESTION
    (tmp_path / "other.py").write_text("DETAILED_PROMPT_WITH_SPECIAL_TOKEN = 'Rate {text_prompt}'")
    with pytest.raises(ValueError, match="holds no DETAILED_PROMPT_WITH_SPECIAL_TOKEN"):
        read_template(tmp_path / "other.py")


def test_files_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    """Guards against a partial load, a wrong tokenizer, adapters without rank, unknown tensors: a score of
    such a model is noise.
    """
    held = write_videoalign(tmp_path)
    down = next(name for name in held if ".lora_A." in name)
    for wrong, words in (
        ({name: value for name, value in held.items() if name != down}, "unexpected|missing"),
        (held | {"base_model.model.extra.weight": torch.zeros(1)}, "no tensor of VideoAlign"),
        ({name: value for name, value in held.items() if "lora" not in name}, r"ranks \[\]"),
        ({name: value for name, value in held.items() if "embed_tokens" not in name}, "no table of tokens"),
    ):
        torch.save(wrong, tmp_path / "model.pth")
        with pytest.raises(ValueError, match=words) as caught:
            VideoAlign.load(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "model.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model\.pth"):
        VideoAlign.load(tmp_path)


def test_new_names_are_read_too() -> None:
    """transformers 5 says model.visual and model.language_model: both name the same parts."""
    held = state()
    new = {
        name.replace(".model.visual.", ".visual.")
        .replace("model.visual.", "model.model.visual.")
        .replace("model.model.layers", "model.model.language_model.layers"): value
        for name, value in held.items()
    }
    old_parts, new_parts = (split_state(one, where="x") for one in (held, new))
    assert (
        old_parts.vision.keys() == new_parts.vision.keys() and old_parts.text.keys() == new_parts.text.keys()
    )
    assert old_parts.adapted == new_parts.adapted and len(old_parts.adapted) == 7 * 2
