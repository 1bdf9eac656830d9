# SPDX-License-Identifier: Apache-2.0
"""Intake: receives messages when there is room for them and deals their jobs out to the downloaders."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sqscribe.errors import NodeFaultError, SettingsError
from sqscribe.job import Job
from stages.ports import Clock
from worker.leases import Lease, LeaseTable
from worker.outcomes import Disposition
from worker.queues import BATCH, Message, Queue
from worker.receive.delivery import Delivery
from worker.receive.messages import Parsed, Rejected

__all__ = ["Intake", "Task"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Task:
    """One job of one delivery, or a record of it that cannot become a job."""

    delivery: Delivery
    job: Job | Rejected


class Intake:
    """Holds the jobs that were received and not yet begun, and receives more.

    A downloader that finds no job waiting receives for all of them; the others wait for what it brings.

    Args:
        queue: Where messages come from.
        leases: Holds every message from the moment it was received.
        parse: Reads the jobs of a message.
        room: Tells how many more messages there is room for now.
        settle: Takes a job that will not be begun, and its disposition.
        clock: Pauses go by it.
        wait: Seconds of a long poll; short enough for the shutdown's grace.
        pause: Seconds until the room is asked for again, and the first pause after a failed receive.
        longest_pause: Most seconds between two failing receives.
    """

    def __init__(
        self,
        queue: Queue,
        leases: LeaseTable,
        parse: Callable[[Message], Parsed],
        room: Callable[[], int],
        settle: Callable[[Delivery, Disposition], None],
        clock: Clock,
        *,
        wait: float,
        pause: float = 0.25,
        longest_pause: float = 30.0,
    ) -> None:
        self._queue = queue
        self._leases = leases
        self._parse = parse
        self._room = room
        self._settle = settle
        self._clock = clock
        self._wait = wait
        self._pause = pause
        self._longest_pause = longest_pause
        self._stop = threading.Event()
        self._changed = threading.Condition()  # guards _tasks, _receiving, _failures, _trouble
        self._tasks: deque[Task] = deque()
        self._receiving = False
        self._failures = 0
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why the queue cannot be received from, or None."""
        return self._trouble

    @property
    def waiting(self) -> int:
        """Jobs received and not yet begun."""
        return len(self._tasks)

    def next(self, timeout: float) -> Task | None:
        """The next job; None when there is none after about `timeout` seconds or one long poll."""
        with self._changed:
            if not self._tasks and self._receiving and not self._stop.is_set():
                self._changed.wait(timeout)
            if self._tasks:
                return self._tasks.popleft()
            if self._receiving or self._stop.is_set():
                return None
            self._receiving = True
        try:
            self._receive()
        finally:
            with self._changed:
                self._receiving = False
                self._changed.notify_all()
        with self._changed:
            return self._tasks.popleft() if self._tasks else None

    def stop(self) -> None:
        """Receives no more and gives back what was not begun; messages of a poll under way go back as they come."""
        self._stop.set()
        with self._changed:
            left = list(self._tasks)
            self._tasks.clear()
            self._changed.notify_all()
        for task in left:
            self._settle(task.delivery, Disposition.RELEASE)

    def wait_polled(self, timeout: float) -> bool:
        """Waits until no poll is under way, and what it brought was dealt out or given back.

        Returns:
            False when one still is after `timeout` seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._receiving, timeout)

    def _receive(self) -> None:
        room = self._room()
        if room <= 0:
            self._clock.wait(self._stop, self._pause)
            return
        try:
            messages = self._queue.receive(min(BATCH, room), self._wait)
        except (NodeFaultError, SettingsError) as error:
            # A queue that vanished or refuses access may be mended meanwhile: it is an outage, and no reason to end.
            self._failed(error)
            return
        self._trouble, self._failures = None, 0
        for lease in self._leases.add(messages):
            self._deal(lease)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._trouble = str(error)
        tell = log.error if isinstance(error, SettingsError) else log.warning  # a person has to mend the former
        tell("receive_failed", error=str(error), attempt=self._failures)
        # Without the bound, an outage of some hours would end in an overflow.
        pause = self._pause * 2.0 ** min(self._failures - 1, 32)
        self._clock.wait(self._stop, min(self._longest_pause, pause))

    def _deal(self, lease: Lease) -> None:
        parsed = self._parse(lease.message)
        jobs: tuple[Job | Rejected, ...] = (*parsed.jobs, *parsed.rejected)
        log.info(
            "message_received",
            message=lease.message.id,
            receive_count=lease.message.receive_count,
            jobs=len(parsed.jobs),
            rejected=len(parsed.rejected),
            skipped=parsed.skipped,
        )
        delivery = Delivery(lease, max(1, len(jobs)))
        if not jobs:
            self._settle(delivery, Disposition.DELETE)
            return
        with self._changed:
            stopped = self._stop.is_set()
            if not stopped:
                self._tasks.extend(Task(delivery, job) for job in jobs)
                self._changed.notify_all()
        if stopped:
            for _ in jobs:
                self._settle(delivery, Disposition.RELEASE)
