# SPDX-License-Identifier: Apache-2.0
"""How transcripts are judged, on transcripts that are made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqscribe_bench.real.consensus import voted
from sqscribe_bench.real.coverage import longest_unheard, misshapen
from sqscribe_bench.real.echo import echoed
from sqscribe_bench.real.heard import Heard, Part, Word
from sqscribe_bench.real.recordings import Recording, Sentence
from sqscribe_bench.real.score import score
from sqscribe_bench.real.text import tokens


def part(*words: tuple[str, float, float], suspect: str | None = None) -> Part:
    text = "".join(word for word, _, _ in words)
    return Part(text, words[0][1], words[-1][2], suspect, tuple(Word(*word) for word in words))


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Don\u2019t — 25,000 of them: “now”!", "en", ["don't", "25000", "of", "them", "now"]),
        ("whole-number 3:2", "en", ["whole", "number", "3", "2"]),
        ("qu\u2019« on ne devrait", "fr", ["qu", "on", "ne", "devrait"]),
        ("客観的、実在。", "ja", ["客", "観", "的", "実", "在"]),
        ("그는 길", "ko", ["그", "는", "길"]),
        ("नमस्ते, दुनिया", "hi", ["नमस्ते", "दुनिया"]),
    ],
)
def test_a_text_is_brought_to_its_words(text: str, language: str, expected: list[str]) -> None:
    assert tokens(text, language) == expected


def test_errors_are_told_apart() -> None:
    # Given a recording of two sentences
    said = (Sentence("the cat sat", 0.0, 2.0), Sentence("on a mat", 5.0, 7.0))
    recording = Recording("cat", Path("cat.wav"), "en", said, ((0.0, 2.0), (5.0, 7.0)), 8.0)
    # When one word is another, one is missing, one is too much, and one stands in the other sentence
    heard = Heard(
        "de", (part((" The", 0.0, 0.5), (" bat", 0.5, 1.0), (" sat", 1.0, 1.5), (" on", 1.5, 1.9), (" mat", 6.0, 7.0)),)
    )

    found = score(recording, heard, {})

    # Then each is counted as what it is
    assert (found.substituted, found.deleted, found.inserted) == (1, 1, 0)
    assert (found.wrong_languages, found.strays) == (1, 1)


def test_a_long_word_hides_nothing() -> None:
    # Given ten seconds of speech, and a word that is said to last for nine of them
    speech = ((0.0, 10.0),)
    words = ((" well", 0.0, 9.0), (" yes", 9.0, 10.0))

    # When it is trusted, then what lies behind its first moment was not heard; when it is not, it was said
    assert longest_unheard(speech, Heard("en", (part(*words),))) == pytest.approx(7.8)
    assert longest_unheard(speech, Heard("en", (part(*words, suspect="hole"),))) == 0.0
    assert longest_unheard(speech, Heard("en", ())) == 10.0


def test_pauses_are_not_unheard() -> None:
    speech = ((0.0, 1.0), (20.0, 21.0))

    assert longest_unheard(speech, Heard("en", (part((" a", 0.0, 1.0)), part((" b", 20.0, 21.0))))) == 0.0


def test_impossible_times_are_counted() -> None:
    # Given a segment without length, one before it, and one outside the file
    heard = Heard("en", (Part("a", 1.0, 1.0), Part("b", 0.5, 0.8), Part("c", 2.0, 9.0)))

    # When the file has three seconds, then each is counted
    assert misshapen(heard, 3.0) == 3


def test_a_warning_of_a_result_is_counted_once_though_its_transcript_has_it_too() -> None:
    hole = {"code": "speech_missing", "message": "4.0-7.5 s"}
    record = {"language": "en", "segments": [], "warnings": [hole]}

    assert Heard.from_json(record).warnings == ("speech_missing",)
    assert Heard.from_json(record, [{"code": "track_unused"}, hole]).warnings == ("track_unused", "speech_missing")


def test_an_echo_is_a_run_of_the_prompt_that_nobody_said() -> None:
    prompt = ["welcome", "to", "the", "show", "today", "we", "talk"]

    assert echoed(prompt, [], ["welcome", "to", "the", "show", "and", "more"]) == 4
    assert echoed(prompt, ["welcome", "to", "the", "show"], ["welcome", "to", "the", "show"]) == 0
    assert echoed(prompt, [], ["to", "the", "news"]) == 0


def test_a_vote_keeps_what_most_have() -> None:
    texts = ["a b c d", "a x c d", "a b c d e", "a b d e", "a b c d e"]

    assert voted([text.split() for text in texts]) == ["a", "b", "c", "d", "e"]
