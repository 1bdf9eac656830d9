# SPDX-License-Identifier: Apache-2.0
"""Log-mel features exactly as faster-whisper computes them, for a batch of windows that end early."""

from __future__ import annotations

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor

from demo_model.espeak import SAMPLE_RATE
from demo_model.model import MEL_BANDS

_FFT = 400
_HOP = 160
_FILTERS = torch.from_numpy(FeatureExtractor.get_mel_filters(SAMPLE_RATE, _FFT, MEL_BANDS).astype(np.float32))
_HANN = torch.hann_window(_FFT)
#: Log10 of the quietest power, and how far below the loudest one everything is cut.
_FLOOR = -10.0
_RANGE = 8.0


def log_mel(waves: Tensor, content: Tensor, louder: Tensor) -> Tensor:
    """Features of windows whose content may end before the window does.

    Args:
        waves: float32, shape (batch, samples), 16 kHz, zero after the content.
        content: int64, shape (batch,): samples of content.
        louder: float32, shape (batch,): by how much (log10 of power) another part of the file was louder than the
            loudest of this window; faster-whisper takes the maximum over the whole file.

    Returns:
        float32, shape (batch, bands, samples / 160). After the content it is 0.0, which is not silence: Whisper pads
        the features, not the sound.
    """
    spectrum = torch.stft(waves, _FFT, _HOP, window=_HANN, center=True, pad_mode="reflect", return_complex=True)
    mel = (_FILTERS @ spectrum[..., :-1].abs().square()).clamp_min(10**_FLOOR).log10()
    frames = torch.arange(mel.shape[-1])[None, None] < ((content + _HOP // 2) // _HOP + 1)[:, None, None]
    loudest = mel.masked_fill(~frames, _FLOOR).amax((1, 2), keepdim=True) + louder[:, None, None]
    return ((torch.maximum(mel, loudest - _RANGE) + 4) / 4).masked_fill(~frames, 0.0)
