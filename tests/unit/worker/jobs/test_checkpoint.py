# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.job import Job
from sqscribe.tuning import Tuning, VadTuning
from stages.inference.protocol import DecodeOptions
from stages.inference.request import decode_task
from stages.values import Audio, Piece, RawSegment, RawWord, Voice, Window, WindowResult, Windows
from worker.jobs.checkpoint import CheckpointListing, Checkpoints, Increment, Manifest, attempt_name
from worker.queues import Message
from worker.receive.lineage import Lineage
from worker.testing.decoder import simulated_info
from worker.testing.store import MemoryStore

JOB = Job(source="s3://bucket/a.mp3", job_id="j", output="s3://bucket/out")
BASE = "s3://bucket/out/j/checkpoint/"
AUDIO = Audio(Path("a.pcm"), 10_000_000, 0.0, "0" * 64)

floats = st.floats(allow_nan=False)
texts = st.text(st.characters(), max_size=20)  # lone surrogates too: a tokenizer may cut a character in two
words = st.builds(RawWord, texts, floats, floats, floats)
segments = st.builds(RawSegment, floats, floats, texts, st.none() | st.lists(words, max_size=3).map(tuple))
results = st.builds(
    WindowResult,
    st.integers(0, 4),
    texts,
    st.none() | floats,
    st.lists(segments, max_size=3).map(tuple),
    floats,
    floats,
    floats,
    floats,
    st.none() | texts,
    st.lists(texts, max_size=3).map(tuple),
)


@st.composite
def window_lists(draw: st.DrawFn) -> tuple[Window, ...]:
    windows = []
    for index in range(draw(st.integers(1, 4))):
        pieces, filled = [], 0
        for length in draw(st.lists(st.integers(1, 480_000), min_size=1, max_size=4)):
            pieces.append(Piece(filled, draw(st.integers(0, 1_000_000)), length))
            filled += length
        numbers = draw(st.tuples(*[st.integers(0, filled)] * 4))
        windows.append(Window(index, tuple(pieces), *numbers))
    return tuple(windows)


manifests = st.builds(Manifest, window_lists(), floats, st.none() | texts, st.none() | floats)


@given(manifest=manifests, found=st.lists(results, max_size=5, unique_by=lambda result: result.index))
def test_what_is_saved_comes_back_as_it_was(manifest: Manifest, found: list[WindowResult]) -> None:
    store = MemoryStore()
    checkpoints = Checkpoints(store)
    folder = f"{BASE}{'a' * 32}/"
    kept = [result for result in found if result.index < len(manifest.windows)]

    assert checkpoints.claim(folder, manifest, AUDIO) == manifest
    checkpoints.add(folder, 1, attempt_name(Lineage("m")), Increment(manifest.cut, tuple(found)))
    listing = checkpoints.listing(JOB)

    assert listing.exists(folder)
    assert checkpoints.manifest(folder, AUDIO) == manifest
    assert checkpoints.results(listing, folder, manifest) == {result.index: result for result in kept}


def window(index: int, *pieces: tuple[int, int, int]) -> Window:
    return Window(index, tuple(Piece(*piece) for piece in pieces), 1, 1)


@pytest.mark.parametrize(
    "windows",
    [
        (window(1, (0, 0, 5)),),
        (window(0),),
        (window(0, (1, 0, 5)),),
        (window(0, (0, 0, 5), (6, 5, 5)),),
        (window(0, (0, 96, 5)),),
        (window(0, (0, -1, 5)),),
        (window(0, (0, 0, 0)),),
    ],
)
def test_windows_that_cannot_be_of_the_recording_are_refused(windows: tuple[Window, ...]) -> None:
    with pytest.raises(ValueError, match="window"):
        Manifest(windows, 1.0).check([Voice(0, 100)])
    Manifest((window(0, (0, 95, 5)),), 1.0).check([Voice(0, 100)])


def test_no_window_is_of_two_voices() -> None:
    voices = [Voice(0, 100, channel=0), Voice(100, 60, channel=1)]
    Manifest((window(0, (0, 95, 5)), window(1, (0, 100, 60))), 1.0).check(voices)
    for across in (window(0, (0, 95, 6)), window(0, (0, 90, 5), (5, 100, 5)), window(0, (0, 160, 1))):
        with pytest.raises(ValueError, match="outside"):
            Manifest((across,), 1.0).check(voices)


