# SPDX-License-Identifier: Apache-2.0
"""Whisper's log-mel spectrogram of a whole batch, computed by torch on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from faster_whisper.feature_extractor import FeatureExtractor

from stages.values import SAMPLE_RATE

__all__ = ["FRAMES", "LogMel", "frames_of"]

#: Mel frames that the encoder takes: 30 s.
FRAMES = 3000

_N_FFT = 400
_HOP = 160
#: Fewest samples that the centred transform can reflect.
_MIN_SAMPLES = _N_FFT + 1


def frames_of(samples: int) -> int:
    """Mel frames that hold content, of so many samples."""
    return min(samples // _HOP, FRAMES)


class LogMel:
    """Log-mel spectrograms, equal to faster-whisper's extractor on each row by itself.

    Each row is followed by 160 zero samples, the last column of the transform is dropped, the dynamic range is
    cut to 8 (log10) below the row's own maximum, and columns behind the content are 0.0, as in
    `faster_whisper.feature_extractor.FeatureExtractor` and `pad_or_trim`.

    Args:
        n_mels: 80, or 128 for large-v3 and its kin.
        device: Where torch computes.
    """

    def __init__(self, n_mels: int, device: torch.device) -> None:
        self._device = device
        filters = FeatureExtractor.get_mel_filters(SAMPLE_RATE, _N_FFT, n_mels=n_mels)
        self._filters = torch.from_numpy(filters.astype(np.float32)).to(device)
        self._window = torch.hann_window(_N_FFT, periodic=True, device=device)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[npt.NDArray[np.float32]]) -> torch.Tensor:
        """Spectrograms, float32 [rows, n_mels, 3000] on the device, contiguous.

        Args:
            rows: Samples in [-1, 1); what is longer than 30 s is left out.
        """
        content = torch.tensor([frames_of(len(row)) for row in rows], device=self._device)
        longest = min(max(len(row) for row in rows), FRAMES * _HOP)
        batch = torch.zeros(len(rows), max(longest + _HOP, _MIN_SAMPLES))
        for index, row in enumerate(rows):
            length = min(len(row), longest)
            batch[index, :length] = torch.from_numpy(row[:length])
        spectrum = torch.stft(
            batch.to(self._device),
            _N_FFT,
            _HOP,
            window=self._window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )[..., :-1]
        mel = (self._filters @ spectrum.abs().square()).clamp_(min=1e-10).log10_()
        mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        mel = (mel + 4.0) / 4.0
        width = min(mel.shape[-1], FRAMES)
        beyond = torch.arange(width, device=self._device)[None, None, :] >= content[:, None, None]
        features = torch.zeros(len(rows), mel.shape[1], FRAMES, device=self._device)
        features[..., :width] = mel[..., :width].masked_fill(beyond, 0.0)
        return features
