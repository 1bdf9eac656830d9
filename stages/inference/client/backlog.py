# SPDX-License-Identifier: Apache-2.0
"""What is still to come of every job, so that any inference process can take over from the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqscribe.errors import ErrorCode
from stages.inference.engine.suspects import Suspects, verdict
from stages.inference.protocol import DecodeTask, EngineEvent, JobLanguage, JobRejected, WindowDone, WindowKey
from stages.values import Window

__all__ = ["Backlog"]


class Backlog:
    """The client's books of jobs and suspects. It has no lock: the client calls it under its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._suspects = Suspects()

    def add(self, task: DecodeTask) -> None:
        """Enters a job.

        Raises:
            ValueError: It has no windows, or its key is taken.
        """
        if not task.windows:
            raise ValueError(f"job {task.job} has no windows to decode")
        if task.job in self._jobs:
            raise ValueError(f"job {task.job} has been submitted before")
        self._jobs[task.job] = _Job(task)

    def drop(self, job: str) -> bool:
        """Strikes a job; False when it is not there."""
        self._suspects.forget(job)
        return self._jobs.pop(job, None) is not None

    def tasks(self) -> Iterator[DecodeTask]:
        """Every job again, without what is done.

        Those with suspects come first: a process that is to search them first would begin with others meanwhile.
        """
        suspected = {job for group in self._suspects.groups for job, _ in group}
        return (job.remaining() for _, job in sorted(self._jobs.items(), key=lambda item: item[0] not in suspected))

    @property
    def suspects(self) -> tuple[tuple[WindowKey, ...], ...]:
        """Windows to be decoded apart from all others, group by group."""
        return self._suspects.groups

    def note(self, event: EngineEvent) -> bool:
        """Enters what a process says; False if it is no news (of a job that is not there, or known already)."""
        match event:
            case WindowDone(job, result):
                state = self._jobs.get(job)
                if state is None or state.left.pop(result.index, None) is None:
                    return False
                self._suspects.cleared((job, result.index))
                if not state.left:
                    del self._jobs[job]
            case JobLanguage(job, language):
                state = self._jobs.get(job)
                if state is None or state.language is not None:
                    return False
                state.language = language
            case JobRejected(job):
                return self.drop(job)
        return True

    def suspected(self, batches: Sequence[Sequence[WindowKey]]) -> bool:
        """Whether any of the windows was a suspect already."""
        return any(window in self._suspects for batch in batches for window in batch)

    def crashed(self, batches: Sequence[Sequence[WindowKey]], why: str) -> list[JobRejected]:
        """Suspects the windows that were under way in a process that was lost.

        Args:
            batches: The windows of each batch.
            why: What it died of.

        Returns:
            The job of a window that is guilty now, which is struck.
        """
        guilty = self._suspects.failed(batches)
        for job, index in {window for batch in batches for window in batch}:
            if job not in self._jobs or index not in self._jobs[job].left:  # called off, or done
                self._suspects.cleared((job, index))
        rejected = []
        for job, index in guilty:
            if state := self._jobs.get(job):
                message = verdict(state.left[index], why)
                rejected.append(JobRejected(job, ErrorCode.INFERENCE_FAILED, message))
                self.drop(job)
        return rejected


class _Job:
    """What is still to come of a job.

    Attributes:
        left: Windows that are not finished, by index.
        language: Once it is settled, if the job named none.
    """

    def __init__(self, task: DecodeTask) -> None:
        self.task = task
        self.left: dict[int, Window] = {window.index: window for window in task.windows}
        self.language: str | None = None

    def remaining(self) -> DecodeTask:
        """The task again, without what is done: in the settled language, which is not asked for anew."""
        options = replace(self.task.options, language=self.language or self.task.options.language)
        return replace(self.task, windows=tuple(self.left.values()), options=options)
