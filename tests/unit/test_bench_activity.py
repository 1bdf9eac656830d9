# SPDX-License-Identifier: Apache-2.0
"""What is reckoned and drawn of a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.bench.activity import activity, busy_share, merged
from worker.bench.busy import Device
from worker.bench.timeline import draw_timeline
from worker.telemetry.trace import Span, SpanKind
from worker.testing.decoder import Simulation


def stage(name: str, start: float, end: float, cpu: float | None = None) -> Span:
    return Span(SpanKind.STAGE, name, start, end, job="1-talk", cpu=cpu, thread="downloader-1")


def batch(start: float, end: float, windows: int) -> Span:
    return Span(SpanKind.BATCH, "decode", start, end, windows=windows)


def device(start: float, end: float) -> Span:
    return Span(SpanKind.DEVICE, "compute", start, end, windows=4)


RUN = [
    stage("decode", 0.0, 1.0, cpu=0.25),
    stage("decode", 0.0, 3.0, cpu=0.5),
    stage("inference", 1.0, 9.0),
    batch(1.0, 5.0, windows=4),
    batch(4.0, 9.0, windows=2),
    device(1.0, 4.0),
    device(5.0, 9.0),
]


def test_overlaps_count_once() -> None:
    assert merged([(3.0, 4.0), (0.0, 1.0), (0.5, 2.0), (2.0, 2.5)]) == [(0.0, 2.5), (3.0, 4.0)]


def test_only_what_lies_between_the_ends_is_busy() -> None:
    assert busy_share([(0.0, 2.0), (3.0, 9.0)], 1.0, 5.0) == pytest.approx(0.75)


def test_a_device_that_tells_when_it_computed_is_believed() -> None:
    found = activity(RUN, batch_size=4)
    assert found.busy == pytest.approx(7 / 8)
    assert found.longest_gap == pytest.approx(1.0)


def test_of_any_other_device_a_batch_under_way_is_what_is_known() -> None:
    found = activity([span for span in RUN if span.kind is not SpanKind.DEVICE], batch_size=4)
    assert found.busy == 1.0
    assert found.longest_gap == 0.0


def test_batches_waits_and_processor_time_are_added_up() -> None:
    found = activity(RUN, batch_size=4)
    assert found.batches == 2
    assert found.fill == pytest.approx(0.75)
    assert found.waits == {"decode": 2.0, "inference": 8.0}
    assert found.stage_cpu == {"decode": 0.75, "inference": 0.0}


def test_a_trace_without_a_batch_tells_nothing() -> None:
    with pytest.raises(ValueError, match="no batch"):
        activity(RUN[:3], batch_size=4)


def test_a_full_batch_of_full_windows_runs_at_the_speed_of_the_device(tmp_path: Path) -> None:
    simulation = Simulation.parse(Device(120.0, batch_size=16).model(tmp_path / "trace").removeprefix("simulated:"))
    seconds = simulation.batch_seconds + 16 * simulation.window_seconds
    assert 16 * 30.0 / seconds == pytest.approx(120.0)
    assert simulation.exclusive
    assert (simulation.host_share, simulation.trace) == (0.5, str(tmp_path / "trace"))


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw_timeline(RUN, tmp_path / "timeline.png", "a run")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
