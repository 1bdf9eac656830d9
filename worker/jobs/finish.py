# SPDX-License-Identifier: Apache-2.0
"""What an uploader thread does with a job that has ended: assemble, publish, dead-letter, and let the message go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import structlog

from sqscribe.errors import JobFailedError, PermanentError
from sqscribe.job import JobRef
from sqscribe.result import ModelFacts, Result, Timings
from sqscribe.transcript import Transcript
from stages.assemble import assemble
from stages.inference.protocol import EngineInfo
from stages.ports import Cancellation
from stages.publish import JobFacts, Publisher
from worker.jobs.checkpoint import Checkpoints
from worker.jobs.run import JobRun
from worker.leases import Lease, LeaseTable
from worker.leases.deleter import Deleter
from worker.node.faults import NodeFaults
from worker.outcomes import Disposition, JobOutcome
from worker.queues import Outgoing, Queue
from worker.receive.delivery import Delivery
from worker.receive.messages import Rejected

__all__ = ["Ending", "Finisher"]

log = structlog.get_logger()

#: Most bytes of the `error_message` attribute of a dead letter.
ERROR_MESSAGE_BYTES = 1024
#: Most attributes of an SQS message.
MAX_ATTRIBUTES = 10


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that has left the engine, or never came so far, with how it ended.

    Attributes:
        run: Its record; None for a message or record that never became a job.
        rejected: That record.
        error: Why it failed for good; None when it succeeded.
        existing: A succeeded result that stood already.
    """

    delivery: Delivery
    job_id: str
    run: JobRun | None = None
    rejected: Rejected | None = None
    error: JobFailedError | None = None
    existing: Result | None = None

    @property
    def ref(self) -> JobRef:
        """What its record is about."""
        if self.run:
            return self.run.job.ref
        if self.rejected:
            return self.rejected.ref
        raise RuntimeError("an ending has a job or a rejected record")

    @classmethod
    def of(cls, run: JobRun, *, error: JobFailedError | None = None, existing: Result | None = None) -> Ending:
        """The ending of a job: success unless told otherwise."""
        return cls(run.delivery, run.job.job_id, run=run, error=error, existing=existing)

    @classmethod
    def rejection(cls, delivery: Delivery, rejected: Rejected) -> Ending:
        """The ending of something that never became a job."""
        return cls(delivery, rejected.job_id, rejected=rejected, error=rejected.error)


