# SPDX-License-Identifier: Apache-2.0
"""What the automatic batch size reckons with, beside what CTranslate2 takes here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.inference.whisper.batch_size import row_bytes
from stages.inference.whisper.random_model import make_random_model
from stages.inference.whisper.shape import read_shape
from stages.inference.whisper.vocabulary import Vocabulary

pytestmark = pytest.mark.process

PROGRAM = Path(__file__).with_name("row_memory_program.py")
WIDTH = 256
#: What is counted for features is torch's, which takes no part here.
FEATURES = 4 * (480_000 + 3_000 * (201 * 3 + 2 * 80))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure a peak")
@pytest.mark.parametrize(("part", "decoder_layers", "heads"), [("encode", 1, 4), ("generate", 8, 1)])
def test_a_further_window_takes_what_is_reckoned(part: str, decoder_layers: int, heads: int, tmp_path: Path) -> None:
    # Given a model of which either the encoder or the decoder needs more memory by far
    folder = make_random_model(
        tmp_path, layers=1, decoder_layers=decoder_layers, d_model=WIDTH, heads=heads, text_tokens=60, steady=True
    )
    shape = read_shape(folder)
    vocabulary = Vocabulary(folder, multilingual=True, language_ids=shape.language_ids)
    start = (*vocabulary.start("en", "transcribe"), vocabulary.no_timestamps)

    # When batches of two and of six windows are computed
    few, many = (peak(folder, part, rows, start) for rows in (2, 6))

    # Then each window more has cost what is expected of it
    expected = row_bytes(shape, hypotheses=5, value_bytes=4) - FEATURES
    assert 0.75 * expected < (many - few) / 4 < 1.1 * expected


def peak(folder: Path, part: str, rows: int, start: tuple[int, ...]) -> int:
    """Bytes. Large blocks come from the kernel and go back to it, so that the process has what it uses."""
    command = [str(PROGRAM), str(folder), part, str(rows), "60", ",".join(map(str, start)), str(WIDTH)]
    ended = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(ended.stdout)
