# SPDX-License-Identifier: Apache-2.0
"""Real recordings through the whole segmenter: no word is lost or cut, and memory stays flat."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sqscribe.bundled import control_clips
from sqscribe.tuning import Tuning, VadTuning
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import SAMPLE_RATE, Audio, Windows

Pcm = npt.NDArray[np.int16]
#: First and last sample of a spoken word.
Spoken = list[tuple[int, int]]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter()


def clips() -> list[tuple[Pcm, Spoken]]:
    found = []
    for clip in control_clips():
        with wave.open(str(clip.path)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        found.append((pcm, [(round(word.start * 16_000), round(word.end * 16_000)) for word in clip.words]))
    return found


def spaced(seed: int) -> tuple[Pcm, Spoken]:
    """Three minutes of clips, silences of 0 to 6 s between them, hiss below all."""
    random = np.random.default_rng(seed)
    parts: list[Pcm] = []
    spoken: Spoken = []
    length = 0
    for pcm, words in clips() * 2:
        spoken += [(length + start, length + end) for start, end in words]
        parts += [pcm, np.zeros(int(random.uniform(0, 6) * SAMPLE_RATE), np.int16)]
        length += len(parts[-1]) + len(parts[-2])
    hiss = random.standard_normal(length) * 20
    return (np.concatenate(parts) + hiss).clip(-32768, 32767).astype(np.int16), spoken


def fluent() -> tuple[Pcm, Spoken]:
    """Minutes in which every pause is cut out, so that windows have to be cut inside speech."""
    parts: list[Pcm] = []
    spoken: Spoken = []
    length = 0
    for pcm, words in clips() * 3:
        for start, end in words:
            parts.append(pcm[start:end])
            spoken.append((length, length + end - start))
            length += end - start
    return np.concatenate(parts), spoken


def segmented(segmenter: Segmenter, pcm: Pcm, folder: Path, *, vad: bool) -> Windows:
    path = folder / "audio.pcm"
    pcm.astype("<i2").tofile(path)
    return segmenter.segment(Audio(path, len(pcm), 0.0, "0" * 64), vad, Cancellation())


def cut_words(windows: Windows, spoken: Spoken) -> Spoken:
    """The words that no piece of any window holds as a whole."""
    pieces = [piece for window in windows.windows for piece in window.pieces]
    return [
        (start, end)
        for start, end in spoken
        if not any(piece.file_start <= start and end <= piece.file_start + piece.length for piece in pieces)
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_word_lies_whole_in_a_piece_where_there_is_silence(
    segmenter: Segmenter, tmp_path: Path, seed: int
) -> None:
    pcm, spoken = spaced(seed)

    windows = segmented(segmenter, pcm, tmp_path, vad=True)

    assert cut_words(windows, spoken) == []
    assert len(windows.windows) > 3
    assert all(window.overlap_after == 0 for window in windows.windows)
    kept = sum(window.seconds for window in windows.windows)
    assert windows.speech < kept < len(pcm) / SAMPLE_RATE - 10


def test_every_word_lies_whole_in_a_window_where_there_is_no_silence(segmenter: Segmenter, tmp_path: Path) -> None:
    pcm, spoken = fluent()

    windows = segmented(segmenter, pcm, tmp_path, vad=True)

    assert cut_words(windows, spoken) == []
    assert any(window.overlap_after for window in windows.windows)


def test_every_word_lies_whole_in_a_window_without_vad(segmenter: Segmenter, tmp_path: Path) -> None:
    pcm, spoken = spaced(3)

    windows = segmented(segmenter, pcm, tmp_path, vad=False)

    assert cut_words(windows, spoken) == []
    assert sum(window.samples for window in windows.windows) == len(pcm) + 16_000 * (len(windows.windows) - 1)


def test_the_cut_can_be_told_from_other_cuts(segmenter: Segmenter, tmp_path: Path) -> None:
    pcm = clips()[0][0]

    one, same, other = (segmented(segmenter, pcm, tmp_path, vad=vad) for vad in (True, True, False))

    assert one == same
    assert one.cutter != other.cutter


def test_the_cutters_name_tells_every_way_to_cut(segmenter: Segmenter, tmp_path: Path) -> None:
    ways = [Tuning(), Tuning(level=False), Tuning(max_window=12.0), Tuning(vad=VadTuning(threshold=0.6))]
    names = {segmenter.cutter(vad, tuning) for vad in (True, False) for tuning in ways}
    path = tmp_path / "audio.pcm"
    path.write_bytes(bytes(32_000))
    audio = Audio(path, 16_000, 0.0, "0" * 64)

    assert len(names) == 2 * len(ways)
    for vad in (True, False):
        assert segmenter.segment(audio, vad, Cancellation()).cutter == segmenter.cutter(vad)
        for tuning in ways:
            assert segmenter.segment(audio, vad, Cancellation(), tuning).cutter == segmenter.cutter(vad, tuning)


def test_quiet_recordings_are_raised_unless_the_job_will_not_have_it(segmenter: Segmenter, tmp_path: Path) -> None:
    # Given a clip at about -60 dB
    pcm = clips()[0][0].astype(np.float64)
    quiet = np.rint(pcm / np.sqrt(np.mean(pcm**2)) * 33).astype("<i2")
    (tmp_path / "quiet.pcm").write_bytes(quiet.tobytes())
    audio = Audio(tmp_path / "quiet.pcm", len(quiet), 0.0, "0" * 64)
    # When it is cut with levelling and without
    raised, plain = (
        segmenter.segment(audio, vad=True, cancellation=Cancellation(), tuning=Tuning(level=level))
        for level in (True, False)
    )
    # Then the model is shown it raised, or as it is
    assert raised.speech > 0
    assert max(gain for window in raised.windows for gain in window.gains) > 20
    assert all(window.gains == () for window in plain.windows)


_LONG = """
import sys
from pathlib import Path
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import Audio

segmenter, peaks = Segmenter(), []
for samples in (60 * 16_000, 3600 * 16_000):
    windows = segmenter.segment(Audio(Path(sys.argv[1]), samples, 0.0, "0" * 64), True, Cancellation())
    # Not getrusage: what that gives begins with the size of the process that this one was forked from.
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peaks.append(int(status["VmHWM"].split()[0]))
print(len(windows.windows), *peaks)
"""


@pytest.mark.slow
def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "audio.pcm"
    body = np.concatenate([pcm for pcm, _ in clips()]).astype("<i2").tobytes()
    with path.open("wb") as file:
        for _ in range(3600 * 32_000 // len(body) + 1):
            file.write(body)

    done = subprocess.run(
        [sys.executable, "-c", _LONG, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    path.unlink()  # pytest keeps the folders of the last runs

    windows, minute, hour = (int(value) for value in done.stdout.split())
    assert windows > 100
    assert hour < 120 * 1024, "KiB of peak memory"
    assert hour - minute < 16 * 1024
