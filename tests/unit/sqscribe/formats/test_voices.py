# SPDX-License-Identifier: Apache-2.0
"""Channels and tracks that are apart, in every format: who speaks, in the order of time."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.formats import RenderOptions, master, render
from sqscribe.formats.cues import CueLimits, cues
from sqscribe.transcript import Segment, Transcript, Word

PLAIN = RenderOptions()
WORDS = RenderOptions(word_timestamps=True)


def segment(number: int, start: float, text: str, pace: float = 0.5, **voice: Any) -> Segment:
    """A sentence of words that take `pace` seconds each."""
    words = tuple(
        Word(f" {word}", start + pace * place, start + pace * (place + 1), 1.0)
        for place, word in enumerate(text.split())
    )
    return Segment(number, words[0].start, words[-1].end, f" {text}", -0.1, 1.0, 0.0, 0.0, words, **voice)


CALL = Transcript(
    "How can I help you today? Yes & no.",
    "en",
    1.0,
    10.0,
    (segment(0, 1.0, "How can I help you today?", channel=0), segment(1, 2.0, "Yes & no.", channel=1)),
)


def test_srt_names_who_speaks_and_lets_cues_overlap_as_voices_do() -> None:
    assert render("srt", CALL, PLAIN).decode() == (
        "1\n00:00:01,000 --> 00:00:04,000\nChannel 0: How can I help you today?\n\n"
        "2\n00:00:02,000 --> 00:00:03,500\nChannel 1: Yes & no.\n"
    )


def test_vtt_has_voice_spans() -> None:
    assert render("vtt", CALL, PLAIN).decode() == (
        "WEBVTT\n\n"
        "00:01.000 --> 00:04.000\n<v Channel 0>How can I help you today?</v>\n\n"
        "00:02.000 --> 00:03.500\n<v Channel 1>Yes &amp; no.</v>\n"
    )


def test_words_come_in_the_order_of_time() -> None:
    rendered = render("vtt", CALL, WORDS).decode().split("\n\n")[1:]
    assert [cue.split("\n")[1] for cue in rendered[:5]] == [
        "<v Channel 0>How</v>",
        "<v Channel 0>can</v>",
        "<v Channel 0>I</v>",
        "<v Channel 1>Yes</v>",
        "<v Channel 0>help</v>",
    ]
    words = json.loads(render("verbose_json", CALL, WORDS))["words"]
    spoken = [(word["word"], word["channel"]) for word in words[:5]]
    assert spoken == [("How", 0), ("can", 0), ("I", 0), ("Yes", 1), ("help", 0)]
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)


def test_txt_and_tsv_tell_who_speaks() -> None:
    assert render("txt", CALL, PLAIN).decode() == "Channel 0: How can I help you today?\nChannel 1: Yes & no.\n"
    assert render("tsv", CALL, PLAIN).decode() == (
        "start\tend\ttext\tchannel\n1000\t4000\tHow can I help you today?\t0\n2000\t3500\tYes & no.\t1\n"
    )


def test_tracks_and_channels_are_named_together() -> None:
    both = replace(CALL, segments=tuple(replace(each, track=2) for each in CALL.segments))
    assert render("txt", both, PLAIN).decode().startswith("Track 2, channel 0: How")
    assert render("tsv", both, PLAIN).decode().splitlines()[0] == "start\tend\ttext\ttrack\tchannel"
    assert render("tsv", both, PLAIN).decode().splitlines()[2] == "2000\t3500\tYes & no.\t2\t1"
    tracks = replace(both, segments=tuple(replace(each, channel=None) for each in both.segments))
    assert render("vtt", tracks, PLAIN).decode().count("<v Track 2>") == 2


def test_master_and_verbose_json_have_the_numbers_where_they_vary() -> None:
    both = replace(CALL, segments=tuple(replace(each, track=2) for each in CALL.segments))
    for name in ("json", "verbose_json"):
        told = json.loads(render(name, both, PLAIN))["segments"]
        assert [(each["track"], each["channel"]) for each in told] == [(2, 0), (2, 1)]
    assert master.load(master.dump(both)) == both
    plain = replace(CALL, segments=tuple(replace(each, channel=None) for each in CALL.segments))
    for name in ("json", "verbose_json", "srt", "vtt", "txt", "tsv"):
        assert b"hannel" not in render(name, plain, WORDS)


def test_the_name_takes_its_room_in_the_cue() -> None:
    # Given a sentence that fills two lines of a cue by itself
    text = "We shall fight on the beaches over there and we shall fight on the landing grounds."
    alone = Transcript(text, "en", 1.0, 9.0, (segment(0, 0.0, text, pace=0.3),))
    assert [len(cue.lines) for cue in cues(alone)] == [2]
    # When its cues have to name who speaks
    named = cues(replace(alone, segments=(replace(alone.segments[0], channel=11),)), named=True)
    # Then it is divided so that all of it fits
    assert len(named) == 2
    assert all(cue.lines[0].startswith("Channel 11: ") for cue in named)
    assert all(len(line) <= CueLimits().max_chars for cue in named for line in cue.lines)
    assert " ".join(line.removeprefix("Channel 11: ") for cue in named for line in cue.lines) == text


@pytest.mark.parametrize("named", [True, False])
@given(
    starts=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 60), st.integers(1, 30)), min_size=1, max_size=12),
)
def test_cues_come_in_the_order_of_time_and_none_of_one_voice_overlap(
    named: bool, starts: list[tuple[int, float, int]]
) -> None:
    # Given voices each of which speaks without a break
    ends: dict[int, float] = {}
    segments = []
    for channel, pause, words in starts:
        start = ends.get(channel, 0.0) + pause
        segments.append(segment(0, start, " ".join(["word"] * words), channel=channel))
        ends[channel] = segments[-1].end
    segments.sort(key=lambda each: each.start)
    found = cues(Transcript("", "en", 1.0, 99.0, tuple(segments)), named=named)
    assert [cue.start for cue in found] == sorted(cue.start for cue in found)
    for channel in ends:
        own = [cue for cue in found if cue.voice == f"Channel {channel}"]
        assert all(before.end <= after.start for before, after in pairwise(own))
        text = " ".join(line for cue in own for line in cue.lines).replace(f"Channel {channel}: ", "")
        assert text.split().count("word") == sum(words for number, _, words in starts if number == channel)
