# SPDX-License-Identifier: Apache-2.0
"""Where nobody speaks, nothing is written that is trusted, whatever the prompt says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.coverage import misshapen
from sqscribe_bench.real.echo import echoed
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.nonspeech import non_speech
from sqscribe_bench.real.prompts import PROMPTS
from sqscribe_bench.real.recordings import Recording
from sqscribe_bench.real.text import tokens

pytestmark = [pytest.mark.real, pytest.mark.process, pytest.mark.slow]

HearEach = Callable[[Sequence[tuple[Recording, Mapping[str, Any]]]], list[Heard]]


@pytest.fixture(scope="module")
def sounds(cache: Cache) -> tuple[Recording, ...]:
    return non_speech(cache)


def trusted(heard: Heard) -> list[str]:
    return [part.text for part in heard.parts if part.suspect is None]


def test_with_vad_twenty_kinds_of_sound_give_no_text_that_is_trusted(
    base_each: HearEach, sounds: tuple[Recording, ...]
) -> None:
    transcripts = base_each([(sound, {}) for sound in sounds])

    assert len(transcripts) == 20
    for sound, heard in zip(sounds, transcripts, strict=True):
        assert heard.error is None, sound.name
        assert trusted(heard) == [], sound.name
        assert misshapen(heard, sound.seconds) == 0, sound.name


def test_a_prompt_does_not_come_back_from_where_nobody_speaks(
    base_each: HearEach, sounds: tuple[Recording, ...]
) -> None:
    # Given ten prompts, each with a sound of its own, and no detector that would keep the sound from the model
    pairs = list(zip(PROMPTS.items(), sounds[::2], strict=True))

    # When they are transcribed
    transcripts = base_each(
        [(sound, {"vad": False, "language": name[:2], "initial_prompt": prompt}) for (name, prompt), sound in pairs]
    )

    # Then no run of a prompt is written; what little is written is doubted
    for ((name, prompt), sound), heard in zip(pairs, transcripts, strict=True):
        assert heard.error is None, sound.name
        assert echoed(tokens(prompt, name[:2]), [], tokens(heard.text, name[:2])) == 0, (name, sound.name)
        assert trusted(heard) == [], (name, sound.name)
        assert misshapen(heard, sound.seconds) == 0, sound.name


def test_digital_silence_has_no_text_without_vad(base_each: HearEach, sounds: tuple[Recording, ...]) -> None:
    (silence,) = (sound for sound in sounds if sound.name == "silence")

    (heard,) = base_each([(silence, {"vad": False, "language": "en"})])

    assert heard.error is None
    assert heard.parts == ()
