# SPDX-License-Identifier: Apache-2.0
"""How rooms, lines and codecs change speech: applied to batches of training windows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from demo_model.espeak import SAMPLE_RATE

_LOW_PASS_SHARE = 0.35
_TILT_SHARE = 0.4
_REVERB_SHARE = 0.2
_NOISE_SHARE = 0.7
_GATE_SHARE = 0.12
_BRICK_WALL_SHARE = 0.10
_MASK_SHARE = 0.25


def colour(waves: Tensor, rng: np.random.Generator) -> Tensor:
    """Low-pass, tilt or reverberate some of the windows; `waves` is float32, shape (batch, samples)."""
    samples = waves.shape[1]
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, samples // 2 + 1)
    responses = []
    for _ in waves:
        response = torch.ones(len(frequencies), dtype=torch.complex64)
        if rng.random() < _LOW_PASS_SHARE:
            response = response / (1 + (frequencies / rng.uniform(3000, 7500)) ** int(rng.choice([4, 8, 16])))
        if rng.random() < _TILT_SHARE:
            octaves = torch.log2((frequencies + 60) / 1000).clamp(-3, 3)
            response = response * 10 ** (rng.uniform(-8, 8) / 40 * octaves)
        if rng.random() < _REVERB_SHARE:
            response = response * (1 + rng.uniform(0.1, 0.4) * torch.fft.rfft(_tail(rng), samples))
        responses.append(response)
    coloured: Tensor = torch.fft.irfft(torch.fft.rfft(waves) * torch.stack(responses), samples)
    return coloured


def add_noise(waves: Tensor, content: list[int], rng: np.random.Generator) -> None:
    """Add white or brown noise or hum to the content of most windows, 12 to 55 dB below the speech, in place."""
    for wave, length in zip(waves, content, strict=True):
        if rng.random() < _NOISE_SHARE:
            speech = float(wave.square().mean().sqrt())
            level = speech if speech > 0 else 10 ** rng.uniform(-3.5, -1.5)
            wave[:length] += _noise(rng, length) * (level * 10 ** (-rng.uniform(12, 55) / 20))


def hole(mel: Tensor, frames: list[int], rng: np.random.Generator) -> None:
    """Gate weak bands or cut the high ones as low bit rates do, or mask a few, in place.

    Args:
        mel: float32, shape (batch, bands, frames).
        frames: Frames of content in each row.
        rng: Chooses.
    """
    for row, length in zip(mel, frames, strict=True):
        loudest, kind = float(row.max()), rng.random()
        bands = row[:, :length]
        if kind < _GATE_SHARE:
            bands[bands < loudest - rng.uniform(0.9, 1.7)] = loudest - 2
        elif kind < _GATE_SHARE + _BRICK_WALL_SHARE:
            bands[int(rng.integers(56, 80)) :] = loudest - 2
        if rng.random() < _MASK_SHARE:
            first = int(rng.integers(0, 70))
            row[first : first + int(rng.integers(2, 10))] = 0.0 if rng.random() < 0.5 else float(row.min())


def _tail(rng: np.random.Generator) -> Tensor:
    """A room's reverberation of 0.08 to 0.3 s, of unit energy."""
    length = int(rng.uniform(0.08, 0.3) * SAMPLE_RATE)
    decay = np.exp(-6.9 * np.arange(length) / length)
    tail: Tensor = torch.from_numpy((rng.standard_normal(length) * decay).astype(np.float32))
    energy: Tensor = torch.linalg.vector_norm(tail)
    return tail / energy


def _noise(rng: np.random.Generator, length: int) -> Tensor:
    noise = rng.standard_normal(length)
    kind = rng.integers(3)
    if kind == 1:
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 20), length)
    elif kind == 2:
        hum = 2 * np.pi * rng.choice([50, 60, 100, 120]) * np.arange(length) / SAMPLE_RATE
        noise = 0.3 * noise + np.sin(hum + rng.uniform(0, 6))
    return torch.from_numpy((noise / (noise.std() + 1e-9)).astype(np.float32))
