# SPDX-License-Identifier: Apache-2.0
"""A model folder read without loading it: its shape, and what it can do."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.weights import Weights

__all__ = ["ModelShape", "read_shape"]

#: Turbo has four.
_DISTILLED_LAYERS = 2


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
        parameters: Numbers in its weights.
    """

    n_mels: int
    d_model: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int
    language_ids: tuple[int, ...]
    can_align: bool
    parameters: int = 0

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
            parameters=sum(math.prod(weights.dimensions(name)) for name in weights.names()),
        )
    except (OSError, KeyError, ValueError, struct.error) as error:
        raise UnfitNodeError(
            f"{folder} is not a usable CTranslate2 Whisper model ({type(error).__name__}: {error}); "
            "convert it with ct2-transformers-converter, or name one of faster-whisper's models."
        ) from error


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