def test_the_place_depends_on_all_that_shapes_the_text() -> None:
    def folder(job: Job = JOB, audio: Audio = AUDIO, cutter: str = "c", **info: Any) -> str:
        return Checkpoints.folder(job, audio, cutter, dataclasses.replace(simulated_info(), **info))

    changes: list[dict[str, Any]] = [
        {"language": "de"},
        {"task": "translate"},
        {"initial_prompt": "p"},
        {"hotwords": "p"},
        {"beam_size": 1},
        {"vad": False},
        {"channels": "split"},
        {"track": 0},
        {"track": "all"},
        {"start": 1.0},
        {"end": 2.0},
        {"tuning": Tuning(temperature=(0.0,))},
        {"tuning": Tuning(no_repeat_ngram_size=3)},
        {"tuning": Tuning(repetition_penalty=1.1)},
        {"tuning": Tuning(suppress_numerals=True)},
        {"tuning": Tuning(languages=("de",))},
        {"tuning": Tuning(vad=VadTuning(threshold=0.6))},
        {"tuning": Tuning(level=False)},
        {"tuning": Tuning(max_window=10.0)},
    ]
    others = [
        folder(audio=dataclasses.replace(AUDIO, source_sha256="1" * 64)),
        folder(audio=dataclasses.replace(AUDIO, samples=1)),
        folder(audio=dataclasses.replace(AUDIO, apart=(Voice(0, 10_000_000, channel=0),))),
        folder(cutter="d"),
        folder(name="x"),
        folder(revision="x"),
        folder(compute_type="x"),
        folder(variant=("x",)),
        *(folder(dataclasses.replace(JOB, **change)) for change in changes),
    ]
    assert len({folder(), *others}) == 1 + len(others)
    # And on nothing else
    assert folder() == folder(dataclasses.replace(JOB, formats=("json", "srt"), metadata=1, force=True, start=0))
    assert folder(device="another") == folder()
    assert folder().startswith(BASE)


def test_a_job_without_tuning_keeps_its_place() -> None:
    # A checkpoint of an earlier version is gone on from.
    folder = Checkpoints.folder(JOB, AUDIO, "c", simulated_info())

    assert folder == f"{BASE}71d7290e750e444ab32109d224b26419/"


def test_names_alone_tell_which_generation_advanced() -> None:
    first, other = Lineage("m1"), Lineage("m2")
    listing = CheckpointListing(
        (
            f"{BASE}{'a' * 32}/manifest.json",
            f"{BASE}{'a' * 32}/0001-{attempt_name(first)}.json",
            f"{BASE}{'b' * 32}/0012-{attempt_name(first.following.following)}.json",
            f"{BASE}generation-{first.label}-03.json",
        )
    )
    assert [listing.advanced(Lineage("m1", number)) for number in range(4)] == [True, False, True, False]
    assert listing.newest(first) == 3
    assert (listing.advanced(other), listing.newest(other)) == (False, -1)
    assert [listing.exists(f"{BASE}{letter * 32}/") for letter in "ab"] == [True, False]


def test_a_mark_is_read_back() -> None:
    store = MemoryStore()
    checkpoints, lineage = Checkpoints(store), Lineage.of(Message("m", "r", "b", 1, 0.0))
    checkpoints.mark(JOB, lineage.following)
    assert checkpoints.listing(JOB).newest(lineage) == 1


def test_only_what_is_missing_is_asked_of_the_engine() -> None:
    windows = Windows(AUDIO, tuple(window(index, (0, index, 1)) for index in range(20)), 1.0, "c")
    fresh = decode_task("k", JOB, windows)
    assert fresh.windows == windows.windows
    assert fresh.probes == (2, 6, 10, 14, 18)
    resumed = decode_task("k", JOB, windows, done={0, 2, 19}, language="de")
    assert [each.index for each in resumed.windows] == [1, *range(3, 19)]
    assert (resumed.options.language, resumed.probes) == ("de", ())
    named = decode_task("k", dataclasses.replace(JOB, language="multi"), windows, language="de")
    assert (named.options.language, named.probes) == ("multi", ())


def test_the_engine_is_told_how_the_text_is_looked_for() -> None:
    tuning = Tuning(
        temperature=(0.0, 0.4),
        no_repeat_ngram_size=3,
        repetition_penalty=1.2,
        suppress_numerals=True,
        languages=("de", "fr"),
    )
    options = decode_task("k", dataclasses.replace(JOB, tuning=tuning), Windows(AUDIO, (), 0.0, "c")).options

    assert options == DecodeOptions(
        language=None,
        task="transcribe",
        initial_prompt=None,
        hotwords=None,
        beam_size=5,
        temperatures=(0.0, 0.4),
        no_repeat_ngram_size=3,
        repetition_penalty=1.2,
        suppress_numerals=True,
        candidates=("de", "fr"),
    )
    assert decode_task("k", JOB, Windows(AUDIO, (), 0.0, "c")).options == DecodeOptions(
        None, "transcribe", None, None, 5
    )
