# SPDX-License-Identifier: Apache-2.0
"""A model folder read without loading it: its shape, what it can do, and the memory a batch of it needs."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.weights import Weights

__all__ = ["BATCH_SIZE_ON_CPU", "ModelShape", "batch_size_on_gpu", "read_shape", "row_bytes", "value_bytes"]

#: More rows than this make everybody wait for the longest one and gain little.
MAX_BATCH_SIZE = 64
#: Rows of a batch on a CPU: beyond a few little is gained, and what they work on no longer fits into its caches.
BATCH_SIZE_ON_CPU = 4
#: Sampled hypotheses of a retry, which need as much memory as a beam of that width.
BEST_OF = 5
#: The share of the free device memory that batches may take; the rest is for allocators' slack.
MEMORY_SHARE = 0.8

_ENCODER_POSITIONS = 1500
#: Turbo has four.
_DISTILLED_LAYERS = 2
_DECODER_POSITIONS = 448


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the files of a CTranslate2 Whisper model say of it.

    Attributes:
        n_mels: Mel bands of its input.
        d_model: Width.
        heads: Attention heads of the encoder.
        vocabulary: Number of token ids.
        language_ids: Token ids of the languages, as the converter found them; empty when it did not say.
        can_align: Whether the converter recorded alignment heads.
    """

    n_mels: int
    d_model: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int
    language_ids: tuple[int, ...]
    can_align: bool

    @property
    def pruned(self) -> bool:
        """Whether the decoder was cut down after training (turbo, distil); such models cannot translate."""
        return self.decoder_layers < self.encoder_layers

    @property
    def distilled(self) -> bool:
        """Whether so little of the decoder is left that it was trained anew, mostly on one language alone."""
        return self.pruned and self.decoder_layers <= _DISTILLED_LAYERS


def read_shape(folder: Path) -> ModelShape:
    """Reads the configuration and the names and dimensions in `model.bin`, not the weights.

    Raises:
        UnfitNodeError: The folder is not a CTranslate2 Whisper model.
    """
    config = _read_json(folder / "config.json")
    try:
        weights = Weights(folder / "model.bin")
        vocabulary, d_model = weights.dimensions("decoder/embeddings/weight")
        return ModelShape(
            n_mels=weights.dimensions("encoder/conv1/weight")[1],
            d_model=d_model,
            heads=weights.number("encoder/num_heads"),
            encoder_layers=_layers(weights, "encoder"),
            decoder_layers=_layers(weights, "decoder"),
            vocabulary=vocabulary,
            language_ids=tuple(int(identifier) for identifier in config.get("lang_ids") or ()),
            can_align=bool(config.get("alignment_heads")),
        )
    except (OSError, KeyError, ValueError, struct.error) as error:
        raise UnfitNodeError(
            f"{folder} is not a usable CTranslate2 Whisper model ({type(error).__name__}: {error}); "
            "convert it with ct2-transformers-converter, or name one of faster-whisper's models."
        ) from error


def row_bytes(shape: ModelShape, hypotheses: int, value_bytes: int = 2) -> int:
    """Device memory that one window takes at the worst moment of its way.

    The largest parts: attention scores and feed-forward activations of one encoder layer, the keys and values of
    the decoder's cross-attention (one set a row) and self-attention (one set a hypothesis, all positions in use),
    and the logits.

    Args:
        shape: Of the model.
        hypotheses: Beam width, or samples of a retry.
        value_bytes: Of an activation: 2 in half precision, 4 in single.
    """
    scores = 2 * shape.heads * _ENCODER_POSITIONS * _ENCODER_POSITIONS
    feed_forward = 2 * _ENCODER_POSITIONS * 4 * shape.d_model
    cross = 2 * shape.decoder_layers * _ENCODER_POSITIONS * shape.d_model
    own = 2 * shape.decoder_layers * _DECODER_POSITIONS * shape.d_model * hypotheses
    # Log-mel: samples, the complex spectrum (8 bytes), its power and the mel bands, all in single precision.
    features = 4 * (480_000 + 3_000 * (201 * 3 + 2 * shape.n_mels))
    logits = 3 * 4 * hypotheses * shape.vocabulary
    return value_bytes * (scores + feed_forward + cross + own) + features + logits


def value_bytes(compute_type: str) -> int:
    """Of an activation under a compute type as CTranslate2 resolves it."""
    return 2 if compute_type.endswith("float16") else 4  # float16, bfloat16, and 8-bit weights with either


def batch_size_on_gpu(shape: ModelShape, free_bytes: int, beam_size: int, parallel: int, value_bytes: int = 2) -> int:
    """Rows of a batch so that `parallel` batches fit into the device's free memory at once (1 to 64)."""
    row = row_bytes(shape, max(beam_size, BEST_OF), value_bytes)
    rows = int(free_bytes * MEMORY_SHARE) // (row * parallel)
    return max(1, min(MAX_BATCH_SIZE, rows))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnfitNodeError(f"{path} is missing: the folder is not a CTranslate2 Whisper model.") from None
    except (OSError, ValueError) as error:
        raise UnfitNodeError(f"{path} cannot be read: {error}.") from error
    return content if isinstance(content, dict) else {}


def _layers(weights: Weights, side: str) -> int:
    pattern = re.compile(rf"{side}/layer_(\d+)/")
    return len({match.group(1) for name in weights.names() if (match := pattern.match(name))})
