# SPDX-License-Identifier: Apache-2.0
"""Twenty kinds of sound in which nobody speaks, made of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sqscribe_bench.real.audio import RATE, Sound
from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.joins import made
from sqscribe_bench.real.recordings import Recording

__all__ = ["non_speech"]

#: Seconds of each.
SECONDS = 40.0

_Numbers = npt.NDArray[np.float64]

_TIME: _Numbers = np.arange(round(SECONDS * RATE)) / RATE
#: A tune in steps of a scale, and chords below it, in Hz.
_TUNE = (262, 330, 392, 523, 440, 392, 330, 294, 349, 440, 392, 330, 294, 247, 262, 262)
_CHORDS = ((131, 165, 196), (110, 131, 165), (87, 110, 131), (98, 123, 147))


def non_speech(cache: Cache) -> tuple[Recording, ...]:
    """All twenty, by name."""
    return tuple(made(name, _sound(make, seed), cache) for seed, (name, make) in enumerate(sorted(_KINDS.items())))


def _sound(make: Callable[[np.random.Generator], _Numbers], seed: int) -> Sound:
    return make(np.random.default_rng(seed)).astype(np.float32)


def _db(level: float) -> float:
    return float(10 ** (level / 20))


def _scaled(sound: _Numbers, level: float) -> _Numbers:
    return sound * _db(level) / max(float(np.sqrt(np.mean(sound**2))), 1e-12)


def _white(rng: np.random.Generator) -> _Numbers:
    return rng.standard_normal(_TIME.size)


def _coloured(rng: np.random.Generator, slope: float, low: float = 20.0, high: float = 8000.0) -> _Numbers:
    """Noise whose power falls with frequency to the power of `slope`, between two frequencies."""
    spectrum = np.fft.rfft(_white(rng))
    pitch = np.fft.rfftfreq(_TIME.size, 1 / RATE)
    spectrum *= np.where((pitch >= low) & (pitch <= high), np.maximum(pitch, 1.0) ** (-slope / 2), 0.0)
    return np.asarray(np.fft.irfft(spectrum, _TIME.size))


def _tones(pitches: Sequence[float]) -> _Numbers:
    return np.asarray(sum(np.sin(2 * np.pi * pitch * _TIME) for pitch in pitches))


def _notes(pitches: Sequence[float], seconds: float, harmonics: int = 6, decay: float = 3.0) -> _Numbers:
    """Plucked notes, one behind the other, over and over."""
    step = (_TIME / seconds).astype(int)
    pitch = np.asarray(pitches, float)[step % len(pitches)]
    within = _TIME - step * seconds
    each = [np.sin(2 * np.pi * pitch * n * within) / n**1.5 for n in range(1, harmonics + 1)]
    return np.asarray(np.sum(each, axis=0)) * np.exp(-decay * within) * np.minimum(within / 0.01, 1.0)


def _chords() -> _Numbers:
    return np.asarray(sum(_notes(voice, 2.0, decay=0.6) for voice in zip(*_CHORDS, strict=True)))


def _drums(rng: np.random.Generator) -> _Numbers:
    beat = _TIME % 0.5
    kick = np.sin(2 * np.pi * 60 * beat) * np.exp(-18 * beat)
    snare = _white(rng) * np.exp(-25 * ((_TIME + 0.25) % 0.5)) * 0.4
    return kick + snare


def _claps(rng: np.random.Generator, a_second: float, decay: float) -> _Numbers:
    """Bursts of noise at random moments."""
    strikes = rng.random(_TIME.size) < a_second / RATE
    impulses = strikes * rng.uniform(0.3, 1.0, _TIME.size)
    length = round(0.25 * RATE)
    tail = rng.standard_normal(length) * np.exp(-decay * np.arange(length) / RATE)
    size = _TIME.size + length
    spectrum = np.fft.rfft(impulses, size) * np.fft.rfft(tail, size)
    claps: _Numbers = np.fft.irfft(spectrum, size)[: _TIME.size]
    return claps


def _engine(rng: np.random.Generator) -> _Numbers:
    turning = 2 * np.pi * np.cumsum(28 + 6 * np.sin(2 * np.pi * _TIME / 9)) / RATE
    firing: _Numbers = np.sum([np.sin(turning * n) / n for n in range(1, 20)], axis=0)
    return firing + 3 * _scaled(_coloured(rng, 2.0, 40, 1500), -20)


def _siren() -> _Numbers:
    pitch = 700 + 400 * np.sin(2 * np.pi * _TIME / 4)
    return np.sin(2 * np.pi * np.cumsum(pitch) / RATE)


def _gated(sound: _Numbers, on: float, off: float) -> _Numbers:
    return sound * ((_TIME % (on + off)) < on)


def _birds(rng: np.random.Generator) -> _Numbers:
    within = _TIME % 0.9
    pitch = 3000 + 900 * np.sin(2 * np.pi * 22 * within) + 150 * rng.standard_normal()
    return np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * (within < 0.35)


def _keys(rng: np.random.Generator) -> _Numbers:
    return _claps(rng, 5.0, 220.0) + _scaled(_coloured(rng, 1.0), -70)


_KINDS: dict[str, Callable[[np.random.Generator], _Numbers]] = {
    "silence": lambda _: np.zeros(_TIME.size),
    "hiss": lambda rng: _scaled(_white(rng), -50),
    "loud hiss": lambda rng: _scaled(_white(rng), -20),
    "faint hiss": lambda rng: _scaled(_white(rng), -75),
    "pink noise": lambda rng: _scaled(_coloured(rng, 1.0), -25),
    "rumble": lambda rng: _scaled(_coloured(rng, 2.0, 20, 200), -20),
    "wind": lambda rng: _scaled(_coloured(rng, 1.5, 50, 900) * (1.2 + np.sin(2 * np.pi * _TIME / 7)), -25),
    "rain": lambda rng: _scaled(_claps(rng, 400.0, 300.0), -25),
    "hum": lambda _: _scaled(_tones((50, 100, 150, 250)), -30),
    "tone": lambda _: _scaled(_tones((440,)), -20),
    "dial tone": lambda _: _scaled(_tones((350, 440)), -20),
    "ringing": lambda _: _scaled(_gated(_tones((440, 480)), 2.0, 4.0), -20),
    "busy tone": lambda _: _scaled(_gated(_tones((425,)), 0.5, 0.5), -20),
    "siren": lambda _: _scaled(_siren(), -20),
    "tune": lambda _: _scaled(_notes(_TUNE, 0.4), -20),
    "chords": lambda _: _scaled(_chords(), -20),
    "band": lambda rng: _scaled(_chords() + _notes(_TUNE, 0.5) + _drums(rng), -18),
    "applause": lambda rng: _scaled(_claps(rng, 150.0, 60.0), -20),
    "engine": lambda rng: _scaled(_engine(rng), -20),
    "birds and keys": lambda rng: _scaled(_birds(rng) + 2 * _keys(rng), -28),
}
