# SPDX-License-Identifier: Apache-2.0
"""Loudness, piece by piece: how much quiet speech is raised, for the detector and for the model.

Neither of the two evens out loudness by itself. The detector passes over what is quieter than about -50 dB, and the
model attends to the loudest voice of a window. All levels are those of `Track.levels`: dB over one quantisation step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["detection_lift", "speech_gains"]

#: Level of full scale on the scale of `Track.levels`.
_FULL_SCALE = 90
#: What the loudest frame nearby is brought to, and the most that anything is raised by, in dB.
_TARGET, _MOST = _FULL_SCALE - 22, 45
#: Speech that is no further below the target than this is left as it is: voices rise and fall.
_LEFT_ALONE = 9
#: The detector is never shown noise that was raised above this.
_NOISE = _FULL_SCALE - 40
#: Frames of 32 ms to either side: "nearby" is 1 s, noise is looked for over 10 s, gains are smoothed over 0.3 s.
_NEARBY, _NOISE_NEARBY, _SMOOTHING, _NOISE_SMOOTHING = 31, 312, 5, 4

_Gains = npt.NDArray[np.float32]
_Levels = npt.NDArray[np.float32]


def detection_lift(levels: npt.NDArray[np.uint8]) -> _Gains:
    """Gains in dB under which the detector hears quiet speech, float32 [frames], 0 where nothing is quiet.

    The quietest level nearby is taken for noise, which stays so low that the detector does not take it for speech.
    """
    if not len(levels):
        return np.zeros(0, np.float32)
    level = levels.astype(np.float32)
    noise = _lowest(_mean(level, _NOISE_SMOOTHING), _NOISE_NEARBY)
    return _smoothed(np.minimum(_wanted(_highest(level, _NEARBY)), np.maximum(_NOISE - noise, 0)))


def speech_gains(levels: npt.NDArray[np.uint8], speech: npt.NDArray[np.bool_]) -> _Gains:
    """Gains in dB that bring speech to a common loudness, float32 [frames], 0 away from speech.

    Args:
        levels: One value a frame.
        speech: Which frames are speech.
    """
    if not len(levels) or not speech.any():
        return np.zeros(len(levels), np.float32)
    level = np.where(speech, levels, 0).astype(np.float32)
    near = _highest(speech.astype(np.float32), _SMOOTHING) > 0
    return _smoothed(np.where(near, _wanted(_highest(level, _NEARBY)), 0))


def _wanted(peak: _Levels) -> _Gains:
    """By how much what has this peak is raised; the first decibels below the target cost nothing and gain nothing."""
    below = np.clip(_TARGET - peak, 0, _MOST)
    return np.where(below > _LEFT_ALONE, below, 0).astype(np.float32)


def _smoothed(gains: _Gains) -> _Gains:
    return _mean(gains, _SMOOTHING) if gains.any() else gains


def _highest(values: _Levels, reach: int) -> _Levels:
    """The running maximum over so many values to either side, by doubling: log2(reach) passes."""
    padded = np.pad(values, reach, mode="edge")
    width = 1
    while width < 2 * reach + 1:
        step = min(width, 2 * reach + 1 - width)
        padded = np.maximum(padded[:-step], padded[step:])
        width += step
    return padded


def _lowest(values: _Levels, reach: int) -> _Levels:
    return -_highest(-values, reach)


def _mean(values: _Levels, reach: int) -> _Levels:
    sums = np.cumsum(np.pad(values.astype(np.float64), (reach + 1, reach), mode="edge"))
    width = 2 * reach + 1
    mean = (sums[width:] - sums[:-width]) / width
    return mean.astype(np.float32)
