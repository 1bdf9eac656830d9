# SPDX-License-Identifier: Apache-2.0
"""What training minimises, and the figures that it prints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from demo_model.batches import Batch
from demo_model.labels import IGNORED
from demo_model.model import Decoded, DemoWhisper
from demo_model.vocabulary import END, FIRST_TIMESTAMP, TOKENS

_FRAME_WEIGHT = 0.5
_GUIDE_WEIGHT = 0.2
#: "Another phrase or the end" after a phrase's end is a rare choice, and a wrong one loses the rest of the window.
_BOUNDARY_WEIGHT = 2.0
#: Of the frames between words, which are most.
_PAUSE_WEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class Loss:
    """What one batch costs.

    Attributes:
        total: Scalar with gradient.
        word_accuracy: Share of the words predicted right, given all tokens before.
        timestamp_accuracy: Share of the timestamps within 40 ms; NaN without any.
        frame_accuracy: Share of the 20 ms frames of words that the encoder knows.
    """

    total: Tensor
    word_accuracy: float
    timestamp_accuracy: float
    frame_accuracy: float


def measure(model: DemoWhisper, batch: Batch, sigma: float) -> Loss:
    """Run the model over a batch.

    Args:
        model: In training mode.
        batch: On the model's device.
        sigma: Width of the soft timestamp targets in steps of 20 ms; 0 for hard ones.
    """
    memory = model.encode(batch.mel, batch.offsets)
    decoded = model.decode(batch.inputs, memory)
    scores = decoded.logits.log_softmax(-1)
    learnt = batch.targets != IGNORED
    timestamps = batch.targets >= FIRST_TIMESTAMP
    words = learnt & ~timestamps
    costs = -scores.gather(-1, batch.targets.clamp_min(0)[..., None])[..., 0]
    text = costs[words].sum() + _timestamp_cost(scores[timestamps], batch.targets[timestamps], sigma)
    text = text + _BOUNDARY_WEIGHT * _boundary_cost(scores, batch, learnt & (timestamps | (batch.targets == END)))
    frames = model.frames(memory)
    total = (
        text / learnt.sum()
        + _FRAME_WEIGHT * _frame_cost(frames, batch.frames)
        + _GUIDE_WEIGHT * _guide_cost(decoded, batch.spans)
    )
    with torch.no_grad():
        guesses = scores.argmax(-1)
        spoken = batch.frames > 0
        return Loss(
            total,
            _share((guesses == batch.targets)[words]),
            _share(((guesses - batch.targets).abs() <= 2)[timestamps]),
            _share((frames.argmax(-1) == batch.frames)[spoken]),
        )


def _timestamp_cost(scores: Tensor, targets: Tensor, sigma: float) -> Tensor:
    """Cross-entropy against a Gaussian around the true time; shapes (n, vocabulary) and (n,)."""
    reach = round(3 * sigma)
    steps = torch.arange(-reach, reach + 1, device=scores.device)
    weights = torch.exp(-0.5 * (steps / max(sigma, 1e-3)) ** 2)
    near = (targets[:, None] + steps).clamp(FIRST_TIMESTAMP, len(TOKENS) - 1)
    return -(scores.gather(-1, near) * (weights / weights.sum())).sum()


def _boundary_cost(scores: Tensor, batch: Batch, choices: Tensor) -> Tensor:
    """Cross-entropy of "any timestamp" against <|endoftext|> after each timestamp that was fed."""
    after_end = choices & (batch.inputs >= FIRST_TIMESTAMP)
    scores, targets = scores[after_end], batch.targets[after_end]
    goes_on = scores[:, FIRST_TIMESTAMP:].logsumexp(-1)
    return -torch.where(targets == END, scores[:, END], goes_on).sum()


def _frame_cost(logits: Tensor, frames: Tensor) -> Tensor:
    weights = torch.where(frames > 0, 1.0, _PAUSE_WEIGHT)
    costs = functional.cross_entropy(logits.transpose(1, 2), frames, reduction="none")
    return (costs * weights).sum() / weights.sum()


def _guide_cost(decoded: Decoded, spans: Tensor) -> Tensor:
    """The last layer should look at the word it predicts, the first one at the word that was fed."""
    fed = functional.pad(spans[:, :-1], (0, 0, 1, 0))
    return _distraction(decoded.last_attention, spans) + _distraction(decoded.first_attention, fed)


def _distraction(attention: Tensor, spans: Tensor) -> Tensor:
    """Cross-entropy of the attention against an even one over each span."""
    known = spans[..., 1] > spans[..., 0]
    sums = functional.pad(attention.cumsum(-1), (1, 0))
    ends = spans[:, None].expand(-1, attention.shape[1], -1, -1)
    inside = sums.gather(-1, ends)
    means = (inside[..., 1] - inside[..., 0]) / (ends[..., 1] - ends[..., 0]).clamp_min(1)
    return -means[known[:, None].expand_as(means)].mean()


def _share(right: Tensor) -> float:
    return float(right.float().mean())
