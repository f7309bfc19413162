"""VideoAlign's text alignment: how well a clip shows its prompt, by Qwen2-VL-2B with LoRA and a linear head.

Source: models/training/methods.md#rewards. The clip's frames and a fixed question are one text; the question
names three reward tokens (visual quality, motion quality, text alignment), and the head reads the network's
output at the third. The network is transformers', the adapters peft's.

Files of a folder: `config.json` and `tokenizer.json` of Qwen2-VL-2B-Instruct, `model.pth` of
KwaiVGI/VideoReward (checkpoint-11352: the whole model, adapters apart), `prompt_template.py` of
KwaiVGI/VideoAlign, of which one text is read and nothing is run.

Legend: T frames of a clip, S sampled frames, h, w its size, H, W the size the network sees, L tokens, D token
size.
Sources: arXiv 2501.13918; github KwaiVGI/VideoAlign @ 219ab9d (MIT) for what the published weights were
trained with.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from evaluation.files import load_json
from models.checkpoints.containers import load_strict, read_container

FILES = ("config.json", "tokenizer.json", "model.pth", "prompt_template.py")
TEMPLATE = "DETAILED_PROMPT_WITH_SPECIAL_TOKEN"
"""Name of the question in prompt_template.py."""

REWARD_TOKENS = ("<|VQ_reward|>", "<|MQ_reward|>", "<|TA_reward|>")
MEAN, STD = 2.8105, 2.5121
"""Of text alignment over VideoAlign's own data: a score is (logit - MEAN) / STD."""

LORA_ALPHA = 128
SAMPLE_FPS, FRAME_FACTOR, MIN_FRAMES = 2.0, 2, 4
PATCH, MERGE = 14, 2
MIN_PIXELS, MAX_PIXELS = 128 * 28 * 28, 200_704
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
CHAT = (
    "<|im_start|>system\nYou are a helpful "
    "assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>{video}<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
)
"""Qwen2-VL's own chat template for one video, then a question."""

VIDEO_TOKEN = "<|video_pad|>"  # noqa: S105 (a token of a text)
PEFT = "base_model.model."


class Patches(NamedTuple):
    """values: [t * H/14 * W/14, 3 * 2 * 14 * 14], neighbours that are merged lying together; grid: (t, H/14,
    W/14), t pairs of frames.
    """

    values: Tensor
    grid: tuple[int, int, int]

    @property
    def num_tokens(self) -> int:
        """Tokens of the text that stand for the clip."""
        t, high, wide = self.grid
        return t * high * wide // MERGE**2


