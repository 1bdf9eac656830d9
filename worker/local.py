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
from worker.preflight import fatal
from worker.preflight.ffmpeg import check_decoding
from worker.queues import Message, Outgoing
from worker.queues.memory import MemoryQueue
from worker.receive.messages import Parsed
from worker.settings import Settings
from worker.stores.folder import FolderStore
from worker.telemetry.metrics import Metrics

__all__ = ["OUTPUT", "LocalRun"]

#: Prefix of results in the folder that serves as the store.
OUTPUT = "s3://local/transcripts"
#: A fetch tries several times by itself. To try again after minutes, as a queue would, is of no use to a person who
#: waits at a terminal.
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
            watch: Called about twice a second with the `/status` page and the number of results.

        Returns:
            The daemon's exit code.

        Raises:
            UnfitNodeError: No file can be decoded on this machine.
        """
        if error := fatal(check_decoding()):
            raise error
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
        """The result of a job; None while it has none."""
        stored = self._store.get(self._jobs[job_id].url(RESULT_NAME))
        return Result.from_json(stored.body) if stored else None

    def artifact(self, bucket_key: str) -> bytes:
        """The bytes of an artifact by the key in its result."""
        stored = self._store.get(f"s3://local/{bucket_key}")
        if stored is None:
            raise FileNotFoundError(bucket_key)
        return stored.body

    def _connect(self, _settings: Settings, _metrics: Metrics) -> Connections:
        # Nor does it help to wait out an outage of the network: a person at a terminal had better be told.
        return Connections(queue=self._queue, store=self._store, parse=self._parse, allow_local=True, source_outage=0.0)

    def _parse(self, message: Message) -> Parsed:
        return Parsed(jobs=(self._jobs[message.body],))
