# SPDX-License-Identifier: Apache-2.0
"""The FastConformer encoder. Its parts are named as transformers' `ParakeetEncoder` names them, so weights fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.inference.parakeet.shape import ModelShape

__all__ = ["Encoder", "output_lengths"]

#: Of the convolutions that shorten: each halves the frames.
_KERNEL, _STRIDE, _PADDING = 3, 2, 1


def output_lengths(frames: Tensor, subsampling: int) -> Tensor:
    """Frames of output that hold content, of so many mel frames."""
    for _ in range(int(math.log2(subsampling))):
        frames = _halved(frames)
    return frames


def _halved(frames: Tensor) -> Tensor:
    return (frames + 2 * _PADDING - _KERNEL) // _STRIDE + 1


class Subsampling(nn.Module):
    """From mel frames to an eighth as many of the encoder's width."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        channels = shape.channels
        layers: list[nn.Module] = [nn.Conv2d(1, channels, _KERNEL, _STRIDE, _PADDING), nn.ReLU()]
        for _ in range(int(math.log2(shape.subsampling)) - 1):
            depthwise = nn.Conv2d(channels, channels, _KERNEL, _STRIDE, _PADDING, groups=channels)
            layers += [depthwise, nn.Conv2d(channels, channels, 1), nn.ReLU()]
        self.layers = nn.ModuleList(layers)
        self.linear = nn.Linear(channels * (shape.n_mels // shape.subsampling), shape.width)

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """[rows, frames, n_mels] to [rows, frames / 8, width]."""
        hidden = mel[:, None]
        for layer in self.layers:
            hidden = layer(hidden)
            if isinstance(layer, nn.Conv2d):
                frames = _halved(frames) if layer.stride != (1, 1) else frames
                # Biases would turn what lies behind a row's content into something that its end then sees.
                hidden = hidden * _content(frames, hidden.shape[2])[:, None, :, None]
        joined: Tensor = self.linear(hidden.transpose(1, 2).flatten(2))
        return joined


class FeedForward(nn.Module):
    """Two linear layers."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.linear1 = nn.Linear(shape.width, shape.feed_forward, bias=shape.attention_bias)
        self.linear2 = nn.Linear(shape.feed_forward, shape.width, bias=shape.attention_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Same shape."""
        result: Tensor = self.linear2(functional.silu(self.linear1(hidden)))
        return result


class Attention(nn.Module):
    """Self-attention with relative positions (https://arxiv.org/abs/1901.02860, section 3.3)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self._heads, width = shape.heads, shape.width
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(width, width, bias=shape.attention_bias) for _ in range(4)
        )
        self.relative_k_proj = nn.Linear(width, width, bias=False)
        self.bias_u = nn.Parameter(torch.zeros(shape.heads, width // shape.heads))
        self.bias_v = nn.Parameter(torch.zeros(shape.heads, width // shape.heads))

    def forward(self, hidden: Tensor, positions: Tensor, content: Tensor) -> Tensor:
        """[rows, length, width]; positions [1, 2 * length - 1, width]; content [rows, length]."""
        query, key, value = (self._split(part(hidden)) for part in (self.q_proj, self.k_proj, self.v_proj))
        relative = self._split(self.relative_k_proj(positions))
        scale = 1 / math.sqrt(query.shape[-1])
        by_position = _shifted((query + self.bias_v[:, None]) @ relative.transpose(-1, -2))[..., : key.shape[2]] * scale
        # Rows behind the content see all of it rather than nothing, which would be no number; nobody looks at them.
        by_position = by_position.masked_fill(~content[:, None, None, :], float("-inf"))
        attended = functional.scaled_dot_product_attention(
            query + self.bias_u[:, None], key, value, attn_mask=by_position, scale=scale
        )
        result: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return result

    def _split(self, hidden: Tensor) -> Tensor:
        return hidden.reshape(*hidden.shape[:-1], self._heads, -1).transpose(1, 2)


class Convolution(nn.Module):
    """The convolution of a layer, over time, each channel by itself."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        width, bias = shape.width, shape.convolution_bias
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=bias)
        self.depthwise_conv = nn.Conv1d(
            width, width, shape.kernel, padding=(shape.kernel - 1) // 2, groups=width, bias=bias
        )
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=bias)

    def forward(self, hidden: Tensor, content: Tensor) -> Tensor:
        """[rows, length, width]; content [rows, length]."""
        hidden = functional.glu(self.pointwise_conv1(hidden.transpose(1, 2)), dim=1) * content[:, None]
        result: Tensor = self.pointwise_conv2(functional.silu(self.norm(self.depthwise_conv(hidden))))
        return result.transpose(1, 2)


class Layer(nn.Module):
    """One layer."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.feed_forward1, self.feed_forward2 = FeedForward(shape), FeedForward(shape)
        self.self_attn, self.conv = Attention(shape), Convolution(shape)
        self.norm_feed_forward1, self.norm_feed_forward2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.norm_self_att, self.norm_conv = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.norm_out = nn.LayerNorm(shape.width)

    def forward(self, hidden: Tensor, positions: Tensor, content: Tensor) -> Tensor:
        """Same shape."""
        hidden = hidden + 0.5 * self.feed_forward1(self.norm_feed_forward1(hidden))
        hidden = hidden + self.self_attn(self.norm_self_att(hidden), positions, content)
        hidden = hidden + self.conv(self.norm_conv(hidden), content)
        hidden = hidden + 0.5 * self.feed_forward2(self.norm_feed_forward2(hidden))
        result: Tensor = self.norm_out(hidden)
        return result


class Encoder(nn.Module):
    """All of it.

    Args:
        shape: Of the model.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self._shape = shape
        self.subsampling = Subsampling(shape)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes a batch.

        Args:
            mel: [rows, frames, n_mels].
            frames: int64 [rows]: how many of them hold content.

        Returns:
            [rows, length, width], and int64 [rows]: how many of those hold content.
        """
        hidden = self.subsampling(mel, frames) * (math.sqrt(self._shape.width) if self._shape.scaled else 1.0)
        lengths = output_lengths(frames, self._shape.subsampling)
        content = _content(lengths, hidden.shape[1])
        positions = _positions(hidden.shape[1], self._shape.width).to(hidden)
        for layer in self.layers:
            hidden = layer(hidden, positions, content)
        return hidden, lengths


def _content(lengths: Tensor, longest: int) -> Tensor:
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def _positions(length: int, width: int) -> Tensor:
    """Sinusoids of the distances from `length - 1` down to `1 - length`, float32 [1, 2 * length - 1, width]."""
    speed = 10_000.0 ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = torch.arange(length - 1, -length, -1, dtype=torch.float32)[:, None] * speed
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None]


def _shifted(scores: Tensor) -> Tensor:
    """Scores by distance, as scores by key: in row i, key j is at distance i - j (appendix B of the paper above)."""
    rows, heads, queries, distances = scores.shape
    padded = functional.pad(scores, (1, 0)).view(rows, heads, -1, queries)
    return padded[:, :, 1:].reshape(rows, heads, queries, distances)
