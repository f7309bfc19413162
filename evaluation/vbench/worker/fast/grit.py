"""GRiT without what VBench throws away: frames together, boxes once, words with their keys and values kept.

The package draws every frame, cuts a mask out for every box, and goes through the boxes and their texts
twice; its four dimensions use the boxes, the texts and the names of a frame and nothing else. Here every
module with weights is the package's own; what is ours is which of them are called, and how often:

    frames (several at once) -> backbone -> proposals -> three box stages -> boxes of these frames
    -> texts (grit_text.py)

A frame's boxes and texts are what the package gives, up to the order of float sums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from evaluation.vbench.worker.fast.grit_text import Writer
from evaluation.vbench.worker.watch import LoopWatch

FRAMES_TOGETHER, BOXES_TOGETHER = 4, 32
"""What goes through the backbone and through the text decoder at once, if the watch sets no smaller limit."""

DescribedBox = tuple[str, list[int], list[str]]
"""What the package gives for a box: text, corners x0, y0, x1, y1 in whole pixels, names of its frame."""


def describe_whole_clips(module: ModuleType, watch: LoopWatch) -> None:
    """Describe all frames of a clip at once; what a GRiT dimension makes of that stays the package's code."""
    official: Any = module.DenseCaptioning
    read_frames: Any = module.get_dect_from_grit

    class WholeClips(official):  # type: ignore[misc]
        """The package's class; the answers for a clip's frames are made before the first is asked for."""

        def initialize_model(self, model_weight: Any) -> None:
            super().initialize_model(model_weight)
            fuse_vit(self.demo.predictor.model)

        def initialize_model_det(self, model_weight: Any) -> None:
            super().initialize_model_det(model_weight)
            fuse_vit(self.demo.predictor.model)

        def look_at(self, frames: Any) -> None:
            self.waiting = deque(describe(self.demo.predictor.model, frames, watch))

        def run_caption_tensor(self, _: Any) -> tuple[list[DescribedBox], None]:
            return self.waiting.popleft(), None

    def read_clip(model: Any, frames: Any) -> Any:
        model.look_at(frames)
        return read_frames(model, frames)

    module.load_video = watch.ahead(module.load_video)  # type: ignore[attr-defined]
    module.DenseCaptioning = WholeClips  # type: ignore[attr-defined]
    module.get_dect_from_grit = read_clip  # type: ignore[attr-defined]


def fuse_vit(network: Any) -> None:
    """Give the network's ViT fused attention, and the relative positions of an image size once."""
    for block in network.backbone.bottom_up.blocks:
        block.attn.forward = fused(block.attn)


def fused(attention: Any) -> Callable[[Tensor], Tensor]:
    """The package's Attention.forward with relative positions, of [images or windows, H, W, width]."""
    from vbench.third_party.grit_src.grit.modeling.backbone.utils import get_rel_pos

    known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def attend(x: Tensor) -> Tensor:
        num, height, width, _ = x.shape
        if (height, width) not in known:
            rows, columns = (
                get_rel_pos(side, side, table)
                for side, table in ((height, attention.rel_pos_h), (width, attention.rel_pos_w))
            )
            known[height, width] = rows, columns
        rows, columns = known[height, width]
        qkv = attention.qkv(x).view(num, height * width, 3, attention.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        places = q.reshape(num, attention.num_heads, height, width, -1)
        along = torch.einsum("bnhwc,hkc->bnhwk", places, rows)
        across = torch.einsum("bnhwc,wkc->bnhwk", places, columns)
        weights = (along[..., :, None] + across[..., None, :]).flatten(4).flatten(2, 3)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=weights, scale=attention.scale)
        result: Tensor = attention.proj(seen.transpose(1, 2).reshape(num, height, width, -1))
        return result

    return attend


