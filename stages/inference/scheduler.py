# SPDX-License-Identifier: Apache-2.0
"""The scheduler: owns every job inside the engine and deals its rows out in batches."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqscribe.errors import ErrorCode
from stages.inference.protocol import DecodeTask, EngineEvent, EngineStats, JobLanguage, JobRejected, WindowDone
from stages.inference.rows import Again, BatchKey, Decoder, EngineJob, Finished, Outcome, Probed, Rejected, Row
from stages.inference.turns import Turns
from stages.values import Window

__all__ = ["MAX_PROBES", "Batch", "Scheduler", "mean_language"]

#: Windows that a job's language is detected on, at most: each parks an encoder output until all are in.
MAX_PROBES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows with one key that are worked on in common.

    Attributes:
        key: What all rows had in common when they were dealt out; the decoder may have set theirs anew since.
        began: When that was, on the scheduler's clock.
    """

    key: BatchKey
    rows: list[Row]
    began: float


class Scheduler:
    """Takes jobs in, deals their rows out, takes the outcomes back. Any thread may call any method.

    Jobs take turns row by row within a key, and keys take turns batch by batch, the least recently served first.
    So a long job delays a short one by one batch of each key at most, and whatever a batch leaves parked on the
    device (encoder outputs of probed rows) is worked off before the next batch of its kind makes more of it.

    Args:
        decoder: Makes the rows.
        emit: Gets every event, in order. Called under the scheduler's lock: it must not block nor call back.
        retry_seconds: How long a row to be retried may wait for others of its key.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        decoder: Decoder,
        emit: Callable[[EngineEvent], None],
        *,
        retry_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._languages = decoder.info.languages
        self._emit = emit
        self._retry_seconds = retry_seconds
        self._now = now
        # Guards all below; notified when rows come in, a batch comes back or the end has come.
        self._changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}
        self._fresh: dict[BatchKey, Turns] = {}  # none of them empty
        self._retries: dict[BatchKey, deque[tuple[float, Row]]] = {}  # with the time since which each waits
        self._served: dict[BatchKey, int] = {}  # the number of the batch that served a key last
        self._numbers = itertools.count(1)
        self._out: list[Batch] = []
        self._busy_since = 0.0
        self._closed = False

    def add(self, task: DecodeTask) -> None:
        """Takes a job in, or answers with `JobRejected`. Its key must be new."""
        job = self._decoder.open(task.job, task.pcm_path, task.options)
        with self._changed:
            if isinstance(job, Rejected):
                self._emit(JobRejected(task.job, job.code, job.message))
                return
            state = _Job(job, task.windows, left={window.index for window in task.windows})
            self._jobs[job.key] = state
            if job.options.language is None and len(self._languages) > 1:
                self._probe(state, task.probes)
            else:
                if job.options.language is None:
                    self._emit(JobLanguage(job.key, self._languages[0], 1.0))
                self._deal_in(state, self._known_language(job))
            self._changed.notify_all()

    def cancel(self, job: str) -> None:
        """Forgets the job; outcomes of its rows under way are thrown away. An unknown job is no error."""
        with self._changed:
            self._drop(job)

    def reject(self, job: str, code: ErrorCode, message: str) -> None:
        """Forgets a job that turns out to be undoable, and says so."""
        with self._changed:
            if job in self._jobs:
                self._drop(job)
                self._emit(JobRejected(job, code, message))

    def take(self, limit: int, timeout: float) -> Batch | None:
        """Waits for work.

        Args:
            limit: Most rows of the batch.
            timeout: Seconds after which it gives up; 0 only looks.

        Returns:
            A batch for `give` or `put_back`; None when there was no work in time, or the scheduler is closed.
        """
        deadline = self._now() + timeout
        with self._changed:
            while not self._closed:
                now = self._now()
                if rows := self._choose(limit, now):
                    if not self._out:
                        self._busy_since = now
                    batch = Batch(rows[0].key, rows, now)
                    self._out.append(batch)
                    return batch
                if now >= deadline:
                    return None
                due = (self._due(waiting) for waiting in self._retries.values())
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
                    case Finished(job, result):
                        self._finish(states.get(job), WindowDone(job, result))
                    case Probed(row):
                        if state := states.get(row.job.key):
                            self._probed(state, outcome)
                    case Again(rows, reason):
                        retries[reason] += 1
                        for row in rows:
                            self._deal_again(states.get(row.job.key), row, now)
            for state in states.values():
                if state.left and not state.rows:
                    raise RuntimeError(f"the decoder lost rows of windows {sorted(state.left)} of {state.job.key}")
            self._emit(
                EngineStats(
                    windows=len(batch.rows),
                    audio_seconds=sum(row.window.seconds for row in batch.rows),
                    busy_seconds=now - self._busy_since,
                    kind=_kind(batch.key),
                    retries=tuple(sorted(retries.items())),
                )
            )
            self._busy_since = now
            self._changed.notify_all()

    def put_back(self, batch: Batch) -> None:
        """Takes back a batch that was not worked on; its rows go first when their key is served."""
        with self._changed:
            states = self._return(batch)
            for row in batch.rows:
                self._deal_again(states.get(row.job.key), row, batch.began)
            self._changed.notify_all()

    @property
    def stalled(self) -> float:
        """Seconds that the oldest batch under way has taken so far; 0 when there is none."""
        with self._changed:
            return self._now() - min(batch.began for batch in self._out) if self._out else 0.0

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

    def _probe(self, state: _Job, indexes: tuple[int, ...]) -> None:
        """Has the language asked of the given windows, or of the first ones where those are done already."""
        wanted = [window for window in state.waiting if window.index in indexes] or state.waiting
        probes = tuple(wanted[:MAX_PROBES])
        state.waiting = tuple(window for window in state.waiting if window not in probes)
        state.probes = len(probes)
        for row in self._decoder.rows(state.job, probes, probe=True, language=None):
            self._queue(state, row, ahead=True)  # job by job, so that few jobs park probed rows at a time

    def _probed(self, state: _Job, outcome: Probed) -> None:
        state.probed.append(outcome)
        state.rows += 1
        if len(state.probed) < state.probes:
            return
        language, probability = mean_language(state.probed)
        self._emit(JobLanguage(state.job.key, language, probability))
        for probed in state.probed:
            state.rows -= 1
            self._queue(state, self._decoder.settled(probed.row, language), ahead=True)
        state.probed = []
        self._deal_in(state, language)

    def _deal_in(self, state: _Job, language: str | None) -> None:
        for row in self._decoder.rows(state.job, state.waiting, probe=False, language=language):
            self._queue(state, row, ahead=False)
        state.waiting = ()

    def _deal_again(self, state: _Job | None, row: Row, now: float) -> None:
        if state is None:
            return
        if row.key.retry:
            state.rows += 1
            self._retries.setdefault(row.key, deque()).append((now, row))
        else:  # the half of a split window, or a row that lost its prompt: a window half done, let it be finished
            self._queue(state, row, ahead=True)

    def _queue(self, state: _Job, row: Row, *, ahead: bool) -> None:
        state.rows += 1
        self._fresh.setdefault(row.key, Turns()).add(row, ahead=ahead)

    def _finish(self, state: _Job | None, event: WindowDone) -> None:
        if state is None or event.result.index not in state.left:
            return
        state.left.remove(event.result.index)
        if not state.left:
            del self._jobs[event.job]
        self._emit(event)

    def _return(self, batch: Batch) -> dict[str, _Job]:
        """Takes the batch off the list and gives the states of its jobs, less those cancelled meanwhile."""
        self._out.remove(batch)
        states = {}
        for row in batch.rows:
            state = self._jobs.get(row.job.key)
            if state is not None and state.job is row.job:
                state.rows -= 1
                states[row.job.key] = state
        return states

    def _drop(self, job: str) -> None:
        if self._jobs.pop(job, None) is None:
            return
        for turns in self._fresh.values():
            turns.drop(job)
        self._fresh = {key: turns for key, turns in self._fresh.items() if turns}
        for key, waiting in list(self._retries.items()):
            kept = deque((since, row) for since, row in waiting if row.job.key != job)
            if kept:
                self._retries[key] = kept
            else:
                del self._retries[key]

    def _choose(self, limit: int, now: float) -> list[Row]:
        """The rows that go next; none when there is nothing, or only retries that had better wait for company."""
        oldest_first = sorted(self._retries, key=lambda key: self._retries[key][0][0])
        for key in oldest_first:
            waiting = self._retries[key]
            if len(waiting) >= limit or now >= self._due(waiting) or any(row.urgent for _, row in waiting):
                return self._take_retries(key, limit)
        if self._fresh:
            key = min(self._fresh, key=lambda key: self._served.get(key, 0))
            self._served[key] = next(self._numbers)
            rows = self._fresh[key].take(limit)
            if not self._fresh[key]:
                del self._fresh[key]
            return rows
        # Nothing else to do. While a batch is out the device is busy, and the batch may bring company.
        return self._take_retries(oldest_first[0], limit) if oldest_first and not self._out else []

    def _due(self, waiting: deque[tuple[float, Row]]) -> float:
        return waiting[0][0] + self._retry_seconds

    def _take_retries(self, key: BatchKey, limit: int) -> list[Row]:
        waiting = self._retries[key]
        rows = [waiting.popleft()[1] for _ in range(min(limit, len(waiting)))]
        if not waiting:
            del self._retries[key]
        return rows


def mean_language(probed: Sequence[Probed]) -> tuple[str, float]:
    """The language with the highest mean probability, each window weighing as much as it holds speech.

    Returns:
        Whisper code, and its mean probability.
    """
    # In the windows' order: sums of floats depend on the order, and batches come back in any.
    ordered = sorted(probed, key=lambda outcome: outcome.row.window.index)
    weights = [max(1, outcome.row.window.speech) for outcome in ordered]
    totals: dict[str, float] = {}
    for outcome, weight in zip(ordered, weights, strict=True):
        for language, probability in outcome.probabilities.items():
            totals[language] = totals.get(language, 0.0) + weight * probability
    language = min(totals, key=lambda code: (-totals[code], code))  # among equals the first by code
    return language, totals[language] / sum(weights)


def _kind(key: BatchKey) -> str:
    if key.probe:
        return "probe"
    return "retry" if key.retry else "decode"


@dataclass(slots=True, eq=False)
class _Job:
    """A job's state.

    Attributes:
        waiting: Windows that have no row yet, because the language is not settled.
        left: Indexes of the windows that are not finished.
        rows: How many of its rows there are, queued, parked or under way.
        probes: How many windows the language is asked of.
        probed: Those that have answered.
    """

    job: EngineJob
    waiting: tuple[Window, ...]
    left: set[int]
    rows: int = 0
    probes: int = 0
    probed: list[Probed] = field(default_factory=list)
