# SPDX-License-Identifier: Apache-2.0
"""A job's options that tune how its text is looked for: each does to real speech what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqscribe.tuning import Tuning, VadTuning
from sqscribe_bench.real.audio import read
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.contender import ModelSetup, RecordingTask
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.joins import joined, unlike
from sqscribe_bench.real.ours import Sqscribe
from sqscribe_bench.real.packages import MODELS
from sqscribe_bench.real.recordings import Recording
from sqscribe_bench.real.score import Score, score
from stages.inference.whisper.vocabulary import Vocabulary
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import Audio, Windows

pytestmark = [pytest.mark.real, pytest.mark.process, pytest.mark.slow]

#: Recording and options of each job of one run: what is not said here is the default.
OPTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "numbers": ("numbers", {}),
    "numbers spelled": ("numbers", {"suppress_numerals": True}),
    "kennedy": ("kennedy", {}),
    "kennedy without repeats": ("kennedy", {"no_repeat_ngram_size": 1}),
    "kennedy penalised": ("kennedy", {"repetition_penalty": 1.5}),
    "joined": ("joined", {}),
    "joined in short windows": ("joined", {"max_window": 8}),
    "joined, only the clearest": ("joined", {"vad": {"threshold": 0.95}}),
    "unlike": ("unlike", {}),
    "unlike as it is": ("unlike", {"level": False}),
}

#: The same for a model of many languages, on the English recording with numbers.
LANGUAGES: Mapping[str, dict[str, Any]] = {
    "with English": {"languages": ["de", "en"]},
    "without English": {"languages": ["de", "fr"]},
    "without English, by window": {"languages": ["de", "fr"], "language": "multi"},
    "without English, once": {"languages": ["de", "fr"], "temperature": 0},
    "without English, two": {"languages": ["de", "fr"], "temperature": [0, 0.2]},
}


@dataclass(frozen=True)
class Told:
    recording: Recording
    heard: Heard

    @property
    def score(self) -> Score:
        return score(self.recording, self.heard, {})

    @property
    def text(self) -> str:
        return self.heard.text


@pytest.fixture(scope="module")
def recordings(cache: Cache, english: tuple[Recording, ...], kennedy: Recording) -> dict[str, Recording]:
    numbers = next(each for each in english if re.search(r"\d", each.text))
    (one_after_the_other,), (loud_and_quiet,) = joined(english, cache), unlike(english, cache)
    return {"numbers": numbers, "kennedy": kennedy, "joined": one_after_the_other, "unlike": loud_and_quiet}


def engine(cache: Cache, model: str) -> Sqscribe:
    try:
        return Sqscribe(ModelSetup(str(cache.item(MODELS[model]))))
    except CannotBeHadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def told(cache: Cache, recordings: dict[str, Recording]) -> dict[str, Told]:
    """All jobs of `OPTIONS`, through one run of the worker with tiny.en."""
    tasks = [RecordingTask(recordings[name].path, options) for name, options in OPTIONS.values()]
    heard = engine(cache, "tiny.en").hear(tasks)
    names = [(case, recordings[name]) for case, (name, _) in OPTIONS.items()]
    return {case: Told(recording, each) for (case, recording), each in zip(names, heard, strict=True)}


@pytest.fixture(scope="module")
def abroad(cache: Cache, recordings: dict[str, Recording]) -> dict[str, Heard]:
    """All jobs of `LANGUAGES`, through one run of the worker with base."""
    tasks = [RecordingTask(recordings["numbers"].path, options) for options in LANGUAGES.values()]
    return dict(zip(LANGUAGES, engine(cache, "base").hear(tasks), strict=True))


Cut = Callable[[Tuning], Windows]


@pytest.fixture(scope="module")
def cut(recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """Cuts the joined sentences as a job wants them cut."""
    samples = (read(recordings["joined"].path) * 32767).astype("<i2")
    path: Path = tmp_path_factory.mktemp("pcm") / "joined.pcm"
    path.write_bytes(np.ascontiguousarray(samples).tobytes())
    audio, segmenter = Audio(path, len(samples), 0.0, "0" * 64), Segmenter()
    return lambda tuning: segmenter.segment(audio, True, Cancellation(), tuning)  # noqa: FBT003 - vad


def test_numbers_are_spelled_out(told: dict[str, Told]) -> None:
    # Given a sentence with two numbers, which a model writes in digits
    assert "25 to 30" in told["numbers"].text

    # When numerals are suppressed, then it writes them as words, and all else as before
    assert "twenty-five to thirty" in told["numbers spelled"].text
    assert not re.search(r"\d", told["numbers spelled"].text)


def test_numerals_are_what_goes_with_numbers(cache: Cache) -> None:
    try:
        folder = cache.item(MODELS["tiny.en"])
    except CannotBeHadError as error:
        pytest.skip(str(error))
    vocabulary = Vocabulary(folder, multilingual=False)
    texts = {vocabulary.text([token]).strip() for token in vocabulary.numerals}

    assert {"7", "25", "1980", "$", "%", "£"} <= texts
    assert texts.isdisjoint({"seven", "twenty", "percent", "dollars", "a", ",", "."})


def test_no_token_comes_twice(told: dict[str, Told]) -> None:
    # Given a sentence that lives on repetition
    def repeated(text: str) -> int:
        words = re.findall(r"\w+", text)
        return len(words) - len(set(words))

    assert repeated(told["kennedy"].text) >= 6

    # When no token may come twice, or is less likely to, then a model finds other ones
    assert repeated(told["kennedy without repeats"].text) == 0
    assert repeated(told["kennedy penalised"].text) < repeated(told["kennedy"].text)


def test_short_windows_are_as_good(told: dict[str, Told], cut: Cut) -> None:
    # Given speech that is cut into windows of up to 8 s
    windows = cut(Tuning(max_window=8.0)).windows
    assert max(window.seconds for window in windows) <= 8.0
    assert max(window.seconds for window in cut(Tuning()).windows) > 20.0

    # When it is transcribed, then hardly a word more is wrong
    assert told["joined in short windows"].score.errors <= told["joined"].score.errors + 3


def test_a_high_threshold_finds_less_speech(told: dict[str, Told], cut: Cut) -> None:
    # Given a detector that takes only what it is nearly certain of for speech
    strict, usual = cut(Tuning(vad=VadTuning(threshold=0.95))), cut(Tuning())

    # Then it finds less, and words are lost
    assert strict.speech < usual.speech
    assert told["joined, only the clearest"].score.deleted > told["joined"].score.deleted


def test_what_silence_is_decides_how_much_is_decoded(cut: Cut) -> None:
    def seconds(vad: VadTuning) -> float:
        return sum(window.seconds for window in cut(Tuning(vad=vad)).windows)

    tight, usual, loose = VadTuning(min_silence=0.3, pad=0.05), VadTuning(), VadTuning(min_silence=10.0)

    assert seconds(tight) < seconds(usual) < seconds(loose)


def test_quiet_sentences_are_lost_where_speech_is_not_levelled(told: dict[str, Told]) -> None:
    assert told["unlike as it is"].score.deleted > told["unlike"].score.deleted + 2
    assert told["unlike as it is"].score.errors > told["unlike"].score.errors


def test_the_language_is_one_of_the_candidates(abroad: dict[str, Heard]) -> None:
    # Given an English recording, and candidates with and without English
    assert abroad["with English"].language == "en"
    assert "slow communication channels" in abroad["with English"].text

    # Then without it, it is taken for one of the others
    assert abroad["without English"].language in {"de", "fr"}
    assert abroad["without English, by window"].language in {"de", "fr"}


def test_a_text_is_tried_at_the_jobs_own_temperatures(abroad: dict[str, Heard]) -> None:
    # Given a text that no temperature makes likely: English, taken for another language
    def temperatures(case: str) -> set[float | None]:
        return {part.temperature for part in abroad[case].parts}

    # When there is one temperature, or two, then no other one is tried, and the text is not trusted
    assert temperatures("without English, once") == {0.0}
    assert temperatures("without English, two") <= {0.0, 0.2}
    assert {part.suspect for part in abroad["without English, once"].parts} == {"logprob"}
