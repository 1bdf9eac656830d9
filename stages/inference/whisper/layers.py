# SPDX-License-Identifier: Apache-2.0
"""Whisper's layers in torch, by the names that CTranslate2 gives to their weights.

They compute what `src/layers/whisper.cc` and `src/layers/transformer.cc` of CTranslate2 do, in the type of the weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as nn

__all__ = ["Layers", "encoder_names"]

#: Parts of each layer of the encoder that have a weight and a bias, and those that have gamma and beta.
_LINEAR = ("self_attention/linear_0", "self_attention/linear_1", "ffn/linear_0", "ffn/linear_1")
_NORM = ("self_attention/layer_norm", "ffn/layer_norm")


def encoder_names(layers: int) -> tuple[str, ...]:
    """Names of all weights that an encoder of so many layers computes with."""
    linear = ["encoder/conv1", "encoder/conv2"]
    norm = ["encoder/layer_norm"]
    for layer in range(layers):
        linear += [f"encoder/layer_{layer}/{part}" for part in _LINEAR]
        norm += [f"encoder/layer_{layer}/{part}" for part in _NORM]
    return (
        "encoder/position_encodings/encodings",
        *(f"{name}/{part}" for name in linear for part in ("weight", "bias")),
        *(f"{name}/{part}" for name in norm for part in ("gamma", "beta")),
    )


class Layers:
    """What Whisper is made of. States are [rows, positions, d_model].

    Args:
        tensor: Gives a weight by its name.
    """

    def __init__(self, tensor: Callable[[str], torch.Tensor]) -> None:
        self._tensor = tensor

    def encode(self, features: torch.Tensor, layers: int, heads: int) -> torch.Tensor:
        """Encoder output, [rows, frames / 2, d_model], of spectrograms [rows, n_mels, frames].

        Args:
            features: In the type of the weights.
            layers: How many the encoder has; with fewer, what those give behind the last normalisation.
            heads: Of its attention.
        """
        state = features
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight, bias = self._pair(f"encoder/{name}")
            state = nn.gelu(nn.conv1d(state, weight, bias, stride=stride, padding=1))
        state = state.transpose(1, 2)
        state = state + self._tensor("encoder/position_encodings/encodings")[: state.shape[1]]
        for layer in range(layers):
            prefix = f"encoder/layer_{layer}"
            state = state + self.self_attention(f"{prefix}/self_attention", state, heads, causal=False)
            state = state + self.feed_forward(f"{prefix}/ffn", state)
        return self.norm("encoder/layer_norm", state)

    def self_attention(self, name: str, state: torch.Tensor, heads: int, *, causal: bool) -> torch.Tensor:
        """What each position takes from all, or from those before it."""
        queries, keys, values = self._linear(f"{name}/linear_0", self.norm(f"{name}/layer_norm", state)).chunk(3, -1)
        return self._linear(f"{name}/linear_1", _attend(queries, keys, values, heads, causal=causal))

    def cross_attention(self, name: str, state: torch.Tensor, encoded: torch.Tensor, heads: int) -> torch.Tensor:
        """What each position takes from the encoder's output."""
        queries = self._linear(f"{name}/linear_0", self.norm(f"{name}/layer_norm", state))
        keys, values = self._linear(f"{name}/linear_1", encoded).chunk(2, -1)
        return self._linear(f"{name}/linear_2", _attend(queries, keys, values, heads, causal=False))

    def feed_forward(self, name: str, state: torch.Tensor) -> torch.Tensor:
        """Two linear layers with a GELU between."""
        inner = nn.gelu(self._linear(f"{name}/linear_0", self.norm(f"{name}/layer_norm", state)))
        return self._linear(f"{name}/linear_1", inner)

    def norm(self, name: str, state: torch.Tensor) -> torch.Tensor:
        """Layer normalisation."""
        gamma, beta = self._tensor(f"{name}/gamma"), self._tensor(f"{name}/beta")
        return nn.layer_norm(state, (state.shape[-1],), gamma, beta)

    def _linear(self, name: str, state: torch.Tensor) -> torch.Tensor:
        return nn.linear(state, *self._pair(name))

    def _pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(f"{name}/weight"), self._tensor(f"{name}/bias")


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int, *, causal: bool
) -> torch.Tensor:
    rows, own, other = (_by_head(each, heads) for each in (queries, keys, values))
    return nn.scaled_dot_product_attention(rows, own, other, is_causal=causal).transpose(1, 2).flatten(2)


def _by_head(state: torch.Tensor, heads: int) -> torch.Tensor:
    rows, positions, _ = state.shape
    return state.reshape(rows, positions, heads, -1).transpose(1, 2)
