# SPDX-License-Identifier: Apache-2.0
"""The parts of a measurement: which recordings are heard, and with what options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from sqscribe_bench.real import joins
from sqscribe_bench.real.audio import hiss, read, silence
from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.heard import Case
from sqscribe_bench.real.nonspeech import non_speech
from sqscribe_bench.real.prompts import FITTING, HOTWORDS, PROMPTS
from sqscribe_bench.real.recordings import Recording, long_recordings, sentences, spoken

__all__ = ["PARTS", "Plan", "plan"]

#: Recordings under unique names, and what is done with them.
Plan = tuple[dict[str, Recording], list[Case]]

_Named = dict[str, Recording]


def plan(part: str, cache: Cache, *, prompts: int | None = None, orders: int = 1) -> Plan:
    """What belongs to a part.

    Args:
        part: One of `PARTS`.
        cache: Has the recordings, or brings them.
        prompts: Only so many prompts and lists of hotwords, taken in turns; all by default.
        orders: Of the sentences in joined recordings, in the parts that are made of them; long ones are heard as they
            are, then behind so many other sentences, less one.

    Raises:
        CannotBeHadError: A recording of the part is not to be had.
    """
    recordings, cases = PARTS[part](cache, orders)
    if prompts is not None and part in {"prompts", "echo"}:
        kept = set(_turns()[:prompts])
        cases = [case for case in cases if "=" not in case.group or case.group.split("=")[1] in kept]
    return recordings, cases


def _turns() -> list[str]:
    """Names of prompts, a list of hotwords behind every second one."""
    names, lists = list(PROMPTS), list(HOTWORDS)
    return [name for at in range(0, len(names), 2) for name in (*names[at : at + 2], *lists[at // 2 : at // 2 + 1])]


def _named(recordings: Iterable[Recording]) -> _Named:
    return {recording.name: recording for recording in recordings}


def _plain(part: str, recordings: Iterable[Recording], **options: Any) -> Plan:
    named = _named(recordings)
    return named, [Case(f"{part} {recording.language}", name, options) for name, recording in named.items()]


def _ordered(join: Callable[..., tuple[Recording, ...]], cache: Cache, orders: int) -> list[Recording]:
    recordings = spoken()
    return [each for order in range(orders) for each in join(recordings, cache, order)]


def _alone(_cache: Cache, _orders: int) -> Plan:
    return _plain("alone", spoken())


def _joined(cache: Cache, orders: int) -> Plan:
    return _plain("joined", _ordered(joins.joined, cache, orders))


def _unlike(cache: Cache, orders: int) -> Plan:
    return _plain("unlike", _ordered(joins.unlike, cache, orders))


def _levelled(cache: Cache, orders: int) -> Plan:
    return _plain("levelled", _ordered(joins.levelled, cache, orders))


def _long(cache: Cache, orders: int) -> Plan:
    named = _named(_from_elsewhere(long_recordings(cache), cache, orders))
    return named, [Case(f"long {name.split('-behind-')[0]}", name) for name in named]


def _from_elsewhere(recordings: Iterable[Recording], cache: Cache, orders: int) -> list[Recording]:
    """The recordings as they are, and behind `orders` - 1 sentences each, so that their windows begin elsewhere."""
    known = list(recordings)
    leads = spoken("en")[: orders - 1] if orders > 1 else ()
    return known + [joins.behind(lead, each, cache) for lead in leads for each in known]


def _sentences(cache: Cache, _orders: int) -> Plan:
    return _plain("sentences", sentences(cache))


def _asked() -> list[tuple[str, dict[str, str]]]:
    return [
        *((name, {"initial_prompt": text}) for name, text in PROMPTS.items()),
        *((name, {"hotwords": text}) for name, text in HOTWORDS.items()),
    ]


def _prompts(cache: Cache, _orders: int) -> Plan:
    """Joined and long recordings with each prompt and each list of hotwords, and with one that fits."""
    recordings = [*joins.joined(spoken(), cache), *long_recordings(cache)]
    cases = [
        Case(f"{recording.name} ={name}", recording.name, {"language": recording.language, **options})
        for recording, (name, options) in product(recordings, _asked())
    ]
    for recording in recordings:
        options = {"language": recording.language}
        cases.append(Case(f"{recording.name} none", recording.name, options))
        if recording.name.endswith("-joined"):
            fitting = FITTING[recording.language]
            cases.append(Case(f"{recording.name} fitting", recording.name, {**options, "initial_prompt": fitting}))
    return _named(recordings), cases


def _translate(cache: Cache, orders: int) -> Plan:
    """English to English: what is translated is what was said."""
    alone = spoken("en")
    recordings = {f"alone {each.name}": each for each in alone}
    mixes = [each for order in range(orders) for each in joins.joined(alone, cache, order)]
    recordings |= {f"joined {each.name}": each for each in mixes}
    recordings |= {f"long {each.name}": each for each in _from_elsewhere(long_recordings(cache), cache, orders)}
    tasks = ("translate", "transcribe")
    return recordings, [
        Case(f"{task} {name.split()[0]}", name, {"task": task, "language": "en"})
        for task, name in product(tasks, recordings)
    ]


def _nonspeech(cache: Cache, _orders: int) -> Plan:
    """Nothing is said; every word is made up."""
    named = _named(non_speech(cache))
    options: tuple[dict[str, Any], ...] = ({}, {"vad": False}, {"vad": False, "language": "en"})
    return named, [
        Case(
            f"nonspeech {'vad' if each.get('vad', True) else 'no vad'}{' en' if 'language' in each else ''}", name, each
        )
        for each, name in product(options, named)
    ]


def _echo(cache: Cache, _orders: int) -> Plan:
    """Prompts over silence, noise, music, and one sentence within a minute of next to nothing."""
    sounds = {each.name: each for each in non_speech(cache) if each.name in {"silence", "hiss", "band", "applause"}}
    sentence = spoken("en")[0]
    sound = np.concatenate([silence(25.0), read(sentence.path), silence(25.0)])
    lonely = joins.made("lonely", sound + hiss(len(sound) / 16_000, -65.0)[: len(sound)], cache)
    said = tuple(replace(each, start=each.start + 25.0, end=each.end + 25.0) for each in sentence.sentences)
    speech = tuple((start + 25.0, end + 25.0) for start, end in sentence.speech)
    sounds["lonely"] = replace(lonely, sentences=said, speech=speech)
    asked = [each for each in _asked() if each[0] in {"en-show", "en-meeting", "en-dots", "de-show", "names", "many"}]
    return sounds, [
        Case(f"{name} ={prompt}", name, {**options, "language": "en", "vad": False})
        for name, (prompt, options) in product(sounds, asked)
    ]


PARTS: dict[str, Callable[[Cache, int], Plan]] = {
    "alone": _alone,
    "joined": _joined,
    "levelled": _levelled,
    "unlike": _unlike,
    "long": _long,
    "sentences": _sentences,
    "prompts": _prompts,
    "translate": _translate,
    "nonspeech": _nonspeech,
    "echo": _echo,
}
