# SPDX-License-Identifier: Apache-2.0
"""New recordings out of the bundled ones: their sentences in another order, with other pauses between them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sqscribe import bundled
from sqscribe.bundled import SpokenWord
from sqscribe.errors import NodeFaultError
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE

__all__ = ["Speech", "read_pcm"]

Pcm = npt.NDArray[np.int16]

#: A silence between two words that ends a sentence.
_SENTENCE_GAP = 0.3
#: CheckpointState before the first word of a cut and behind its last one; half of the shortest such gap.
_MARGIN = 0.12
#: Pauses between sentences.
_PAUSES = (0.2, 2.0)
#: Loudness of a sentence, so that the same one said twice differs.
_LOUDNESS = (0.6, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Sentence:
    """Samples, and the places in them where a word has ended."""

    samples: Pcm
    ends: tuple[int, ...]

    def cut(self, room: int) -> Pcm:
        """As many of its words as fit into `room` samples; none of them, maybe."""
        return self.samples[: max((end for end in self.ends if end <= room), default=0)]


class Speech:
    """Speaks recordings of any length. Loading it decodes the bundled ones, which takes a second."""

    def __init__(self) -> None:
        ffmpeg = find_ffmpeg()
        self._sentences = [
            sentence for path, words in _spoken() if words for sentence in _sentences(read_pcm(ffmpeg, path), words)
        ]

    def say(self, text: str, seconds: float) -> Pcm:
        """A recording of that length at `SAMPLE_RATE`; another `text` is another recording, the same one the same.

        It ends in silence where the next word would not have fitted.
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


def read_pcm(ffmpeg: str, path: Path) -> Pcm:
    """Decodes a media file that is known to be good.

    Raises:
        NodeFaultError: It is not, or ffmpeg does not work.
    """
    command = [ffmpeg, "-nostdin", "-loglevel", "error", "-i", str(path), "-map", "a:0"]
    done = subprocess.run(
        [*command, "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "pipe:1"], capture_output=True, check=False
    )
    if done.returncode:
        raise NodeFaultError(f"ffmpeg cannot decode {path}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return np.frombuffer(done.stdout, "<i2")


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
