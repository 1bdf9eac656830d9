# SPDX-License-Identifier: Apache-2.0
"""Workloads, and the recordings that they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqscribe.errors import SettingsError
from sqscribe_bench.lab.library import Library
from sqscribe_bench.lab.speech import Speech, read_pcm
from sqscribe_bench.lab.workload import WORKLOADS, Recording, workload
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE

#: An mp3 ends with a whole frame, and some decoders keep the encoder's delay.
MP3_SLACK = 0.12


@pytest.fixture(scope="module")
def speech() -> Speech:
    return Speech()


@pytest.mark.parametrize(
    ("name", "count", "shortest", "longest"),
    [("clips", 200, 3, 15), ("files", 40, 120, 360), ("hours", 3, 3600, 3600), ("mix", 243, 3, 3600)],
)
def test_a_workload_has_so_many_recordings_of_such_lengths(
    name: str, count: int, shortest: float, longest: float
) -> None:
    made = workload(name)

    assert len(made.recordings) == len({each.name for each in made.recordings}) == count
    assert all(shortest <= each.seconds <= longest for each in made.recordings)
    assert made.seconds == pytest.approx(sum(each.seconds for each in made.recordings))
    assert made == workload(name)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_share_is_a_part_of_the_whole_and_never_nothing(name: str) -> None:
    whole, tenth, least = (workload(name, share) for share in (1.0, 0.1, 0.0001))

    assert set(least.recordings) <= set(tenth.recordings) < set(whole.recordings)
    kinds = {each.name.partition("-")[0] for each in whole.recordings}
    assert len(least.recordings) == len(kinds)
    assert {each.name.partition("-")[0] for each in least.recordings} == kinds


def test_the_mix_is_shuffled_and_made_of_the_others() -> None:
    mix = workload("mix")

    others = [each for name in ("clips", "files", "hours") for each in workload(name).recordings]
    assert set(mix.recordings) == set(others)
    assert "clips" in {each.name.partition("-")[0] for each in mix.recordings[-20:]}
    assert {"files", "clips"} <= {each.name.partition("-")[0] for each in mix.recordings[:40]}


def test_another_seed_gives_other_lengths() -> None:
    assert {each.seconds for each in workload("clips", seed=1).recordings} != {
        each.seconds for each in workload("clips", seed=2).recordings
    }


@pytest.mark.parametrize(("name", "scale"), [("podcasts", 1.0), ("clips", 0.0), ("clips", 1.5)])
def test_what_there_is_not_is_refused(name: str, scale: float) -> None:
    with pytest.raises(SettingsError):
        workload(name, scale)


def test_speech_has_the_length_asked_for_and_is_another_for_every_name(speech: Speech) -> None:
    said = [speech.say(f"name {number}", 7.31) for number in range(30)]

    assert {len(samples) for samples in said} == {round(7.31 * SAMPLE_RATE)}
    assert len({samples.tobytes() for samples in said}) == 30
    assert (speech.say("name 3", 7.31) == said[3]).all()
    # Pauses of up to 2 s between sentences of a few: more of it is said than not.
    assert 0.4 < sum(float((abs(samples) > 0).mean()) for samples in said) / 30 < 0.95


def test_recordings_are_made_once_and_are_the_same_everywhere(tmp_path: Path) -> None:
    # Given two places
    recordings = [Recording("clip-1", 4.0), Recording("clip-2", 3.5)]
    one, other = Library(tmp_path / "one"), Library(tmp_path / "other")

    # When they make the same
    assert one.make(recordings) == 2
    before = [one.path(each).stat().st_mtime_ns for each in recordings]
    assert one.make([*recordings, Recording("clip-3", 3.0)]) == 1
    other.make(recordings)

    # Then nothing is made twice, and the files are the same, and as long as they should be
    assert [one.path(each).stat().st_mtime_ns for each in recordings] == before
    for each in recordings:
        assert one.path(each).read_bytes() == other.path(each).read_bytes()
        samples = read_pcm(find_ffmpeg(), one.path(each))
        assert len(samples) / SAMPLE_RATE == pytest.approx(each.seconds, abs=MP3_SLACK)
    assert one.path(recordings[0]).read_bytes() != one.path(recordings[1]).read_bytes()
    assert [path.suffix for path in (tmp_path / "one").rglob("*") if path.is_file()] == [".mp3"] * 3


def test_another_seed_says_something_else(tmp_path: Path) -> None:
    one, other = Library(tmp_path, seed=1), Library(tmp_path, seed=2)
    recording = Recording("clip", 3.0)
    one.make([recording])
    other.make([recording])
    assert one.path(recording).read_bytes() != other.path(recording).read_bytes()
