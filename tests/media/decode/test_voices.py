# SPDX-License-Identifier: Apache-2.0
"""Channels and tracks that are kept apart: each is whole, at its time, and what is there twice is kept once."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqscribe.errors import ErrorCode, PermanentError
from stages.values import SAMPLE_RATE, Audio

Make = Callable[..., Path]
Samples = np.ndarray[Any, np.dtype[np.int16]]
TONES = (400, 700, 1100)


def tone(hertz: float, seconds: float = 2.0, rate: int = SAMPLE_RATE, loudness: float = 8000) -> Samples:
    times = np.arange(round(seconds * rate)) / rate
    return (loudness * np.sin(2 * np.pi * hertz * times)).astype("<i2")


def wav(path: Path, *channels: Samples, rate: int = SAMPLE_RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack(channels, axis=1).tobytes())
    return path


def voices(audio: Audio) -> list[Samples]:
    whole = np.fromfile(audio.path, dtype="<i2")
    assert [voice.file_start for voice in audio.voices] == [
        sum(voice.samples for voice in audio.voices[:place]) for place in range(len(audio.voices))
    ]
    assert audio.voices[-1].file_end == len(whole)
    return [whole[voice.file_start : voice.file_end] for voice in audio.voices]


def pitch(sound: Samples) -> float:
    """The loudest frequency, to the Hertz and a bit."""
    return float(np.abs(np.fft.rfft(sound.astype(float))).argmax() * SAMPLE_RATE / len(sound))


def codes(audio: Audio) -> list[str]:
    return [warning.code for warning in audio.warnings]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_channel_comes_as_it_is(bench: Any, tmp_path: Path, count: int) -> None:
    # Given a recording of a few channels
    channels = [tone(hertz) for hertz in TONES[:count]]
    # When it is split
    audio = bench.decode(wav(tmp_path / "call.wav", *channels), split=True)
    # Then there is one voice a channel, sample by sample, and the length is that of the file
    assert [(voice.track, voice.channel) for voice in audio.apart] == [(None, number) for number in range(count)]
    for voice, channel in zip(voices(audio), channels, strict=True):
        assert np.array_equal(voice, channel)
    assert (audio.seconds, audio.warnings) == (2.0, ())
    assert [path.name for path in bench.folder.iterdir()] == ["audio.pcm"]


@pytest.mark.parametrize("kind", ["m4a", "mp3", "ogg", "webm"])
def test_channels_of_compressed_files_keep_their_sound(bench: Any, make: Make, tmp_path: Path, kind: str) -> None:
    path = make(tmp_path / f"call.{kind}", "-i", str(wav(tmp_path / "call.wav", tone(400), tone(700))))
    audio = bench.decode(path, split=True)
    assert [round(pitch(voice) / 10) for voice in voices(audio)] == [40, 70]


def test_a_part_is_cut_out_of_every_channel(bench: Any, tmp_path: Path) -> None:
    channels = [tone(400), tone(700)]
    audio = bench.decode(wav(tmp_path / "call.wav", *channels), split=True, start=0.5, end=1.25)
    for voice, channel in zip(voices(audio), channels, strict=True):
        assert np.array_equal(voice, channel[8000:20000])
    assert (audio.start, audio.seconds) == (0.5, 0.75)


def test_a_channel_without_sound_costs_nothing(bench: Any, tmp_path: Path) -> None:
    silence = np.zeros(2 * SAMPLE_RATE, np.int16)
    audio = bench.decode(wav(tmp_path / "call.wav", silence, tone(700), silence), split=True)
    assert [voice.channel for voice in audio.apart] == [1]
    # Where none has sound there is one all the same: silence is a recording too
    nothing = bench.decode(wav(tmp_path / "none.wav", silence, silence), split=True)
    assert [voice.channel for voice in nothing.apart] == [0]
    assert codes(audio) == codes(nothing) == []


@pytest.mark.parametrize("kind", ["wav", "mp3", "m4a", "ogg"])
def test_the_same_sound_on_two_channels_is_kept_once(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, kind: str
) -> None:
    # Given speech that somebody has saved in stereo
    path = make(tmp_path / f"talk.{kind}", "-i", str(sentence), "-ac", "2")
    # When it is split
    audio = bench.decode(path, split=True)
    # Then it is there once, and who reads the transcript is told
    assert [voice.channel for voice in audio.apart] == [0]
    assert [(each.code, each.message) for each in audio.warnings] == [
        ("channels_alike", "the same sound was transcribed once: channel 1 has that of channel 0")
    ]


def test_channels_that_differ_for_a_moment_are_two(bench: Any, tmp_path: Path) -> None:
    # Given channels of which one has a word more than the other, 30 dB below what both have
    common = tone(400, seconds=5)
    other = common.copy()
    other[40_000:44_000] += tone(700, seconds=0.25, loudness=8000 / 31.6)
    # Then both are kept
    audio = bench.decode(wav(tmp_path / "call.wav", common, other), split=True)
    assert [voice.channel for voice in audio.apart] == [0, 1]
    assert audio.warnings == ()


def test_a_stretch_with_fewer_channels_leaves_the_others_silent(bench: Any, make: Make, tmp_path: Path) -> None:
    # Given mono, then stereo, then mono again in one file
    mono, stereo = wav(tmp_path / "mono.wav", tone(400)), wav(tmp_path / "stereo.wav", tone(700), tone(1100))
    parts = [make(tmp_path / f"{number}.aac", "-i", str(path)) for number, path in enumerate([mono, stereo, mono])]
    joined = tmp_path / "joined.aac"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    # When it is split
    audio = bench.decode(joined, split=True)
    # Then the second channel is heard at its time and not before
    first, second = voices(audio)
    assert round(pitch(first[:30_000]) / 10) == 40
    assert np.abs(second[:30_000].astype(int)).max() < 100
    assert round(pitch(second[36_000:62_000]) / 10) == 110
    assert codes(audio) == ["format_changed"]
    assert audio.samples == len(first) >= len(second)


def test_more_channels_than_are_kept_apart_are_refused_in_words(bench: Any, tmp_path: Path) -> None:
    path = wav(tmp_path / "wall.wav", *[tone(200 + 100 * number) for number in range(17)])
    with pytest.raises(PermanentError, match="more than 16 channels") as caught:
        bench.decode(path, split=True)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert list(bench.folder.iterdir()) == []
    sixteen = wav(tmp_path / "sixteen.wav", *[tone(200 + 100 * number) for number in range(16)])
    assert len(bench.decode(sixteen, split=True).apart) == 16


def test_scratch_is_asked_for_all_channels_and_the_copy(bench: Any, tmp_path: Path) -> None:
    path = wav(tmp_path / "call.wav", *[tone(hertz, seconds=60) for hertz in TONES])
    bench.decode(path, split=True)
    channel = 60 * SAMPLE_RATE * 2
    # The source, three channels, and the one that is being laid behind the others
    assert bench.held.totals[-1] == path.stat().st_size + 4 * channel
    assert max(bench.held.totals) >= bench.held.totals[-1]


@pytest.fixture
def three_tracks(make: Make, tmp_path: Path) -> Path:
    inputs = [str(wav(tmp_path / f"{hertz}.wav", tone(hertz, seconds=3 - place))) for place, hertz in enumerate(TONES)]
    return make(
        tmp_path / "film.mkv",
        *(argument for path in inputs for argument in ("-i", path)),
        *("-map", "0", "-map", "1", "-map", "2", "-c:a:0", "aac", "-c:a:1", "flac", "-c:a:2", "libopus"),
        *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-disposition:a:1", "default"),
    )


def test_all_tracks_come_in_the_order_of_the_file(bench: Any, three_tracks: Path) -> None:
    audio = bench.decode(three_tracks, track="all")
    assert [(voice.track, voice.channel) for voice in audio.apart] == [(0, None), (1, None), (2, None)]
    assert [round(pitch(voice) / 10) for voice in voices(audio)] == [40, 70, 110]
    assert [round(voice.samples / SAMPLE_RATE, 1) for voice in audio.voices] == [3.0, 2.0, 1.0]
    assert audio.seconds == pytest.approx(3.0, abs=0.1)
    assert audio.warnings == ()
    assert [path.name for path in bench.folder.iterdir()] == ["audio.pcm"]


def test_a_track_that_is_asked_for_is_no_news(bench: Any, three_tracks: Path) -> None:
    audio = bench.decode(three_tracks, track=2)
    assert round(pitch(np.fromfile(audio.path, dtype="<i2")) / 10) == 110
    assert (audio.apart, audio.warnings) == ((), ())
    # and the one that was chosen for want of a wish is told by the same number
    (warning,) = bench.decode(three_tracks).warnings
    assert warning.message == (
        "of the file's 3 audio tracks, track 1 (fra, flac) was transcribed; not used: 0 (eng, aac), 2 (opus)"
    )


@pytest.mark.parametrize("wanted", [3, 999])
def test_a_track_that_is_not_there_is_refused_with_those_that_are(
    bench: Any, three_tracks: Path, tmp_path: Path, wanted: int
) -> None:
    plain = wav(tmp_path / "plain.wav", tone(400))
    for path, has in ((three_tracks, "0 (eng, aac), 1 (fra, flac), 2 (opus)"), (plain, "0 (pcm_s16le)")):
        with pytest.raises(PermanentError) as caught:
            bench.decode(path, track=wanted)
        assert caught.value.code is ErrorCode.MEDIA_NO_AUDIO
        assert caught.value.message == f"track: the file has no audio track {wanted}; it has {has}"
        assert list(bench.folder.iterdir()) == []


def test_a_plain_wav_has_one_track_and_one_channel(bench: Any, tmp_path: Path) -> None:
    path = wav(tmp_path / "plain.wav", tone(400))
    audio = bench.decode(path, track="all", split=True)
    assert [(voice.track, voice.channel) for voice in audio.apart] == [(0, 0)]
    assert bench.decode(path, track=0).apart == ()
    assert bench.fails_with(path, track=1) is ErrorCode.MEDIA_NO_AUDIO


def test_every_channel_of_every_track(bench: Any, make: Make, tmp_path: Path) -> None:
    stereo, mono = wav(tmp_path / "a.wav", tone(400), tone(700)), wav(tmp_path / "b.wav", tone(1100))
    path = make(tmp_path / "both.mkv", "-i", str(stereo), "-i", str(mono), "-map", "0", "-map", "1", "-c:a", "flac")
    audio = bench.decode(path, track="all", split=True)
    assert [(voice.track, voice.channel) for voice in audio.apart] == [(0, 0), (0, 1), (1, 0)]
    assert [round(pitch(voice) / 10) for voice in voices(audio)] == [40, 70, 110]


def test_a_track_that_no_decoder_knows_costs_the_others_nothing(bench: Any, three_tracks: Path) -> None:
    # Given a file whose first track says that it is of a codec that nobody knows
    content = three_tracks.read_bytes()
    assert content.count(b"A_FLAC") == 1
    three_tracks.write_bytes(content.replace(b"A_FLAC", b"A_FLUX"))
    # When all are asked for
    audio = bench.decode(three_tracks, track="all")
    # Then the others come, and that it is missing is told
    assert [voice.track for voice in audio.apart] == [0, 2]
    assert [(each.code, each.message) for each in audio.warnings] == [
        ("tracks_ignored", "audio tracks that cannot be decoded: 1 (fra, unknown codec)")
    ]
