# SPDX-License-Identifier: Apache-2.0
"""What is decoded is what a player would show: every part's sound at its time, and a warning where something is odd."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqscribe.errors import ErrorCode, NodeFaultError
from stages.values import SAMPLE_RATE, Audio

Make = Callable[..., Path]
Samples = np.ndarray[Any, np.dtype[np.float64]]
SECONDS = 11.0


def heard(audio: Audio) -> Samples:
    return np.fromfile(audio.path, dtype="<i2").astype(float)


def codes(audio: Audio) -> list[str]:
    return [warning.code for warning in audio.warnings]


def place(sound: Samples, sentence: Samples) -> tuple[float, float]:
    """Where a sentence lies best in a sound, in seconds, and how alike the two are there (in envelopes of 10 ms)."""
    grain = SAMPLE_RATE // 100

    def envelope(samples: Samples) -> Samples:
        whole = samples[: len(samples) // grain * grain].reshape(-1, grain)
        values: Samples = np.sqrt((whole**2).mean(axis=1))
        return values

    long, short = envelope(sound), envelope(sentence)
    short = (short - short.mean()) / np.linalg.norm(short - short.mean())
    pieces = np.lib.stride_tricks.sliding_window_view(long, len(short))
    centred = pieces - pieces.mean(axis=1, keepdims=True)
    alike = (centred @ short) / np.maximum(np.linalg.norm(centred, axis=1), 1e-9)
    best = int(alike.argmax())
    return best / 100, float(alike[best])


@pytest.fixture
def spoken(bench: Any, sentence: Path) -> Samples:
    """Ten seconds of the sentence."""
    return heard(bench.decode(sentence))[: 10 * SAMPLE_RATE]


def parts(make: Make, folder: Path, source: Path, kind: str, *formats: tuple[str, str]) -> Path:
    """The sentence several times over in one file, each time in another format."""
    made = [
        make(
            folder / f"{number}.{kind}", "-i", str(source), "-ar", "48000" if kind == "opus" else rate, "-ac", channels
        )
        for number, (rate, channels) in enumerate(formats)
    ]
    joined = folder / f"joined.{kind}"
    joined.write_bytes(b"".join(part.read_bytes() for part in made))
    return joined


@pytest.mark.parametrize("kind", ["mp3", "aac", "ts", "ogg", "opus"])
@pytest.mark.parametrize(
    "formats",
    [(("44100", "1"), ("44100", "2")), (("48000", "2"), ("16000", "1"), ("44100", "2"))],
    ids=["channels", "rates"],
)
def test_every_part_of_a_joined_recording_is_heard_at_its_time(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, spoken: Samples, kind: str, formats: Any
) -> None:
    # Given recordings of unlike format behind one another
    path = parts(make, tmp_path, sentence, kind, *formats)
    # When they are decoded twice
    audio = bench.decode(path)
    sound = heard(audio)
    again = heard(bench.decode(path))
    # Then each lies behind the one before, whole, and nothing depends on chance
    assert np.array_equal(sound, again)
    assert audio.seconds == pytest.approx(SECONDS * len(formats), abs=0.2 * len(formats))
    for number in range(len(formats)):
        first = round(number * SECONDS * SAMPLE_RATE)
        at, alike = place(sound[first : first + round(SECONDS * SAMPLE_RATE) + 4000], spoken)
        assert alike > 0.9
        assert at == pytest.approx(0, abs=0.2)
    assert "format_changed" in codes(audio)


def test_a_format_that_does_not_change_is_no_news(bench: Any, sentence: Path) -> None:
    assert codes(bench.decode(sentence)) == []


@pytest.mark.parametrize(
    "pan",
    [
        "stereo|c0=c0|c1=-1*c0",
        "stereo|c0=0.5*c0|c1=-1*c0",
        "5.1|FL=c0|FR=-1*c0|FC=0*c0|LFE=0*c0|BL=0*c0|BR=0*c0",
        "quad|FL=c0|FR=c0|BL=-1.4*c0|BR=-1.4*c0",
    ],
)
def test_channels_in_opposite_phase_do_not_cancel(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, spoken: Samples, pan: str
) -> None:
    path = make(tmp_path / "opposite.flac", "-i", str(sentence), "-af", f"pan={pan}")
    audio = bench.decode(path)
    at, alike = place(heard(audio), spoken)
    assert alike > 0.95
    assert at == pytest.approx(0, abs=0.05)
    assert codes(audio) == ["channels_cancelled"]


def test_a_part_in_opposite_phase_is_heard_and_the_rest_stays_as_it_is(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, spoken: Samples
) -> None:
    # Given a recording whose second half has its right channel turned round
    flip = "aeval=val(0)|if(gte(t\\,5)\\,-1\\,1)*val(0):c=stereo"
    plain = make(tmp_path / "plain.flac", "-i", str(sentence), "-af", "aeval=val(0)|val(0):c=stereo")
    path = make(tmp_path / "half.flac", "-i", str(sentence), "-af", flip)
    # Then the first half is as ever, and the second one as loud
    audio = bench.decode(path)
    sound, expected = heard(audio), heard(bench.decode(plain))
    assert np.array_equal(sound[: 4 * SAMPLE_RATE], expected[: 4 * SAMPLE_RATE])
    assert np.abs(sound[6 * SAMPLE_RATE :]).mean() == pytest.approx(
        np.abs(expected[6 * SAMPLE_RATE :]).mean(), rel=0.05
    )
    assert codes(audio) == ["channels_cancelled"]


def test_ordinary_stereo_is_the_mean_of_its_channels(bench: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).normal(0, 3000, (5 * SAMPLE_RATE, 2)).astype("<i2")
    audio = bench.decode(wav(tmp_path / "stereo.wav", noise))
    assert np.array_equal(heard(audio), np.rint(noise.astype(np.float32).mean(axis=1)))
    assert codes(audio) == []


def wav(path: Path, samples: np.ndarray[Any, Any]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("channels", [3, 4, 6, 8, 16])
def test_no_channel_of_a_file_without_a_layout_is_left_out(bench: Any, tmp_path: Path, channels: int) -> None:
    loud = 16_000 * np.sin(np.arange(SAMPLE_RATE) / 6)
    for number in {0, channels // 2, channels - 1} | ({3} if channels > 3 else set()):
        samples = np.zeros((SAMPLE_RATE, channels))
        samples[:, number] = loud
        sound = heard(bench.decode(wav(tmp_path / f"{number}.wav", samples)))
        assert np.abs(sound).mean() == pytest.approx(np.abs(loud).mean() / channels, rel=0.02)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_silent_track_is_passed_over(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, spoken: Samples, kind: str
) -> None:
    silence = ("-f", "lavfi", "-i", "anullsrc=d=11:r=16000")
    path = make(tmp_path / f"two.{kind}", *silence, "-i", str(sentence), "-map", "0", "-map", "1", "-c:a", "aac")
    audio = bench.decode(path)
    assert place(heard(audio), spoken)[1] > 0.95
    assert codes(audio) == ["tracks_ignored"]
    # Asked for by its number, it is what is decoded.
    assert not heard(bench.decode(path, track=0)).any()


def test_the_default_track_goes_before_the_language_and_that_before_the_first(
    bench: Any, make: Make, tmp_path: Path
) -> None:
    # Given three tracks that differ in length
    def film(name: str, default: int | None) -> Path:
        tones = [part for seconds in (1, 2, 3) for part in ("-f", "lavfi", "-i", f"sine=d={seconds}")]
        tracks = [part for number in range(3) for part in ("-map", str(number))]
        marks = [
            part
            for number, language in enumerate(("eng", "fre", "ger"))
            for part in (
                f"-metadata:s:a:{number}", f"language={language}",
                f"-disposition:a:{number}", "default" if number == default else "0",
            )
        ]  # fmt: skip
        return make(tmp_path / name, *tones, *tracks, "-c:a", "libvorbis", *marks)

    assert round(bench.decode(film("marked.mkv", 2), language="fr").seconds) == 3
    unmarked = film("unmarked.mkv", None)
    assert round(bench.decode(unmarked, language="fr").seconds) == 2
    assert round(bench.decode(unmarked, language="ja").seconds) == 1


def test_a_track_that_no_decoder_knows_is_passed_over(bench: Any, make: Make, tmp_path: Path, sentence: Path) -> None:
    path = make(
        tmp_path / "two.mkv", "-i", str(sentence), "-i", str(sentence), "-map", "0", "-map", "1",
        "-c:a:0", "libvorbis", "-c:a:1", "flac",
    )  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"A_VORBIS", b"A_UNHEAR"))
    audio = bench.decode(path)
    assert audio.seconds == pytest.approx(SECONDS, abs=0.1)
    assert codes(audio) == ["tracks_ignored"]


@pytest.mark.parametrize("field", [200_000, 3_000_000_000, 0, 0xFFFF_FFFF])
def test_a_wav_file_is_read_to_its_end_whatever_its_size_field_says(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, field: int
) -> None:
    path = make(tmp_path / "wrapped.wav", "-i", str(sentence), "-ac", "2")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = field.to_bytes(4, "little")
    path.write_bytes(content)
    audio = bench.decode(path)
    assert audio.seconds == pytest.approx(SECONDS, abs=0.01)
    assert codes(audio) == []


@pytest.mark.parametrize("kind", ["ts", "m2ts", "mkv", "mp4"])
def test_sound_that_begins_behind_the_picture_keeps_its_place(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, spoken: Samples, kind: str
) -> None:
    path = make(
        tmp_path / f"late.{kind}", "-f", "lavfi", "-i", "testsrc=d=16:s=64x64:r=5", "-itsoffset", "5",
        "-i", str(sentence), "-map", "0", "-map", "1", "-c:v", "mpeg2video", "-c:a", "aac",
    )  # fmt: skip
    audio = bench.decode(path)
    at, alike = place(heard(audio), spoken)
    assert alike > 0.95
    assert at == pytest.approx(5, abs=0.1)
    assert codes(audio) == []


@pytest.mark.parametrize(("kind", "hole"), [("ts", 20), ("mkv", 18_000), ("m4a", 20)])
def test_a_hole_is_kept_whatever_its_length(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, kind: str, hole: int
) -> None:
    path = make(
        tmp_path / f"hole.{kind}", "-i", str(sentence), "-af", f"asetpts='PTS+if(gte(T,5),{hole}/TB,0)'", "-c:a", "aac"
    )
    audio = bench.decode(path, max_seconds=20_000)
    assert audio.seconds == pytest.approx(SECONDS + hole, abs=0.2)
    with audio.path.open("rb") as file:
        file.seek(round((5.5 + hole) * SAMPLE_RATE) * 2)
        assert np.abs(np.frombuffer(file.read(SAMPLE_RATE * 2), "<i2").astype(float)).mean() > 200
    assert codes(audio) == ["gaps"]
    assert bench.fails_with(path, max_seconds=hole) == ErrorCode.MEDIA_TOO_LONG


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "mkv", "m4a"])
def test_a_file_that_was_cut_short_is_told(bench: Any, make: Make, tmp_path: Path, sentence: Path, kind: str) -> None:
    path = make(tmp_path / f"cut.{kind}", "-i", str(sentence), "-ar", "44100", "-movflags", "+faststart")
    assert codes(bench.decode(path)) == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 10])
    audio = bench.decode(path)
    assert 0.5 < audio.seconds < 5
    assert "truncated" in codes(audio)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a", "opus", "aac"])
def test_what_is_too_long_is_refused_before_it_is_decoded(bench: Any, make: Make, tmp_path: Path, kind: str) -> None:
    # Given more than three minutes, and a limit below that
    path = make(tmp_path / f"long.{kind}", "-f", "lavfi", "-i", "sine=d=200:r=16000", "-ac", "1")
    assert bench.fails_with(path, max_seconds=150) == ErrorCode.MEDIA_TOO_LONG
    # Then no room was asked for; without a length in its head, a file has to be decoded
    assert (bench.held.totals == []) == (kind != "aac")
    # A part of it is another matter.
    assert bench.decode(path, max_seconds=10, start=5, end=10).seconds == pytest.approx(5)


def test_packets_that_cannot_be_decoded_are_told(bench: Any, make: Make, tmp_path: Path, sentence: Path) -> None:
    path = make(tmp_path / "damaged.mkv", "-i", str(sentence), "-c:a", "aac")
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(4)
    for at in range(len(content) // 3, len(content) * 2 // 3, 40):
        content[at : at + 4] = rng.bytes(4)
    path.write_bytes(content)
    audio = bench.decode(path)
    assert audio.seconds == pytest.approx(SECONDS, abs=1)
    assert "damaged" in codes(audio)


@pytest.mark.parametrize(
    ("name", "code", "seconds"),
    [
        ("joined.aac", "format_changed", 21.0),
        ("joined_mono_stereo.mp3", "format_changed", 21.0),
        ("inverted.m4a", "channels_cancelled", 11.0),
    ],
)
def test_what_users_reported_is_right_now(bench: Any, spoken: Samples, name: str, code: str, seconds: float) -> None:
    path = Path(__file__).parents[4] / "shared" / "cases" / name
    if not path.exists():
        pytest.skip(f"there is no shared/cases/{name} beside the checkout")
    audio = bench.decode(path)
    assert audio.seconds == pytest.approx(seconds, abs=0.2)
    assert place(heard(audio)[: 12 * SAMPLE_RATE], spoken)[1] > 0.9
    assert codes(audio) == [code]


def test_nothing_can_be_heard_where_no_file_can_be_decoded(bench: Any, sentence: Path) -> None:
    # Given a machine on which the reader's libraries are missing
    bench.reader = ["/bin/sh", "-c", "echo 'cannot open shared object file' >&2; exit 127"]
    # Then it is not the file's fault
    with pytest.raises(NodeFaultError, match="not even a known one"):
        bench.decode(sentence)
