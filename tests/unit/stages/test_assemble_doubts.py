# SPDX-License-Identifier: Apache-2.0
"""What a transcript says of itself: segments that are not to be trusted, speech without words."""

from __future__ import annotations

from dataclasses import replace

from worker.testing.assembling import assembled, job, result, window, words


def test_a_segment_keeps_its_doubt_in_every_part_of_it() -> None:
    windows = job(window(0, (0, 4), (10, 14)))

    transcript = assembled(
        windows,
        result(
            0,
            words(("sure", 0, 1)),
            replace(words(("perhaps", 3, 3.5), ("not", 4.5, 5)), suspect="logprob"),
        ),
    )

    assert [(s.text, s.suspect) for s in transcript.segments] == [
        (" sure", None),
        (" perhaps", "logprob"),
        (" not", "logprob"),
    ]
    (warning,) = transcript.warnings
    assert warning.code == "suspect_segments"
    assert warning.message.startswith("2 of 3 segments (1.0 s)")
    assert warning.message.endswith(": logprob")


def test_speech_without_words_is_told_where_it_is_in_the_file() -> None:
    # Given a recording from a minute on, and holes in its windows: one in a piece, one across silence that was left out
    windows = job(window(0, (3, 5), (10, 14)), window(1, (20, 50)), start=60.0)
    first = replace(result(0, words(("one", 0, 1))), missing=((1.5, 4.0),))
    second = replace(result(1, words(("two", 0, 1))), missing=((2.25, 9.0), (12.0, 30.0)))

    # When they are put together
    transcript = assembled(windows, first, second)

    # Then the warning's places are on the file's clock
    (warning,) = transcript.warnings
    assert warning.code == "speech_missing"
    assert warning.message.endswith("64.5-72.0 s, 82.2-89.0 s, 92.0-110.0 s")


def test_a_warning_does_not_name_places_without_end() -> None:
    holes = tuple((float(at), at + 0.5) for at in range(13))

    transcript = assembled(job(window(0, (0, 30))), replace(result(0), missing=holes))

    (warning,) = transcript.warnings
    assert warning.message.count(" s") - warning.message.count(" speech") >= 10
    assert "9.0-9.5 s and 3 more" in warning.message
    assert "10.0-10.5" not in warning.message


def test_a_good_transcript_warns_of_nothing() -> None:
    assert assembled(job(window(0, (0, 4))), result(0, words(("one", 0, 1)))).warnings == ()


def test_a_doubtful_segment_that_the_other_window_has_too_is_counted_as_it_is_kept() -> None:
    pair = job(window(0, (0, 20), after=1), window(1, (19, 39), before=1))
    doubted = replace(words(("red", 18.2, 18.8), ("blue", 19.1, 19.4)), suspect="logprob")

    transcript = assembled(pair, result(0, doubted), result(1, words(("blue", 0.1, 0.4), ("green", 2, 3))))

    assert [(s.text, s.suspect) for s in transcript.segments if s.suspect] != []
    assert [warning.code for warning in transcript.warnings] == ["suspect_segments"]
