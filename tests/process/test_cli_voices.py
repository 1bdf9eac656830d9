# SPDX-License-Identifier: Apache-2.0
"""`sqscribe transcribe` with channels and tracks apart: the bundled model hears each as if it were a file by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sqscribe.bundled import ControlRecording, control_clips
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE

pytestmark = pytest.mark.process

#: Seconds by which each recording begins behind the one before: all of them overlap.
BEHIND = 3
SPOKEN = control_clips()[:3]


def sound(clip: ControlRecording, start: float) -> npt.NDArray[np.int16]:
    with wave.open(str(clip.path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return np.concatenate([np.zeros(round(start * SAMPLE_RATE), np.int16), pcm])


def wav(path: Path, *channels: npt.NDArray[np.int16]) -> Path:
    longest = max(map(len, channels))
    padded = [np.pad(channel, (0, longest - len(channel))) for channel in channels]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.stack(padded, axis=1).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call of two, and a film of three tracks of which the last is stereo with one side silent."""
    folder = tmp_path_factory.mktemp("voices")
    sounds = [sound(clip, BEHIND * number) for number, clip in enumerate(SPOKEN)]
    wav(folder / "call.wav", *sounds[:2])
    tracks = [wav(folder / f"{number}.track", each) for number, each in enumerate(sounds[:2])]
    tracks.append(wav(folder / "2.track", np.zeros_like(sounds[2]), sounds[2]))
    inputs = [argument for track in tracks for argument in ("-f", "wav", "-i", str(track))]
    maps = [argument for number in range(3) for argument in ("-map", str(number))]
    ffmpeg = [find_ffmpeg(), "-loglevel", "error", "-nostdin"]
    subprocess.run([*ffmpeg, *inputs, *maps, "-c:a", "flac", str(folder / "film.mkv")], check=True)
    return folder


def transcribed(folder: Path, name: str, *options: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The master of a file, and its other formats."""
    formats = [argument for kind in ("json", "verbose_json", "srt", "vtt", "txt") for argument in ("--format", kind)]
    out = folder / f"out{len(list(folder.iterdir()))}"
    program = [sys.executable, "-m", "sqscribe", "transcribe", "--model", "demo", "--language", "en"]
    command = [*program, "-o", str(out), *formats, *options, name]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, ran.stderr
    stem = Path(name).stem
    texts = {path.name.removeprefix(f"{stem}."): path.read_text("utf-8") for path in out.iterdir()}
    return json.loads(texts.pop("json")), texts


def said(segments: list[dict[str, Any]]) -> str:
    return "".join(each["text"] for each in segments).strip().lower()


def holds_what_was_said(segments: list[dict[str, Any]], number: int) -> None:
    """That these segments are one clip's, word for word, at its time."""
    clip = SPOKEN[number]
    assert said(segments) == clip.text
    words = [word for each in segments for word in each["words"]]
    for word, true in zip(words, clip.words, strict=True):
        assert word["start"] == pytest.approx(true.start + BEHIND * number, abs=0.4)


def test_each_side_of_a_call_is_heard_by_itself(folder: Path) -> None:
    # Given a call whose sides talk over each other for ten seconds
    master, texts = transcribed(folder, "call.wav", "--channels", "split")
    # Then what each says is there to the word, at its time, and told apart
    segments = master["segments"]
    for channel in (0, 1):
        holds_what_was_said([each for each in segments if each["channel"] == channel], channel)
    order = [(each["start"], each["id"]) for each in segments]
    assert order == sorted(order)
    assert [each["id"] for each in segments] == list(range(len(segments)))
    assert [each["channel"] for each in json.loads(texts["verbose.json"])["segments"]] == [
        each["channel"] for each in segments
    ]
    for name in ("Channel 0", "Channel 1"):
        assert f"<v {name}>" in texts["vtt"]
        assert f"\n{name}: " in texts["srt"]
        assert f"{name}: " in texts["txt"]
    # while of a mix of both nobody could tell
    mixed, _ = transcribed(folder, "call.wav")
    assert all("channel" not in each for each in mixed["segments"])
    assert said(mixed["segments"]) not in {clip.text for clip in SPOKEN}


def test_each_track_of_a_film_is_heard_by_itself(folder: Path) -> None:
    master, texts = transcribed(folder, "film.mkv", "--track", "all")
    for track in range(3):
        holds_what_was_said([each for each in master["segments"] if each["track"] == track], track)
    assert [each["start"] for each in master["segments"]] == sorted(each["start"] for each in master["segments"])
    assert "warnings" not in master
    assert "<v Track 2>" in texts["vtt"]


def test_channels_of_all_tracks_and_of_one(folder: Path) -> None:
    both, _ = transcribed(folder, "film.mkv", "--track", "all", "--channels", "split")
    voices = {(each["track"], each["channel"]) for each in both["segments"]}
    assert voices == {(0, 0), (1, 0), (2, 1)}
    for track, channel in voices:
        own = [each for each in both["segments"] if (each["track"], each["channel"]) == (track, channel)]
        holds_what_was_said(own, track)
    one, _ = transcribed(folder, "film.mkv", "--track", "1")
    assert all("track" not in each and "channel" not in each for each in one["segments"])
    holds_what_was_said(one["segments"], 1)
