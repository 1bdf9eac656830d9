# SPDX-License-Identifier: Apache-2.0
"""One reading of a clip: phrases laid out in time, some of which may be said anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from demo_model.espeak import SAMPLE_RATE, Delivery, Espeak, Utterance
from demo_model.vocabulary import fill
from numpy.typing import NDArray

from demo_clips.plans import Plan

_LEAD_IN = 0.3
_TAIL = 0.3
#: Peak of every phrase, of 32767.
_PEAK = 14_000
#: A phrase said anew must fill this much of the old one's time, so that the clip's rhythm stays.
_LEAST_FILL = 0.5
#: How often a neighbour of a misheard phrase is said anew as well: it may be at fault.
_NEIGHBOUR_SHARE = 0.25
#: Words a minute that a phrase may be slower or faster than planned.
_RATE_SPREAD = 12
_TRIES = 400


@dataclass(frozen=True, slots=True)
class Slot:
    """A phrase at its place.

    Attributes:
        start: First sample in the clip.
        room: Samples that a phrase may take here.
        voice: Index of the voice in the plan.
        utterance: What is said.
    """

    start: int
    room: int
    voice: int
    utterance: Utterance


class Reader:
    """Reads a plan aloud, the same way for the same seed."""

    def __init__(self, plan: Plan, espeak: Espeak) -> None:
        self._plan = plan
        self._espeak = espeak
        self._rng = np.random.default_rng(plan.seed)

    def read(self) -> tuple[Slot, ...]:
        """Fill the plan's length with phrases, voices taking turns at random."""
        slots: list[Slot] = []
        start = int(_LEAD_IN * SAMPLE_RATE)
        last = int((self._plan.seconds - _TAIL) * SAMPLE_RATE)
        while self._plan.voices:
            # Every voice is heard once before turns are left to chance.
            turn = len(slots) if len(slots) < len(self._plan.voices) else self._rng.integers(len(self._plan.voices))
            utterance = self._say(int(turn), last - start)
            if utterance is None:
                break
            slots.append(Slot(start, len(utterance.samples), int(turn), utterance))
            pause = self._rng.uniform(*self._plan.pauses)
            start += len(utterance.samples) + int(pause * SAMPLE_RATE)
        return tuple(slots)

    def say_anew(self, slots: tuple[Slot, ...], wrong: Collection[int]) -> tuple[Slot, ...]:
        """Other phrases in the slots named and some beside them, at the same places and by the same voices."""
        beside = {index + step for index in wrong for step in (-1, 1) if self._rng.random() < _NEIGHBOUR_SHARE}
        chosen = beside | set(wrong)
        return tuple(self._another(slot) if index in chosen else slot for index, slot in enumerate(slots))

    def _another(self, slot: Slot) -> Slot:
        utterance = self._say(slot.voice, slot.room, int(_LEAST_FILL * slot.room))
        return slot if utterance is None else replace(slot, utterance=utterance)

    def _say(self, voice: int, longest: int, shortest: int = 0) -> Utterance | None:
        for _ in range(_TRIES):
            rate = self._plan.rate + int(self._rng.integers(-_RATE_SPREAD, _RATE_SPREAD + 1))
            delivery = Delivery(self._plan.voices[voice], rate, pitch=int(self._rng.integers(40, 61)))
            words = fill(str(self._rng.choice(self._plan.templates)), self._rng)
            utterance = self._espeak.say(words, delivery)
            if utterance is not None and shortest <= len(utterance.samples) <= longest:
                return utterance
        return None


def audio(plan: Plan, slots: tuple[Slot, ...]) -> NDArray[np.int16]:
    """The clip's sound: int16, shape (n, channels), 16 kHz."""
    channels = len(plan.voices) if plan.stereo else 1
    mixed = np.zeros((int(plan.seconds * SAMPLE_RATE), channels), np.float32)
    for slot in slots:
        samples = slot.utterance.samples.astype(np.float32)
        place = slice(slot.start, slot.start + len(samples))
        mixed[place, slot.voice if plan.stereo else 0] += samples * (_PEAK / np.abs(samples).max())
    if plan.noise is not None:
        hiss = np.random.default_rng(plan.seed).standard_normal(mixed.shape)
        mixed += hiss.astype(np.float32) * 32767 * 10 ** (plan.noise / 20)
    return np.clip(mixed, -32768, 32767).astype(np.int16)


def truth(plan: Plan, slots: tuple[Slot, ...]) -> dict[str, Any]:
    """What is known about the clip, in seconds, as it is stored beside it."""
    segments, words = [], []
    for slot in slots:
        said = slot.utterance
        first, last = slot.start + said.starts[0], slot.start + said.ends[-1]
        segment: dict[str, Any] = {"start": _seconds(first), "end": _seconds(last), "text": " ".join(said.words)}
        if plan.stereo:
            segment["channel"] = slot.voice
        segments.append(segment)
        words += [
            {"word": word, "start": _seconds(slot.start + start), "end": _seconds(slot.start + end)}
            for word, start, end in zip(said.words, said.starts, said.ends, strict=True)
        ]
    return {
        "file": plan.file,
        "expected": "transcript" if words else "empty",
        "duration": plan.seconds,
        "voices": list(plan.voices),
        "segments": segments,
        "words": words,
    }


def _seconds(sample: int) -> float:
    return round(sample / SAMPLE_RATE, 3)