class Finisher:
    """Publishes endings and disposes of messages. Used by all uploaders at once.

    Args:
        dead_letter_url: None: messages that fail for good are only deleted.
    """

    def __init__(
        self,
        publisher: Publisher,
        checkpoints: Checkpoints,
        queue: Queue,
        leases: LeaseTable,
        deleter: Deleter,
        faults: NodeFaults,
        dead_letter_url: str | None,
    ) -> None:
        self._publisher = publisher
        self._checkpoints = checkpoints
        self._queue = queue
        self._leases = leases
        self._deleter = deleter
        self._faults = faults
        self._dead_letter_url = dead_letter_url
        self._model: ModelFacts | None = None

    def engine_ready(self, info: EngineInfo) -> None:
        """Notes what `result.json` says of the model."""
        self._model = ModelFacts(name=info.name, revision=info.revision, compute_type=info.compute_type)

    def finish(self, ending: Ending, cancellation: Cancellation) -> JobOutcome:
        """Writes what is to stand in S3 and, of a failure, sends the dead letter; each step may be repeated.

        Raises:
            Cancelled: The lease is lost, or the worker stops.
            PermanentError: `output_forbidden`: the transcript cannot be written.
        """
        fence = partial(self._fence, ending.delivery.lease, cancellation)
        run = ending.run
        if ending.error is not None:
            self._give_up(ending, ending.error, fence, cancellation)
            return JobOutcome.FAILED
        if run is None:
            raise RuntimeError("an ending without an error has a job")
        if ending.existing is not None:
            complete = partial(self._publisher.complete, run.job, ending.existing, fence)
            self._faults.outlast("publish", complete, cancellation)
            if ending.delivery.redelivered:
                self._clear(run, cancellation)
            return JobOutcome.ALREADY_DONE
        transcript = _transcript(run)
        succeed = partial(self._publisher.succeed, run.job, transcript, self._facts(ending), fence)
        self._faults.outlast("publish", succeed, cancellation)
        if run.checkpoint.exists:
            self._clear(run, cancellation)
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

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Makes the messages of jobs that were called off visible again, as far as each is about one job alone.

        Together that takes fewer requests than one by one; to dispose of them later does nothing more.
        """
        self._leases.release([delivery.lease for delivery in deliveries if delivery.single_job])

    # -- success ---------------------------------------------------------------------------------------------------

    def _clear(self, run: JobRun, cancellation: Cancellation) -> None:
        """Removes the job's checkpoints; its result stands, so nobody goes on from them any more."""
        self._checkpoints.remove(run.job, lambda: cancellation.reason is not None)

    def _facts(self, ending: Ending) -> JobFacts:
        delivery, run = ending.delivery, ending.run
        if run is None:
            return JobFacts(origin=delivery.origin, attempts=delivery.message.receive_count, model=self._model)
        windows = run.windows
        return JobFacts(
            origin=delivery.origin,
            attempts=delivery.message.receive_count,
            model=self._model,
            duration=round(windows.audio.seconds, 3) if windows else None,
            speech_duration=round(windows.speech, 3) if windows else None,
            timings=Timings(**{stage.value: round(seconds, 3) for stage, seconds in run.timings.items()}),
            media=run.media,
        )

    def _fence(self, lease: Lease, cancellation: Cancellation) -> None:
        """Before each write: waits while the lease is in doubt, refuses once it is lost."""
        cancellation.check()
        lease.fence()

    # -- failure ---------------------------------------------------------------------------------------------------

    def _give_up(
        self, ending: Ending, error: JobFailedError, fence: Callable[[], None], cancellation: Cancellation
    ) -> None:
        """Records a failure and sends its dead letter.

        A message with one job comes again only if the worker died: whatever was done is repeated. One with several
        comes again for the sake of the others; there the letter goes first, so that the record says that it was sent.
        """
        record = partial(self._record_failure, ending, error, fence, cancellation)
        letter = partial(self._dead_letter, ending, error, fence)
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
        except PermanentError:  # something else stands there, which is not ours to replace
            return False
        return existing.failed and existing.origin == ending.delivery.origin

    def _record_failure(
        self, ending: Ending, error: JobFailedError, fence: Callable[[], None], cancellation: Cancellation
    ) -> None:
        fail = partial(self._publisher.fail, ending.ref, error, self._facts(ending), fence)
        try:
            self._faults.outlast("publish", fail, cancellation)
        except PermanentError as refusal:
            # Where nothing may be written, the dead letter alone tells what became of the job.
            log.warning("failure_not_recorded", code=refusal.code, error=refusal.message)

    def _dead_letter(self, ending: Ending, error: JobFailedError, fence: Callable[[], None]) -> None:
        """Copies the message, or the one record of it that failed, to the dead-letter queue."""
        if self._dead_letter_url is None:
            return
        message = ending.delivery.message
        if ending.delivery.single_job:
            body = message.body
        elif ending.run:
            body = ending.run.job.body()
        else:
            body = ending.rejected.body if ending.rejected else message.body
        why = {"error_code": str(error.code), "error_message": _clipped(error.message)}
        # A letter that somebody puts back into the queue is a new job, not a copy of this line of work.
        kept = [name for name in message.attributes if name not in why and not name.startswith("sqscribe_")]
        kept = kept[: MAX_ATTRIBUTES - len(why)]
        fence()
        self._queue.send(
            self._dead_letter_url,
            Outgoing(
                body=body,
                attributes={name: message.attributes[name] for name in kept} | why,
                group_id=message.group_id,
                # The same failure of the same message is one dead letter, even if it is sent twice.
                deduplication_id=sha256(f"{message.id}/{ending.job_id}".encode()).hexdigest(),
            ),
        )
        log.info("dead_lettered", message=message.id, code=error.code)


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


def _clipped(text: str) -> str:
    """At most `ERROR_MESSAGE_BYTES` of UTF-8 in characters that SQS takes."""
    allowed = "".join(letter if letter in "\t\n\r" or letter.isprintable() else "\ufffd" for letter in text)
    return allowed.encode()[:ERROR_MESSAGE_BYTES].decode(errors="ignore") or "unknown"
