# SPDX-License-Identifier: Apache-2.0
"""The worker without AWS: a queue in memory, a folder as the store, jobs from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqscribe.errors import ExitCode
from sqscribe.job import Job
from sqscribe.result import RESULT_NAME, Result
from worker.build import build_worker
from worker.connect import Connections
from worker.node.clock import SystemClock
from worker.queues import Message, Outgoing
from worker.queues.memory import MemoryQueue
from worker.receive.messages import Parsed
from worker.settings import Settings
from worker.stores.folder import FolderStore
from worker.telemetry.metrics import Metrics

__all__ = ["OUTPUT", "LocalRun"]

#: Where results stand in the folder that serves as the store.
OUTPUT = "s3://local/transcripts"
#: A fetch tries several times by itself; to come back to it after minutes, as the queue would, helps nobody who waits.
MAX_RECEIVES = 1


class LocalRun:
    """Takes jobs through the whole pipeline on this machine.

    Args:
        jobs: Each with an id of its own and `OUTPUT` as its output; a source may be a path.
        settings: The worker's.
        root: Folder of the store.
    """

    def __init__(self, jobs: Sequence[Job], settings: Settings, root: Path) -> None:
        self._jobs = {job.job_id: job for job in jobs}
        self._settings = settings
        self._store = FolderStore(root)
        self._queue = MemoryQueue(
            SystemClock(), visibility_timeout=settings.visibility_timeout, max_receives=MAX_RECEIVES
        )
        for job_id in self._jobs:
            self._queue.send(None, Outgoing(job_id))

    def run(self, watch: Callable[[Mapping[str, Any], int], None]) -> ExitCode:
        """Works until every job has its result.

        Args:
            watch: Told the `/status` page and the number of results about twice a second.

        Returns:
            The daemon's exit code.
        """
        daemon = build_worker(self._settings, self._connect)

        def finished() -> bool:
            done = sum(self.result(job_id) is not None for job_id in self._jobs)
            watch(daemon.status(), done)
            if done < len(self._jobs) or self._queue:
                return False
            self._queue.close()  # or the end would wait for a long poll
            return True

        return daemon.run(until=finished)

    def result(self, job_id: str) -> Result | None:
        """What became of a job; None while nothing has."""
        stored = self._store.get(self._jobs[job_id].url(RESULT_NAME))
        return Result.from_json(stored.body) if stored else None

    def artifact(self, bucket_key: str) -> bytes:
        """The bytes of an artifact by the key in its result."""
        stored = self._store.get(f"s3://local/{bucket_key}")
        if stored is None:
            raise FileNotFoundError(bucket_key)
        return stored.body

    def _connect(self, _settings: Settings, _metrics: Metrics) -> Connections:
        # Nor does it help to wait for a network: the person at the terminal can see for themselves.
        return Connections(queue=self._queue, store=self._store, parse=self._parse, allow_local=True, source_outage=0.0)

    def _parse(self, message: Message) -> Parsed:
        return Parsed(jobs=(self._jobs[message.body],))
