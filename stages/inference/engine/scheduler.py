# SPDX-License-Identifier: Apache-2.0
"""The scheduler: owns every job inside the engine and deals its rows out in batches."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import assert_never

from sqscribe.errors import ErrorCode
from stages.inference.engine.job_state import JobState, mean_language
from stages.inference.engine.pool import Pool
from stages.inference.engine.quarantine import Quarantine, window_of
from stages.inference.engine.rows import (
    Again,
    Batch,
    EngineJob,
    Finished,
    JobRefused,
    Outcome,
    Probed,
    Row,
    WindowDecoder,
)
from stages.inference.engine.suspects import verdict
from stages.inference.protocol import (
    DecodeTask,
    EngineEvent,
    EngineStats,
    JobLanguage,
    JobRejected,
    Progress,
    WindowDone,
    WindowKey,
)

__all__ = ["Scheduler"]


class Scheduler:
    """Takes jobs in, deals their rows out, takes the outcomes back. Any thread may call any method.

    Jobs take turns row by row within a key, and keys take turns batch by batch, so a long job delays a short one by
    one batch of each key at most. Windows that may be what the engine failed on go behind all others, in batches with
    which no other one is under way.

    Args:
        decoder: Makes the rows.
        emit: Gets every event and beat, in order. Called under the scheduler's lock: it must not block nor call back.
        retry_seconds: How long a row to be retried may wait for others of its key.
        suspects: Windows to be decoded apart from all others, group by group.
        suspect_seconds: How long those may wait behind all others.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        decoder: WindowDecoder,
        emit: Callable[[EngineEvent | Progress], None],
        *,
        retry_seconds: float,
        suspects: Sequence[Sequence[WindowKey]] = (),
        suspect_seconds: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._languages = decoder.info.languages
        self._emit = emit
        self._now = now
        # Guards all below; notified when rows come in, a batch comes back or the end has come.
        self._changed = threading.Condition()
        self._jobs: dict[str, JobState] = {}  # by key
        self._pool = Pool(retry_seconds)
        self._quarantine = Quarantine(suspects, suspect_seconds, now())
        self._out: list[Batch] = []
        self._busy_since = 0.0
        self._closed = False

    def add(self, task: DecodeTask) -> None:
        """Takes a job in, or answers with `JobRejected`. Its key must be new."""
        try:
            job = self._decoder.open(task.job_key, task.pcm_path, task.options)
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            # Nothing has touched the device yet: it is this job's text that the tokeniser chokes on.
            reason = f"the model cannot take the job's prompt and options: {type(error).__name__}: {error}"
            job = JobRefused(ErrorCode.INFERENCE_FAILED, reason)
        with self._changed:
            if isinstance(job, JobRefused):
                self._emit(JobRejected(task.job_key, job.code, job.message))
                return
            state = JobState(job, task.windows)
            self._jobs[job.job_key] = state
            if job.options.language is None and len(self._languages) > 1:
                self._probe(state, task.probes)
            else:
                if job.options.language is None:
                    self._emit(JobLanguage(job.job_key, self._languages[0], 1.0))
                self._deal_in(state, self._known_language(job))
            self._changed.notify_all()

    def cancel(self, job_key: str) -> None:
        """Forgets the job; outcomes of its rows under way are thrown away. An unknown job is no error."""
        with self._changed:
            self._drop(job_key)

    def reject(self, job_key: str, code: ErrorCode, message: str) -> None:
        """Forgets a job that turns out to be undoable, and says so."""
        with self._changed:
            self._reject(job_key, code, message)

    def take(self, limit: int, timeout: float) -> Batch | None:
        """Waits for work; a beat tells what is under way then.

        Args:
            limit: Most rows of the batch.
            timeout: Seconds after which it gives up; 0 only looks.

        Returns:
            A batch for `give`, `put_back` or `suspect`; None when there was no work in time, or after `close`.
        """
        deadline = self._now() + timeout
        with self._changed:
            while not self._closed:
                now = self._now()
                if batch := self._choose(limit, now):
                    if not self._out:
                        self._busy_since = now
                    self._out.append(batch)
                    self._beat()
                    return batch
                if now >= deadline:
                    self._beat()
                    return None
                # What is due and was not chosen waits for a batch under way, the end of which is told.
                due = (moment for moment in (*self._pool.due(), self._quarantine.due) if moment > now)
                self._changed.wait(min([deadline, *due]) - now)
            return None

    def give(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Takes the outcomes of a batch.

        Raises:
            RuntimeError: The decoder has lost rows, which would leave their job unfinished for ever.
        """
        with self._changed:
            now = self._now()
            states = self._return(batch)
            retries: Counter[str] = Counter()
            for outcome in outcomes:
                match outcome:
                    case Finished(job_key, result):
                        self._finish(states.get(job_key), WindowDone(job_key, result))
                    case Probed(row):
                        if state := states.get(row.job.job_key):
                            self._probed(state, outcome)
                    case Again(rows, reason):
                        retries[reason] += 1
                        self._deal_again(states, rows, now)
                    case _:
                        assert_never(outcome)
            for state in states.values():
                if state.lost:
                    raise RuntimeError(f"the decoder lost rows of windows {sorted(state.left)} of {state.job.job_key}")
            self._emit(
                EngineStats(
                    windows=len(batch.rows),
                    audio_seconds=sum(row.window.seconds for row in batch.rows),
                    busy_seconds=now - self._busy_since,
                    began=batch.began,
                    ended=now,
                    kind=batch.kind,
                    retries=tuple(sorted(retries.items())),
                )
            )
            self._busy_since = now
            self._beat()
            self._changed.notify_all()

    def put_back(self, batch: Batch) -> None:
        """Takes back a batch that was not worked on; its rows go first when their key is served."""
        with self._changed:
            self._deal_again(self._return(batch), batch.rows, batch.began)
            self._beat()
            self._changed.notify_all()

    def suspect(self, batch: Batch, why: str) -> None:
        """Takes back a batch that failed; its windows go again by themselves, in ever smaller groups.

        Args:
            batch: As it came from `take`, its rows fit for another try.
            why: What went wrong, for the job of a window that is guilty now: it is rejected.
        """
        with self._changed:
            states = self._return(batch)
            for job_key, _ in self._quarantine.failed(batch.rows, self._now()):
                self._reject(job_key, ErrorCode.INFERENCE_FAILED, verdict(batch.rows[0].window, why))
            for job_key in {row.job.job_key for row in batch.rows} - self._jobs.keys():
                self._quarantine.drop(job_key)
            self._deal_again(states, batch.rows, batch.began)
            self._beat()
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Deals nothing out any more; batches under way may still be given."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # What follows is called under the lock.

    def _known_language(self, job: EngineJob) -> str | None:
        """What all rows of a job are decoded in that needs no probing; None: each row's own language."""
        if len(self._languages) == 1:
            return self._languages[0]
        return None if job.options.language == "multi" else job.options.language

    def _probe(self, state: JobState, indexes: tuple[int, ...]) -> None:
        """Has the language asked of the given windows, or of the first ones where those are done already."""
        for row in self._decoder.rows(state.job, state.take_probes(indexes), probe=True, language=None):
            self._queue(state, row, ahead=True)  # job by job, so that few jobs park probed rows at a time

    def _probed(self, state: JobState, outcome: Probed) -> None:
        answers = state.answered(outcome)
        if not answers:
            return
        language, probability = mean_language(answers, state.job.options.candidates)
        self._emit(JobLanguage(state.job.job_key, language, probability))
        for answer in answers:
            self._queue(state, self._decoder.settled(answer.row, language), ahead=True)
        self._deal_in(state, language)

    def _deal_in(self, state: JobState, language: str | None) -> None:
        for row in self._decoder.rows(state.job, state.take_waiting(), probe=False, language=language):
            self._queue(state, row, ahead=False)

    def _deal_again(self, states: dict[str, JobState], rows: Sequence[Row], now: float) -> None:
        for row in rows:
            state = states.get(row.job.job_key)
            if state is None or row.job.job_key not in self._jobs:
                continue
            if row.key.kind == "retry" and row not in self._quarantine:
                state.rows += 1
                self._pool.add_retry(row, now)
            else:  # the half of a split window, or a row that lost its prompt: a window half done, let it be finished
                self._queue(state, row, ahead=True)

    def _queue(self, state: JobState, row: Row, *, ahead: bool) -> None:
        state.rows += 1
        if row in self._quarantine:
            self._quarantine.add(row)
        else:
            self._pool.add(row, ahead=ahead)

    def _finish(self, state: JobState | None, event: WindowDone) -> None:
        if state is None or event.result.index not in state.left:
            return
        state.left.remove(event.result.index)
        self._quarantine.clear((event.job_key, event.result.index))
        if not state.left:
            del self._jobs[event.job_key]
        self._emit(event)

    def _return(self, batch: Batch) -> dict[str, JobState]:
        """Takes the batch off the list and gives the states of its jobs, less those cancelled meanwhile."""
        self._out.remove(batch)
        states = {}
        for row in batch.rows:
            state = self._jobs.get(row.job.job_key)
            if state is not None and state.job is row.job:
                state.rows -= 1
                states[row.job.job_key] = state
        return states

    def _drop(self, job_key: str) -> bool:
        if self._jobs.pop(job_key, None) is None:
            return False
        self._pool.drop(job_key)
        self._quarantine.drop(job_key)
        return True

    def _reject(self, job_key: str, code: ErrorCode, message: str) -> None:
        if self._drop(job_key):
            self._emit(JobRejected(job_key, code, message))

    def _choose(self, limit: int, now: float) -> Batch | None:
        """The batch that goes next, if one may."""
        if any(batch.exclusive for batch in self._out):
            return None
        overdue = self._quarantine.waiting and now >= self._quarantine.due
        if not overdue and (rows := self._pool.take(limit, now, idle=not self._out)):
            return Batch(rows[0].key, rows, now)
        if self._quarantine.waiting and not self._out:
            rows = self._quarantine.take(limit)
            return Batch(rows[0].key, rows, now, exclusive=True)
        return None

    def _beat(self) -> None:
        """Tells what is under way. No timer does, but a thread that begins or ends a batch or finds nothing to do.

        Were all threads hung, there would be no beat, and were one of them, the others' would say for how long.
        """
        under_way = tuple(tuple(window_of(row) for row in batch.rows) for batch in self._out)
        self._emit(Progress(self._stalled(), under_way))

    def _stalled(self) -> float:
        """Seconds that the oldest batch under way has taken so far; 0 when there is none."""
        return self._now() - min(batch.began for batch in self._out) if self._out else 0.0
