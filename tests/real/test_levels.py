# SPDX-License-Identifier: Apache-2.0
"""Real sentences alone and behind one another, alike and unlike in loudness, without options.

The bounds are what the base model keeps today in int8, with a little room: kernels differ from processor to processor.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.joins import joined, levelled, unlike
from sqscribe_bench.real.recordings import Recording, spoken
from sqscribe_bench.real.score import Score, score, summed

pytestmark = [pytest.mark.real, pytest.mark.process, pytest.mark.slow]

Hear = Callable[..., list[Heard]]
#: Languages of the joined recordings: three that base knows well, less well, and hardly.
LANGUAGES = ("en", "de", "pt")


@pytest.fixture(scope="module")
def scores(base: Hear, cache: Cache) -> dict[str, Score]:
    """Of each kind of recording, all in one run of the worker."""
    try:
        alone = spoken()
    except CannotBeHadError as error:
        pytest.skip(str(error))
    some = [recording for recording in alone if recording.language in LANGUAGES]
    kinds: dict[str, tuple[Recording, ...]] = {
        "alone": alone,
        "joined": joined(some, cache),
        "unlike": unlike(some, cache),
        "levelled": levelled(some, cache),
    }
    heard = iter(base([recording for recordings in kinds.values() for recording in recordings]))
    return {
        kind: summed(score(recording, next(heard), {}) for recording in recordings)
        for kind, recordings in kinds.items()
    }


@pytest.mark.parametrize(("kind", "most"), [("alone", 0.155), ("joined", 0.14), ("levelled", 0.14), ("unlike", 0.17)])
def test_few_words_are_wrong(scores: dict[str, Score], kind: str, most: float) -> None:
    found = scores[kind]

    assert (found.failed, found.wrong_languages) == (0, 0)
    assert found.errors / found.words <= most


@pytest.mark.parametrize("kind", ["alone", "joined", "levelled", "unlike"])
def test_all_that_is_said_is_under_words(scores: dict[str, Score], kind: str) -> None:
    found = scores[kind]

    assert found.longest_unheard <= 2.0
    assert found.deleted <= found.words * 0.025
    assert found.misshapen == 0


def test_quiet_speech_beside_loud_speech_is_not_lost(scores: dict[str, Score]) -> None:
    # Given sentences between -17 and -67 dB behind one another, and the same at one level
    unlike, levelled = scores["unlike"], scores["levelled"]

    # Then hardly more is lost of the one than of the other, and not many more words are wrong
    assert unlike.words == levelled.words
    assert unlike.deleted <= levelled.deleted + 4
    assert unlike.errors <= levelled.errors + 0.045 * unlike.words
