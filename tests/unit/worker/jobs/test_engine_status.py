# SPDX-License-Identifier: Apache-2.0
"""What the worker knows of its engine."""

from __future__ import annotations

from dataclasses import replace

from stages.inference.protocol import EngineFailed, EngineLost, EngineReady
from worker.jobs.engine_status import EngineStatus
from worker.telemetry.metrics import Metrics
from worker.testing.decoder import simulated_info


def test_an_engine_that_is_lost_is_in_trouble_until_it_is_ready_again() -> None:
    # Given an engine that has started
    metrics = Metrics()
    status = EngineStatus(metrics)
    assert (status.info, status.ready.is_set()) == (None, False)
    status.changed(EngineReady(simulated_info()))
    assert (status.info, status.ready.is_set()) == (simulated_info(), True)
    # When it is lost
    status.changed(EngineLost(-9, 1))
    # Then it is in trouble, what it runs is known all the same, and its restart is counted
    assert status.trouble == "lost (exit code -9), and not ready again yet"
    assert (status.info, status.failure, status.ready.is_set()) == (simulated_info(), None, False)
    assert b"sqscribe_engine_restarts_total 1.0" in metrics.render()[1]
    # And once it is ready again, it has what the new one says
    smaller = replace(simulated_info(batch_size=2), driver="570.86.15", cuda="12.8")
    status.changed(EngineReady(smaller))
    assert (status.info, status.ready.is_set()) == (smaller, True)
    assert not status.trouble
    told = [line for line in metrics.render()[1].decode().splitlines() if line.startswith("sqscribe_engine_info{")]
    assert len(told) == 1
    assert all(part in told[0] for part in ('batch_size="2"', 'driver="570.86.15"', 'cuda="12.8"', 'model="simulated"'))


def test_an_engine_that_cannot_work_says_why() -> None:
    status = EngineStatus(Metrics())
    failure = EngineFailed("there is no device", unfit=True)
    status.changed(failure)
    assert status.failure is failure
    assert not status.ready.is_set()
