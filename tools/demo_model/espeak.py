# SPDX-License-Identifier: Apache-2.0
"""Speech from libespeak-ng with the time of every word, and the voices that the model was trained on.

The binding follows `speak_lib.h` of espeak-ng 1.51. The library keeps global state, so a process has one `Espeak`.
"""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Sample rate of everything here, as Whisper wants it.
SAMPLE_RATE = 16_000

_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_EVENT_END = 0
_EVENT_WORD = 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7

#: Quieter than this share of the peak is edge, not speech; the floor is for voices that hardly sound.
_EDGE_SHARE = 0.015
_EDGE_FLOOR = 60.0
_SHORTEST_SPEECH = SAMPLE_RATE // 20


def _variants(names: str) -> tuple[str, ...]:
    return tuple(f"+{name}" for name in names.split())


ACCENTS = (
    *("en-us",) * 3,
    # Great Britain: the library does not know the name "en-gb".
    *("en",) * 3,
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-029",
    "en-us-nyc",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)
#: The twelve that make 60 % of the training phrases, then those of the other 40 %.
PLAIN_VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4")
NAMED_VARIANTS = _variants(
    "Alex Alicia Andrea antonio aunty belinda benjamin boris caleb david Denis Diogo ed edward Gene gustave "
    "Henrique iven john kaukovalta Lee linda marcelo Marco max Michael michel miguel Mike pablo paul pedro "
    "quincy rob robert steph zac anika grandpa grandma norbert sandro shelby travis victor klatt klatt3"
)
#: Never heard in training: evaluation speaks with these, at these rates in words a minute.
HELD_OUT_VARIANTS = _variants("m8 f5 Andy Annie steph2 Hugo edward2 Gene2 iven3 Jacky")
HELD_OUT_RATES = (128, 142, 156, 171, 184)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How something is said.

    Attributes:
        voice: espeak-ng voice and variant, as `en-us+m3`.
        rate: Words a minute, 80 to 450.
        pitch: 0 to 100; 50 is the voice's own.
        pitch_range: 0 to 100; 0 is monotone.
        word_gap: Pause between words in units of 10 ms.
    """

    voice: str
    rate: int = 150
    pitch: int = 50
    pitch_range: int = 50
    word_gap: int = 0


@dataclass(frozen=True, slots=True)
class Utterance:
    """A spoken phrase, trimmed to what sounds.

    Attributes:
        words: The words, in order.
        samples: int16, shape (n,), 16 kHz mono.
        starts: Sample at which each word starts, strictly rising.
    """

    words: tuple[str, ...]
    samples: NDArray[np.int16]
    starts: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """Sample at which each word ends: where the next one starts."""
        return (*self.starts[1:], len(self.samples))


class UnknownVoiceError(Exception):
    """The library has no such voice."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The synthesiser of this process. Not for several threads."""

    def __init__(self, library: str = "libespeak-ng.so.1") -> None:
        self._library = ctypes.CDLL(library)
        self._source_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if self._source_rate <= 0:
            raise RuntimeError(f"{library} did not start (code {self._source_rate}): is espeak-ng's data installed?")
        self._library.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )
        self._pieces: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int]] = []
        self._callback = _Callback(self._receive)  # the library keeps only the pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, words: list[str], delivery: Delivery) -> Utterance | None:
        """Speak some words as one phrase.

        Args:
            words: Without blanks or punctuation.
            delivery: How.

        Returns:
            The speech, or None where the engine gave no usable time for every word.

        Raises:
            UnknownVoiceError: The library has no such voice.
        """
        if self._library.espeak_SetVoiceByName(delivery.voice.encode()) != 0:
            raise UnknownVoiceError(f"espeak-ng has no voice {delivery.voice!r}")
        for parameter, value in (
            (_RATE, delivery.rate),
            (_VOLUME, 100),
            (_PITCH, delivery.pitch),
            (_RANGE, delivery.pitch_range),
            (_WORD_GAP, delivery.word_gap),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        self._events.clear()
        text = " ".join(words).encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        seconds = _word_seconds(words, self._events)
        if seconds is None:
            return None
        return _trim(words, resample(np.concatenate(self._pieces), self._source_rate, SAMPLE_RATE), seconds)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_WORD:
                self._events.append((events[index].text_position, events[index].audio_position))
            index += 1
        return 0


def resample(samples: NDArray[np.int16], source_rate: int, target_rate: int) -> NDArray[np.float32]:
    """Resample whole phrases by cutting or padding the spectrum (ideal low-pass, needs quiet edges).

    Args:
        samples: int16, shape (n,).
        source_rate: Hz.
        target_rate: Hz.

    Returns:
        float32, shape (about n * target_rate / source_rate,), in the units of the input.
    """
    step = source_rate // int(np.gcd(source_rate, target_rate))
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % step))
    length = len(padded) * target_rate // source_rate
    resampled = np.fft.irfft(np.fft.rfft(padded), length) * (length / len(padded))
    return resampled.astype(np.float32)


def random_delivery(rng: np.random.Generator) -> Delivery:
    """How a training phrase is said: any known voice, at any rate from 105 to 205 but the held-out ones."""
    variants = PLAIN_VARIANTS if rng.random() < 0.6 else PLAIN_VARIANTS + NAMED_VARIANTS
    rate = int(rng.integers(105, 206))
    return Delivery(
        voice=str(rng.choice(ACCENTS)) + str(rng.choice(variants)),
        rate=rate + 1 if rate in HELD_OUT_RATES else rate,
        pitch=int(rng.integers(20, 81)),
        pitch_range=int(rng.integers(30, 71)),
        word_gap=int(rng.choice([0, 0, 0, 1, 3, 6])),
    )


def _word_seconds(words: list[str], events: list[tuple[int, int]]) -> list[float] | None:
    """Start of each word; an event belongs to the word in whose characters (from 1) it lies."""
    firsts = np.cumsum([1, *(len(word) + 1 for word in words[:-1])])
    seconds: dict[int, float] = {}
    for position, milliseconds in events:
        seconds.setdefault(int(np.searchsorted(firsts, max(position, 1), side="right")) - 1, milliseconds / 1000)
    return [seconds[index] for index in range(len(words))] if len(seconds) == len(words) else None


def _trim(words: list[str], speech: NDArray[np.float32], seconds: list[float]) -> Utterance | None:
    loudness = np.abs(speech)
    sounding = np.nonzero(loudness > max(_EDGE_FLOOR, _EDGE_SHARE * float(loudness.max())))[0]
    if len(sounding) < _SHORTEST_SPEECH:
        return None
    first = max(0, int(sounding[0]) - SAMPLE_RATE // 100)
    last = min(len(speech), int(sounding[-1]) + SAMPLE_RATE // 50)
    starts = tuple(min(max(0, int(second * SAMPLE_RATE) - first), last - first - 1) for second in seconds)
    if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
        return None
    samples = np.clip(speech[first:last], -32768, 32767).astype(np.int16)
    return Utterance(tuple(words), samples, starts)
