# SPDX-License-Identifier: Apache-2.0
"""The training phrases: spoken once, kept in files, some of them also as they sound after an mp3."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from demo_model.espeak import SAMPLE_RATE, Espeak, Utterance, random_delivery
from demo_model.vocabulary import WORD_ID, random_phrase

#: Share of the draws that come from the mp3 copies, and the bit rates they were made at.
MP3_SHARE = 0.25
MP3_RATES = ("24k", "32k", "40k")

#: Silence between phrases in an mp3, so that none sounds into the next: 0.2 s.
_MP3_GAP = SAMPLE_RATE // 5
_LONGEST_CODEC_DELAY = 3_000


@dataclass(frozen=True, slots=True)
class Phrase:
    """A spoken phrase as training draws it.

    Attributes:
        samples: int16, shape (n,), 16 kHz mono.
        words: Token ids.
        starts: Sample at which each word starts.
    """

    samples: NDArray[np.int16]
    words: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """Sample at which each word ends."""
        return (*self.starts[1:], len(self.samples))


#: First sample, samples, token ids, first sample of each word within the phrase.
_Entry = tuple[int, int, Sequence[int], Sequence[int]]


class Shelf:
    """Phrases that share one array of samples, on disk as `<name>.npy` and `<name>.json`."""

    def __init__(self, samples: NDArray[np.int16], entries: Sequence[_Entry]) -> None:
        self.samples = samples
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Phrase:
        first, length, words, starts = self.entries[index]
        return Phrase(self.samples[first : first + length], tuple(words), tuple(starts))

    def save(self, folder: Path, name: str) -> None:
        """Write both files; the second one last, so that its presence means both are whole."""
        np.save(folder / f"{name}.npy", self.samples)
        (folder / f"{name}.json").write_text(json.dumps(self.entries), "utf-8")

    @classmethod
    def load(cls, folder: Path, name: str) -> Shelf:
        """Read both files; the samples stay on disk until they are drawn."""
        samples = np.load(folder / f"{name}.npy", mmap_mode="r")
        return cls(samples, json.loads((folder / f"{name}.json").read_text("utf-8")))

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> Shelf:
        """Put utterances one after the other."""
        firsts = np.cumsum([0, *(len(utterance.samples) for utterance in utterances)])
        entries = [
            (int(first), len(utterance.samples), [WORD_ID[word] for word in utterance.words], list(utterance.starts))
            for first, utterance in zip(firsts, utterances, strict=False)
        ]
        return cls(np.concatenate([utterance.samples for utterance in utterances]), entries)


class Corpus:
    """All phrases of a folder, made on the first use."""

    def __init__(self, folder: Path, phrases: int, mp3_phrases: int, seed: int = 1000) -> None:
        """Load the phrases, and make those that are missing.

        Args:
            folder: Where they are kept; about 55 KB a phrase.
            phrases: How many there are.
            mp3_phrases: How many of them also went through an mp3, over all bit rates.
            seed: Of what is said and how.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "clean.json").exists():
            _speak(phrases, seed).save(folder, "clean")
        self._clean = Shelf.load(folder, "clean")
        self._copies = []
        for number, rate in enumerate(MP3_RATES):
            if not (folder / f"mp3-{rate}.json").exists():
                share = mp3_phrases // len(MP3_RATES)
                chosen = [self._clean[index] for index in range(number * share, (number + 1) * share)]
                _through_mp3(chosen, rate).save(folder, f"mp3-{rate}")
            self._copies.append(Shelf.load(folder, f"mp3-{rate}"))
        self._known = {tuple(words) for _, _, words, _ in self._clean.entries}

    def __len__(self) -> int:
        return len(self._clean)

    def draw(self, rng: np.random.Generator) -> Phrase:
        """Any phrase, from an mp3 in `MP3_SHARE` of the draws."""
        shelf = self._copies[rng.integers(len(self._copies))] if rng.random() < MP3_SHARE else self._clean
        return shelf[int(rng.integers(len(shelf)))]

    def holds(self, words: Sequence[str]) -> bool:
        """Whether training hears exactly these words as one phrase."""
        return tuple(WORD_ID[word] for word in words) in self._known


def _speak(phrases: int, seed: int) -> Shelf:
    rng, espeak = np.random.default_rng(seed), Espeak()
    spoken: list[Utterance] = []
    while len(spoken) < phrases:
        utterance = espeak.say(random_phrase(rng), random_delivery(rng))
        if utterance is not None:
            spoken.append(utterance)
            if len(spoken) % 5_000 == 0:
                print(f"{len(spoken)} of {phrases} phrases spoken", flush=True)
    return Shelf.of(spoken)


def _through_mp3(phrases: Sequence[Phrase], rate: str) -> Shelf:
    """Encode phrases as one mp3, decode it, and cut them out where they lie."""
    gap = np.zeros(_MP3_GAP, np.int16)
    pieces, entries, first = [gap], [], _MP3_GAP
    for phrase in phrases:
        pieces += [phrase.samples // 2, gap]  # room for the codec's overshoot
        entries.append((first, len(phrase.samples), phrase.words, phrase.starts))
        first += len(phrase.samples) + _MP3_GAP
    original = np.concatenate(pieces)
    raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1")
    encoded = _ffmpeg([*raw, "-i", "pipe:0", "-b:a", rate, "-f", "mp3", "pipe:1"], original.tobytes())
    decoded = np.frombuffer(_ffmpeg(["-i", "pipe:0", *raw, "pipe:1"], encoded), np.int16)
    shifted = np.roll(decoded, -_delay(original, decoded))[: len(original)]
    return Shelf(np.pad(shifted, (0, len(original) - len(shifted))), entries)


def _ffmpeg(arguments: list[str], data: bytes) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *arguments]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def _delay(original: NDArray[np.int16], decoded: NDArray[np.int16]) -> int:
    """Samples by which the codec's output lags, from the peak of the cross-correlation of the first 20 s."""
    count = min(20 * SAMPLE_RATE, len(original), len(decoded))
    spectra = [np.fft.rfft(samples[:count].astype(np.float64), 2 * count) for samples in (original, decoded)]
    correlation = np.fft.irfft(spectra[0].conj() * spectra[1])
    lags = np.arange(-_LONGEST_CODEC_DELAY, _LONGEST_CODEC_DELAY)
    return int(lags[np.argmax(correlation[lags])])
