# SPDX-License-Identifier: Apache-2.0
"""The pipeline: leads each job through downloader, engine and uploader, and decides what becomes of its message.

Nothing here starts a thread. Downloaders call `prepare`, the engine calls `on_event`, uploaders call `upload_next`,
the daemon calls `sweep`.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import assert_never

import structlog

from sqscribe.errors import (
    Cancelled,
    CancelReason,
    ErrorCode,
    JobFailedError,
    PermanentError,
    TransientError,
    job_failure,
)
from sqscribe.logs import bind
from stages.inference.protocol import (
    EngineEvent,
    EngineFailed,
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
from worker.jobs.active import ActiveJobs
from worker.jobs.buffer import AudioBuffer
from worker.jobs.engine_status import EngineStatus
from worker.jobs.finish import Ending, Finisher
from worker.jobs.in_engine import JobsInEngine
from worker.jobs.prepare import Preparer
from worker.jobs.room import Room
from worker.jobs.run import JobRun
from worker.jobs.saving import AfterSave, CheckpointSaver
from worker.node.faults import NodeFaults
from worker.outcomes import Disposition, JobOutcome, Stage, backoff, disposition_of, outcome_of
from worker.receive.delivery import Delivery
from worker.receive.intake import Task
from worker.receive.messages import Rejected
from worker.telemetry.metrics import Metrics
from worker.telemetry.totals import Totals, TotalsSnapshot

__all__ = ["Pipeline"]

log = structlog.get_logger()


class Pipeline:
    """Leads every job from its message to its end.

    Args:
        max_receives: Receives after which a transient failure is final.

    Attributes:
        jobs: Those that are under way.
    """

    def __init__(
        self,
        *,
        preparer: Preparer,
        in_engine: JobsInEngine,
        saver: CheckpointSaver,
        finisher: Finisher,
        publisher: Publisher,
        engine: EngineStatus,
        buffer: AudioBuffer,
        room: Room,
        faults: NodeFaults,
        metrics: Metrics,
        clock: Clock,
        max_receives: int,
    ) -> None:
        self._preparer = preparer
        self._in_engine = in_engine
        self._saver = saver
        self._finisher = finisher
        self._publisher = publisher
        self._engine = engine
        self._buffer = buffer
        self._room = room
        self._faults = faults
        self._metrics = metrics
        self._clock = clock
        self._max_receives = max_receives
        self.jobs = ActiveJobs(clock)
        self._totals = Totals()
        self._work: queue.SimpleQueue[Ending | JobRun] = queue.SimpleQueue()  # to be published, to be saved

    # -- what the daemon asks --------------------------------------------------------------------------------------

    def totals(self) -> TotalsSnapshot:
        """What this worker has done since it was built."""
        return self._totals.totals

    def room(self) -> int:
        """How many more messages there is room for."""
        return self._room.messages(backlog=self._work.qsize())

    # -- downloaders -----------------------------------------------------------------------------------------------

    def prepare(self, task: Task, on_check: Callable[[], None]) -> None:
        """Takes one job as far as the engine, or to its end. No error of the job leaves this.

        Args:
            task: What was received.
            on_check: Called every second or so while the work gets on.
        """
        cancellation = Cancellation(task.delivery.lease.cancellation, on_check)
        if isinstance(task.job, Rejected):
            self._reject(task.delivery, task.job)
            return
        run = self.jobs.begin(task.job, task.delivery, cancellation)
        with bind(job=run.job.job_id, stage="prepare"):
            self._guarded(run, lambda: self._prepare(run))

    def _prepare(self, run: JobRun) -> None:
        info = self._engine.info
        if info is None:
            raise RuntimeError("a job was begun before the engine was ready")
        check_options(run.job, info)
        existing = self._faults.outlast("look_up", lambda: self._publisher.existing(run.job), run.cancellation)
        if existing.succeeded and not (run.job.force and existing.origin != run.delivery.origin):
            self._work.put(Ending.of(run, existing=existing.result))
            return
        if self._saver.superseded(run, failed_before=existing.failed):
            self._end(Ending.of(run), Disposition.DELETE, JobOutcome.SUPERSEDED)
            return
        if existing.failed and existing.origin == run.delivery.origin:
            # Recorded by an attempt that died before it had dead-lettered the message: only that is repeated.
            self._work.put(Ending.of(run, error=existing.error))
            return
        if self._saver.hand_over(run, run.cancellation):
            self._end(Ending.of(run), Disposition.DELETE, JobOutcome.HANDED_OVER)
            return
        run.windows = windows = self._preparer.prepare(run, partial(self._saver.resume, run, info))
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
        self._room.note_length(windows.audio.seconds * len(windows.audio.voices))
        seconds = sum(window.seconds for window in missing)
        self._buffer.admit(seconds, run.cancellation)
        run.buffered = seconds
        run.enter(Stage.INFERENCE, self._clock.now(), self._metrics)
        self._in_engine.begin(run)

    def _reject(self, delivery: Delivery, rejected: Rejected) -> None:
        with bind(job=rejected.job_id, stage="receive"):
            log.warning("job_rejected", code=rejected.error.code, error=rejected.error.message)
        self._metrics.job_error(rejected.error.code)
        self._work.put(Ending.rejection(delivery, rejected))

    # -- the engine ------------------------------------------------------------------------------------------------

    def on_event(self, event: EngineEvent) -> None:
        """Handles an event of the engine, on the engine's thread."""
        match event:
            case WindowDone():
                self._window_done(event)
            case EngineStats():
                self._batch_done(event)
            case JobLanguage():
                self._in_engine.settle_language(event)
            case JobRejected():
                self._job_rejected(event)
            case EngineReady() | EngineLost() | EngineFailed():
                self._engine.changed(event)
            case _:
                assert_never(event)

    def _batch_done(self, event: EngineStats) -> None:
        self._metrics.batch_ended(event)
        self._totals.batch(event.busy_seconds)

    def _window_done(self, event: WindowDone) -> None:
        if not self._in_engine.window_done(event):
            return
        self._totals.window()
        run = self._in_engine.complete(event.job_key)
        if run and self._saver.may_publish(run):
            self._work.put(Ending.of(run))

    def _job_rejected(self, event: JobRejected) -> None:
        run = self._in_engine.rejected(event.job_key)
        if run is None:
            return
        with bind(job=run.job.job_id, stage=Stage.INFERENCE):
            self._failed(Ending.of(run), job_failure(event.code, event.message))

    # -- uploaders -------------------------------------------------------------------------------------------------

    def upload_next(self, timeout: float, on_check: Callable[[], None]) -> bool:
        """Publishes a finished job or saves an unfinished one; False when none was there within `timeout` seconds."""
        try:
            work = self._work.get(timeout=timeout)
        except queue.Empty:
            return False
        cancellation = Cancellation(work.delivery.lease.cancellation, on_check)
        if isinstance(work, JobRun):
            self._save(work, cancellation)
        else:
            self._publish(work, cancellation)
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
            except JobFailedError as error:
                # The output is forbidden or fails for this job alone; or nothing can tell of one that has failed.
                if ending.error is None:
                    self._failed(ending, error)
                else:
                    log.warning("failure_not_told", code=error.code, error=error.message)
                    self._end(ending, Disposition.RETRY)
            except Exception:  # see _guarded
                log.exception("publish_crashed")
                self._end(ending, Disposition.RETRY)
            else:
                self._end(ending, Disposition.DELETE, outcome)

    def save(self, *, all_of_it: bool = False) -> None:
        """Has uploaders save the jobs in the engine that are due.

        Args:
            all_of_it: Save whatever is finished, due or not.
        """
        for run in self._saver.due(all_of_it=all_of_it):
            self._work.put(run)

    @property
    def saving(self) -> bool:
        """Whether a job is being saved."""
        return self._saver.saving

    def _save(self, run: JobRun, cancellation: Cancellation) -> None:
        with bind(job=run.job.job_id, stage="checkpoint"):
            try:
                after = self._saver.save(run, cancellation)
            except TransientError as error:  # its message may have no more copies
                self._failed(Ending.of(run), error)
                return
            match after:
                case AfterSave.IN_ENGINE:
                    pass
                case AfterSave.COMPLETE:
                    self._work.put(Ending.of(run))
                case AfterSave.HANDED_OVER:
                    self._end(Ending.of(run), Disposition.DELETE, JobOutcome.HANDED_OVER)
                case _:
                    assert_never(after)

    # -- ends ------------------------------------------------------------------------------------------------------

    def _guarded(self, run: JobRun, work: Callable[[], None]) -> None:
        """Prepares a job; whatever goes wrong ends this job and no other."""
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
        """Gives back everything that a job holds in this worker, then lets its message go."""
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
            self.jobs.end(ending.run)

    def settle(self, delivery: Delivery, disposition: Disposition) -> None:
        """Counts one of the delivery's jobs as settled; after the last one, the message is disposed of."""
        final = delivery.settle(disposition)
        if final is not None:
            self._finisher.dispose(delivery, final, backoff(delivery.message.receive_count))

    # -- cancelling ------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Ends jobs in the engine whose work was called off (a lost lease, a shutdown)."""
        called_off = [(run, run.cancellation.reason) for run in self._in_engine.all()]
        # A job whose last window comes in between is left: its uploader will see the cancellation.
        taken = [(run, reason) for run, reason in called_off if reason is not None and self._in_engine.take(run)]
        # There may be hundreds of clips, and a shutdown has no time for as many calls: messages go back ten at a time.
        self._finisher.release([run.delivery for run, reason in taken if disposition_of(reason) is Disposition.RELEASE])
        for run, reason in taken:
            with bind(job=run.job.job_id, stage=Stage.INFERENCE):
                log.info("job_cancelled", reason=reason)
                self._end(Ending.of(run), disposition_of(reason))

    def cancel(self, reason: CancelReason, *stages: Stage) -> None:
        """Calls off the jobs that are in one of the stages."""
        for run in self.jobs.within(*stages):
            run.cancellation.cancel(reason)
        self.sweep()
