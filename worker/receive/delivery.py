# SPDX-License-Identifier: Apache-2.0
"""One delivery of a message and the jobs in it; what becomes of the message once all of them are settled."""

from __future__ import annotations

import threading

from worker.leases import Lease
from worker.outcomes import Disposition
from worker.queues import Message
from worker.receive.lineage import Lineage

__all__ = ["Delivery"]


class Delivery:
    """A message, its lease, and how many of its jobs are still open.

    Attributes:
        single_job: Whether the message holds one job; of several, one that fails is dead-lettered as a message of
            its own.
    """

    def __init__(self, lease: Lease, jobs: int) -> None:
        self.lease = lease
        self.single_job = jobs == 1
        self._lock = threading.Lock()  # guards _open and _disposition
        self._open = jobs
        self._disposition = Disposition.DELETE

    @property
    def message(self) -> Message:
        """The message."""
        return self.lease.message

    @property
    def lineage(self) -> Lineage:
        """Where the message stands among its copies."""
        return Lineage.of(self.message)

    @property
    def origin(self) -> str:
        """Id of the first message of this job's line of copies."""
        return self.lineage.origin

    @property
    def redelivered(self) -> bool:
        """Whether a worker may have begun on it before, so that something of its work may stand."""
        return self.message.receive_count > 1 or self.lineage.generation > 0

    def settle(self, disposition: Disposition) -> Disposition | None:
        """Counts one job as settled; gives the message's disposition once it was the last one, else None."""
        with self._lock:
            self._open -= 1
            self._disposition = max(self._disposition, disposition)
            return self._disposition if self._open == 0 else None
