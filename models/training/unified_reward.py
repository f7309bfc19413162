"""UnifiedReward: five ratings of a clip, 1 to 4, by a Qwen2.5-VL that answers the question it was trained on.

Source: models/training/methods.md#unifiedreward. The network is transformers', whole and in bfloat16; the
question is read from the publisher's script, of which nothing is run. Decoding is greedy, whatever the
checkpoint's own defaults are, and an answer that does not hold a rating in the form asked for is a fault and
never a number.

Files of a folder: `config.json` and the safetensors of a checkpoint (CodeGoat24/UnifiedReward-qwen-32b or
-7b), `tokenizer.json` of its Qwen2.5-VL, `question.py` of github CodeGoat24/UnifiedReward.

Legend: N clips, T frames of a clip, h, w its size, L tokens.
Sources: arXiv 2503.05236; github CodeGoat24/UnifiedReward @ ed52f98 (MIT) for the question; arXiv 2502.13923
for the network.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.training.video_align import (
    CHAT,
    FRAME_FACTOR,
    VIDEO_TOKEN,
    Patches,
    patches,
    resized,
    sampled_frames,
    seen_size,
)

RATINGS = (
    "visual quality",
    "temporal consistency",
    "dynamic degree",
    "text-to-video alignment",
    "factual consistency",
)
"""What an answer rates, one a line, as the question and the answer name them."""

LOWEST, HIGHEST = 1.0, 4.0
QUESTION, FILES = "question.py", ("config.json", "tokenizer.json", "question.py")
SHARD_LIST, ONE_FILE = "model.safetensors.index.json", "model.safetensors"
MAX_PIXELS = 768 * 28 * 28
"""Of a frame; 480 x 832 becomes 476 x 840."""

MAX_TOKENS = 128
"""Of an answer, which has about 50."""

ENDS = ("<|im_end|>", "<|endoftext|>")
ANSWER_SHOWN = 200
LOADING_FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
"""What transformers says of tensors that did not go where they belong."""


def read_question(path: Path) -> str:
    """The question, with a place {prompt}, out of the publisher's script: its one text with that place that
    names all ratings. Raises FileNotFoundError, ValueError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}; fetch the files of this suite (make fetch).")
    texts = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "{prompt}" for part in node.values)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
        and [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
        == ["prompt"]
    ]
    asked = [text for text in texts if all(name in text for name in RATINGS)]
    if len(asked) != 1:
        raise ValueError(
            f"{path} holds {len(asked)} questions about {', '.join(RATINGS)} of a {{prompt}}, expected one; "
            "fetch the published file again."
        )
    return asked[0]


def read_ratings(answer: str, wanted: Collection[str] = RATINGS) -> dict[str, float]:
    """The wanted ratings of an answer, by name.

    Each must stand on a line of its own, once, as "<name>: <number>", and be from 1 to 4. Raises ValueError
    that shows the answer.
    """
    found = {}
    for name in wanted:
        lines = re.findall(rf"^\s*{re.escape(name)}\s*:(.*)$", answer, re.MULTILINE | re.IGNORECASE)
        number = lines[0].strip() if len(lines) == 1 else ""
        if not re.fullmatch(r"\d(\.\d+)?", number) or not LOWEST <= float(number) <= HIGHEST:
            raise ValueError(
                f"UnifiedReward's answer has no one line {name!r} with a number from {LOWEST:g} to "
                f"{HIGHEST:g}: {answer[:ANSWER_SHOWN]!r}; look at the clip and at the judge's files."
            )
        found[name] = float(number)
    return found


