# SPDX-License-Identifier: Apache-2.0
"""Training windows: phrases and pauses laid out in up to 30 s, with the place of every word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo_model.corpus import Corpus, Phrase
from demo_model.espeak import SAMPLE_RATE

#: Whisper's own window; shorter ones are for the first minutes of training.
FULL_SECONDS = 30.0

#: Shares of the windows that hold no speech, that start inside a phrase, and that end after a few phrases.
_SILENT_SHARE = 0.06
_BROKEN_START_SHARE = 0.06
_EARLY_END_SHARE = 0.15
#: A word whose end is cut off by less than this share of its length still counts as said.
_AUDIBLE = 0.7


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word in the window; `start` and `end` in samples, `end` possibly beyond the content."""

    token: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PlacedPhrase:
    """A phrase in the window.

    Attributes:
        words: In order.
        cut: The content ends inside it.
    """

    words: tuple[PlacedWord, ...]
    cut: bool

    def audible(self, content: int) -> tuple[PlacedWord, ...]:
        """The words that sound almost whole before the content ends."""
        return tuple(w for w in self.words if min(w.end, content) - w.start >= _AUDIBLE * (w.end - w.start))


@dataclass(frozen=True, slots=True)
class Window:
    """What the model hears, and what was said.

    Attributes:
        wave: float32, shape (samples,), 16 kHz, zero after the content.
        content: Samples of content.
        phrases: In order of time; empty for silence.
    """

    wave: NDArray[np.float32]
    content: int
    phrases: tuple[PlacedPhrase, ...]


def draw_window(corpus: Corpus, rng: np.random.Generator, seconds: float) -> Window:
    """Lay out a random window of this length."""
    samples = int(seconds * SAMPLE_RATE)
    full = seconds >= FULL_SECONDS
    ends_late = rng.random() < (0.5 if full else 0.75)
    content = samples if ends_late else int(rng.uniform(0.15 if full else 0.35, 1.0) * samples)
    wave = np.zeros(samples, np.float32)
    if rng.random() < _SILENT_SHARE:
        return Window(wave, content, ())

    phrases: list[PlacedPhrase] = []
    time = int((rng.uniform(0.0, 0.4) if rng.random() < 0.7 else rng.uniform(0.2, 2.2)) * SAMPLE_RATE)
    loudness = 10 ** rng.uniform(-1.3, -0.05)
    most = int(rng.integers(1, 6)) if rng.random() < _EARLY_END_SHARE else samples
    tight = rng.random() < 0.35
    while len(phrases) < most and (not phrases or time < content - SAMPLE_RATE // 5):
        phrase = corpus.draw(rng)
        if not phrases and len(phrase.words) > 2 and rng.random() < _BROKEN_START_SHARE:
            phrase, time = _without_start(phrase, rng), 0
        if time + len(phrase.samples) > content:
            # Mostly no phrase is cut: end here, or move the only one to the front.
            if phrases and (rng.random() < 0.75 or content - time < SAMPLE_RATE // 10):
                break
            if not phrases:
                time = max(0, content - len(phrase.samples))
        placed = _place(phrase, wave, time, content, loudness * rng.uniform(0.55, 1.0))
        if placed.words:
            phrases.append(placed)
        time += len(phrase.samples) + int(_pause(rng, tight=tight, long=full) * SAMPLE_RATE)
    return Window(wave, content, tuple(phrases))


def _place(phrase: Phrase, wave: NDArray[np.float32], time: int, content: int, peak: float) -> PlacedPhrase:
    sound = phrase.samples.astype(np.float32) / 32768
    heard = sound[: max(0, content - time)]
    wave[time : time + len(heard)] += heard * (peak / max(0.05, float(np.abs(sound).max())))
    words = zip(phrase.words, phrase.starts, phrase.ends, strict=True)
    return PlacedPhrase(
        tuple(PlacedWord(token, time + start, time + end) for token, start, end in words if time + start < content),
        cut=len(heard) < len(sound),
    )


def _without_start(phrase: Phrase, rng: np.random.Generator) -> Phrase:
    """The phrase as a window hears it that starts inside it; a word cut by less than 30 % still counts."""
    cut = int(rng.uniform(0.05, 0.6) * len(phrase.samples))
    kept = [
        (token, max(0, start - cut))
        for token, start, end in zip(phrase.words, phrase.starts, phrase.ends, strict=True)
        if start - cut > (_AUDIBLE - 1) * (end - start)
    ]
    return Phrase(phrase.samples[cut:], tuple(token for token, _ in kept), tuple(start for _, start in kept))


def _pause(rng: np.random.Generator, *, tight: bool, long: bool) -> float:
    kind = rng.random()
    if tight or kind < 0.5:
        return float(rng.uniform(0.3, 0.7))
    if kind < 0.85 or not long:
        return float(rng.uniform(0.7, 1.6))
    return float(rng.uniform(1.6, 3.5))
