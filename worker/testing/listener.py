# SPDX-License-Identifier: Apache-2.0
"""A listener that collects an engine's events and waits for those that a test wants."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import TypeVar

from stages.inference.protocol import EngineEvent, WindowDone

__all__ = ["EngineListener"]

Kind = TypeVar("Kind", bound=EngineEvent)


class EngineListener:
    """What `Engine.start` takes. One thread reads it.

    Args:
        patience: Seconds that anything may take to come about.

    Attributes:
        events: Those that were looked at so far, in order.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.events: list[EngineEvent] = []
        self._patience = patience
        self._queue: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()

    def __call__(self, event: EngineEvent) -> None:
        """Takes an event, on the engine's thread."""
        self._queue.put(event)

    def until(self, enough: Callable[[], object]) -> None:
        """Looks at events until there is enough of them.

        Raises:
            queue.Empty: It took too long.
        """
        deadline = time.monotonic() + self._patience
        while not enough():
            self.events.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))

    def first(self, kind: type[Kind]) -> Kind:
        """Waits for the first event of a kind."""
        self.until(lambda: self.all(kind))
        return self.all(kind)[0]

    def all(self, kind: type[Kind]) -> list[Kind]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def rest(self) -> list[EngineEvent]:
        """All events, with those that have come since; for an engine that has stopped."""
        while not self._queue.empty():
            self.events.append(self._queue.get())
        return self.events

    def windows(self, job_key: str) -> list[int]:
        """The windows of a job that are done, in the order in which they came."""
        return [event.result.index for event in self.all(WindowDone) if event.job_key == job_key]
