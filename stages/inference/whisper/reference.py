# SPDX-License-Identifier: Apache-2.0
"""Whisper computed a second time: by torch, on the CPU, in single precision, from the same file.

It has no line of CTranslate2 and nothing of the device's in it, so whatever is broken there is not broken here. It is
slow, and keeps one layer in memory at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stages.inference.whisper.layers import Layers
from stages.inference.whisper.weights import Weights

__all__ = ["Reference"]


class Reference:
    """A Whisper model that answers for one window at a time.

    Args:
        weights: The model's.
        encoder_layers: How many the encoder has.
        decoder_layers: Likewise.
    """

    def __init__(self, weights: Weights, encoder_layers: int, decoder_layers: int) -> None:
        self._weights = weights
        self._layers = Layers(self._tensor)
        self._encoder_layers = encoder_layers
        self._decoder_layers = decoder_layers

    @torch.inference_mode()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Encoder output, [frames / 2, d_model], of a spectrogram [n_mels, frames]."""
        return self._layers.encode(features[None], self._encoder_layers, self._weights.number("encoder/num_heads"))[0]

    @torch.inference_mode()
    def logits(self, encoded: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """What may follow each of the tokens, [tokens, vocabulary], as logits.

        Args:
            encoded: Encoder output [frames / 2, d_model].
            tokens: Ids from the start of the transcript.
        """
        embeddings = self._tensor("decoder/embeddings/weight")
        state = embeddings[torch.tensor([list(tokens)])]
        state = state + self._tensor("decoder/position_encodings/encodings")[: len(tokens)]
        heads = self._weights.number("decoder/num_heads")
        for layer in range(self._decoder_layers):
            prefix = f"decoder/layer_{layer}"
            state = state + self._layers.self_attention(f"{prefix}/self_attention", state, heads, causal=True)
            state = state + self._layers.cross_attention(f"{prefix}/attention", state, encoded[None], heads)
            state = state + self._layers.feed_forward(f"{prefix}/ffn", state)
        return self._layers.norm("decoder/layer_norm", state)[0] @ self._tensor("decoder/projection/weight").T

    def _tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._weights.values(name))
