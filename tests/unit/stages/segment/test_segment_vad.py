# SPDX-License-Identifier: Apache-2.0
"""The voice activity track: the same as faster-whisper's, in slabs."""

from __future__ import annotations

import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sqscribe.bundled import ControlRecording, control_clips
from sqscribe.errors import Cancelled, CancelReason, NodeFaultError, UnfitNodeError
from stages.ports import Cancellation
from stages.segment import CutSettings
from stages.segment.cut import _kept, _mask, _speech
from stages.segment.vad import FRAME, SileroVad, Track, _slabs
from stages.values import Audio, Voice

Pcm = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def detector() -> SileroVad:
    return SileroVad()


def clip(path: Path) -> Pcm:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def recording(folder: Path, pcm: Pcm) -> Audio:
    path = folder / "audio.pcm"
    pcm.astype("<i2").tofile(path)
    return Audio(path, len(pcm), 0.0, "0" * 64)


def recording_in(folder: Path, pcm: Pcm) -> Audio:
    folder.mkdir()
    return recording(folder, pcm)


def noisy(pcm: Pcm, seed: int) -> Pcm:
    noise = np.random.default_rng(seed).standard_normal(len(pcm)) * 300
    return (pcm * 0.4 + noise).clip(-32768, 32767).astype(np.int16)


