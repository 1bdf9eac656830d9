# SPDX-License-Identifier: Apache-2.0
"""The simulated device of `sqscribe bench busy`, and what is reckoned of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqscribe_bench.busy.busy import Device, longest_gap
from sqscribe_bench.lab.run import BenchError
from sqscribe_bench.lab.trace import Span
from worker.testing.decoder import Simulation


def device(start: float, end: float) -> Span:
    return Span("device", "compute", start, end, windows=4)


def test_a_full_batch_of_full_windows_runs_at_the_speed_of_the_device(tmp_path: Path) -> None:
    simulation = Simulation.parse(Device(120.0, batch_size=16).model(tmp_path / "trace").removeprefix("simulated:"))
    seconds = simulation.batch_seconds + 16 * simulation.window_seconds
    assert 16 * 30.0 / seconds == pytest.approx(120.0)
    assert simulation.exclusive
    assert (simulation.host_share, simulation.trace) == (0.5, str(tmp_path / "trace"))


def test_the_longest_gap_is_between_spans_whichever_overlap() -> None:
    assert longest_gap([device(6.0, 7.0), device(0.0, 4.0), device(1.0, 2.0), device(4.5, 5.0)]) == pytest.approx(1.0)
    assert longest_gap([device(0.0, 1.0)]) == 0.0


def test_a_device_that_never_computed_has_no_gaps_to_tell_of() -> None:
    with pytest.raises(BenchError, match="never computed"):
        longest_gap([])
