# SPDX-License-Identifier: Apache-2.0
"""What this worker knows of its engine: whether it is ready, what it runs, and what is wrong with it."""

from __future__ import annotations

import threading
from typing import assert_never

import structlog

from stages.inference.protocol import EngineFailed, EngineInfo, EngineLost, EngineReady
from worker.telemetry.metrics import Metrics

__all__ = ["EngineStatus"]

log = structlog.get_logger()


class EngineStatus:
    """The engine's state, as its events tell it. Written by the engine's thread alone; any thread may read it.

    Attributes:
        ready: Set while the engine is ready: it has proved that it works, and was not lost since.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.ready = threading.Event()
        self._info: EngineInfo | None = None
        self._loss: EngineLost | None = None
        self._failure: EngineFailed | None = None

    @property
    def info(self) -> EngineInfo | None:
        """What the engine runs, once it has started."""
        return self._info

    @property
    def failure(self) -> EngineFailed | None:
        """Why the engine cannot work at all, once it cannot."""
        return self._failure

    @property
    def trouble(self) -> str | None:
        """Why nothing is decoded now, or None: the engine was lost. While it is away, nothing is received."""
        loss = self._loss
        return f"lost (exit code {loss.exit_code}), and not ready again yet" if loss else None

    def changed(self, event: EngineReady | EngineLost | EngineFailed) -> None:
        """Takes note of what the engine says of itself, on the engine's thread."""
        match event:
            case EngineReady(info):
                self._info = info
                self._metrics.engine_ready(info)
                log.info(
                    "engine_ready",
                    model=info.name,
                    revision=info.revision,
                    device=info.device,
                    compute_type=info.compute_type,
                    batch_size=info.batch_size,
                    driver=info.driver,
                    cuda=info.cuda,
                    seconds=round(info.startup_seconds, 2),
                )
                self._loss = None
                self.ready.set()
            case EngineLost():
                self._loss = event
                self.ready.clear()
                self._metrics.engine_restarted()
                log.error("engine_lost", exit_code=event.exit_code, restarts=event.restarts)
            case EngineFailed():
                log.error("engine_failed", error=event.message, unfit=event.unfit)
                self._failure = event
            case _:
                assert_never(event)