def long_recording() -> Pcm:
    """Clips with pauses of many lengths between them, some under noise; not a whole number of frames."""
    parts: list[Pcm] = []
    for index, one in enumerate(control_clips() * 2):
        pcm = clip(one.path)
        parts += [noisy(pcm, index) if index % 2 else pcm, np.zeros(int(16000 * 0.45 * index), np.int16)]
    pcm = np.concatenate(parts)
    return pcm[: len(pcm) // FRAME * FRAME - 300]


def recordings() -> Iterator[tuple[str, Pcm]]:
    yield "long", long_recording()
    for one in control_clips()[:3]:
        pcm = clip(one.path)
        yield one.name, pcm[: len(pcm) // FRAME * FRAME - 100]


def test_the_track_and_the_speech_are_those_of_faster_whisper(detector: SileroVad, tmp_path: Path) -> None:
    from faster_whisper import vad as reference  # noqa: PLC0415 - loads CTranslate2

    for name, pcm in recordings():
        wave_form = pcm.astype(np.float32) / 32768
        padded = np.pad(wave_form, (0, -len(pcm) % FRAME))

        track = detector.track(recording(tmp_path, pcm), Cancellation(), lift=False)

        expected = reference.get_vad_model()(padded)
        assert track.probabilities.shape == expected.shape, name
        assert np.abs(track.probabilities - expected).max() < 1e-4, name
        # With the pause and the padding of faster-whisper's defaults, what would be kept is what that keeps.
        settings = CutSettings(pause=2.0, padding=0.4)
        quantised = (track.probabilities * 256).clip(0, 255).astype(np.uint8)
        kept = _kept(*_speech(quantised, len(pcm), settings), len(pcm), settings)
        spans = reference.get_speech_timestamps(wave_form)
        assert kept.starts.tolist() == [span["start"] for span in spans], name
        assert kept.ends[:-1].tolist() == [span["end"] for span in spans[:-1]], name
        # faster-whisper lets the last one run to the end of the file if less than a pause follows it.
        assert kept.ends[-1] <= spans[-1]["end"], name
        assert spans[-1]["end"] - kept.ends[-1] < 2 * 16000, name


def sounds() -> dict[str, Pcm]:
    """Speech made loud, quiet, clipped and noisy, and what is no speech at all; 4 s each at least."""
    random = np.random.default_rng(7)
    speech = np.concatenate([clip(one.path) for one in control_clips()]).astype(np.float32)
    time = np.arange(16_000 * 4) / 16_000
    made: dict[str, npt.NDArray[Any]] = {
        "as it is": speech,
        "loud": speech * 3,
        "clipped": speech * 40,
        "faint": speech / 200,
        "on a constant": speech * 0.3 + 20_000,
        "backwards": speech[::-1],
        "in noise": speech * 0.3 + random.standard_normal(len(speech)) * 1500,
        "white noise": random.integers(-32_768, 32_767, len(time)),
        "faint noise": random.integers(-2, 3, len(time)),
        "a rising tone": 20_000 * np.sin(2 * np.pi * 1000 * time**2),
        "a square wave": np.where(np.arange(len(time)) // 40 % 2, 32_767, -32_768),
        "lowest": np.full(len(time), -32_768),
        "nothing": np.zeros(len(time)),
        "clicks": np.where(np.arange(len(time)) % 1777, 0, 32_767),
    }
    return {name: values.clip(-32_768, 32_767).astype(np.int16) for name, values in made.items()}


@pytest.mark.parametrize("name", sounds())
def test_the_rewritten_model_hears_in_any_sound_what_the_original_hears(
    detector: SileroVad, tmp_path: Path, name: str
) -> None:
    from faster_whisper import vad as reference  # noqa: PLC0415 - loads CTranslate2

    # Given a sound, without the end of it that faster-whisper clears
    pcm = sounds()[name]
    pcm = pcm[: len(pcm) // FRAME * FRAME]
    # When both models hear it as it is
    heard = detector.track(recording(tmp_path, pcm), Cancellation(), lift=False).probabilities
    expected = reference.get_vad_model()(pcm.astype(np.float32) / 32_768)
    # Then they differ by no more than the order of summation does
    assert np.abs(heard[:-1] - expected[:-1]).max() < 1e-4


def test_a_node_without_the_model_is_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.segment.vad._MODEL", tmp_path / "gone.onnx")

    with pytest.raises(UnfitNodeError, match="voice activity model is missing"):
        SileroVad()


def test_threads_share_a_detector_without_disturbing_each_other(detector: SileroVad, tmp_path: Path) -> None:
    audios = []
    for index, one in enumerate(control_clips()[:4]):
        folder = tmp_path / str(index)
        folder.mkdir()
        audios.append(recording(folder, clip(one.path)))
    alone = [detector.track(audio, Cancellation()) for audio in audios]
    together = threading.Barrier(4)

    def work(audio: Audio) -> Track:
        together.wait(10)
        return detector.track(audio, Cancellation())

    with ThreadPoolExecutor(4) as pool:
        tracks = list(pool.map(work, audios))

    for expected, track in zip(alone, tracks, strict=True):
        assert np.array_equal(expected.probabilities, track.probabilities)
        assert np.array_equal(expected.levels, track.levels)


@pytest.mark.parametrize("samples", [0, 1, 64, 511, 512, 513, 256 * 512, 256 * 512 + 1])
def test_every_length_has_a_value_for_every_begun_frame(detector: SileroVad, tmp_path: Path, samples: int) -> None:
    pcm = np.random.default_rng(1).integers(-3000, 3000, samples).astype(np.int16)

    track = detector.track(recording(tmp_path, pcm), Cancellation(), lift=False)

    assert track.samples == samples
    assert len(track.probabilities) == len(track.levels) == -(-samples // FRAME)
    assert np.isfinite(track.probabilities).all()


@pytest.mark.parametrize("value", [0, 1, -32768, 32767], ids=["zero", "dc", "lowest", "highest"])
def test_a_constant_is_neither_speech_nor_loud(detector: SileroVad, tmp_path: Path, value: int) -> None:
    track = detector.track(recording(tmp_path, np.full(48_000, value, np.int16)), Cancellation())

    assert track.probabilities.max() < 0.35
    assert track.levels[:93].max() == 0


def test_clipped_speech_is_still_speech(detector: SileroVad, tmp_path: Path) -> None:
    pcm = (clip(control_clips()[1].path).astype(np.int32) * 30).clip(-32768, 32767).astype(np.int16)

    track = detector.track(recording(tmp_path, pcm), Cancellation(), lift=False)

    assert (track.probabilities > 0.5).mean() > 0.3
    assert track.levels.max() > 80


def at_level(pcm: Pcm, decibels: float) -> npt.NDArray[np.float64]:
    """The same as loud as this, in dB of full scale."""
    sound = pcm.astype(np.float64)
    return sound * (32_768 * 10 ** (decibels / 20) / float(np.sqrt(np.mean(sound**2))))


def hiss(samples: int, decibels: float) -> npt.NDArray[np.float64]:
    return np.random.default_rng(5).standard_normal(samples) * 32_768 * 10 ** (decibels / 20)


def as_pcm(sound: npt.NDArray[np.float64]) -> Pcm:
    return np.rint(sound).clip(-32_768, 32_767).astype(np.int16)


def is_speech(track: Track) -> npt.NDArray[np.bool_]:
    spans, _ = _speech((track.probabilities * 256).clip(0, 255).astype(np.uint8), track.samples, CutSettings())
    return _mask(spans, len(track.probabilities))


@pytest.mark.parametrize("one", control_clips(), ids=lambda one: str(one.name))
def test_quiet_speech_is_found_where_loud_speech_is(detector: SileroVad, tmp_path: Path, one: ControlRecording) -> None:
    # Given a clip, and the same at -60 dB above hiss at -75 dB
    pcm = clip(one.path)
    quiet = as_pcm(at_level(pcm, -60) + hiss(len(pcm), -75))
    # When both are heard
    loud = is_speech(detector.track(recording(tmp_path, pcm), Cancellation()))
    found = is_speech(detector.track(recording(tmp_path, quiet), Cancellation()))
    # Then nearly all that was speech still is, and each word
    assert found[loud].mean() > 0.9
    assert all(
        found[round(word.start * 16_000) // FRAME : round(word.end * 16_000) // FRAME + 1].any() for word in one.words
    )


def test_quiet_speech_behind_loud_speech_is_found_when_it_is_lifted_and_not_before(
    detector: SileroVad, tmp_path: Path
) -> None:
    # Given a loud clip, two seconds of hiss, and a quiet clip
    first, second = (clip(one.path) for one in control_clips()[:2])
    loud = at_level(first, -20)
    pcm = np.concatenate([loud, np.zeros(32_000), at_level(second, -62)])
    audio = recording(tmp_path, as_pcm(pcm + hiss(len(pcm), -75)))
    behind = (len(loud) + 32_000) // FRAME
    alone = is_speech(detector.track(recording_in(tmp_path / "alone", second), Cancellation()))
    # When it is heard with lift and without
    lifted, plain = (is_speech(detector.track(audio, Cancellation(), lift=lift)) for lift in (True, False))
    # Then lift finds the quiet clip, and changes the loud one by nothing
    assert lifted[behind:].sum() > 0.8 * alone.sum()
    assert plain[behind:].sum() < 0.5 * alone.sum()
    assert abs(int(lifted[: len(loud) // FRAME].sum()) - int(plain[: len(loud) // FRAME].sum())) <= 3


def no_speech() -> dict[str, npt.NDArray[np.float64]]:
    """Sounds without a voice, quiet ones above all, 20 s each."""
    time = np.arange(16_000 * 20) / 16_000
    hum = sum(np.sin(2 * np.pi * pitch * time) / at for at, pitch in enumerate((50, 100, 150, 200), start=1))
    tone = np.sin(2 * np.pi * 440 * time)
    gate = time % 1.0 < 0.5
    made = {f"hiss at {level}": hiss(len(time), level) for level in (-80, -70, -60, -50, -35)}
    made |= {
        f"{name} at {level}": sound * 32_768 * 10 ** (level / 20) + hiss(len(time), -85)
        for name, sound in (("hum", np.asarray(hum)), ("a tone", tone), ("a beeping", tone * gate))
        for level in (-70, -55, -40)
    }
    return made


@pytest.mark.parametrize("name", no_speech())
def test_what_is_lifted_does_not_become_speech(detector: SileroVad, tmp_path: Path, name: str) -> None:
    track = detector.track(recording(tmp_path, as_pcm(no_speech()[name])), Cancellation())

    assert not is_speech(track).any()


def test_levels_are_those_of_the_recording_whatever_the_detector_was_shown(detector: SileroVad, tmp_path: Path) -> None:
    audio = recording(tmp_path, as_pcm(at_level(clip(control_clips()[0].path), -60)))

    lifted, plain = (detector.track(audio, Cancellation(), lift=lift) for lift in (True, False))

    np.testing.assert_array_equal(lifted.levels, plain.levels)
    assert not np.array_equal(lifted.probabilities, plain.probabilities)


def test_it_stops_when_the_job_is_called_off(detector: SileroVad, tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel(CancelReason.LEASE_LOST)

    with pytest.raises(Cancelled) as caught:
        detector.track(recording(tmp_path, np.zeros(48_000, np.int16)), cancellation)

    assert caught.value.reason is CancelReason.LEASE_LOST


def test_a_file_that_lost_its_end_is_the_nodes_fault(detector: SileroVad, tmp_path: Path) -> None:
    audio = recording(tmp_path, np.zeros(48_000, np.int16))
    audio.path.write_bytes(b"\0" * 95_000)

    with pytest.raises(NodeFaultError, match="1000 bytes early"):
        detector.track(audio, Cancellation())


def test_a_file_that_is_gone_is_the_nodes_fault(detector: SileroVad, tmp_path: Path) -> None:
    audio = recording(tmp_path, np.zeros(48_000, np.int16))
    audio.path.unlink()

    with pytest.raises(NodeFaultError, match="No such file"):
        detector.track(audio, Cancellation())


def test_the_engines_libraries_stay_out_of_this_process() -> None:
    code = (
        "import sys, stages.segment as s; s.Segmenter();"
        "print(sorted({'torch', 'ctranslate2', 'faster_whisper'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("samples", [100, FRAME, 5_000, 2 * 256 * FRAME + 777])
def test_gains_go_straight_from_frame_to_frame_over_slabs_and_stay_at_the_ends(tmp_path: Path, samples: int) -> None:
    # Given noise and a gain of its own for each frame
    rng = np.random.default_rng(samples)
    noise = rng.normal(0, 3_000, samples).clip(-32_768, 32_767).astype("<i2")
    gains = rng.uniform(0, 30, -(-samples // FRAME)).astype(np.float32)

    # When it is raised a slab at a time
    audio = recording(tmp_path, noise)
    slabs = list(_slabs(audio.path, Voice(0, samples), gains))

    # Then it is what interpolating over the whole recording gives, to a fiftieth of a quantisation step
    frames = np.concatenate([slab[:, -FRAME:] for slab in slabs]).ravel()
    contexts = np.concatenate([slab[:, :-FRAME] for slab in slabs])
    raised = np.interp(np.arange(samples), np.arange(len(gains)) * FRAME + FRAME // 2, gains)
    wanted = (noise * 10.0 ** (raised / 20)).clip(-32_768, 32_767)
    np.testing.assert_allclose(frames[:samples], wanted, rtol=0, atol=0.02)
    assert not frames[samples:].any()
    # And what a frame is shown of the one before it is what that one was, even where a slab ends
    np.testing.assert_allclose(contexts[1:].ravel(), frames.reshape(-1, FRAME)[:-1, -64:].ravel(), rtol=0, atol=0.02)
