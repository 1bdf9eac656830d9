# SPDX-License-Identifier: Apache-2.0
"""The trace that `sqscribe bench` reads, and the simulated device that writes to it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from sqscribe_bench.lab.trace import Span, read_trace
from stages.inference.protocol import EngineStats
from worker.outcomes import Stage
from worker.telemetry.metrics import Metrics
from worker.telemetry.trace import TraceWriter
from worker.testing.device import SimulatedDevice


def test_stages_and_batches_are_read_as_they_were_measured(tmp_path: Path) -> None:
    # Given metrics with a trace
    metrics = Metrics(TraceWriter(tmp_path / "trace"))
    before = time.monotonic()
    # When a job leaves a stage, and a batch comes back that ended earlier
    metrics.stage_ended(Stage.DECODE, 2.0, job="1-talk", cpu=0.5)
    metrics.batch_ended(EngineStats(3, 90.0, 1.0, began=before - 9.0, ended=before - 8.0, kind="decode"))
    # Then both stand there, in the order in which they began
    batch, stage = read_trace(tmp_path / "trace", 0.0, before + 60.0).spans
    assert (batch.kind, batch.name, batch.windows) == ("batch", "decode", 3)
    assert batch.seconds == pytest.approx(1.0)
    assert (stage.kind, stage.name, stage.job, stage.cpu) == ("stage", "decode", "1-talk", 0.5)
    assert before <= stage.end <= time.monotonic()
    assert stage.seconds == pytest.approx(2.0)


def computed(path: Path, *, exclusive: bool, host_share: float = 0.0) -> tuple[list[Span], float]:
    """What a device computed that two threads gave a batch of 0.2 s each, and the processor time that it took."""
    device = SimulatedDevice(exclusive=exclusive, host_share=host_share, trace=TraceWriter(path))
    threads = [threading.Thread(target=device.compute, args=(0.2, 4)) for _ in range(2)]
    began = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(read_trace(path, 0.0, time.monotonic()).spans), time.process_time() - began


def test_batches_take_turns_on_an_exclusive_device(tmp_path: Path) -> None:
    (first, second), _ = computed(tmp_path / "trace", exclusive=True)
    assert second.start >= first.end
    assert [span.seconds for span in (first, second)] == [pytest.approx(0.2)] * 2
    assert {(span.kind, span.windows) for span in (first, second)} == {("device", 4)}


def test_batches_share_a_device_that_is_not_exclusive(tmp_path: Path) -> None:
    (first, second), _ = computed(tmp_path / "trace", exclusive=False)
    assert second.start < first.end


def test_the_host_computes_for_the_device_as_much_as_it_was_told(tmp_path: Path) -> None:
    _, idle = computed(tmp_path / "idle", exclusive=True)
    _, half = computed(tmp_path / "half", exclusive=True, host_share=0.5)
    assert idle < 0.1
    assert 0.2 <= half < 0.3
