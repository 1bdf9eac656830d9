# SPDX-License-Identifier: Apache-2.0
"""NeMo's log-mel spectrogram of a whole batch, as transformers' `ParakeetFeatureExtractor` computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch.nn.utils.rnn import pad_sequence

from stages.inference.parakeet.shape import FRAME_SAMPLES
from stages.values import SAMPLE_RATE

__all__ = ["LogMel"]

_N_FFT = 512
_WINDOW = 400
_PREEMPHASIS = 0.97
#: Keeps the logarithm finite, and the deviation from 0.
_LEAST, _LEAST_DEVIATION = 2.0**-24, 1e-5
#: Fewest mel frames of which a deviation can be told.
_LEAST_FRAMES = 2


class LogMel:
    """Log-mel spectrograms, each mel band with mean 0 and deviation 1 over its own row.

    Args:
        n_mels: Mel bands.
        device: Where torch computes.
    """

    def __init__(self, n_mels: int, device: torch.device) -> None:
        self._device = device
        filters = FeatureExtractor.get_mel_filters(SAMPLE_RATE, _N_FFT, n_mels=n_mels)
        self._filters = torch.from_numpy(filters.astype(np.float32)).to(device)
        self._window = torch.hann_window(_WINDOW, periodic=False, device=device)

    def __call__(self, rows: Sequence[npt.NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectrograms and how many frames of each hold content.

        Args:
            rows: Samples in [-1, 1).

        Returns:
            float32 [rows, frames, n_mels] with zeros behind the content, and int64 [rows].
        """
        batch = pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True).to(self._device)
        samples = torch.tensor([len(row) for row in rows], device=self._device)
        batch = torch.nn.functional.pad(batch, (0, max(0, _LEAST_FRAMES * FRAME_SAMPLES - batch.shape[1])))
        batch = torch.cat([batch[:, :1], batch[:, 1:] - _PREEMPHASIS * batch[:, :-1]], dim=1)
        batch *= torch.arange(batch.shape[1], device=self._device) < samples[:, None]
        spectrum = torch.stft(
            batch,
            _N_FFT,
            FRAME_SAMPLES,
            win_length=_WINDOW,
            window=self._window,
            pad_mode="constant",
            return_complex=True,
        )
        mel = (self._filters @ spectrum.abs().square() + _LEAST).log().transpose(1, 2)
        frames = (samples // FRAME_SAMPLES).clamp(min=_LEAST_FRAMES)
        content = (torch.arange(mel.shape[1], device=self._device) < frames[:, None])[..., None]
        mean = (mel * content).sum(1, keepdim=True) / frames[:, None, None]
        variance = ((mel - mean).square() * content).sum(1, keepdim=True) / (frames[:, None, None] - 1)
        return (mel - mean) / (variance.sqrt() + _LEAST_DEVIATION) * content, frames
