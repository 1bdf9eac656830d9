# SPDX-License-Identifier: Apache-2.0
"""Whisper computed a second time: by torch, on the CPU, in single precision, from the same file.

It has no line of CTranslate2 and nothing of the device's in it, so whatever is broken there is not broken here. It is
slow, and keeps one layer in memory at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as nn

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
        self._encoder_layers = encoder_layers
        self._decoder_layers = decoder_layers

    @torch.inference_mode()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Encoder output, [frames / 2, d_model], of a spectrogram [n_mels, frames]."""
        state = features[None]
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight, bias = self._pair(f"encoder/{name}")
            state = nn.gelu(nn.conv1d(state, weight, bias, stride=stride, padding=1))
        state = state[0].T
        state = state + self._tensor("encoder/position_encodings/encodings")[: len(state)]
        heads = self._weights.number("encoder/num_heads")
        for layer in range(self._encoder_layers):
            prefix = f"encoder/layer_{layer}"
            state = state + self._self_attention(f"{prefix}/self_attention", state, heads, causal=False)
            state = state + self._feed_forward(f"{prefix}/ffn", state)
        return self._norm("encoder/layer_norm", state)

    @torch.inference_mode()
    def logits(self, encoded: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """What may follow each of the tokens, [tokens, vocabulary], as logits.

        Args:
            encoded: Encoder output [frames / 2, d_model].
            tokens: Ids from the start of the transcript.
        """
        embeddings = self._tensor("decoder/embeddings/weight")
        state = embeddings[torch.tensor(list(tokens))]
        state = state + self._tensor("decoder/position_encodings/encodings")[: len(tokens)]
        heads = self._weights.number("decoder/num_heads")
        for layer in range(self._decoder_layers):
            prefix = f"decoder/layer_{layer}"
            state = state + self._self_attention(f"{prefix}/self_attention", state, heads, causal=True)
            state = state + self._cross_attention(f"{prefix}/attention", state, encoded, heads)
            state = state + self._feed_forward(f"{prefix}/ffn", state)
        return self._norm("decoder/layer_norm", state) @ self._tensor("decoder/projection/weight").T

    def _self_attention(self, name: str, state: torch.Tensor, heads: int, *, causal: bool) -> torch.Tensor:
        queries, keys, values = self._linear(f"{name}/linear_0", self._norm(f"{name}/layer_norm", state)).chunk(3, -1)
        return self._linear(f"{name}/linear_1", _attend(queries, keys, values, heads, causal=causal))

    def _cross_attention(self, name: str, state: torch.Tensor, encoded: torch.Tensor, heads: int) -> torch.Tensor:
        queries = self._linear(f"{name}/linear_0", self._norm(f"{name}/layer_norm", state))
        keys, values = self._linear(f"{name}/linear_1", encoded).chunk(2, -1)
        return self._linear(f"{name}/linear_2", _attend(queries, keys, values, heads, causal=False))

    def _feed_forward(self, name: str, state: torch.Tensor) -> torch.Tensor:
        inner = nn.gelu(self._linear(f"{name}/linear_0", self._norm(f"{name}/layer_norm", state)))
        return self._linear(f"{name}/linear_1", inner)

    def _norm(self, name: str, state: torch.Tensor) -> torch.Tensor:
        gamma, beta = self._tensor(f"{name}/gamma"), self._tensor(f"{name}/beta")
        return nn.layer_norm(state, (state.shape[-1],), gamma, beta)

    def _linear(self, name: str, state: torch.Tensor) -> torch.Tensor:
        return nn.linear(state, *self._pair(name))

    def _pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(f"{name}/weight"), self._tensor(f"{name}/bias")

    def _tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._weights.values(name))


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int, *, causal: bool
) -> torch.Tensor:
    rows, own, other = (_by_head(each, heads) for each in (queries, keys, values))
    attended = nn.scaled_dot_product_attention(rows, own, other, is_causal=causal)
    return attended[0].transpose(0, 1).flatten(1)


def _by_head(state: torch.Tensor, heads: int) -> torch.Tensor:
    return state.reshape(1, len(state), heads, -1).transpose(1, 2)
