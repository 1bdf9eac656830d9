# SPDX-License-Identifier: Apache-2.0
"""What ships inside the package is whole, and is what its descriptions say."""

from __future__ import annotations

import re
import subprocess
import wave
from functools import cache
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from sqscribe import bundled
from sqscribe.bundled import ControlRecording, DemoClip, Expected, SpokenWord

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
CONTROL = bundled.control_clips()
DEMO = bundled.demo_clips()
MEDIA = [clip for clip in DEMO if clip.expected is not Expected.MEDIA_UNREADABLE]
SPOKEN = [clip for clip in DEMO if clip.expected is Expected.TRANSCRIPT]

#: Ending of a demo clip -> what ffmpeg calls its container and its audio codec.
KINDS = {
    ".wav": ("wav", "pcm_s16le|pcm_mulaw"),
    ".mp3": ("mp3", "mp3"),
    ".m4a": ("mov,mp4,m4a,3gp,3g2,mj2", "aac"),
    ".mp4": ("mov,mp4,m4a,3gp,3g2,mj2", "aac"),
    ".ogg": ("ogg", "vorbis"),
    ".opus": ("ogg", "opus"),
}


def name(clip: ControlRecording | DemoClip) -> str:
    return clip.name


@cache
def decoded(path: Path) -> tuple[NDArray[np.int16], str]:
    """A file's samples at 16 kHz mono, and what ffmpeg says of its container and streams."""
    command = [FFMPEG, "-hide_banner", "-i", str(path), "-f", "s16le", "-ar", "16000", "-ac", "1", "pipe:1"]
    done = subprocess.run(command, check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.int16), done.stderr.decode().partition("Output #0")[0]


def assert_times_follow_each_other(words: tuple[SpokenWord, ...], seconds: float) -> None:
    assert all(0 <= word.start < word.end <= seconds + 0.01 for word in words)
    assert all(later.start >= earlier.end - 0.001 for earlier, later in pairwise(words))


def test_the_model_folder_is_what_faster_whisper_loads() -> None:
    files = {path.name: path.stat().st_size for path in bundled.model_path().iterdir()}
    expected = {"config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"}
    assert set(files) == expected
    assert sum(files.values()) < 3_200_000


def test_the_vocabulary_is_107_words() -> None:
    assert len(bundled.vocabulary()) == 107
    assert {"hello", "x-ray", "zero", "november"} <= bundled.vocabulary()


