# SPDX-License-Identifier: Apache-2.0
"""Formats: what each file looks like, byte for byte."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqscribe.formats import ARTIFACTS, RenderOptions, master, render
from sqscribe.formats.clock import milliseconds, span, srt_time, vtt_time
from sqscribe.transcript import JobWarning, Segment, Transcript, Word

PLAIN = RenderOptions()
WORDS = RenderOptions(word_timestamps=True)


def segment(number: int, start: float, end: float, text: str, words: tuple[Word, ...] | None = None) -> Segment:
    return Segment(number, start, end, text, -0.25, 1.5, 0.01, 0.0, words)


TALK = Transcript(
    text="Hello there. Q&A <now> --> go\tnow",
    language="de",
    language_probability=0.75,
    duration=3725.5,
    segments=(
        segment(0, 0.5, 2.25, " Hello there.", (Word(" Hello", 0.5, 1.0, 0.9), Word(" there.", 1.25, 2.25, 0.8))),
        segment(
            1,
            3723.0004,
            3725.4996,
            " Q&A <now> --> go\tnow",
            (
                Word(" Q&A", 3723.0004, 3723.5, 0.9),
                Word(" <now>", 3723.5, 3723.5, 0.9),
                Word(" -->", 3724.0, 3724.25, 0.5),
                Word(" go\tnow", 3724.25, 3725.4996, 0.5),
            ),
        ),
    ),
)
SILENCE = Transcript("", None, None, 12.5, ())


def test_srt() -> None:
    assert render("srt", TALK, PLAIN).decode() == (
        "1\n00:00:00,500 --> 00:00:02,250\nHello there.\n\n2\n01:02:03,000 --> 01:02:05,500\nQ&A <now> -> go now\n"
    )


def test_vtt() -> None:
    assert render("vtt", TALK, PLAIN).decode() == (
        "WEBVTT\n\n"
        "00:00.500 --> 00:02.250\nHello there.\n"
        "\n"
        "01:02:03.000 --> 01:02:05.500\nQ&amp;A &lt;now&gt; -&gt; go now\n"
    )


def test_vtt_has_a_cue_for_each_word_when_words_were_asked_for() -> None:
    assert render("vtt", TALK, WORDS).decode() == (
        "WEBVTT\n\n"
        "00:00.500 --> 00:01.000\nHello\n\n"
        "00:01.250 --> 00:02.250\nthere.\n\n"
        "01:02:03.000 --> 01:02:03.500\nQ&amp;A\n\n"
        "01:02:03.500 --> 01:02:03.501\n&lt;now&gt;\n\n"  # a cue must end after it starts
        "01:02:04.000 --> 01:02:04.250\n-&gt;\n\n"
        "01:02:04.250 --> 01:02:05.500\ngo now\n"
    )


def test_word_cues_keep_segments_that_have_no_words() -> None:
    mixed = Transcript("a b", "en", None, 4.0, (segment(0, 0, 1, " a"), segment(1, 1, 2, " b", (Word(" b", 1, 2, 1),))))

    assert render("vtt", mixed, WORDS).decode().count("-->") == 2


def test_tsv() -> None:
    assert render("tsv", TALK, PLAIN).decode() == (
        "start\tend\ttext\n500\t2250\tHello there.\n3723000\t3725500\tQ&A <now> -> go now\n"
    )


def test_txt() -> None:
    assert render("txt", TALK, PLAIN).decode() == "Hello there.\nQ&A <now> -> go now\n"


def test_verbose_json_has_every_field_of_the_openai_types() -> None:
    record = json.loads(render("verbose_json", TALK, RenderOptions(task="translate")))

    assert list(record) == ["task", "language", "duration", "text", "segments", "usage"]
    assert (record["task"], record["language"], record["duration"]) == ("translate", "german", 3725.5)
    assert record["usage"] == {"type": "duration", "seconds": 3725.5}
    assert record["segments"][1] == {
        "id": 1,
        "seek": 372300,
        "start": 3723.0004,
        "end": 3725.4996,
        "text": " Q&A <now> --> go\tnow",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.5,
        "no_speech_prob": 0.01,
    }


def test_verbose_json_lists_words_at_the_top_only_when_asked() -> None:
    words = json.loads(render("verbose_json", TALK, WORDS))["words"]

    assert words[:2] == [{"word": "Hello", "start": 0.5, "end": 1.0}, {"word": "there.", "start": 1.25, "end": 2.25}]
    assert len(words) == 6


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("srt", ""),
        ("vtt", "WEBVTT\n"),
        ("tsv", "start\tend\ttext\n"),
        ("txt", ""),
        ("json", '{"text": "", "language": null, "language_probability": null, "duration": 12.5, "segments": []}\n'),
    ],
)
def test_silence(name: str, text: str) -> None:
    assert render(name, SILENCE, WORDS).decode() == text


def test_the_language_of_silence_is_a_string_in_openai_types() -> None:
    assert json.loads(render("verbose_json", SILENCE, PLAIN))["language"] == ""


def test_the_master_has_the_keys_of_the_contract() -> None:
    varied = Transcript("a", "en", 0.5, 1.0, (Segment(0, 0, 1, " a", -1, 1, 0, 0.2, None, "fr", 1),))

    assert json.loads(master.dump(TALK))["segments"][0]["words"][0] == {
        "word": " Hello",
        "start": 0.5,
        "end": 1.0,
        "probability": 0.9,
    }
    assert json.loads(master.dump(varied))["segments"] == [
        {
            "id": 0,
            "start": 0,
            "end": 1,
            "text": " a",
            "avg_logprob": -1,
            "compression_ratio": 1,
            "no_speech_prob": 0,
            "temperature": 0.2,
            "language": "fr",
            "channel": 1,
        }
    ]


def test_the_master_tells_what_is_not_to_be_trusted() -> None:
    doubted = Transcript(
        "a b",
        "en",
        0.5,
        2.0,
        (segment(0, 0, 1, " a"), replace(segment(1, 1, 2, " b"), suspect="logprob")),
        (JobWarning("suspect_segments", "1 of 2 segments"), JobWarning("speech_missing", "4.0-7.5 s")),
    )

    record = json.loads(master.dump(doubted))

    assert [each.get("suspect", "trusted") for each in record["segments"]] == ["trusted", "logprob"]
    assert record["warnings"] == [
        {"code": "suspect_segments", "message": "1 of 2 segments"},
        {"code": "speech_missing", "message": "4.0-7.5 s"},
    ]
    assert master.load(master.dump(doubted)) == doubted


def test_a_master_without_doubts_is_what_it_was_before_there_were_any() -> None:
    record = json.loads(master.dump(TALK))

    assert list(record) == ["text", "language", "language_probability", "duration", "segments"]
    assert all("suspect" not in each for each in record["segments"])
    assert master.load(master.dump(TALK)).warnings == ()


def test_every_artifact_can_be_rendered_and_stored() -> None:
    for name, kind in ARTIFACTS.items():
        assert render(name, TALK, PLAIN)
        assert kind.name == f"transcript{kind.extension}"
        assert "/" in kind.content_type
    assert "html" not in ARTIFACTS


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(KeyError):
        render("html", TALK, PLAIN)


# -- properties ----------------------------------------------------------------------------------------------------


def any_transcript(number: st.SearchStrategy[float]) -> st.SearchStrategy[Transcript]:
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    languages = st.none() | st.sampled_from(["en", "yue"])
    words = st.none() | st.lists(st.builds(Word, texts, number, number, number), max_size=2).map(tuple)
    channels = st.none() | st.integers(0, 7)
    doubts = st.none() | st.sampled_from(["logprob", "no_speech"])
    segments = st.builds(
        Segment, st.integers(0, 9), *[number] * 2, texts, *[number] * 4, words, languages, channels, doubts
    )
    many = st.lists(segments, max_size=2).map(tuple)
    warnings = st.lists(st.builds(JobWarning, texts, texts), max_size=2).map(tuple)
    return st.builds(Transcript, texts, languages, st.none() | number, number, many, warnings)


numbers = st.floats(allow_nan=False, allow_infinity=False)
times = st.floats(-10, 1e6)


@given(any_transcript(numbers))
@settings(max_examples=50)
def test_a_master_reads_back_exactly_and_writes_the_same_bytes(transcript: Transcript) -> None:
    body = master.dump(transcript)

    assert master.load(body) == transcript
    assert master.dump(master.load(body)) == body


@given(any_transcript(times), st.booleans())
@settings(max_examples=50)
def test_no_transcript_breaks_a_renderer(transcript: Transcript, words: bool) -> None:
    for name in ARTIFACTS:
        render(name, transcript, RenderOptions(word_timestamps=words))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"text": 1, "language": null, "language_probability": null, "duration": 1, "segments": []}',
        b'{"text": "", "language": null, "language_probability": null, "duration": true, "segments": []}',
        b'{"text": "", "language": null, "language_probability": null, "duration": 1, "segments": [1]}',
        b'{"text": "", "language": null, "language_probability": null, "duration": 1, "segments": null}',
        b'{"text": "", "language": null, "language_probability": null, "duration": 1, "segments": [], "warnings": [1]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_master_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own messages are among them
        master.load(body)


def test_a_master_of_a_later_version_can_be_read() -> None:
    record = json.loads(master.dump(TALK)) | {"new": 1}
    record["segments"][0]["new"] = 1

    assert master.load(json.dumps(record).encode()) == TALK


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        master.dump(Transcript("", None, None, float("nan"), ()))


@given(st.floats(0, 4e5))
def test_times_carry_over_cleanly(seconds: float) -> None:
    ms = milliseconds(seconds)

    assert abs(ms / 1000 - seconds) <= 0.000501
    for text in (srt_time(ms).replace(",", "."), vtt_time(ms)):
        match = re.fullmatch(r"(?:(\d\d+):)?([0-5]\d):([0-5]\d)\.(\d{3})", text)
        assert match
        hours, minutes, rest, thousandths = (int(part or 0) for part in match.groups())
        assert ((hours * 60 + minutes) * 60 + rest) * 1000 + thousandths == ms
    assert (vtt_time(ms).count(":") == 2) == (ms >= 3_600_000)


def test_the_last_half_millisecond_of_a_minute_is_the_next_minute() -> None:
    assert srt_time(milliseconds(59.9996)) == "00:01:00,000"
    assert vtt_time(milliseconds(3599.9996)) == "01:00:00.000"
    assert srt_time(milliseconds(-0.2)) == "00:00:00,000"


@given(times, times)
def test_a_span_never_ends_before_it_starts(start: float, end: float) -> None:
    first, last = span(start, end)
    assert 0 <= first < last
