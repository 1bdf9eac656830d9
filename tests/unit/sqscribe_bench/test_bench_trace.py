# SPDX-License-Identifier: Apache-2.0
"""Traces: busy shares, batch fill, and how stages are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sqscribe_bench.lab.run import BenchError
from sqscribe_bench.lab.trace import Span, Trace, busy_over_time, busy_seconds, read_trace


def span(start: float, end: float, kind: str = "device", **more: Any) -> Span:
    return Span(kind, more.pop("name", "cuda"), start, end, **more)


def test_time_that_two_share_is_counted_once() -> None:
    assert busy_seconds([span(0, 2), span(1, 3), span(5, 6), span(5.5, 5.75)]) == 4.0
    assert busy_seconds([]) == 0.0


def test_the_busy_share_runs_from_the_first_batch_to_the_last() -> None:
    # Given a device that had nothing to do before 10, from 12 to 14 and after 18
    trace = Trace((span(10, 12), span(14, 18), span(0, 30, "stage", name="fetch", cpu=3.0)))

    made = trace.figures(audio_seconds=3600.0)

    assert made["device_busy_share"] == 0.75
    assert (made["fetch_seconds_per_hour"], made["fetch_cpu_per_hour"]) == (30.0, 3.0)


def test_batches_stand_in_for_a_device_that_nobody_looked_at() -> None:
    trace = Trace((span(0, 1, "batch", windows=4), span(2, 4, "batch", windows=2)))

    made = trace.figures(audio_seconds=10.0)

    assert made == {"device_busy_share": 0.75, "batch_fill": 0.75}


def test_a_gpu_that_was_looked_at_is_as_busy_as_it_says() -> None:
    # Given batches under way all the time, and a GPU that says what it did meanwhile, before and after
    looks = ((0.5, 0.1), (1.25, 0.5), (2.5, 1.0), (4.5, 0.0))
    trace = Trace((span(1, 2, "batch", windows=4), span(2, 4, "batch", windows=4)), looks)

    assert trace.figures(audio_seconds=10.0)["device_busy_share"] == 0.75
    # Then a step in which nobody looked is as the one before
    assert trace.busy_over_time(seconds=5.0, steps=5) == ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.1, 0.5, 1.0, 1.0, 0.0])


def test_only_what_began_in_the_run_is_read(tmp_path: Path) -> None:
    # Given a trace with a warm-up before the run and something after it, not in order
    lines = [
        {"kind": "batch", "name": "decode", "job": None, "start": start, "end": start + 1, "cpu": None, "windows": 3}
        for start in (105.0, 99.0, 101.0, 121.0)
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")

    trace = read_trace(path, began=100.0, ended=120.0)

    assert [(each.start, each.end, each.windows) for each in trace.spans] == [(1.0, 2.0, 3), (5.0, 6.0, 3)]


def test_a_worker_that_traces_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="SQSCRIBE_TRACE"):
        read_trace(tmp_path / "none", 0.0, 1.0)


def test_the_busy_share_over_time_is_cut_at_the_steps() -> None:
    edges, shares = busy_over_time([span(0.5, 1.5), span(3.0, 3.25)], seconds=4.0, steps=4)
    assert edges == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert shares == [0.5, 0.5, 0.0, 0.25]
