# SPDX-License-Identifier: Apache-2.0
"""The short form of `make chaos`: real workers, killed, frozen and asked to end, on calls that fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_nothing_is_lost_whatever_happens(tmp_path: Path) -> None:
    # Given three workers, a few dozen jobs of every kind, and a seed
    command = [sys.executable, "-m", "sqscribe_bench.chaos", "--short", "--seed", "4", "--folder", str(tmp_path)]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    # When processes die and freeze and calls fail
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=400, check=False)
    # Then every job has come to the end that it must come to, once
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "every promise was kept" in done.stdout
