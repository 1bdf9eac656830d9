# SPDX-License-Identifier: Apache-2.0
"""How well an exported model hears voices, rates and word sequences that training never used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray

from demo_model.corpus import Corpus
from demo_model.espeak import ACCENTS, HELD_OUT_RATES, HELD_OUT_VARIANTS, SAMPLE_RATE, Delivery, Espeak
from demo_model.listening import Listener
from demo_model.vocabulary import random_phrase

_SHORTEST, _LONGEST = 5.0, 25.0
#: A training phrase of several words is allowed this often: templates without placeholders cannot be avoided.
_KNOWN_PHRASE_SHARE = 0.03
_PEAK = 0.45


@dataclass(frozen=True, slots=True)
class Recording:
    """A held-out recording: float32 samples of shape (n,), 16 kHz mono, and what is said."""

    samples: NDArray[np.float32]
    text: str


def held_out(corpus: Corpus, count: int, seed: int = 4242) -> list[Recording]:
    """Speak recordings of 5 to 25 s, one voice each."""
    rng, espeak = np.random.default_rng(seed), Espeak()
    lengths = np.linspace(_SHORTEST, _LONGEST, count)
    return [_recording(corpus, espeak, rng, int(seconds * SAMPLE_RATE)) for seconds in lengths]


def word_error_rates(folder: Path, recordings: list[Recording]) -> dict[str, float]:
    """Word error rate of a CTranslate2 folder over all recordings, 0 to 1 and beyond, by decoding mode."""
    listener = Listener(folder)
    heard = [listener.hear(recording.samples) for recording in recordings]
    said = [recording.text for recording in recordings]
    return {mode: float(jiwer.wer(said, [" ".join(words[mode]) for words in heard])) for mode in heard[0]}


def _recording(corpus: Corpus, espeak: Espeak, rng: np.random.Generator, length: int) -> Recording:
    delivery = Delivery(
        voice=str(rng.choice(ACCENTS)) + str(rng.choice(HELD_OUT_VARIANTS)),
        rate=int(rng.choice(HELD_OUT_RATES)),
        pitch=int(rng.integers(25, 76)),
    )
    samples = np.zeros(length, np.float32)
    words: list[str] = []
    time = int(rng.uniform(0.2, 0.9) * SAMPLE_RATE)
    while True:
        phrase = random_phrase(rng)
        if len(phrase) > 1 and corpus.holds(phrase) and rng.random() >= _KNOWN_PHRASE_SHARE:
            continue
        utterance = espeak.say(phrase, delivery)
        if utterance is None:
            continue
        if time + len(utterance.samples) > length:
            if words:
                return Recording(samples, " ".join(words))
            continue
        sound = utterance.samples.astype(np.float32)
        samples[time : time + len(sound)] = sound * (_PEAK / np.abs(sound).max())
        words += utterance.words
        time += len(sound) + int(rng.uniform(0.35, 1.5) * SAMPLE_RATE)
