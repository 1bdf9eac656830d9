# SPDX-License-Identifier: Apache-2.0
"""What the decoder is fed and should say about a window."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from demo_model.corpus import Corpus
from demo_model.espeak import SAMPLE_RATE
from demo_model.vocabulary import END, FIRST_TIMESTAMP, NO_SPEECH, NO_TIMESTAMPS, PREVIOUS, START, TIMESTAMPS
from demo_model.windows import PlacedPhrase, Window

#: Target of a token that nothing is learnt from.
IGNORED = -1
#: A window of previous text as faster-whisper gives at most.
LONGEST_PROMPT = 223

#: Samples of one encoder position (20 ms), which is also the step of a timestamp.
POSITION = SAMPLE_RATE // 50
#: faster-whisper lets the first timestamp be 1.00 s at most.
_LATEST_FIRST = 50
_NO_TIMESTAMPS_SHARE = 0.45
_LONG_PROMPT_SHARE = 0.6
_SHORT_PROMPT_SHARE = 0.15
#: How often the first timestamp that is fed is not the true one; faster-whisper's batches force <|0.00|>.
_WRONG_FIRST_SHARE = 0.2


@dataclass(slots=True)
class Labels:
    """A sequence under construction; `targets[i]` follows `inputs[i]`.

    Attributes:
        inputs: Tokens fed.
        targets: Tokens to be predicted, or `IGNORED`.
        spans: Encoder positions (first, last + 1) that each target is heard at; (0, 0) where that is not known.
    """

    inputs: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def say(self, target: int, span: tuple[int, int] = (0, 0), fed: int | None = None) -> None:
        """Expect `target` next, and feed it, or another token in its place."""
        self.end(target, span)
        self.inputs.append(target if fed is None else fed)

    def end(self, target: int, span: tuple[int, int] = (0, 0)) -> None:
        """Expect `target` as the last one."""
        self.targets.append(target)
        self.spans.append(span)


def draw_labels(window: Window, offset: int, corpus: Corpus, rng: np.random.Generator, *, long_prompts: bool) -> Labels:
    """One of the ways to transcribe a window: with or without timestamps and previous text.

    Args:
        window: What is heard.
        offset: Encoder position that it starts at.
        corpus: Gives phrases for the previous text.
        rng: Chooses.
        long_prompts: Mostly give previous text, of any length up to `LONGEST_PROMPT`.
    """
    labels = Labels()
    if rng.random() < (_LONG_PROMPT_SHARE if long_prompts else _SHORT_PROMPT_SHARE):
        prompt = _prompt(corpus, rng, long=long_prompts)
        labels.inputs += [PREVIOUS, *prompt]
        labels.targets += [IGNORED] * (len(prompt) + 1)
        labels.spans += [(0, 0)] * (len(prompt) + 1)
    labels.inputs.append(START)
    timestamps = rng.random() >= _NO_TIMESTAMPS_SHARE
    if not window.phrases:
        # Whisper reads the probability of no speech after <|startoftranscript|>, whatever is fed next.
        first = offset + int(rng.integers(0, _LATEST_FIRST + 1)) if rng.random() < 0.5 else offset
        labels.say(NO_SPEECH, fed=_timestamp(first) if timestamps else NO_TIMESTAMPS)
        labels.end(END)
    elif timestamps:
        _with_timestamps(labels, window, offset, rng)
    else:
        _without_timestamps(labels, window)
    return labels


def frame_words(window: Window) -> NDArray[np.int64]:
    """The word that sounds at each encoder position, 0 for none: shape (positions,)."""
    frames = np.zeros(len(window.wave) // POSITION, np.int64)
    for phrase in window.phrases:
        for word in phrase.words:
            first = _position(word.start)
            frames[first : max(first + 1, _position(min(word.end, window.content)))] = word.token
    return frames


def _without_timestamps(labels: Labels, window: Window) -> None:
    labels.say(IGNORED, fed=NO_TIMESTAMPS)
    last = 0
    for phrase in window.phrases:
        for word in phrase.audible(window.content):
            last = _position(min(word.end, window.content))
            labels.say(word.token, (_position(word.start), last))
    positions = len(window.wave) // POSITION
    labels.end(END, (min(last, positions - 1), min(positions, last + 10)))


def _with_timestamps(labels: Labels, window: Window, offset: int, rng: np.random.Generator) -> None:
    positions = len(window.wave) // POSITION
    for index, phrase in enumerate(window.phrases):
        heard = _position(phrase.words[0].start)
        start = fed = heard
        if index == 0:
            start = fed = min(heard, _LATEST_FIRST)
            if rng.random() < _WRONG_FIRST_SHARE:
                fed = int(rng.integers(0, _LATEST_FIRST + 1)) if rng.random() < 0.5 else 0
        span = (heard, min(positions, heard + 3))
        labels.say(_timestamp(offset + start), span, fed=_timestamp(offset + fed))
        if phrase.cut and index > 0:
            break  # Whisper's way to say: the next window starts here
        end = _say_words(labels, phrase, window.content)
        end = min(end, positions)
        labels.say(_timestamp(offset + end), (max(0, end - 3), end))
    labels.end(END)


def _say_words(labels: Labels, phrase: PlacedPhrase, content: int) -> int:
    """Say the words of a phrase; returns the position at which it ends."""
    words = phrase.audible(content) if phrase.cut else phrase.words
    for word in words:
        labels.say(word.token, (_position(word.start), _position(min(word.end, content))))
    return _position(min(phrase.words[-1].end, content))


def _prompt(corpus: Corpus, rng: np.random.Generator, *, long: bool) -> list[int]:
    """The end of some previous text, with timestamps or without; now and then exactly as long as can be."""
    longest = LONGEST_PROMPT if long else 23
    length = longest if long and rng.random() < 0.35 else int(rng.integers(0, longest + 1))
    timestamps = rng.random() < 0.7
    time, prompt = int(rng.integers(0, 100)), list[int]()
    while len(prompt) < length:
        words = corpus.draw(rng).words
        end = min(TIMESTAMPS - 1, time + 15 * len(words))
        prompt += [_timestamp(time), *words, _timestamp(end)] if timestamps else words
        time = end + 40 if end < TIMESTAMPS - 100 else 0
    return prompt[len(prompt) - length :]


def _timestamp(position: int) -> int:
    return FIRST_TIMESTAMP + min(TIMESTAMPS - 1, position)


def _position(sample: int) -> int:
    return round(sample / POSITION)
