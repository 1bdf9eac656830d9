# SPDX-License-Identifier: Apache-2.0
"""Samples and log-mel spectrograms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from faster_whisper.feature_extractor import FeatureExtractor

from stages.inference.whisper.audio import loudness, read_window
from stages.inference.whisper.features import FRAMES, LogMel, frames_of
from stages.values import GAIN_STEP, Piece, Window


@pytest.mark.parametrize("n_mels", [80, 128])
def test_a_batch_equals_faster_whisper_row_by_row(n_mels: int) -> None:
    random = np.random.default_rng(0)
    lengths = [200, 3_300, 16_000, 16_001, 47_999, 480_000, 480_000]
    rows = [(random.standard_normal(length) * 0.1).astype(np.float32) for length in lengths]
    rows[-1][100_000:] *= 1e-4  # a row with silence, whose range is cut by its own maximum

    batch = LogMel(n_mels, torch.device("cpu"))(rows).numpy()

    assert batch.shape == (len(rows), n_mels, FRAMES)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    for row, features in zip(rows, batch, strict=True):
        frames = frames_of(len(row))
        expected = FeatureExtractor(feature_size=n_mels)(row)[:, :frames]
        np.testing.assert_allclose(features[:, :frames], expected, atol=1e-4)
        assert not features[:, frames:].any()


def test_more_than_30_seconds_are_left_out() -> None:
    row = np.full(500_000, 0.1, dtype=np.float32)
    assert LogMel(80, torch.device("cpu"))([row]).shape == (1, 80, FRAMES)
    assert frames_of(500_000) == FRAMES


def test_a_window_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "audio.pcm"
    path.write_bytes(np.arange(-500, 500, dtype="<i2").tobytes())
    window = Window(0, (Piece(0, 900, 50), Piece(50, 10, 30)), speech=80, speech_end=80)

    samples = read_window(str(path), window)

    expected = np.concatenate([np.arange(400, 450), np.arange(-490, -460)]) / 32768
    np.testing.assert_allclose(samples, expected)
    assert samples.dtype == np.float32


def test_a_window_is_raised_by_its_gains(tmp_path: Path) -> None:
    # Given a window of two pieces, raised by 20 dB in its second half
    path = tmp_path / "audio.pcm"
    path.write_bytes(np.full(40_000, 100, dtype="<i2").tobytes())
    window = Window(
        0,
        (Piece(0, 100, 2 * GAIN_STEP), Piece(2 * GAIN_STEP, 20_000, 2 * GAIN_STEP)),
        speech=1,
        speech_end=1,
        gains=(0, 0, 20, 20),
    )

    # When it is read
    samples = read_window(str(path), window)

    # Then it is, in decibels, linear between the middles of the steps
    decibels = 20 * np.log10(samples * 32768 / 100)
    middle = GAIN_STEP // 2
    np.testing.assert_allclose(decibels[: GAIN_STEP + middle], 0, atol=1e-3)
    np.testing.assert_allclose(decibels[2 * GAIN_STEP + middle :], 20, atol=1e-3)
    assert decibels[2 * GAIN_STEP] == pytest.approx(10, abs=1e-3)
    assert samples.dtype == np.float32


def test_what_is_raised_too_far_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "audio.pcm"
    path.write_bytes(np.array([20_000, -20_000, 10], dtype="<i2").tobytes())

    samples = read_window(str(path), Window(0, (Piece(0, 0, 3),), speech=1, speech_end=1, gains=(20,)))

    np.testing.assert_allclose(samples, [1.0, -1.0, 100 / 32768], rtol=1e-4)


def test_a_window_beyond_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "audio.pcm"
    path.write_bytes(bytes(200))
    with pytest.raises(OSError, match="ends before sample 150"):
        read_window(str(path), Window(0, (Piece(0, 50, 100),), speech=100, speech_end=100))
    with pytest.raises(FileNotFoundError):
        read_window(str(tmp_path / "gone"), Window(0, (Piece(0, 0, 1),), speech=1, speech_end=1))


def test_loudness_is_in_decibels_below_full_scale() -> None:
    samples = np.concatenate([np.zeros(160), np.full(160, 0.1), np.full(100, 1.0)]).astype(np.float32)
    np.testing.assert_allclose(loudness(samples), [-100.0, -20.0], atol=1e-3)