@torch.inference_mode()
def describe(network: Any, frames: Any, watch: LoopWatch) -> list[list[DescribedBox]]:
    """What the package says of each frame. frames: uint8 or float [T, H, W, 3], 0..255.

    With the captioning head, of a frame's names only the first box's is made: it is the only one that `color`
    looks at.
    """
    heads = network.roi_heads
    assert heads.beam_size == 1, f"VBench's GRiT has a beam of 1, not {heads.beam_size}"
    writer = Writer(heads.text_decoder.textual, heads.tokenizer)
    images = torch.as_tensor(frames).permute(0, 3, 1, 2).float()
    described = []
    for part in torch.split(images, watch.at_once(FRAMES_TOGETHER)):
        found, pooled = find_boxes(network, part)
        numbers = [len(boxes) for boxes in found]
        texts, names = write_texts(heads, writer, pooled, numbers, watch.at_once(BOXES_TOGETHER))
        for own_boxes, own_texts, own_names in zip(found, texts, names, strict=True):
            corners = [[int(side) for side in box] for box in own_boxes.tensor.tolist()]
            described.append([(text, box, own_names) for text, box in zip(own_texts, corners, strict=True)])
    return described


def find_boxes(network: Any, frames: Tensor) -> tuple[list[Any], Tensor]:
    """The boxes of each frame, best first, and what is pooled in them for the text decoder: [boxes of all,
    14 x 14, channels].

    frames: [T, 3, H, W]. As GRiT.inference and GRiTROIHeadsAndTextDecoder._forward_box, which take one frame.
    """
    heads = network.roi_heads
    images = network.preprocess_image([{"image": frame} for frame in frames])
    features = network.backbone(images.tensor)
    proposals, _ = network.proposal_generator(images, features, None)
    levels = [features[name] for name in heads.box_in_features]
    objectness = [p.scores if p.has("scores") else p.objectness_logits for p in proposals]
    boxes, stages = None, []
    for stage in range(heads.num_cascade_stages):
        if boxes is not None:
            logits = [p.objectness_logits for p in proposals]
            proposals = heads._create_proposals_from_boxes(boxes, images.image_sizes, logits=logits)
        predictor = heads.box_predictor[stage]
        predictions = heads._run_stage(levels, proposals, stage)
        boxes = predictor.predict_boxes(predictions, proposals)
        stages.append(predictor.predict_probs(predictions, proposals))
    scores = [sum(of_stages) * (1.0 / heads.num_cascade_stages) for of_stages in zip(*stages, strict=True)]
    if heads.mult_proposal_score:
        scores = [(own * p[:, None]) ** 0.5 for own, p in zip(scores, objectness, strict=True)]
    found, _ = heads.fast_rcnn_inference_GRiT(
        boxes, scores, scores, images.image_sizes, predictor.test_score_thresh, predictor.test_nms_thresh,
        predictor.test_topk_per_image, heads.soft_nms_enabled,
    )  # fmt: skip
    whole = network._postprocess(found, [{}] * len(found), images.image_sizes)
    kept = [one["instances"].pred_boxes for one in whole]
    return kept, heads.object_feat_pooler(levels, kept).flatten(2).transpose(1, 2)


def write_texts(
    heads: Any, writer: Writer, pooled: Tensor, numbers: list[int], at_once: int
) -> tuple[list[list[str]], list[list[str]]]:
    """Texts of the boxes of each frame, and the names of each frame. numbers: boxes of each frame."""
    task, begin = heads.test_task, heads.task_begin_tokens
    starts = [sum(numbers[:frame]) for frame in range(len(numbers))]
    first_boxes = {start for start, number in zip(starts, numbers, strict=True) if number}
    texts: list[str] = []
    first_names: list[str] = []
    for part in torch.split(pooled, at_once):
        looked = writer.look(part)
        first_here = [box - len(texts) for box in sorted(first_boxes) if 0 <= box - len(texts) < len(part)]
        texts += writer.write(looked, begin[task])
        if task != "ObjectDet":
            first_names += writer.write([one.of(first_here) for one in looked], begin["ObjectDet"])
    of_frames = [texts[start : start + number] for start, number in zip(starts, numbers, strict=True)]
    if task == "ObjectDet":
        return of_frames, of_frames
    named = iter(first_names)
    return of_frames, [[next(named)] if number else [] for number in numbers]
