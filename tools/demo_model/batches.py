# SPDX-License-Identifier: Apache-2.0
"""Batches for the trainer: features, tokens and targets of fresh windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from demo_model import effects
from demo_model.corpus import Corpus
from demo_model.features import log_mel
from demo_model.labels import IGNORED, POSITION, draw_labels, frame_words
from demo_model.model import AUDIO_POSITIONS
from demo_model.vocabulary import END
from demo_model.windows import FULL_SECONDS, draw_window

#: How often the rest of the file is louder than the window, by up to one power of ten.
_LOUDER_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Batch:
    """Some windows as tensors.

    Attributes:
        mel: float32, shape (batch, bands, frames of 10 ms).
        offsets: int64, shape (batch,): encoder position that each window starts at.
        inputs: int64, shape (batch, tokens).
        targets: int64, shape (batch, tokens); `IGNORED` where nothing is learnt.
        spans: int64, shape (batch, tokens, 2): encoder positions that each target is heard at; empty where unknown.
        frames: int64, shape (batch, positions): the word that sounds, 0 for none.
    """

    mel: Tensor
    offsets: Tensor
    inputs: Tensor
    targets: Tensor
    spans: Tensor
    frames: Tensor

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


def draw_batch(
    corpus: Corpus, rng: np.random.Generator, size: int, seconds: float, *, long_prompts: float = 0.0
) -> Batch:
    """Draw fresh windows.

    Args:
        corpus: What is said in them.
        rng: Chooses everything.
        size: How many.
        seconds: Length of each.
        long_prompts: Share of the batches that mostly have long previous text (all of a batch, because the longest
            row sets the cost).
    """
    windows = [draw_window(corpus, rng, seconds) for _ in range(size)]
    content = [window.content for window in windows]
    waves = effects.colour(torch.from_numpy(np.stack([window.wave for window in windows])), rng)
    effects.add_noise(waves, content, rng)
    for wave, length in zip(waves, content, strict=True):
        wave[length:] = 0
    louder = np.where(rng.random(size) < _LOUDER_SHARE, rng.uniform(0, 1, size), 0).astype(np.float32)
    mel = log_mel(waves, torch.tensor(content), torch.from_numpy(louder))
    effects.hole(mel, [length // 160 for length in content], rng)

    positions = waves.shape[1] // POSITION
    spare = 0 if seconds >= FULL_SECONDS else AUDIO_POSITIONS - positions
    offsets = rng.integers(0, spare + 1, size)
    long = rng.random() < long_prompts
    labels = [
        draw_labels(window, int(offset), corpus, rng, long_prompts=long)
        for window, offset in zip(windows, offsets, strict=True)
    ]
    width = max(len(label.inputs) for label in labels)
    inputs = np.full((size, width), END)
    targets = np.full((size, width), IGNORED)
    spans = np.zeros((size, width, 2), np.int64)
    for row, label in enumerate(labels):
        length = len(label.inputs)
        inputs[row, :length], targets[row, :length] = label.inputs, label.targets
        spans[row, :length] = np.clip(label.spans, 0, positions)
    return Batch(
        mel,
        torch.from_numpy(offsets),
        torch.from_numpy(inputs),
        torch.from_numpy(targets),
        torch.from_numpy(spans),
        torch.from_numpy(np.stack([frame_words(window) for window in windows])),
    )
