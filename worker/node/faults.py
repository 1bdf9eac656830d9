# SPDX-License-Identifier: Apache-2.0
"""Faults of this node or of the store: outlasted with the lease held, so that they burn no receive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from sqscribe.errors import NodeFaultError
from stages.ports import Cancellation, Clock

__all__ = ["NodeFaults"]

log = structlog.get_logger()
T = TypeVar("T")


class NodeFaults:
    """Repeats steps until the node or the store works again, and knows whether one is at fault now.

    Args:
        clock: Time.
        first: Seconds before the second try; the wait doubles, at random, from there.
        longest: Most seconds between two tries.
    """

    def __init__(self, clock: Clock, first: float = 1.0, longest: float = 30.0) -> None:
        self._clock = clock
        self._wait = wait_random_exponential(multiplier=first, max=longest)
        self._lock = threading.Lock()  # guards _current
        self._current: dict[object, str] = {}

    @property
    def current(self) -> str | None:
        """What is wrong now, or None. While something is, nothing is received."""
        with self._lock:
            return next(iter(self._current.values()), None)

    def outlast(self, step: str, work: Callable[[], T], cancellation: Cancellation) -> T:
        """Does `work`, again and again while it raises `NodeFaultError`.

        Args:
            step: For the log: what is being done.
            work: Safe to repeat.
            cancellation: Ends the waiting.

        Raises:
            Cancelled: The job was called off between two tries.
        """
        ticket = object()

        def attempt() -> T:
            cancellation.check()
            return work()

        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            with self._lock:
                self._current[ticket] = f"{step}: {error}"
            log.warning("node_fault", step=step, error=str(error), attempt=state.attempt_number)

        def rest(seconds: float) -> None:
            self._clock.wait(cancellation.event, seconds)

        try:
            return Retrying(
                retry=retry_if_exception_type(NodeFaultError),
                wait=self._wait,
                before_sleep=note,
                sleep=rest,
                reraise=True,
            )(attempt)
        finally:
            with self._lock:
                self._current.pop(ticket, None)
