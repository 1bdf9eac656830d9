# SPDX-License-Identifier: Apache-2.0
"""How many windows a batch has: what one of them takes of the device's memory, and how many fit."""

from __future__ import annotations

from stages.inference.whisper.fallback import BEST_OF
from stages.inference.whisper.shape import ModelShape

__all__ = ["BATCH_SIZE_ON_CPU", "MAX_BATCH_SIZE", "batch_size_on_gpu", "row_bytes", "value_bytes"]

#: More rows than this make everybody wait for the longest one and gain little.
MAX_BATCH_SIZE = 64
#: Rows of a batch on a CPU: beyond a few little is gained, and what they work on no longer fits into its caches.
BATCH_SIZE_ON_CPU = 4
#: The share of the free device memory that batches may take; the rest is for allocators' slack.
MEMORY_SHARE = 0.9

_ENCODER_POSITIONS = 1500
#: Positions that rows have written when their batch takes most. Thirty seconds of speech have some 80 tokens; from
#: about here on more memory leaves with the rows that have ended than the others still take.
_WRITTEN = 60
#: What an encoder layer holds beside its attention scores, and the decoder while it projects the encoder's output, in
#: arrays of [positions, width]. Both counted on CTranslate2 4.8.5 (tests/process/test_row_memory.py).
_ENCODER_ARRAYS = 8
_PROJECTION_ARRAYS = 3
#: What a batch in flight beside another one takes, on average over its life, of its own peak.
_BESIDE = 0.5


def row_bytes(shape: ModelShape, hypotheses: int, value_bytes: int = 2) -> int:
    """Device memory that one window of speech takes at the worst moment of its way.

    The encoder and the decoder never have it both: a layer of the encoder holds attention scores and some arrays as
    wide as the model, the decoder the keys and values of its cross-attention (one set a row) and self-attention (one
    set a hypothesis and position), and logits. Features are torch's, which keeps their memory.

    Args:
        shape: Of the model.
        hypotheses: Beam width, or samples of a retry.
        value_bytes: Of an activation: 2 in half precision, 4 in single.
    """
    array = _ENCODER_POSITIONS * shape.d_model
    encoder = shape.heads * _ENCODER_POSITIONS * _ENCODER_POSITIONS + _ENCODER_ARRAYS * array
    cross = 2 * shape.decoder_layers * array
    own = 2 * shape.decoder_layers * _WRITTEN * shape.d_model * hypotheses
    logits = 3 * 4 * hypotheses * shape.vocabulary
    # Log-mel: samples, the complex spectrum (8 bytes), its power and the mel bands, all in single precision.
    features = 4 * (480_000 + 3_000 * (201 * 3 + 2 * shape.n_mels))
    decoder = value_bytes * (cross + own + _PROJECTION_ARRAYS * array) + logits
    return max(value_bytes * encoder, decoder) + features


def value_bytes(compute_type: str) -> int:
    """Of an activation under a compute type as CTranslate2 resolves it."""
    return 2 if compute_type.endswith("float16") else 4  # float16, bfloat16, and 8-bit weights with either


def batch_size_on_gpu(shape: ModelShape, free_bytes: int, beam_size: int, parallel: int, value_bytes: int = 2) -> int:
    """Rows of a batch so that `parallel` batches fit into the device's free memory at once (1 to 64).

    It reckons with speech and with batches that do not peak together. Where they do once, the batches after it are
    smaller: that costs less than small batches for ever.
    """
    row = row_bytes(shape, max(beam_size, BEST_OF), value_bytes) * (1 + _BESIDE * (parallel - 1))
    return max(1, min(MAX_BATCH_SIZE, int(free_bytes * MEMORY_SHARE / row)))
