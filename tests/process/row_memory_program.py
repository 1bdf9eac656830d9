# SPDX-License-Identifier: Apache-2.0
"""Says how many bytes CTranslate2 takes for a batch: `encode` or `generate`, of so many rows, for so many steps."""

from __future__ import annotations

import sys
from pathlib import Path

import ctranslate2
import numpy as np

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory(field: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def measure(folder: str, part: str, rows: int, steps: int, start: tuple[int, ...], width: int) -> int:
    model = ctranslate2.models.Whisper(folder, device="cpu", compute_type="float32", intra_threads=1)
    shape = (rows, model.n_mels, 3000) if part == "encode" else (rows, 1500, width)
    values = ctranslate2.StorageView.from_array(np.full(shape, 0.1, np.float32))
    before = memory("VmRSS")
    _RESET.write_text("5")  # the peak begins anew
    if part == "encode":
        model.encode(values)
    else:
        # It ends at half of the length.
        model.generate(values, [list(start)] * rows, beam_size=5, max_length=2 * steps, suppress_blank=False)
    return memory("VmHWM") - before


if __name__ == "__main__":
    folder, part, rows, steps, start, width = sys.argv[1:]
    print(measure(folder, part, int(rows), int(steps), tuple(map(int, start.split(","))), int(width)))
