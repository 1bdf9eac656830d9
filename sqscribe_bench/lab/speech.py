# SPDX-License-Identifier: Apache-2.0
"""New recordings out of the bundled ones.

`Speech` puts their sentences in another order, with other pauses between them: the text is known. `ClipCutter` cuts at
random places: no two cuts are alike.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sqscribe import bundled
from sqscribe.bundled import Expected, SpokenWord
from sqscribe_bench.lab.pcm import Pcm, read_pcm
from stages.values import SAMPLE_RATE

__all__ = ["ClipCutter", "Speech"]

#: Seconds of silence between two words that end a sentence.
_SENTENCE_GAP = 0.3
#: Seconds that stay before the first word of a sentence and after its last one; less than half of that silence.
_MARGIN = 0.12
#: Shortest and longest pause between sentences, in seconds.
_PAUSES = (0.2, 2.0)
#: Factors by which a piece is made quieter, so that the same one used twice differs.
_LOUDNESS = (0.6, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Sentence:
    """A sentence's samples, and the places in them at which its words have ended."""

    samples: Pcm
    ends: tuple[int, ...]

    def cut(self, room: int) -> Pcm:
        """The samples of as many of its words as fit into `room` samples; empty when none does."""
        return self.samples[: max((end for end in self.ends if end <= room), default=0)]


class Speech:
    """Puts recordings of any length together from the bundled sentences. Loading them takes a second."""

    def __init__(self) -> None:
        self._sentences = [
            sentence for path, words in _spoken() if words for sentence in _sentences(read_pcm(path), words)
        ]

    def say(self, text: str, seconds: float) -> Pcm:
        """Makes a recording at `SAMPLE_RATE`. It ends in silence where the next word would not have fitted.

        Args:
            text: Any text; the same one always gives the same recording.
            seconds: Its exact length.
        """
        rng = random.Random(text)
        left, parts = round(seconds * SAMPLE_RATE), []
        while left > 0:
            sentence = rng.choice(self._sentences)
            spoken = sentence.cut(left)
            pause = min(left - len(spoken), round(rng.uniform(*_PAUSES) * SAMPLE_RATE))
            parts += [(spoken * rng.uniform(*_LOUDNESS)).astype(np.int16), np.zeros(pause, np.int16)]
            left -= len(spoken) + pause
        return np.concatenate(parts)


class ClipCutter:
    """Cuts pieces out of the bundled clips at random places. Loading it decodes the clips, which takes a second.

    Args:
        rng: Decides about every cut.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tracks = [read_pcm(clip.path) for clip in bundled.demo_clips() if clip.expected is Expected.TRANSCRIPT]

    def track(self) -> Pcm:
        """A whole clip; a longer one comes up more often."""
        return self._rng.choices(self._tracks, [len(track) for track in self._tracks])[0]

    def cut(self, track: Pcm, seconds: float, loudness: tuple[float, float] = _LOUDNESS) -> Pcm:
        """A piece of a clip, at most of that length.

        Args:
            track: The clip.
            seconds: How long the piece is to be.
            loudness: Smallest and largest factor, so that two cuts from the same place differ.
        """
        length = min(int(seconds * SAMPLE_RATE), len(track))
        start = self._rng.randint(0, len(track) - length)
        return (track[start : start + length] * self._rng.uniform(*loudness)).astype(np.int16)


def _spoken() -> Iterator[tuple[Path, tuple[SpokenWord, ...]]]:
    for clip in bundled.demo_clips():
        yield clip.path, clip.words
    for control in bundled.control_clips():
        yield control.path, control.words


def _sentences(samples: Pcm, words: tuple[SpokenWord, ...]) -> Iterator[_Sentence]:
    first = 0
    for index, word in enumerate(words):
        following = words[index + 1].start if index + 1 < len(words) else len(samples) / SAMPLE_RATE
        if following - word.end >= _SENTENCE_GAP or index + 1 == len(words):
            start = max(0, round((words[first].start - _MARGIN) * SAMPLE_RATE))
            ends = [round((each.end + _MARGIN) * SAMPLE_RATE) - start for each in words[first : index + 1]]
            yield _Sentence(samples[start : start + ends[-1]], tuple(ends))
            first = index + 1
