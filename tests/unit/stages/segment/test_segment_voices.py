# SPDX-License-Identifier: Apache-2.0
"""Voices that are apart: each is cut as it would be in a file of its own."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sqscribe.bundled import control_clips
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import SAMPLE_RATE, Audio, Voice, Windows

Pcm = npt.NDArray[np.int16]


def spoken(clip: int, pause: float, loudness: float = 1.0) -> Pcm:
    """A clip several times over, behind a pause."""
    with wave.open(str(control_clips()[clip].path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    silence = np.zeros(round(pause * SAMPLE_RATE), np.int16)
    return (np.concatenate([silence, *[pcm, silence] * 8, *[pcm] * 8]) * loudness).astype(np.int16)


def segmented(folder: Path, *voices: Pcm, vad: bool, apart: bool = True) -> Windows:
    path = folder / f"{len(voices)}-{len(voices[0])}.pcm"
    np.concatenate(voices).astype("<i2").tofile(path)
    places = [sum(map(len, voices[:number])) for number in range(len(voices))]
    told = tuple(
        Voice(place, len(voice), channel=number)
        for number, (place, voice) in enumerate(zip(places, voices, strict=True))
    )
    audio = Audio(path, max(map(len, voices)), 0.0, "0" * 64, apart=told if apart else ())
    return Segmenter().segment(audio, vad, Cancellation())


@pytest.mark.parametrize("vad", [True, False])
def test_each_is_cut_as_it_would_be_by_itself(tmp_path: Path, vad: bool) -> None:
    # Given two sides of a call, one of them quiet, neither a whole number of frames long
    sides = [spoken(0, 0.7)[:-77], spoken(1, 1.9, loudness=0.05)[:-5]]
    # When they are cut together
    together = segmented(tmp_path, *sides, vad=vad)
    # Then there are the windows that each has alone, behind one another, with numbers of their own
    alone = [segmented(tmp_path, side, vad=vad, apart=False) for side in sides]
    assert all(len(windows.windows) > 2 for windows in alone)
    expected: list[Any] = [*alone[0].windows, *[window.moved(len(sides[0])) for window in alone[1].windows]]
    assert list(together.windows) == [replace(window, index=number) for number, window in enumerate(expected)]
    assert together.speech == pytest.approx(sum(windows.speech for windows in alone))
    assert together.audio.seconds == max(windows.audio.seconds for windows in alone)
    # and each finds its own again
    for voice, windows in zip(together.audio.voices, alone, strict=True):
        assert [window.pieces for window in together.of(voice)] == [window.pieces for window in windows.windows]


def test_silence_beside_speech_has_no_windows(tmp_path: Path) -> None:
    side = spoken(0, 0.5)
    windows = segmented(tmp_path, np.zeros(len(side), np.int16), side, vad=True)
    assert windows.of(windows.audio.voices[0]) == ()
    assert len(windows.of(windows.audio.voices[1])) == len(windows.windows) > 0
