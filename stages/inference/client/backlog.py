# SPDX-License-Identifier: Apache-2.0
"""The windows of every job that are not finished, so that any inference process can take over from the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import assert_never

from sqscribe.errors import ErrorCode
from stages.inference.engine.suspects import Suspects, verdict
from stages.inference.protocol import (
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineStats,
    JobLanguage,
    JobRejected,
    WindowDone,
    WindowKey,
)
from stages.values import Window

__all__ = ["Backlog"]


class Backlog:
    """Keeps the unfinished jobs and the suspect windows. It has no lock: the client calls it under its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}  # by key
        self._suspects = Suspects()

    def add(self, task: DecodeTask) -> None:
        """Adds a job.

        Raises:
            ValueError: It has no windows, or its key is taken.
        """
        if not task.windows:
            raise ValueError(f"job {task.job_key} has no windows to decode")
        if task.job_key in self._jobs:
            raise ValueError(f"job {task.job_key} has been submitted before")
        self._jobs[task.job_key] = _Job(task)

    def drop(self, job_key: str) -> bool:
        """Removes a job; False when it is not there."""
        self._suspects.forget(job_key)
        return self._jobs.pop(job_key, None) is not None

    def tasks(self, *, suspects_first: bool = False) -> Iterator[DecodeTask]:
        """Every job again, without what is done; those with suspects at one end.

        A process begins with what it has: with the suspects if nothing else is there yet, with others if it is to
        search the suspects first and they come late.

        Args:
            suspects_first: Whether the process is to search the suspects before anything else.
        """
        suspected = {job_key for group in self._suspects.groups for job_key, _ in group}
        jobs = sorted(self._jobs.items(), key=lambda item: (item[0] in suspected) is not suspects_first)
        return (job.remaining() for _, job in jobs)

    @property
    def suspects(self) -> tuple[tuple[WindowKey, ...], ...]:
        """Windows to be decoded apart from all others, group by group."""
        return self._suspects.groups

    def note(self, event: EngineEvent) -> bool:
        """Notes what a process says; False if it is known already, or about a job that is not there."""
        match event:
            case WindowDone(job_key, result):
                state = self._jobs.get(job_key)
                if state is None or state.left.pop(result.index, None) is None:
                    return False
                self._suspects.cleared((job_key, result.index))
                if not state.left:
                    del self._jobs[job_key]
            case JobLanguage(job_key, language):
                state = self._jobs.get(job_key)
                if state is None or state.language is not None:
                    return False
                state.language = language
            case JobRejected(job_key):
                return self.drop(job_key)
            case EngineReady() | EngineStats() | EngineFailed() | EngineLost():
                pass  # of no single job
            case _:
                assert_never(event)
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
            The rejection of the job whose window is guilty now; the job is removed.
        """
        guilty = self._suspects.failed(batches)
        for job_key, index in {window for batch in batches for window in batch}:
            if job_key not in self._jobs or index not in self._jobs[job_key].left:  # called off, or done
                self._suspects.cleared((job_key, index))
        rejected = []
        for job_key, index in guilty:
            if state := self._jobs.get(job_key):
                message = verdict(state.left[index], why)
                rejected.append(JobRejected(job_key, ErrorCode.INFERENCE_FAILED, message))
                self.drop(job_key)
        return rejected


class _Job:
    """A job that is not finished.

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
