# SPDX-License-Identifier: Apache-2.0
"""The Whisper graph in torch, with the parts that help to train a small one in minutes and are gone after export.

* A timestamp's embedding starts as a linear map of the sinusoid of the encoder position it names, so that every
  timestamp trains all the others.
* Encoder attention starts local: each head looks a few positions ahead or back.
* Two heads of the first and the last decoder layer return their attention, which training guides to the word's audio.
* A frame classifier on the encoder says which word sounds at each 20 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_model.vocabulary import FIRST_TIMESTAMP, TEXT_TOKENS, TIMESTAMPS

MEL_BANDS = 80
WIDTH = 128
HEADS = 4
ENCODER_LAYERS = 4
DECODER_LAYERS = 2
HIDDEN = 512
#: Encoder positions of 20 ms, and tokens that the decoder can see.
AUDIO_POSITIONS = 1500
TEXT_POSITIONS = 448
#: The heads of the last decoder layer that are guided to the word being predicted: word times come from them.
GUIDED_HEADS = 2

#: Positions that each head of each encoder layer looks ahead at the start of training.
_FIRST_SHIFTS = ((0, -5, 5, 12), (0, -8, 8, -16), (0, -6, 6, 14), (0, -10, 10, -20))
#: Sinusoids faster than this (radians a position) tell near positions apart.
_FAST = 0.03
_HEAD_WIDTH = WIDTH // HEADS


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder says about each next token.

    Attributes:
        logits: float32, shape (batch, tokens, vocabulary).
        last_attention: Log attention of the guided heads of the last layer, shape (batch, heads, tokens, positions).
        first_attention: Likewise of the first layer.
    """

    logits: Tensor
    last_attention: Tensor
    first_attention: Tensor


class Attention(nn.Module):
    """Multi-head attention, Whisper's: the keys have no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, *, causal: bool = False) -> Tensor:
        """Self-attention over `x`, shape (batch, positions, width)."""
        q, k, v = _heads(self.q_proj(x)), _heads(self.k_proj(x)), _heads(self.v_proj(x))
        return self._out(functional.scaled_dot_product_attention(q, k, v, is_causal=causal))

    def look(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Attention from `x` to `memory`; also the log weights, shape (batch, heads, tokens, positions)."""
        q, k, v = _heads(self.q_proj(x)), _heads(self.k_proj(memory)), _heads(self.v_proj(memory))
        weights = torch.log_softmax(q @ k.transpose(-1, -2) / math.sqrt(_HEAD_WIDTH), dim=-1)
        return self._out(weights.exp() @ v), weights

    def _out(self, heads: Tensor) -> Tensor:
        joined: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return joined


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Shape in and out (batch, positions, width)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return self.feed_forward(x)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second half, with its residual."""
        change: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + change


class DecoderLayer(EncoderLayer):
    """An encoder layer that also looks at the audio."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_attn = Attention()
        self.encoder_attn_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Likewise, with `memory` to look at; also the log weights of that look."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), causal=True)
        seen, weights = self.encoder_attn.look(self.encoder_attn_layer_norm(x), memory)
        x = x + seen
        return self.feed_forward(x), weights