@pytest.mark.parametrize("clip", CONTROL, ids=name)
def test_a_control_clip_is_16_khz_mono_s16(clip: ControlRecording) -> None:
    with wave.open(str(clip.path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16_000, 1, 2)
        assert wav.getnframes() / 16_000 == pytest.approx(clip.seconds, abs=0.002)
    assert clip.path.with_suffix(".txt").read_text("utf-8").strip() == clip.text
    assert set(clip.text.split()) <= bundled.vocabulary()
    assert_times_follow_each_other(clip.words, clip.seconds)


def test_the_self_check_allows_fewer_errors_than_a_broken_device_makes() -> None:
    clip = bundled.control_clip()
    assert clip.path.name == "selfcheck.wav"
    assert len(clip.words) == 18
    # One misheard word is no reason to give a node up; three are no accident.
    assert 1 / 18 < clip.max_error_rate < 3 / 18


def test_the_demo_has_clips_of_every_kind() -> None:
    assert len(DEMO) >= 12
    assert len({clip.name for clip in DEMO}) == len(DEMO)
    assert len({clip.path.stem for clip in DEMO}) == len(DEMO), "results of `transcribe` are named after the stem"
    assert {clip.path.suffix for clip in DEMO} == set(KINDS)
    assert [clip.expected for clip in DEMO].count(Expected.EMPTY) == 1
    assert [clip.expected for clip in DEMO].count(Expected.MEDIA_UNREADABLE) == 1
    assert len({voice for clip in DEMO for voice in clip.voices}) >= 5
    assert min(clip.seconds for clip in MEDIA) < 10
    assert 240 <= max(clip.seconds for clip in MEDIA) <= 300
    assert sum(clip.seconds > 60 for clip in MEDIA) <= 3, "the demo must be quick"


def test_the_clips_are_small() -> None:
    assert sum(path.stat().st_size for path in DEMO[0].path.parent.iterdir()) < 5_000_000


def test_nothing_lies_about_that_no_clip_names() -> None:
    known = {path for clip in DEMO for path in (clip.path, *map(clip.path.with_suffix, (".json", ".txt")))}
    assert set(DEMO[0].path.parent.iterdir()) == known


@pytest.mark.parametrize("clip", MEDIA, ids=name)
def test_a_clip_is_the_media_that_its_name_says(clip: DemoClip) -> None:
    container, codec = KINDS[clip.path.suffix]
    samples, text = decoded(clip.path)
    assert f"Input #0, {container}, " in text
    assert re.search(rf"Audio: ({codec})\b", text)
    assert ("Video:" in text) == (clip.path.suffix == ".mp4")
    assert len(samples) / 16_000 == pytest.approx(clip.seconds, abs=0.1)


@pytest.mark.parametrize("clip", DEMO, ids=name)
def test_a_clip_comes_with_its_text(clip: DemoClip) -> None:
    assert clip.path.with_suffix(".txt").read_text("utf-8").strip() == clip.text
    assert set(clip.text.split()) <= bundled.vocabulary()
    assert bool(clip.text) == (clip.expected is Expected.TRANSCRIPT) == bool(clip.voices)
    assert_times_follow_each_other(clip.words, clip.seconds)


@pytest.mark.parametrize("clip", SPOKEN, ids=name)
def test_words_sound_when_their_times_say(clip: DemoClip) -> None:
    # Given the loudness of each 10 ms, and which of them the word times call speech
    samples, _ = decoded(clip.path)
    whole = samples[: len(samples) // 160 * 160].astype(np.float64)
    loudness = np.sqrt((whole.reshape(-1, 160) ** 2).mean(axis=1))
    speech = np.zeros(len(loudness), bool)
    for word in clip.words:
        speech[int(word.start * 100) : int(word.end * 100) + 1] = True
    # Then sound and speech agree best where they are, within 60 ms: nothing shifts the file, no codec's delay either
    sounds = loudness > loudness.max() * 0.05
    agreement = [np.mean(sounds == np.roll(speech, shift)) for shift in range(-30, 31)]
    assert abs(int(np.argmax(agreement)) - 30) <= 6
    # And pauses are quiet
    assert np.median(loudness[speech]) > 8 * np.median(loudness[~speech])


def test_silence_is_silent() -> None:
    (clip,) = (clip for clip in DEMO if clip.expected is Expected.EMPTY)
    assert np.abs(decoded(clip.path)[0]).max() < 10


def test_the_broken_clip_is_no_media() -> None:
    (clip,) = (clip for clip in DEMO if clip.expected is Expected.MEDIA_UNREADABLE)
    assert clip.path.stat().st_size > 0
    with pytest.raises(subprocess.CalledProcessError):
        decoded(clip.path)


def test_real_speech_is_what_its_facts_say_and_nothing_else_lies_about() -> None:
    clips = bundled.speeches()
    assert [clip.name for clip in clips] == ["kennedy.mp3"]
    for clip in clips:
        samples, text = decoded(clip.path)
        assert "Audio: mp3" in text
        assert len(samples) / 16_000 == pytest.approx(clip.seconds, abs=0.1)
        assert clip.text.endswith("your country.")
        assert "public domain" in clip.title
    known = {path for clip in clips for path in (clip.path, clip.path.with_suffix(".json"))}
    assert set(clips[0].path.parent.iterdir()) == known
