# SPDX-License-Identifier: Apache-2.0
"""What others see of a worker: probes, metrics and status, from its first second on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.settings import Settings
from worker.status import starting_page
from worker.telemetry.health import Health
from worker.telemetry.http import Pages, StatusServer
from worker.telemetry.metrics import Metrics
from worker.telemetry.trace import TraceWriter

__all__ = ["Front", "make_front"]


@dataclass(frozen=True, slots=True)
class Front:
    """Built before anything that can take long, so that a node that starts slowly is not taken for a dead one.

    Attributes:
        http: Not yet started; None where the settings want none.
    """

    health: Health
    metrics: Metrics
    http: StatusServer | None


def make_front(settings: Settings) -> Front:
    """Makes the front of a worker that has nothing behind it yet: it lives, and it has not started."""
    began, health = time.monotonic(), Health()
    metrics = Metrics(TraceWriter(settings.trace) if settings.trace else None)

    def status() -> Mapping[str, Any]:
        return starting_page(settings, health.startup().reasons, time.monotonic() - began)

    pages = Pages(health.startup, health.live, health.ready, status, metrics.render)
    return Front(health, metrics, StatusServer(pages, settings.http_port) if settings.http_port else None)
