# SPDX-License-Identifier: Apache-2.0
"""The real inference process around a simulated device."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.inference.client.client import EngineClient
from stages.inference.protocol import ControlClip, EngineSettings
from worker.node.clock import SystemClock
from worker.node.models import SIMULATED
from worker.testing.decoder import SIMULATED_SAMPLES
from worker.testing.listener import EngineListener


@pytest.fixture
def pcm(tmp_path: Path) -> str:
    """Audio of 400 simulated windows."""
    path = tmp_path / "audio.pcm"
    path.write_bytes(os.urandom(2 * SIMULATED_SAMPLES * 400))
    return str(path)


@pytest.fixture
def listener() -> EngineListener:
    return EngineListener()


@pytest.fixture
def start(listener: EngineListener) -> Iterator[Callable[..., EngineClient]]:
    """Starts an engine on a simulated device; stops it at the end of the test, which must leave nothing behind."""
    engines: list[EngineClient] = []
    threads = set(threading.enumerate())

    def start(
        model: str = "", *, control: ControlClip | None = None, batch_size: int = 4, **limits: Any
    ) -> EngineClient:
        settings = EngineSettings(
            model=model, name="simulated", batch_size=batch_size, retry_seconds=0.01, control=control, log_level="error"
        )
        engine = EngineClient(settings, SystemClock(), SIMULATED, **{"restart_delay": 0.01, **limits})
        engines.append(engine)
        engine.start(listener)
        return engine

    yield start
    for engine in engines:
        engine.stop(5.0)
    assert multiprocessing.active_children() == []
    assert set(threading.enumerate()) <= threads
