# SPDX-License-Identifier: Apache-2.0
"""The closed vocabulary: its 107 words, the phrases made of them, and the token ids of the model."""

from __future__ import annotations

import numpy as np


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


DIGITS = _split("zero one two three four five six seven eight nine")
NUMBERS = _split("ten eleven twelve twenty thirty forty fifty hundred")
LETTERS = _split(
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa "
    "quebec romeo sierra tango uniform victor whiskey x-ray yankee zulu"
)
DIRECTIONS = _split("north south east west left right up down")
COMMANDS = _split("yes no stop go start open close on off")
DAYS = _split("monday tuesday wednesday thursday friday saturday sunday")
#: November stands among the letters: a word has one token.
MONTHS = _split("january february march april may june july august september october december")
COLOURS = _split("red green blue white black yellow orange")
SMALL_TALK = _split(
    "hello world this is the demo model and good morning thank you please file audio test ready welcome "
    "machine number today"
)

#: In the order of their token ids, which start at 1.
WORDS = DIGITS + NUMBERS + LETTERS + DIRECTIONS + COMMANDS + DAYS + MONTHS + COLOURS + SMALL_TALK

#: Whole phrases; an upper-case letter stands for any word of its class in `PLACEHOLDERS`.
TEMPLATES = (
    "hello world",
    "good morning",
    "thank you",
    "please stop",
    "welcome",
    "hello and welcome",
    "welcome and good morning",
    "this is the demo model",
    "this is the audio test",
    "the machine is ready",
    "the file is ready",
    "this is number N",
    "today is D",
    "today is D M N",
    "please open file number N",
    "please close the file",
    "please start the machine",
    "the model is C and C",
    "go X and X",
    "good morning and thank you",
    "test N N N",
    "this is A A N N",
    "the number is N N N N",
    "the test is on D",
    "please go X",
    "yes this is the machine",
    "no this is the file",
    "hello this is A",
    "thank you and good morning",
    "welcome this is the test",
    "the C file and the C file",
    "number N is C",
    "audio file N N",
    "open the C file",
    "the demo is ready please start",
    "ready",
    "A A A A",
    "N N N N N N",
    "D and D",
    "the audio is off",
    "the audio is on",
    "hello machine",
    "hello world this is the demo model",
)
PLACEHOLDERS = {
    "N": DIGITS + NUMBERS,
    "C": COLOURS,
    "D": DAYS,
    "M": (*MONTHS, "november"),
    "A": LETTERS,
    "X": DIRECTIONS,
}

#: How long a phrase of random words is: 1 to 8 words with these probabilities.
_RANDOM_LENGTHS = (0.14, 0.14, 0.14, 0.14, 0.12, 0.12, 0.10, 0.10)
_TEMPLATE_SHARE = 0.3

UNKNOWN = "<unk>"
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMPS = 1501
TIMESTAMP_TOKENS = tuple(f"<|{i * 0.02:.2f}|>" for i in range(TIMESTAMPS))

#: Every token in the order of ids. Text comes below <|endoftext|>, because faster-whisper drops ids from there on when
#: it decodes; fewer than 51865 tokens make CTranslate2 take the model for an English-only one.
TOKENS = (UNKNOWN, *(f"\u0120{word}" for word in WORDS), *SPECIAL_TOKENS, *TIMESTAMP_TOKENS)

ID = {token: index for index, token in enumerate(TOKENS)}
WORD_ID = {word: index + 1 for index, word in enumerate(WORDS)}
TEXT_TOKENS = 1 + len(WORDS)
END = ID["<|endoftext|>"]
START = ID["<|startoftranscript|>"]
PREVIOUS = ID["<|startofprev|>"]
NO_SPEECH = ID["<|nospeech|>"]
NO_TIMESTAMPS = ID["<|notimestamps|>"]
FIRST_TIMESTAMP = NO_TIMESTAMPS + 1


def fill(template: str, rng: np.random.Generator) -> list[str]:
    """The words of a template, with a random word of its class for each placeholder."""
    return [str(rng.choice(PLACEHOLDERS[part])) if part in PLACEHOLDERS else part for part in template.split()]


def random_phrase(rng: np.random.Generator) -> list[str]:
    """A phrase as in training: a template in 30 %, else 1 to 8 words drawn evenly."""
    if rng.random() < _TEMPLATE_SHARE:
        return fill(str(rng.choice(TEMPLATES)), rng)
    length = int(rng.choice(np.arange(1, 9), p=_RANDOM_LENGTHS))
    return [str(word) for word in rng.choice(WORDS, size=length)]
