# SPDX-License-Identifier: Apache-2.0
"""Long recordings made of short ones: sentences of a language behind one another, alike or unlike in loudness.

Each may be made in several orders: which sentence begins a window decides much, and one order is one throw of the dice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np

from sqscribe_bench.real.audio import RATE, Sound, at_level, hiss, read, silence, wav
from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.recordings import Recording, Sentence

__all__ = ["LEVELS", "behind", "joined", "levelled", "made", "unlike"]

#: Seconds between sentences, by turns.
PAUSES = (0.6, 1.2, 0.3, 2.0)
#: Levels of the sentences of an unlike recording in dB of full scale, by turns.
LEVELS = (-17.0, -47.0, -27.0, -67.0, -37.0, -57.0)
#: The one level, in dB, of sentences that were made alike by hand.
LEVEL = -22.0
#: Of the hiss below sentences of every level, in dB.
HISS = -75.0


def joined(recordings: Iterable[Recording], cache: Cache, order: int = 0) -> tuple[Recording, ...]:
    """One recording a language that has several: its sentences as they are."""
    return _by_language(recordings, order, lambda group, name: _join(group, cache, f"joined{name}", None))


def unlike(recordings: Iterable[Recording], cache: Cache, order: int = 0) -> tuple[Recording, ...]:
    """One recording a language that has several: its sentences from loud to very quiet, with hiss."""
    return _by_language(recordings, order, lambda group, name: _join(group, cache, f"unlike{name}", LEVELS))


def levelled(recordings: Iterable[Recording], cache: Cache, order: int = 0) -> tuple[Recording, ...]:
    """One recording a language that has several: its sentences at one level, with the same hiss."""
    return _by_language(recordings, order, lambda group, name: _join(group, cache, f"levelled{name}", (LEVEL,)))


def behind(lead: Recording, recording: Recording, cache: Cache) -> Recording:
    """A recording behind a sentence of another one: the same speech, cut into windows elsewhere."""
    sounds = read(lead.path), silence(PAUSES[0]), read(recording.path)
    at = sum(len(sound) for sound in sounds[:2]) / RATE
    sentences = (
        *lead.sentences,
        *(replace(each, start=each.start + at, end=each.end + at) for each in recording.sentences),
    )
    speech = (*lead.speech, *((start + at, end + at) for start, end in recording.speech))
    return made(
        f"{recording.name}-behind-{lead.name}", np.concatenate(sounds), cache, recording.language, sentences, speech
    )


def made(
    name: str,
    sound: Sound,
    cache: Cache,
    language: str = "en",
    sentences: tuple[Sentence, ...] = (),
    speech: tuple[tuple[float, float], ...] = (),
) -> Recording:
    """A recording that was made here; its file stands in the cache under its digest."""
    body = wav(sound)
    path = cache.root / "made" / f"{name}-{hashlib.sha256(body).hexdigest()[:12]}.wav"
    if not path.exists():
        cache.write(path, body)
    return Recording(name, path, language, sentences, speech, len(sound) / RATE)


def _by_language(
    recordings: Iterable[Recording], order: int, join: Callable[[Sequence[Recording], str], Recording]
) -> tuple[Recording, ...]:
    """Joins what belongs together, as it comes or, for an order above 0, shuffled: the same way every time."""
    groups: dict[str, list[Recording]] = {}
    for recording in recordings:
        groups.setdefault(recording.language, []).append(recording)
    several = [group for group in groups.values() if len(group) > 1]
    if not order:
        return tuple(join(group, "") for group in several)
    shuffled = [[group[at] for at in np.random.default_rng(order).permutation(len(group))] for group in several]
    return tuple(join(group, f"-{order}") for group in shuffled)


def _join(group: Sequence[Recording], cache: Cache, kind: str, levels: tuple[float, ...] | None) -> Recording:
    """The sentences with pauses between them; speech is looked for in each by itself, where it is easily found."""
    sounds: list[Sound] = [silence(PAUSES[0])]
    sentences: list[Sentence] = []
    speech: list[tuple[float, float]] = []
    at = PAUSES[0]
    for recording, pause, level in zip(group, cycle(PAUSES), cycle(levels or (None,)), strict=False):
        sound = read(recording.path)
        if level is not None:
            sound = at_level(sound, level)
        end = at + len(sound) / RATE
        sentences.append(Sentence(recording.text, at, end))
        speech += [(at + since, at + until) for since, until in recording.speech]
        sounds += [sound, silence(pause)]
        at = end + round(pause * RATE) / RATE
    whole = np.concatenate(sounds)
    if levels:
        whole = whole + hiss(len(whole) / RATE, HISS)[: len(whole)]
    name = f"{group[0].language}-{kind}"
    return made(name, whole, cache, group[0].language, tuple(sentences), tuple(speech))
