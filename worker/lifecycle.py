# SPDX-License-Identifier: Apache-2.0
"""Phases, signals, deadlines and supervised threads: what starting and stopping is made of."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import NamedTuple

import structlog

from sqscribe.errors import ExitCode
from stages.ports import Clock

__all__ = ["INTERVALS", "Deadline", "Intervals", "Phase", "StageThread", "StopSignal", "stop_signals"]

log = structlog.get_logger()


class Phase(StrEnum):
    """The part of its life that the worker is in."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often the daemon and its threads look for what no event tells them, in seconds.

    Attributes:
        watch: How often the daemon looks after its components.
        poll: How long a stage waits for work before it looks whether it should end.
        stuck: A thread that gave no sign for so long while it works is stuck. Every wait inside a stage is bounded
            and shorter.
    """

    watch: float = 0.5
    poll: float = 0.5
    stuck: float = 900.0


#: Those of a worker that nobody is in a hurry with.
INTERVALS = Intervals()


class Deadline:
    """A point in time that the steps of a shutdown share.

    Args:
        clock: The deadline is a time of this clock.
        seconds: Until the deadline.
        since: Clock time from which they count; None: now.
    """

    def __init__(self, clock: Clock, seconds: float, since: float | None = None) -> None:
        self._clock = clock
        self._at = (clock.now() if since is None else since) + seconds

    def left(self, at_most: float = float("inf")) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, min(at_most, self._at - self._clock.now()))


class StageThread(threading.Thread):
    """A thread of a stage; an exception that leaves its loop is reported, never lost.

    Attributes:
        failure: What ended the thread, once something has.
    """

    def __init__(self, name: str, loop: Callable[[], None], on_death: Callable[[str, BaseException], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.failure: BaseException | None = None
        self._loop = loop
        self._on_death = on_death

    def run(self) -> None:
        """Runs the loop; tells the daemon when it dies."""
        try:
            self._loop()
        except BaseException as error:  # a dead stage ends the worker: the daemon is told, then decides
            self.failure = error
            log.exception("stage_died", stage=self.name)
            self._on_death(self.name, error)


class StopSignal(NamedTuple):
    """A signal, and the clock time at which it came."""

    name: str
    at: float


@contextmanager
def stop_signals(clock: Clock) -> Iterator[Callable[[], StopSignal | None]]:
    """Notes the first SIGTERM or SIGINT and ends the process at once on the second.

    Yields a function that gives the first one, or None. The handler itself only notes the signal: it interrupts the
    main thread anywhere, so that the main thread may hold whatever lock the handler would need.

    The handlers from before are put back. Off the main thread nothing is installed, since Python delivers
    signals only to the main thread.
    """
    seen: list[StopSignal] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            # The inference process watches its parent and ends by itself; leases run out.
            os._exit(ExitCode.UNEXPECTED)
        seen.append(StopSignal(signal.Signals(number).name, clock.now()))

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: seen[0] if seen else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
