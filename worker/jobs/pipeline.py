# SPDX-License-Identifier: Apache-2.0
"""The way of a job through the worker: downloader, engine, uploader, and what becomes of its message.

Nothing here starts a thread. Downloaders call `prepare`, the engine calls `on_event`, uploaders call `upload_next`,
the daemon calls `sweep`.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import structlog

from sqscribe.errors import (
    Cancelled,
    CancelReason,
    ErrorCode,
    JobFailedError,
    PermanentError,
    TransientError,
)
from sqscribe.logs import bind
from stages.inference.protocol import (
    EngineEvent,
    EngineFailed,
    EngineInfo,
    EngineLost,
    EngineReady,
    EngineStats,
    JobLanguage,
    JobRejected,
    WindowDone,
)
from stages.inference.request import check_options
from stages.ports import Cancellation, Clock
from stages.publish import Publisher
from worker.jobs.buffer import AudioBuffer
from worker.jobs.checkpoint import attempt_name
from worker.jobs.finish import Ending, Finisher
from worker.jobs.in_engine import Decoding
from worker.jobs.prepare import Preparer
from worker.jobs.run import CheckpointState, JobRun, RunSnapshot
from worker.jobs.saving import CheckpointSaver
from worker.node.faults import NodeFaults
from worker.outcomes import Disposition, JobOutcome, Stage, backoff, disposition_of, outcome_of
from worker.receive.delivery import Delivery
from worker.receive.intake import Task
from worker.receive.messages import Rejected
from worker.telemetry.metrics import Metrics
from worker.telemetry.totals import Totals, TotalsSnapshot

__all__ = ["Pipeline"]

log = structlog.get_logger()

#: Finished jobs that may wait for an uploader; beyond, nothing is received until the store has caught up.
PUBLISH_BACKLOG = 64

#: Rejections by the engine that say nothing against the job: its next attempt may succeed.
_TRANSIENT_REJECTIONS = frozenset({ErrorCode.ENGINE_RESTARTED, ErrorCode.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class _Save:
    """A job in the engine that is to be saved."""

    run: JobRun


class Pipeline:
    """Knows every job under way.

    Args:
        max_receives: Receives after which a transient failure is final.

    Attributes:
        engine_ready: Set while the engine is ready: it has proved that it works, and was not lost since.
        engine_failure: Why the engine cannot work at all, once it cannot.
    """

    def __init__(
        self,
        *,
        preparer: Preparer,
        decoding: Decoding,
        saver: CheckpointSaver,
        finisher: Finisher,
        publisher: Publisher,
        buffer: AudioBuffer,
        faults: NodeFaults,
        metrics: Metrics,
        clock: Clock,
        max_receives: int,
    ) -> None:
        self._preparer = preparer
        self._decoding = decoding
        self._saver = saver
        self._finisher = finisher
        self._publisher = publisher
        self._buffer = buffer
        self._faults = faults
        self._metrics = metrics
        self._clock = clock
        self._max_receives = max_receives
        self.engine_ready = threading.Event()
        self.engine_failure: EngineFailed | None = None
        self._info: EngineInfo | None = None
        self._engine_loss: EngineLost | None = None  # written by the engine's thread alone
        self._keys = itertools.count(1)
        self._totals = Totals()
        self._lock = threading.Lock()  # guards _active and _mean_seconds
        self._active: dict[str, JobRun] = {}
        self._mean_seconds: float | None = None
        self._work: queue.SimpleQueue[Ending | _Save] = queue.SimpleQueue()

    # -- what the daemon asks --------------------------------------------------------------------------------------

    @property
    def info(self) -> EngineInfo | None:
        """What the engine runs, once it has started."""
        return self._info

    @property
    def idle(self) -> bool:
        """Whether no job is under way."""
        with self._lock:
            return not self._active

    @property
    def engine_trouble(self) -> str | None:
        """Why nothing is decoded now, or None: the engine was lost. While it is away, nothing is received."""
        loss = self._engine_loss
        return f"lost (exit code {loss.exit_code}), and not ready again yet" if loss else None

    def totals(self) -> TotalsSnapshot:
        """What this worker got done so far."""
        return self._totals.totals

    def room(self, most: int) -> int:
        """How many more messages there is room for, at most `most`; 0 while the node is at fault or lacks its engine.

        How long the next jobs are is not known: the mean of those before them is the best guess.
        """
        if self._faults.current or self.engine_trouble:
            return 0
        if self._work.qsize() >= PUBLISH_BACKLOG or not self._buffer.open:
            return 0
        if self._mean_seconds is None:
            return most
        left = self._buffer.limit - self._buffer.seconds
        return max(1, min(most, int(left / max(self._mean_seconds, 1.0))))

    def stage_jobs(self, stage: Stage) -> int:
        """Jobs in a stage now."""
        with self._lock:
            return sum(run.stage is stage for run in self._active.values())

    def snapshot(self) -> list[RunSnapshot]:
        """Every job under way, the oldest first."""
        now = self._clock.now()
        with self._lock:
            return [run.snapshot(now) for run in self._active.values()]

    # -- downloaders -----------------------------------------------------------------------------------------------

    def prepare(self, task: Task, on_check: Callable[[], None]) -> None:
        """Takes one job as far as the engine, or to its end. Raises nothing on account of the job.

        Args:
            task: What was received.
            on_check: Called every second or so while the work gets on.
        """
        cancellation = Cancellation(task.delivery.lease.cancellation, on_check)
        if isinstance(task.job, Rejected):
            self._reject(task.delivery, task.job)
            return
        run = JobRun(
            key=f"{next(self._keys)}-{task.job.job_id}",
            job=task.job,
            delivery=task.delivery,
            checkpoint=CheckpointState(attempt_name(task.delivery.lineage)),
            cancellation=cancellation,
            stage=Stage.FETCH,
            since=self._clock.now(),
        )
        with self._lock:
            self._active[run.key] = run
        with bind(job=run.job.job_id, stage="prepare"):
            self._guarded(run, lambda: self._prepare(run))

    def _prepare(self, run: JobRun) -> None:
        if self._info is None:
            raise RuntimeError("a job was begun before the engine was ready")
        check_options(run.job, self._info)
        existing = self._faults.outlast("look_up", lambda: self._publisher.existing(run.job), run.cancellation)
        if existing.succeeded and not (run.job.force and existing.origin != run.delivery.origin):
            self._work.put(Ending.of(run, existing=existing.result))
            return
        listing = self._saver.look(run)
        run.checkpoint.exists |= existing.failed  # what the failed attempts saved may stand
        if self._saver.superseded(run, listing):
            self._end(Ending.of(run), Disposition.DELETE, JobOutcome.SUPERSEDED)
            return
        if existing.failed and existing.origin == run.delivery.origin:
            # Recorded by an attempt that died before it had dead-lettered the message: only that is repeated.
            self._work.put(Ending.of(run, error=existing.error))
            return
        if self._saver.hand_over(run, run.cancellation):
            self._end(Ending.of(run), Disposition.DELETE, JobOutcome.HANDED_OVER)
            return
        run.windows = windows = self._preparer.prepare(run, partial(self._saver.resume, run, listing, self._info))
        missing = run.missing
        log.info(
            "job_prepared",
            seconds=round(windows.audio.seconds, 3),
            speech=round(windows.speech, 3),
            windows=len(windows.windows),
            missing=len(missing),
        )
        if not missing:
            self._work.put(Ending.of(run))
            return
        run.enter(Stage.WAIT, self._clock.now(), self._metrics)
        self._note_length(windows.audio.seconds)
        seconds = sum(window.seconds for window in missing)
        self._buffer.admit(seconds, run.cancellation)
        run.buffered = seconds
        run.enter(Stage.INFERENCE, self._clock.now(), self._metrics)
        self._saver.begin(run)
        self._decoding.begin(run)

    def _note_length(self, seconds: float) -> None:
        with self._lock:
            before = self._mean_seconds
            self._mean_seconds = seconds if before is None else 0.8 * before + 0.2 * seconds

    def _reject(self, delivery: Delivery, rejected: Rejected) -> None:
        with bind(job=rejected.job_id, stage="receive"):
            log.warning("job_rejected", code=rejected.error.code, error=rejected.error.message)
        self._metrics.job_error(rejected.error.code)
        self._work.put(Ending.rejection(delivery, rejected))

    # -- the engine ------------------------------------------------------------------------------------------------

    def on_event(self, event: EngineEvent) -> None:
        """Takes what the engine says, on the engine's thread."""
        match event:
            case WindowDone():
                self._window_done(event)
            case EngineStats():
                self._batch_done(event)
            case JobLanguage():
                self._decoding.settle_language(event)
            case JobRejected():
                self._job_rejected(event)
            case EngineReady() | EngineLost() | EngineFailed():
                self._engine_changed(event)

    def _engine_changed(self, event: EngineReady | EngineLost | EngineFailed) -> None:
        match event:
            case EngineReady(info):
                self._info = info
                self._finisher.engine_ready(info)
                log.info(
                    "engine_ready",
                    model=info.name,
                    revision=info.revision,
                    device=info.device,
                    compute_type=info.compute_type,
                    batch_size=info.batch_size,
                    seconds=round(info.startup_seconds, 2),
                )
                self._engine_loss = None
                self.engine_ready.set()
            case EngineLost():
                self._engine_loss = event
                self.engine_ready.clear()
                self._metrics.engine_restarted()
                log.error("engine_lost", exit_code=event.exit_code, restarts=event.restarts)
            case EngineFailed():
                log.error("engine_failed", error=event.message, unfit=event.unfit)
                self.engine_failure = event

    def _batch_done(self, event: EngineStats) -> None:
        self._metrics.batch_ended(event)
        self._totals.batch(event.busy_seconds)

    def _window_done(self, event: WindowDone) -> None:
        if not self._decoding.window_done(event):
            return
        self._totals.window()
        if run := self._decoding.complete(event.job):
            self._work.put(Ending.of(run))

    def _job_rejected(self, event: JobRejected) -> None:
        run = self._decoding.rejected(event.job)
        if run is None:
            return
        kind = TransientError if event.code in _TRANSIENT_REJECTIONS else PermanentError
        with bind(job=run.job.job_id, stage=Stage.INFERENCE):
            self._failed(Ending.of(run), kind(event.code, event.message))

    # -- uploaders -------------------------------------------------------------------------------------------------

    def upload_next(self, timeout: float, on_check: Callable[[], None]) -> bool:
        """Publishes a finished job or saves an unfinished one; False when none was there within `timeout` seconds."""
        try:
            work = self._work.get(timeout=timeout)
        except queue.Empty:
            return False
        if isinstance(work, _Save):
            self._save(work.run, Cancellation(work.run.delivery.lease.cancellation, on_check))
        else:
            self._publish(work, Cancellation(work.delivery.lease.cancellation, on_check))
        return True

    def _publish(self, ending: Ending, cancellation: Cancellation) -> None:
        if ending.run:
            ending.run.enter(Stage.PUBLISH, self._clock.now(), self._metrics)
        with bind(job=ending.job_id, stage=Stage.PUBLISH):
            try:
                outcome = self._finisher.finish(ending, cancellation)
            except Cancelled as cancelled:
                log.info("job_cancelled", reason=cancelled.reason)
                self._end(ending, disposition_of(cancelled.reason))
            except PermanentError as error:  # the output is forbidden
                self._failed(ending, error)
            except Exception:  # see _guarded
                log.exception("publish_crashed")
                self._end(ending, Disposition.RETRY)
            else:
                self._end(ending, Disposition.DELETE, outcome)

    def save(self, *, all_of_it: bool = False) -> None:
        """Has uploaders save the jobs in the engine that are due.

        Args:
            all_of_it: Whatever is finished, due or not.
        """
        due = (lambda _run, unsaved: unsaved > 0) if all_of_it else self._saver.due
        for run in self._decoding.all():
            if self._decoding.begin_save(run, due):
                self._work.put(_Save(run))

    @property
    def saving(self) -> bool:
        """Whether a job is being saved."""
        return self._decoding.saving

    def _save(self, run: JobRun, cancellation: Cancellation) -> None:
        with bind(job=run.job.job_id, stage="checkpoint"):
            try:
                if self._saver.save(run, cancellation) and self._decoding.take(run):
                    self._end(Ending.of(run), Disposition.DELETE, JobOutcome.HANDED_OVER)
            except Cancelled as cancelled:
                log.info("checkpoint_cancelled", reason=cancelled.reason)  # `sweep` ends the job
            except TransientError as error:
                if self._decoding.take(run):
                    self._failed(Ending.of(run), error)
            except Exception:
                # A bug. It costs what a checkpoint would have saved, not the job.
                log.exception("checkpoint_crashed")
            finally:
                if complete := self._saver.end(run):
                    self._work.put(Ending.of(complete))

    # -- ends ------------------------------------------------------------------------------------------------------

    def _guarded(self, run: JobRun, work: Callable[[], None]) -> None:
        """Prepares a job; whatever goes wrong becomes that job's disposition and nobody else's."""
        try:
            work()
        except Cancelled as cancelled:
            log.info("job_cancelled", reason=cancelled.reason)
            self._end(Ending.of(run), disposition_of(cancelled.reason))
        except JobFailedError as error:
            self._failed(Ending.of(run), error)
        except Exception:
            # A bug, met by this input. The message comes back a few times, here or on another node; dying instead
            # would let one message end worker after worker.
            log.exception("job_crashed")
            crash = TransientError(ErrorCode.INTERRUPTED, "the worker met an error of its own; its log has the listing")
            self._failed(Ending.of(run), crash)

    def _failed(self, ending: Ending, error: JobFailedError) -> None:
        receives = ending.delivery.message.receive_count
        final = isinstance(error, PermanentError) or receives >= self._max_receives
        self._metrics.job_error(error.code)
        log.warning("job_failed", code=error.code, error=error.message, final=final, receive_count=receives)
        if final:
            self._work.put(replace(ending, error=error))
        else:
            self._end(ending, Disposition.RETRY)

    def _end(self, ending: Ending, disposition: Disposition, outcome: JobOutcome | None = None) -> None:
        """Lets go of everything that a job holds here, then of its message."""
        outcome = outcome or outcome_of(disposition)
        seconds = 0.0
        if run := ending.run:
            run.scratch.close()
            self._buffer.give_back(run.buffered)
            run.buffered = 0.0
            run.leave(self._clock.now(), self._metrics)
            if run.windows and outcome is JobOutcome.SUCCEEDED:
                seconds = run.windows.audio.seconds
        self._metrics.job_ended(outcome, audio_seconds=seconds)
        log.info("job_ended", outcome=outcome, audio_seconds=round(seconds, 3))
        self.settle(ending.delivery, disposition)
        self._totals.job(outcome, seconds)
        if ending.run:
            with self._lock:
                self._active.pop(ending.run.key, None)

    def settle(self, delivery: Delivery, disposition: Disposition) -> None:
        """Counts one of the delivery's jobs as settled; with the last one, the message meets its disposition."""
        final = delivery.settle(disposition)
        if final is not None:
            self._finisher.dispose(delivery, final, backoff(delivery.message.receive_count))

    # -- cancelling ------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Ends jobs in the engine whose work was called off (a lost lease, a shutdown)."""
        called_off = [(run, run.cancellation.reason) for run in self._decoding.all()]
        # If the last window of one comes in between, the uploader will see the cancellation.
        taken = [(run, reason) for run, reason in called_off if reason is not None and self._decoding.take(run)]
        # There may be hundreds of clips, and a shutdown has no time for as many calls: messages go back ten at a time.
        self._finisher.release([run.delivery for run, reason in taken if disposition_of(reason) is Disposition.RELEASE])
        for run, reason in taken:
            with bind(job=run.job.job_id, stage=Stage.INFERENCE):
                log.info("job_cancelled", reason=reason)
                self._end(Ending.of(run), disposition_of(reason))

    def cancel(self, reason: CancelReason, *stages: Stage) -> None:
        """Calls off the jobs that are in one of the stages."""
        with self._lock:
            runs = [run for run in self._active.values() if run.stage in stages]
        for run in runs:
            run.cancellation.cancel(reason)
        self.sweep()