class DemoWhisper(nn.Module):
    """The model as it is trained: 1.7 million parameters."""

    audio_positions: Tensor
    timestamp_positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MEL_BANDS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("audio_positions", sinusoids(AUDIO_POSITIONS))
        self.register_buffer("timestamp_positions", sinusoids(TIMESTAMPS))
        self.encoder = nn.ModuleList(EncoderLayer() for _ in range(ENCODER_LAYERS))
        self.encoder_norm = nn.LayerNorm(WIDTH)
        self.frames = nn.Linear(WIDTH, TEXT_TOKENS)

        self.text_embedding = nn.Parameter(torch.randn(FIRST_TIMESTAMP, WIDTH) * 0.06)
        self.timestamp_map = nn.Parameter(torch.eye(WIDTH) * 0.1)
        self.timestamp_bias = nn.Parameter(torch.zeros(WIDTH))
        self.timestamp_rest = nn.Parameter(torch.zeros(TIMESTAMPS, WIDTH))
        self.text_positions = nn.Parameter(sinusoids(TEXT_POSITIONS) * 0.05)
        self.decoder = nn.ModuleList(DecoderLayer() for _ in range(DECODER_LAYERS))
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self._start_local()

    def encoder_layers(self) -> list[EncoderLayer]:
        """The layers with their types, which `nn.ModuleList` forgets."""
        return cast("list[EncoderLayer]", list(self.encoder))

    def decoder_layers(self) -> list[DecoderLayer]:
        """Likewise."""
        return cast("list[DecoderLayer]", list(self.decoder))

    def embedding(self) -> Tensor:
        """Of every token, shape (vocabulary, width); also the output projection."""
        timestamps = self.timestamp_positions @ self.timestamp_map + self.timestamp_bias + self.timestamp_rest
        return torch.cat([self.text_embedding, timestamps])

    def encode(self, mel: Tensor, offsets: Tensor) -> Tensor:
        """Encode log-mel windows.

        Args:
            mel: float32, shape (batch, bands, frames of 10 ms).
            offsets: int64, shape (batch,): the position that each window starts at. Short windows at random
                positions train all positions cheaply.

        Returns:
            float32, shape (batch, frames / 2, width).
        """
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        positions = offsets[:, None] + torch.arange(x.shape[1], device=x.device)
        x = x + self.audio_positions[positions]
        for layer in self.encoder_layers():
            x = layer(x)
        normal: Tensor = self.encoder_norm(x)
        return normal

    def decode(self, tokens: Tensor, memory: Tensor) -> Decoded:
        """Predict the token after each of `tokens`, int64, shape (batch, tokens)."""
        embedding = self.embedding()
        x = functional.embedding(tokens, embedding) + self.text_positions[: tokens.shape[1]]
        attentions = []
        for layer in self.decoder_layers():
            x, attention = layer(x, memory)
            attentions.append(attention[:, :GUIDED_HEADS])
        return Decoded(functional.linear(self.decoder_norm(x), embedding), attentions[-1], attentions[0])

    def undecayed(self) -> list[nn.Parameter]:
        """Biases, norms and embeddings: weight decay leaves them alone."""
        tables = {"text_embedding", "timestamp_rest", "timestamp_map", "text_positions"}
        return [value for name, value in self.named_parameters() if value.ndim < 2 or name in tables]

    @torch.no_grad()
    def _start_local(self) -> None:
        """Make query and key of a head match at a fixed distance, by sin and cos of a sum of angles."""
        speeds = _speeds()
        emphasis = torch.where(speeds > _FAST, 1.5, 0.3).repeat(2)
        for layer, shifts in zip(self.encoder_layers(), _FIRST_SHIFTS, strict=True):
            for head, shift in enumerate(shifts):
                rows = slice(head * _HEAD_WIDTH, (head + 1) * _HEAD_WIDTH)
                keys = torch.randn(_HEAD_WIDTH, WIDTH) / math.sqrt(WIDTH) * emphasis * 1.6
                layer.self_attn.k_proj.weight[rows] = keys
                layer.self_attn.q_proj.weight[rows] = _rotated(keys, shift * speeds)
        for layer in self.decoder_layers():
            rows = slice(0, GUIDED_HEADS * _HEAD_WIDTH)
            keys = torch.randn(GUIDED_HEADS * _HEAD_WIDTH, WIDTH) / math.sqrt(WIDTH) * emphasis * 1.3
            layer.encoder_attn.k_proj.weight[rows] = keys
            layer.encoder_attn.q_proj.weight[rows] = keys


def sinusoids(positions: int) -> Tensor:
    """Whisper's fixed positions: float32, shape (positions, width), sines then cosines."""
    angles = torch.arange(positions)[:, None] * _speeds()
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _speeds() -> Tensor:
    half = WIDTH // 2
    return torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))


def _heads(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], HEADS, _HEAD_WIDTH).transpose(1, 2)


def _rotated(keys: Tensor, angles: Tensor) -> Tensor:
    """Weights whose product with p(t) is that of `keys` with p(t + shift)."""
    sines, cosines = keys.chunk(2, dim=1)
    return torch.cat(
        [
            sines * angles.cos() - cosines * angles.sin(),
            sines * angles.sin() + cosines * angles.cos(),
        ],
        dim=1,
    )
