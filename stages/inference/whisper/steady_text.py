# SPDX-License-Identifier: Apache-2.0
"""Gives a model with random weights a text that is the same for every audio, so that every decode costs the same.

Four channels of the decoder's position encodings are set apart: nothing else writes to them, and only what is named
here reads them. One says that the text ends, one that its closing timestamp is due, and two are an angle that runs
with the text; two channels of the encoder's are an angle that runs with the time, and alignment heads that compare the
two see the text spread evenly over the window. All other weights are as they were, and as much work.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["START_TOKENS", "make_steady"]

#: What a text begins with: start of transcript, language, task, no timestamps.
START_TOKENS = 4

_END, _CLOSE = 0, 1
_ANGLE = slice(2, 4)
_OWN = slice(0, 4)
#: How loud these channels are beside the others, which are about 1.
_SIGNAL = 10.0
#: How much of its size whatever competes with the position keeps: what was said so far, and what attention brings.
_HUSHED = 0.02
#: How much likelier than the likeliest word the end is when it is due.
_SURE = 2.0
#: Attention scores between angles that agree: the larger, the less of their neighbourhood a word is spread over.
_FOCUS = 300.0
#: Standard deviations that the largest of some 50,000 random logits is off.
_LARGEST = 4.5


def make_steady(spec: Any, tokens: int, *, end: int, last_timestamp: int, loudness: float) -> None:
    """Changes a filled `WhisperSpec` in place.

    Without timestamps a text is `tokens` words and its end; with timestamps it begins and closes with one besides.

    Args:
        spec: Its projection has rows of loudness `loudness` for words.
        tokens: Words of a text.
        end: Id of the end of text, behind those of all words.
        last_timestamp: Id of the last timestamp, which closes a text.
        loudness: Scale of the projection's rows.
    """
    decoder = spec.decoder
    d_model = decoder.embeddings.weight.shape[1]
    last = START_TOKENS - 1 + tokens  # the position behind which the text is over
    _set_positions(decoder.position_encodings.encodings, tokens, last)
    decoder.embeddings.weight *= np.float32(_HUSHED)
    decoder.embeddings.weight[:, _OWN] = 0.0
    _quieten(decoder.layer, _HUSHED)

    # Normalisation makes everything so much smaller because of the signals; words are to be as sure as without them.
    shrunk = math.sqrt(1 + 3 * _SIGNAL**2 / d_model)
    weight = np.float32(_SURE * _LARGEST * loudness * math.sqrt(d_model) * shrunk / _SIGNAL)
    projection = decoder.projection.weight
    projection[:, _OWN] = 0.0
    projection[:end] *= np.float32(shrunk)
    projection[end], projection[last_timestamp] = 0.0, 0.0
    projection[end, _END] = weight
    projection[last_timestamp, _CLOSE] = _SURE * weight

    encoder = spec.encoder
    encoder.conv2.weight[_ANGLE] = 0.0
    _quieten(encoder.layer, 1.0)
    times = np.linspace(0.0, math.pi, len(encoder.position_encodings.encodings), dtype=np.float32)
    encoder.position_encodings.encodings[:, _ANGLE] = _SIGNAL * math.sqrt(len(encoder.layer)) * _circle(times)
    _align(decoder.layer[-1].attention.linear, int(decoder.num_heads))


def _set_positions(positions: npt.NDArray[np.float32], tokens: int, last: int) -> None:
    places = np.arange(len(positions))
    positions[:, _END] = np.where(places >= last, _SIGNAL, -_SIGNAL)
    positions[:, _CLOSE] = np.where(places == last, _SIGNAL, -_SIGNAL)
    spoken = (places - (START_TOKENS - 1)) / tokens
    positions[:, _ANGLE] = _SIGNAL * _circle(math.pi * spoken.clip(0.0, 1.0))


def _circle(angles: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def _quieten(layers: Any, loudness: float) -> None:
    """Keeps what the layers add off the channels that are set apart, and makes it softer everywhere else."""
    for layer in layers:
        attentions = [layer.self_attention, *([layer.attention] if hasattr(layer, "attention") else [])]
        for linear in (*(attention.linear[-1] for attention in attentions), layer.ffn.linear_1):
            linear.weight *= np.float32(loudness)
            linear.weight[_OWN] = 0.0


def _align(linear: Any, heads: int) -> None:
    """Lets every head of a cross-attention look where the angles of text and time agree."""
    d_model = linear[0].weight.shape[0]
    width = d_model // heads
    gain = np.float32(math.sqrt(_FOCUS * math.sqrt(width)) / _SIGNAL)
    queries, keys = linear[0].weight, linear[1].weight[:d_model]  # values are below the keys
    queries[:], keys[:] = 0.0, 0.0
    for head in range(heads):
        for offset, channel in enumerate(range(_ANGLE.start, _ANGLE.stop)):
            queries[head * width + offset, channel] = gain
            keys[head * width + offset, channel] = gain
