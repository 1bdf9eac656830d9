# SPDX-License-Identifier: Apache-2.0
"""What an uploader thread does with a job that has ended: assemble, publish, dead-letter, and let the message go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import structlog

from sqscribe.errors import ErrorCode, JobFailedError, PermanentError, TransientError
from sqscribe.job import JobRef
from sqscribe.result import ModelFacts, Result, Timings
from sqscribe.transcript import Transcript
from stages.assemble import assemble
from stages.ports import Cancellation
from stages.publish import JobFacts, Publisher
from worker.jobs.dead_letters import DeadLetters, Letter
from worker.jobs.engine_status import EngineStatus
from worker.jobs.run import JobRun
from worker.jobs.saving import CheckpointSaver
from worker.leases import LeaseTable
from worker.leases.deleter import Deleter
from worker.node.faults import NodeFaults
from worker.outcomes import Disposition, JobOutcome
from worker.receive.delivery import Delivery
from worker.receive.messages import Rejected

__all__ = ["Ending", "Finisher"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that has left the engine, or never came so far, with how it ended.

    Attributes:
        run: The job; None for a message, or a record of one, that never became a job.
        rejected: Such a message or record.
        error: Why it failed for good; None when it succeeded.
        existing: A succeeded result that the store held before.
    """

    delivery: Delivery
    job_id: str
    run: JobRun | None = None
    rejected: Rejected | None = None
    error: JobFailedError | None = None
    existing: Result | None = None

    @property
    def ref(self) -> JobRef:
        """Where its result is written."""
        if self.run:
            return self.run.job.ref
        if self.rejected:
            return self.rejected.ref
        raise RuntimeError("an ending has a job or a rejected record")

    @classmethod
    def of(cls, run: JobRun, *, error: JobFailedError | None = None, existing: Result | None = None) -> Ending:
        """The ending of a job: a success unless an error is given."""
        return cls(run.delivery, run.job.job_id, run=run, error=error, existing=existing)

    @classmethod
    def rejection(cls, delivery: Delivery, rejected: Rejected) -> Ending:
        """The ending of a message, or a record of one, that never became a job."""
        return cls(delivery, rejected.job_id, rejected=rejected, error=rejected.error)


