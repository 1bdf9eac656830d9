# SPDX-License-Identifier: Apache-2.0
"""How many more messages may be received: what the node can take in without any of it having to wait for long."""

from __future__ import annotations

import threading

from worker.jobs.buffer import AudioBuffer
from worker.jobs.engine_status import EngineStatus
from worker.node.faults import NodeFaults
from worker.node.scratch import ScratchSpace

__all__ = ["Room"]

#: Finished jobs that may wait for an uploader; beyond, nothing is received until the store has caught up.
PUBLISH_BACKLOG = 64
#: Scratch that must be free before more is received: a common source. How large the next one is, only its fetch tells.
SOURCE_BYTES = 64 << 20


class Room:
    """Room for messages: seconds in the buffer, bytes in the scratch space, and a node and engine that work.

    Thread-safe.

    Args:
        buffer: Audio that is prepared.
        scratch: Where audio is kept.
        faults: Of the node.
        engine: Decodes it.
        most: Messages that may be received at once.
    """

    def __init__(
        self, buffer: AudioBuffer, scratch: ScratchSpace, faults: NodeFaults, engine: EngineStatus, most: int
    ) -> None:
        self._buffer = buffer
        self._scratch = scratch
        self._faults = faults
        self._engine = engine
        self._most = most
        self._lock = threading.Lock()  # guards _mean_seconds
        self._mean_seconds: float | None = None

    def note_length(self, seconds: float) -> None:
        """Takes a job's length into account for those to come."""
        with self._lock:
            before = self._mean_seconds
            self._mean_seconds = seconds if before is None else 0.8 * before + 0.2 * seconds

    def messages(self, backlog: int) -> int:
        """How many more messages there is room for; 0 while the node is at fault or lacks its engine.

        How long the next jobs are is not known: the mean of those before them is the best guess.

        Args:
            backlog: Jobs that wait for an uploader.
        """
        if not self._scratch.has_room(min(SOURCE_BYTES, self._scratch.budget // 4)):
            return 0
        if self._faults.pausing or self._engine.trouble:
            return 0
        if backlog >= PUBLISH_BACKLOG or not self._buffer.open:
            return 0
        if self._mean_seconds is None:
            return self._most
        left = self._buffer.limit - self._buffer.seconds
        return max(1, min(self._most, int(left / max(self._mean_seconds, 1.0))))