def sampled_frames(frames: int, fps: float) -> list[int]:
    """Which of a clip's frames are shown: about 2 a second, an even number, from first to last (81 at 16 fps:
    10).

    Raises ValueError if the clip has fewer than 2 frames.
    """
    if frames < FRAME_FACTOR:
        raise ValueError(
            f"Text alignment looks at 2 frames at least, found a clip of {frames}; use a longer clip."
        )
    wanted = min(max(frames / fps * SAMPLE_FPS, MIN_FRAMES), frames // FRAME_FACTOR * FRAME_FACTOR)
    count = round(wanted / FRAME_FACTOR) * FRAME_FACTOR
    places: list[int] = torch.linspace(0, frames - 1, count).round().long().tolist()
    return places


def seen_size(height: int, width: int, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Size of the frames that the network sees: multiples of 28, at most `max_pixels` (480 x 832 becomes 336
    x 588).
    """
    # transformers takes seconds to import, and nothing but this reward needs it here
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    found: tuple[int, int] = smart_resize(
        height, width, factor=PATCH * MERGE, min_pixels=MIN_PIXELS, max_pixels=max_pixels
    )
    return found


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames [S, h, w, 3] of bytes as [S, 3, H, W]: bicubic, antialiased, whole 0..255, float32."""
    whole = rearrange(frames, "s h w c -> s c h w").float()
    seen = F.interpolate(whole, size=size, mode="bicubic", antialias=True, align_corners=False)
    return seen.clamp(0, 255).round()


def patches(frames: Tensor) -> Patches:
    """Normalised patches of frames [S, 3, H, W] in 0..255, S even, cut as Qwen2-VL's image processor does."""
    mean, std = (
        torch.tensor(numbers, device=frames.device)[:, None, None] for numbers in (PIXEL_MEAN, PIXEL_STD)
    )
    values = rearrange(
        (frames / 255 - mean) / std, "(t p) c (h a y) (w b x) -> (t h w a b) (c p y x)",
        p=FRAME_FACTOR, a=MERGE, b=MERGE, y=PATCH, x=PATCH,
    )  # fmt: skip
    count, _, high, wide = frames.shape
    return Patches(values, (count // FRAME_FACTOR, high // PATCH, wide // PATCH))


def read_template(path: Path) -> str:
    """VideoAlign's question, with {text_prompt}. Raises FileNotFoundError, ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}; fetch the files of this suite (make fetch).")
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(one) for one in statement.targets] == [
            TEMPLATE
        ]:
            text = ast.literal_eval(statement.value)
            if "{text_prompt}" in text and all(text.count(token) == 1 for token in REWARD_TOKENS):
                return str(text)
    raise ValueError(
        f"{path} holds no {TEMPLATE} with {{text_prompt}} and the tokens {', '.join(REWARD_TOKENS)}; fetch "
        "the published file again."
    )


class VideoAlign:
    """Scores clips by VideoAlign. vision, text, head: the parts of the network; text carries the adapters.

    template: the question; tokenizer: of Qwen2-VL with the reward tokens added (tokenizers.Tokenizer).
    Raises ValueError if tokenizer and network do not have the same tokens.
    """

    def __init__(self, vision: Any, text: Any, head: nn.Linear, tokenizer: Any, template: str) -> None:
        self.vision, self.text, self.head, self.tokenizer, self.template = (
            vision,
            text,
            head,
            tokenizer,
            template,
        )
        self.embed: nn.Embedding = text.get_input_embeddings()
        self.device, self.dtype = head.weight.device, head.weight.dtype
        held = tokenizer.get_vocab_size(with_added_tokens=True)
        if held != self.embed.num_embeddings:
            raise ValueError(
                f"VideoAlign's network knows {self.embed.num_embeddings} tokens, its tokenizer with "
                f"{len(REWARD_TOKENS)} reward tokens {held}; fetch tokenizer.json of Qwen2-VL-2B-Instruct "
                "again."
            )
        self.video_id, self.reward_id = (
            tokenizer.token_to_id(VIDEO_TOKEN),
            tokenizer.token_to_id(REWARD_TOKENS[-1]),
        )

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> VideoAlign:
        """VideoAlign from its folder (see the module). Raises FileNotFoundError, ValueError."""
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {', '.join(missing)} of VideoAlign; fetch the files of this suite (make "
                "fetch)."
            )
        # transformers and peft take seconds to import, and nothing but this reward needs them here
        from peft import LoraConfig, get_peft_model
        from tokenizers import Tokenizer
        from transformers import Qwen2VLConfig
        from transformers.models.qwen2_vl.modeling_qwen2_vl import (
            Qwen2VisionTransformerPretrainedModel,
            Qwen2VLRotaryEmbedding,
            Qwen2VLTextModel,
            Qwen2VLVisionRotaryEmbedding,
        )

        path = folder / "model.pth"
        parts = split_state(read_container(path), where=str(path))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_special_tokens(list(REWARD_TOKENS))
        config: Any = Qwen2VLConfig(
            **load_json((folder / "config.json").read_bytes(), str(folder / "config.json"))
        )
        embedded = parts.text.get(f"{PEFT}embed_tokens.weight")
        if embedded is None:
            raise ValueError(
                f"{path} has no table of tokens (embed_tokens), so it is not the whole model; fetch "
                "checkpoint-11352/model.pth again."
            )
        config.text_config.vocab_size = len(embedded)
        config.text_config._attn_implementation = config.vision_config._attn_implementation = "sdpa"
        with torch.device("meta"):
            vision: Any = Qwen2VisionTransformerPretrainedModel(config.vision_config)
            lora = LoraConfig(
                r=parts.rank, lora_alpha=LORA_ALPHA, target_modules=list(parts.adapted), bias="none"
            )
            text: Any = get_peft_model(Qwen2VLTextModel(config.text_config), lora)
            head = nn.Linear(config.text_config.hidden_size, len(parts.head["weight"]), bias=False)
        for module, state in ((vision, parts.vision), (text, parts.text), (head, parts.head)):
            load_strict(module, state, where=str(path), assign=True)
        # tables that no file holds
        vision.rotary_pos_emb = Qwen2VLVisionRotaryEmbedding(config.vision_config)
        text.base_model.model.rotary_emb = Qwen2VLRotaryEmbedding(config.text_config)
        for module in (vision, text, head):
            # rotary frequencies are rounded too, as in training: VideoAlign casts the whole model
            module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        return cls(vision, text, head, tokenizer, read_template(folder / "prompt_template.py"))

    @torch.no_grad()
    def score(self, frames: Tensor, fps: float, prompt: str) -> float:
        """Text alignment of one clip, bytes [T, h, w, 3] on any device: about standard normal over generated
        clips, higher is better.

        Raises ValueError for a clip of fewer than 2 frames.
        """
        shown = frames[sampled_frames(len(frames), fps)].to(self.device)
        cut = patches(resized(shown, seen_size(*frames.shape[1:3])))
        ids = self.token_ids(prompt, cut.num_tokens)
        seen = self.vision(
            cut.values.to(self.dtype), grid_thw=torch.tensor([cut.grid], device=self.device)
        ).pooler_output
        embedded = self.embed(ids)
        embedded[ids == self.video_id] = seen.to(embedded.dtype)
        # places are counted on through the frames, as VideoAlign does, and not by Qwen2-VL's three axes
        hidden = self.text(inputs_embeds=embedded[None], use_cache=False).last_hidden_state[0]
        logits = self.head(hidden[ids == self.reward_id][0])
        return (float(logits[-1]) - MEAN) / STD

    def token_ids(self, prompt: str, num_video_tokens: int) -> Tensor:
        """[L] tokens of the question about a clip of so many. Raises ValueError if the prompt has ours."""
        question = self.template.format(text_prompt=prompt)
        text = CHAT.format(video=VIDEO_TOKEN * num_video_tokens, question=question)
        ids = torch.tensor(self.tokenizer.encode(text, add_special_tokens=False).ids, device=self.device)
        found = int((ids == self.video_id).sum()), int((ids == self.reward_id).sum())
        if found != (num_video_tokens, 1):
            raise ValueError(
                f"The prompt {prompt[:60]!r} has tokens of the question in it ({found} instead of "
                f"{(num_video_tokens, 1)} of {VIDEO_TOKEN} and {REWARD_TOKENS[-1]}); take it out of the "
                "list."
            )
        return ids


class ModelParts(NamedTuple):
    """VideoAlign's tensors by part; text under peft's names. adapted: layers with adapters."""

    vision: dict[str, Tensor]
    text: dict[str, Tensor]
    head: dict[str, Tensor]
    adapted: tuple[str, ...]
    rank: int


def split_state(state: Mapping[str, object], *, where: str) -> ModelParts:
    """The parts of VideoAlign's one state dict, which has the names of transformers 4 or 5. Raises ValueError
    for any other name.

    The language model's output layer is left out: nothing reads it.
    """
    parts: dict[str, dict[str, Tensor]] = {"vision": {}, "text": {}, "head": {}}
    for name, value in state.items():
        plain = name.removeprefix(PEFT)
        if plain.startswith("lm_head."):
            continue
        found = re.fullmatch(
            r"(?:model\.)?visual\.(.+)|rm_head\.(.+)|model\.(?:language_model\.)?(.+)", plain
        )
        if found is None or not isinstance(value, Tensor):
            raise ValueError(
                f"{where} holds {name!r}, which is no tensor of VideoAlign's model; fetch "
                "checkpoint-11352/model.pth again."
            )
        vision, head, text = found.groups()
        part, own = ("vision", vision) if vision else ("head", head) if head else ("text", f"{PEFT}{text}")
        parts[part][own] = value
    downs = {name: value for name, value in parts["text"].items() if name.endswith(".lora_A.default.weight")}
    ranks = {len(value) for value in downs.values()}
    if len(ranks) != 1 or set(parts["head"]) != {"weight"} or len(parts["head"]["weight"]) not in (1, 3):
        raise ValueError(
            f"{where} has adapters of the ranks {sorted(ranks)} and the head {sorted(parts['head'])}, "
            "expected one rank and a weight with 1 or 3 rows; fetch checkpoint-11352/model.pth again."
        )
    adapted = tuple(name.removeprefix(PEFT).removesuffix(".lora_A.default.weight") for name in sorted(downs))
    return ModelParts(parts["vision"], parts["text"], parts["head"], adapted, ranks.pop())