class Finisher:
    """Publishes endings and disposes of messages. Used by all uploaders at once.

    Args:
        dead_letters: Sends a letter of each message that fails for good.
        output: The worker's own, where a failure is recorded that its job's own output refuses.
    """

    def __init__(
        self,
        publisher: Publisher,
        saver: CheckpointSaver,
        dead_letters: DeadLetters,
        leases: LeaseTable,
        deleter: Deleter,
        faults: NodeFaults,
        engine: EngineStatus,
        output: str | None = None,
    ) -> None:
        self._publisher = publisher
        self._saver = saver
        self._dead_letters = dead_letters
        self._leases = leases
        self._deleter = deleter
        self._faults = faults
        self._engine = engine
        self._output = output

    def finish(self, ending: Ending, cancellation: Cancellation) -> JobOutcome:
        """Writes result and artifacts to the store and, after a failure, sends the dead letter. Steps may be repeated.

        Raises:
            Cancelled: The lease is lost, or the worker stops.
            PermanentError: `output_forbidden`: the transcript cannot be written.
            TransientError: A step fails for this job alone.
        """
        fence = partial(ending.delivery.fence, cancellation)
        run = ending.run
        if ending.error is not None:
            self._give_up(ending, ending.error, fence, cancellation)
            return JobOutcome.FAILED
        if run is None:
            raise RuntimeError("an ending without an error has a job")
        if ending.existing is not None:
            complete = partial(self._publisher.complete, run.job, ending.existing, fence)
            self._faults.outlast("publish", complete, cancellation)
            self._saver.clear(run, cancellation)
            return JobOutcome.ALREADY_DONE
        transcript = _transcript(run)
        succeed = partial(self._publisher.succeed, run.job, transcript, self._facts(ending), fence)
        self._faults.outlast("publish", succeed, cancellation)
        self._saver.clear(run, cancellation)
        return JobOutcome.SUCCEEDED

    def dispose(self, delivery: Delivery, disposition: Disposition, delay: int) -> None:
        """Lets go of a message all of whose jobs are settled. Never waits for the queue longer than its time-outs.

        Args:
            delivery: The message.
            disposition: What becomes of it.
            delay: Seconds until a message with a transient failure comes back.
        """
        match disposition:
            case Disposition.DELETE:
                self._deleter.delete(delivery.lease)
            case Disposition.RETRY:
                self._leases.release([delivery.lease], delay)
            case Disposition.RELEASE:
                self._leases.release([delivery.lease])
            case Disposition.ABANDON:
                pass  # the table has dropped it; somebody else may have the message
            case _:
                assert_never(disposition)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Makes the messages of jobs that were called off visible again, as far as each holds a single job.

        Together that takes fewer requests than one by one. A later `dispose` of them does nothing more.
        """
        self._leases.release([delivery.lease for delivery in deliveries if delivery.single_job])

    # -- success ---------------------------------------------------------------------------------------------------

    def _facts(self, ending: Ending) -> JobFacts:
        delivery, run, info = ending.delivery, ending.run, self._engine.info
        model = ModelFacts(info.name, info.revision, info.compute_type) if info else None
        if run is None:
            return JobFacts(origin=delivery.origin, attempts=delivery.message.receive_count, model=model)
        windows = run.windows
        return JobFacts(
            origin=delivery.origin,
            attempts=delivery.message.receive_count,
            model=model,
            duration=round(windows.audio.seconds, 3) if windows else None,
            speech_duration=round(windows.speech, 3) if windows else None,
            timings=Timings(**{stage.value: round(seconds, 3) for stage, seconds in run.timings.items()}),
            media=run.media,
        )

    # -- failure ---------------------------------------------------------------------------------------------------

    def _give_up(
        self, ending: Ending, error: JobFailedError, fence: Callable[[], None], cancellation: Cancellation
    ) -> None:
        """Records a failure and sends its dead letter.

        A message with one job comes again only if the worker died: whatever was done is repeated. One with several
        comes again for the sake of the others; there the letter goes first, so that the record says that it was sent.
        """
        record = partial(self._record, ending, error, fence, cancellation)
        letter = partial(self._dead_letters.send, self._letter(ending, error), fence)
        if ending.delivery.single_job:
            record()
            self._faults.outlast("dead_letter", letter, cancellation)
        elif not self._is_recorded(ending, cancellation):
            self._faults.outlast("dead_letter", letter, cancellation)
            record()

    def _is_recorded(self, ending: Ending, cancellation: Cancellation) -> bool:
        if not ending.delivery.redelivered:
            return False
        look = partial(self._publisher.existing, ending.ref)
        try:
            existing = self._faults.outlast("look_up", look, cancellation)
        except PermanentError:  # there is another object, which is not ours to replace
            return False
        return existing.failed and existing.origin == ending.delivery.origin

    def _record(
        self, ending: Ending, error: JobFailedError, fence: Callable[[], None], cancellation: Cancellation
    ) -> None:
        """Records a failure where its job wants it, or else below the worker's own output.

        Raises:
            TransientError: Neither can be, and there is no dead letter to tell of it: nothing is given up in silence.
        """
        facts = self._facts(ending)
        for output in dict.fromkeys([ending.ref.output, self._output or ending.ref.output]):
            fail = partial(self._publisher.fail, replace(ending.ref, output=output), error, facts, fence)
            try:
                self._faults.outlast("publish", fail, cancellation)
            except JobFailedError as refusal:
                log.warning("failure_not_recorded", output=output, code=refusal.code, error=refusal.message)
            else:
                return
        if not self._dead_letters.sends:
            raise TransientError(ErrorCode.STORAGE_UNAVAILABLE, f"its failure cannot be recorded: {error.message}")

    def _letter(self, ending: Ending, error: JobFailedError) -> Letter:
        """Of the message, or of the one record of it that failed."""
        message, run = ending.delivery.message, ending.run
        short = run.job.body() if run else None
        if ending.delivery.single_job:
            return Letter(message, ending.ref, message.body, short, error)
        if run:
            return Letter(message, ending.ref, run.job.body(), None, error)
        return Letter(message, ending.ref, ending.rejected.body if ending.rejected else message.body, None, error)


def _transcript(run: JobRun) -> Transcript:
    if run.windows is None:
        raise RuntimeError("a job without windows has no transcript")
    language = run.language if run.job.language is None else run.job.language
    return assemble(
        run.windows,
        run.results,
        language,
        run.language_probability,
        multi=run.job.language == "multi",
    )
