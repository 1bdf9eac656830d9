# SPDX-License-Identifier: Apache-2.0
"""Handing over: a job that advances goes on in a fresh copy of its message, before SQS gives the old one up.

The copy is sent first, then a mark is put that makes older generations pointless, and the old message is deleted last
(by the caller). A crash in between leaves two messages: whoever receives the older one deletes it unworked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

import structlog

from sqscribe.errors import ErrorCode, MessageRefusedError, NodeFaultError, PermanentError, TransientError
from stages.ports import Clock
from worker.jobs.checkpoint import Checkpoints
from worker.jobs.run import JobRun
from worker.leases import LeaseState
from worker.queues import MOST_ATTRIBUTES, Message, Outgoing, Queue
from worker.receive.delivery import Delivery
from worker.receive.lineage import MOST_GENERATIONS, Lineage

__all__ = ["Handover", "Limit", "copy_of"]

log = structlog.get_logger()

#: A job is handed over so many seconds before its lease meets the 12 h: time to save, to send and to delete.
CEILING_NOTICE_SECONDS = 300.0


class Limit(StrEnum):
    """The limit of SQS that a message is about to reach: its receives, or 12 h after one."""

    RECEIVES = "receives"
    TIME = "time"


class Handover:
    """Decides when a copy is due, and sends it. Holds no state; thread-safe.

    Args:
        queue: Gets the copy: the queue that the message came from.
        checkpoints: Get the mark.
        clock: Tells how much time a lease has left.
        max_receives: After so many receives, the queue dead-letters the message by itself.
    """

    def __init__(self, queue: Queue, checkpoints: Checkpoints, clock: Clock, max_receives: int) -> None:
        self._queue = queue
        self._checkpoints = checkpoints
        self._clock = clock
        self._max_receives = max_receives

    def limit(self, delivery: Delivery) -> Limit | None:
        """The limit that the message is about to reach, or None.

        After a first receive there is none: where a queue allows one or two receives on purpose, jobs would be copied
        over and over.
        """
        lease, receives = delivery.lease, delivery.message.receive_count
        if lease.state is LeaseState.ENDING and lease.confirmed_until - self._clock.now() <= CEILING_NOTICE_SECONDS:
            return Limit.TIME
        return Limit.RECEIVES if receives > 1 and receives >= self._max_receives - 1 else None

    def send(self, run: JobRun, fence: Callable[[], None]) -> bool:
        """Sends the copy if one is due.

        Args:
            run: A job that has advanced under this message: one that has not would be copied over and over.
            fence: Called before each write.

        Returns:
            Whether the job now goes on in the copy: the old message is to be deleted.

        Raises:
            TransientError: `interrupted`: time runs out, and the line may have no more copies.
            Cancelled: The lease is lost, or the worker stops.
        """
        limit, lineage = self.limit(run.delivery), run.delivery.lineage
        if limit is None:
            return False
        if lineage.is_last:
            if limit is Limit.RECEIVES:
                return False  # what is left of its receives may suffice
            text = f"the job has outlasted {MOST_GENERATIONS} copies of its message, each with 12 h at most"
            raise TransientError(ErrorCode.INTERRUPTED, text)
        message, following = run.delivery.message, lineage.following
        body = message.body if run.delivery.single_job else run.job.body()
        copy = copy_of(message, body, following, run.job.job_id)
        try:
            self._send(copy, replace(copy, body=run.job.body(), attributes=following.attributes, typed={}), fence)
        except (NodeFaultError, MessageRefusedError) as error:
            log.warning("copy_failed", message=message.id, limit=limit, error=str(error))
            return False
        log.info("job_handed_over", message=message.id, limit=limit, generation=following.generation)
        try:
            fence()
            self._checkpoints.mark(run.job, following)
        except (NodeFaultError, PermanentError) as error:
            log.warning("mark_failed", error=str(error))  # whoever receives the copy puts it again
        return True

    def _send(self, copy: Outgoing, smaller: Outgoing, fence: Callable[[], None]) -> None:
        """A body as large as the queue allows has no room for two more attributes: then the job alone is sent."""
        fence()
        try:
            self._queue.send(None, copy)
        except MessageRefusedError as error:
            log.warning("copy_cut", error=str(error))
            fence()
            self._queue.send(None, smaller)


def copy_of(message: Message, body: str, lineage: Lineage, job_id: str) -> Outgoing:
    """A message to follow another one.

    The sender's attributes are kept, but for the last ones where with the worker's two they are more than SQS takes.
    """
    ours = lineage.attributes
    names = [name for name in {**message.attributes, **message.typed} if name not in ours]
    kept, dropped = names[: MOST_ATTRIBUTES - len(ours)], names[MOST_ATTRIBUTES - len(ours) :]
    if dropped:
        log.warning("attributes_dropped", message=message.id, names=dropped)
    return Outgoing(
        body=body,
        attributes={name: message.attributes[name] for name in kept if name in message.attributes} | ours,
        typed={name: message.typed[name] for name in kept if name in message.typed},
        group_id=message.group_id,
        # Another one than the old message's, and the same if this very copy is sent twice.
        deduplication_id=hashlib.sha256(f"{lineage.origin}/{lineage.generation}/{job_id}".encode()).hexdigest(),
    )
