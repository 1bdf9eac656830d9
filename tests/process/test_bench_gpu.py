# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench gpu` as a program, on a CPU: its steps are real, and its minutes are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sqscribe.errors import ExitCode
from sqscribe_bench.gpu.step import Outcome

pytestmark = [pytest.mark.process, pytest.mark.slow]

MINUTES = 1.5
#: The programs' own start, before the minutes count, and the table behind them.
AROUND = 60.0
STEPS = ("texts", "beam-1", "large")


def test_steps_are_measured_in_their_order_until_the_minutes_are_over(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs sqscribe[bench]")

    # Given three steps, the last of which is not worth beginning with the time that the others leave
    options = ["--device", "cpu", "--minutes", str(MINUTES), "--only", ",".join(STEPS), "--cache", str(tmp_path / "c")]
    command = [sys.executable, "-m", "sqscribe", "bench", "gpu", *options]
    out, began = tmp_path / "out", time.monotonic()

    # When
    env = {**os.environ, "OUT": str(out)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300.0, check=False, cwd=tmp_path, env=env)

    # Then
    took = time.monotonic() - began
    assert ran.returncode == ExitCode.DONE, ran.stdout + ran.stderr
    assert took < 60 * MINUTES + AROUND
    found = {line["name"]: line for line in map(json.loads, (out / "gpu.jsonl").read_text("utf-8").splitlines())}
    assert tuple(found) == STEPS
    assert found["texts"]["outcome"] == Outcome.DONE
    single = found["texts"]["found"][0]
    assert (single["compute_type"], single["same"], single["errors"]) == ("float32", single["clips"], 0)
    assert single["words"] > 100
    table = (out / "gpu.txt").read_text("utf-8")
    assert all(step in table for step in STEPS)
    for name in STEPS[1:]:
        each = found[name]
        assert each["outcome"] in (Outcome.DONE, Outcome.CUT, Outcome.SKIPPED)
        assert bool(each["why"]) is (each["outcome"] != Outcome.DONE)
        for run in each["found"]:
            assert run["points"][0]["windows"] > 0
    assert (out / "gpu.log").stat().st_size
