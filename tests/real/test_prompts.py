# SPDX-License-Identifier: Apache-2.0
"""A prompt, hotwords or `translate` lose nothing that was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.joins import joined
from sqscribe_bench.real.prompts import HOTWORDS, PROMPTS
from sqscribe_bench.real.recordings import Recording, spoken
from sqscribe_bench.real.score import Score, score

pytestmark = [pytest.mark.real, pytest.mark.process, pytest.mark.slow]

HearEach = Callable[[Sequence[tuple[Recording, Mapping[str, Any]]]], list[Heard]]

ASKED: dict[str, dict[str, str]] = {
    "nothing": {},
    "an English prompt": {"initial_prompt": PROMPTS["en-show"]},
    "a German prompt": {"initial_prompt": PROMPTS["de-show"]},
    "hotwords": {"hotwords": HOTWORDS["products"]},
    "a translation": {"task": "translate"},
}
#: German speech is not held against its translation.
CASES = [
    (language, asked) for language in ("en", "de") for asked in ASKED if (language, asked) != ("de", "a translation")
]
WITH = [case for case in CASES if case[1] != "nothing"]


@pytest.fixture(scope="module")
def scores(base_each: HearEach, cache: Cache) -> dict[tuple[str, str], Score]:
    """Of a long recording in each language with each option, all in one run of the worker."""
    try:
        recordings = {each.language: each for each in joined([*spoken("en"), *spoken("de")], cache)}
    except CannotBeHadError as error:
        pytest.skip(str(error))
    tasks = [(recordings[language], ASKED[asked]) for language, asked in CASES]
    heard = base_each(tasks)
    return {
        case: score(recording, each, options)
        for case, (recording, options), each in zip(CASES, tasks, heard, strict=True)
    }


@pytest.mark.parametrize(("language", "asked"), WITH)
def test_nothing_is_lost(scores: dict[tuple[str, str], Score], language: str, asked: str) -> None:
    # Given sentences of several people behind one another
    plain, found = scores[language, "nothing"], scores[language, asked]

    # When they are heard with a prompt, in whatever language, or with hotwords, or translated from English to English
    # Then as much is there as without, and no more is wrong
    assert found.failed == 0
    assert found.deleted <= plain.deleted + 2
    assert found.errors <= plain.errors + 0.03 * plain.words
    assert found.longest_unheard <= 2.0


@pytest.mark.parametrize(("language", "asked"), WITH)
def test_nothing_of_the_prompt_is_written(scores: dict[tuple[str, str], Score], language: str, asked: str) -> None:
    assert scores[language, asked].echoes == 0


@pytest.mark.parametrize(("language", "asked"), CASES)
def test_times_are_possible(scores: dict[tuple[str, str], Score], language: str, asked: str) -> None:
    assert scores[language, asked].misshapen == 0