class UnifiedReward:
    """Asks UnifiedReward about clips.

    network: transformers' Qwen2_5_VLForConditionalGeneration; tokenizer: tokenizers.Tokenizer of Qwen2.5-VL;
    question: as `read_question` gives it. Raises ValueError if tokenizer and network do not fit.
    """

    def __init__(self, network: Any, tokenizer: Any, question: str) -> None:
        self.network, self.tokenizer, self.question = network, tokenizer, question
        self.device = network.device
        known = network.get_input_embeddings().num_embeddings
        ids = {token: tokenizer.token_to_id(token) for token in (VIDEO_TOKEN, *ENDS)}
        if None in ids.values() or max(ids.values()) >= known or ids[VIDEO_TOKEN] != self.video_id:
            raise ValueError(
                f"UnifiedReward's network knows {known} tokens and takes {self.video_id} for a clip, its "
                f"tokenizer has {ids}; fetch tokenizer.json of its Qwen2.5-VL again."
            )
        self.ends = [ids[token] for token in ENDS]
        tokenizer.no_truncation()
        tokenizer.enable_padding(direction="left", pad_id=self.ends[-1], pad_token=ENDS[-1])

    @property
    def video_id(self) -> int:
        """The token that stands for a part of a clip."""
        token: int = self.network.config.video_token_id
        return token

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> UnifiedReward:
        """UnifiedReward from its folder (see the module). Raises FileNotFoundError, or ValueError naming what
        does not fit.
        """
        missing = [name for name in FILES if not (folder / name).is_file()]
        missing += [] if any((folder / name).is_file() for name in (SHARD_LIST, ONE_FILE)) else [SHARD_LIST]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {', '.join(missing)} of UnifiedReward; fetch the files of this suite (make "
                "fetch)."
            )
        # transformers takes seconds to import, and nothing but this judge needs it here
        from safetensors import SafetensorError
        from tokenizers import Tokenizer
        from transformers import Qwen2_5_VLForConditionalGeneration

        try:
            loaded: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, device_map={"": device}, attn_implementation="sdpa",
                local_files_only=True, use_safetensors=True, output_loading_info=True,
            )  # fmt: skip
            network, said = loaded  # typed as the network alone, whatever was asked for
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{folder} cannot be read as a Qwen2.5-VL ({str(error).splitlines()[0]}); fetch it again."
            ) from error
        wrong = {kind: sorted(map(str, said[kind])) for kind in LOADING_FAULTS if said.get(kind)}
        if wrong:
            shown = ", ".join(f"{len(names)} {kind} (first: {names[0]})" for kind, names in wrong.items())
            raise ValueError(f"{folder} does not fit Qwen2.5-VL: {shown}; fetch the published files again.")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(network.eval().requires_grad_(False), tokenizer, read_question(folder / QUESTION))

    def answers(self, clips: Sequence[Any], fps: float, prompts: Sequence[str]) -> list[str]:
        """The answer about each clip, bytes [T, h, w, 3] on any device; prompts: what each was made from.

        Of a clip only its length, its shape and the frames [sampled_frames(T, fps)] are asked for, so that
        something else than a tensor may hold these alone. Clips are asked about at once, so that a rounding
        may depend on the neighbours. Raises ValueError for a clip of fewer than 2 frames, or a prompt that
        names a token of the question.
        """
        from transformers import GenerationConfig

        shown, seconds = [], []
        for frames in clips:
            places = sampled_frames(len(frames), fps)
            picked = frames[places].to(self.device)
            shown.append(patches(resized(picked, seen_size(frames.shape[1], frames.shape[2], MAX_PIXELS))))
            seconds.append(FRAME_FACTOR / (len(places) / len(frames) * fps))
        ids, attended = self.token_ids(prompts, shown)
        greedy = GenerationConfig(
            do_sample=False, num_beams=1, repetition_penalty=1.0, max_new_tokens=MAX_TOKENS,
            eos_token_id=self.ends, pad_token_id=self.ends[-1],
        )  # fmt: skip
        with torch.inference_mode():
            said = self.network.generate(
                input_ids=ids,
                attention_mask=attended,
                mm_token_type_ids=2 * (ids == self.video_id).int(),
                pixel_values_videos=torch.cat([one.values for one in shown]).to(self.network.dtype),
                video_grid_thw=torch.tensor([one.grid for one in shown], device=self.device),
                second_per_grid_ts=torch.tensor(seconds, device=self.device),
                generation_config=greedy,
            )
        answers: list[str] = self.tokenizer.decode_batch(said[:, ids.shape[1] :].tolist())
        return answers

    def token_ids(self, prompts: Sequence[str], shown: Sequence[Patches]) -> tuple[Tensor, Tensor]:
        """[N, L] tokens of the question about each clip, padded on the left, and which of them are not added.

        Raises ValueError if a prompt names a token of the question.
        """
        texts = [
            CHAT.format(
                video=VIDEO_TOKEN * cut.num_tokens, question=self.question.replace("{prompt}", prompt)
            )
            for prompt, cut in zip(prompts, shown, strict=True)
        ]
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        for prompt, cut, one in zip(prompts, shown, encoded, strict=True):
            if one.ids.count(self.video_id) != cut.num_tokens:
                raise ValueError(
                    f"The prompt {prompt[:60]!r} has {VIDEO_TOKEN} in it, which stands for the clip; take it "
                    "out of the list."
                )
        ids = torch.tensor([one.ids for one in encoded], device=self.device)
        return ids, torch.tensor([one.attention_mask for one in encoded], device=self.device)

    def score(self, frames: Tensor, fps: float, prompt: str) -> dict[str, float]:
        """All ratings of one clip by name. Raises ValueError if the answer does not hold them."""
        return read_ratings(self.answers([frames], fps, [prompt])[0])
