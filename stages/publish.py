# SPDX-License-Identifier: Apache-2.0
"""Publish: the transcript and its formats into the store, then `result.json`, which says that they are there.

Any number of workers may publish the same job at once, and any of them may die between two writes:

1. The master is put if absent: the first one stays and decides the content for everybody.
2. Each other format is rendered from the master in the store and put if absent; the first one stays here too, so
   that what a result names never changes. The result names what is in the store, not what was meant.
3. `result.json` comes last: put if absent, or in the place of a failed one. One that succeeded is final.

With `force` the first two replace what is there, and the third replaces exactly the result that was there before
the first began; if it finds another one there, somebody else published meanwhile, and all three are done again. So the
last result always belongs to the last master.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from sqscribe.errors import ErrorCode, JobFailedError, NodeFaultError, PermanentError
from sqscribe.formats import ARTIFACTS, MASTER, master, render
from sqscribe.job import Job, JobRef
from sqscribe.result import (
    RESULT_NAME,
    Artifact,
    ErrorFacts,
    Media,
    ModelFacts,
    Result,
    Timings,
    WorkerFacts,
)
from sqscribe.transcript import JobWarning, Transcript
from sqscribe.urls import split_s3, storable
from stages.ports import Clock, Store
from stages.results import ROUNDS, ExistingResult, ResultStore

__all__ = ["JobFacts", "Publisher"]

log = structlog.get_logger()

#: A message's body, beside the result of a job whose dead letter has no room for it.
MESSAGE_NAME = "message.txt"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What `result.json` tells of the work. What is not known stays None.

    Attributes:
        duration: Seconds of the decoded audio; a master that exists already has its own.
        speech_duration: Seconds of it that were taken for speech.
        attempts: Receives of the message so far.
        origin: Id of the first message of this job's line of copies.
        timings: All but `publish`, which is measured here.
        warnings: What the reader of the result should know of the source, besides the transcript's own.
    """

    origin: str
    attempts: int
    duration: float | None = None
    speech_duration: float | None = None
    model: ModelFacts | None = None
    timings: Timings = field(default_factory=Timings)
    media: Media = field(default_factory=Media)
    warnings: tuple[JobWarning, ...] = ()


class Publisher:
    """Writes a job's objects. Holds no state; thread-safe.

    Every method may be repeated at will. Each calls `fence` before every single write; it raises where the write is
    not allowed (the lease is lost), and that goes through. Besides, all raise what the store raises.
    """

    def __init__(self, store: Store, clock: Clock, worker: WorkerFacts) -> None:
        self._store = store
        self._results = ResultStore(store)
        self._clock = clock
        self._worker = worker

    def existing(self, job: Job | JobRef) -> ExistingResult:
        """Looks at the `result.json` of a job, or of a message that cannot be one.

        Raises:
            PermanentError: `output_forbidden`, when something else is in its place and the job does not force.
        """
        return self._results.existing(job.ref, force=job.force) if isinstance(job, Job) else self._results.existing(job)

    def succeed(self, job: Job, transcript: Transcript, facts: JobFacts, fence: Callable[[], None]) -> Result:
        """Publishes a transcript, or completes what somebody else published first.

        Returns:
            The result that is in the store in the end.

        Raises:
            PermanentError: `unsupported_option`, when the master in the store lacks the words that the job asks for;
                `output_forbidden`, when something else is in the master's or the result's place.
        """
        begun = self._clock.now()
        if job.force:
            return self._force(job, transcript, facts, fence, begun)
        ours = master.dump(transcript)
        body = self._put_first(_url(job, MASTER), ours, ARTIFACTS[MASTER].content_type, fence)
        if body != ours:
            log.info("master_adopted", job=job.job_id)
        existing = self._read_master(job, body)
        _require_words(job, existing)
        artifacts = [_artifact(job, MASTER, body)]
        artifacts += [self._add(job, name, existing, fence) for name in job.formats if name != MASTER]
        return self._results.conclude(job.ref, self._success(job, existing, facts, artifacts, begun), fence)

    def complete(self, job: Job, result: Result, fence: Callable[[], None]) -> Result:
        """Adds the formats that a finished job lacks, from the master in the store. The result stays as it is.

        Args:
            job: What is asked for now.
            result: The succeeded result in the store.
            fence: Called before each write.

        Returns:
            `result`.

        Raises:
            PermanentError: `output_forbidden`, when the master is no longer beside its result;
                `unsupported_option`, when it lacks the words that the job asks for.
        """
        named = {artifact.format for artifact in result.artifacts}
        missing = [name for name in job.formats if name not in named and not self._store.exists(_url(job, name))]
        if missing:
            stored = self._store.get(_url(job, MASTER))
            if stored is None:
                raise PermanentError(
                    ErrorCode.OUTPUT_FORBIDDEN,
                    f"{_url(job, MASTER)} is gone, though its result stands; send the job with force to do it again",
                )
            transcript = self._read_master(job, stored.body)
            _require_words(job, transcript)
            for name in missing:
                self._add(job, name, transcript, fence)
        return result

    def fail(self, ref: JobRef, error: JobFailedError, facts: JobFacts, fence: Callable[[], None]) -> Result:
        """Records a failure, unless the job has succeeded elsewhere.

        Args:
            ref: The job's, or that of a message that cannot be one.
            error: Why.
            facts: What is known of the work.
            fence: Called before each write.

        Returns:
            The result that is in the store in the end.

        Raises:
            PermanentError: `output_forbidden`, when something else is in the result's place.
        """
        ours = Result(
            job_id=ref.job_id,
            status="failed",
            source=storable(ref.source) if ref.source else None,
            output=ref.output,
            duration=facts.duration,
            speech_duration=facts.speech_duration,
            model=facts.model,
            attempts=facts.attempts,
            origin=facts.origin,
            timings=facts.timings,
            worker=self._worker,
            finished_at=self._now(),
            metadata=ref.metadata,
            media=facts.media,
            error=ErrorFacts(error.code, error.message),
        )
        return self._results.conclude(ref, ours, fence)

    def keep_message(self, ref: JobRef, body: str, fence: Callable[[], None]) -> str:
        """Puts a message's body beside its job's result, where a dead letter has no room for it.

        Returns:
            Its address.
        """
        url = ref.url(MESSAGE_NAME)
        fence()
        self._store.put(url, body.encode(errors="replace"), "text/plain; charset=utf-8")
        return url

    # -- the master and its formats --------------------------------------------------------------------------------

    def _put_first(self, url: str, body: bytes, content_type: str, fence: Callable[[], None]) -> bytes:
        """Puts the object if there is none; gives the bytes that are there afterwards."""
        fence()
        if self._store.put_if_absent(url, body, content_type):
            return body
        stored = self._store.get(url)
        if stored is None:
            raise NodeFaultError(f"{url} was removed while its job was published")
        return stored.body

    def _read_master(self, job: Job, body: bytes) -> Transcript:
        try:
            return master.load(body)
        except ValueError as error:
            raise PermanentError(
                ErrorCode.OUTPUT_FORBIDDEN,
                f"{_url(job, MASTER)} stands and is no transcript ({error}); remove it, or send the job with force",
            ) from None

    def _add(self, job: Job, name: str, transcript: Transcript, fence: Callable[[], None]) -> Artifact:
        body = render(name, transcript, job.render_options)
        return _artifact(job, name, self._put_first(_url(job, name), body, ARTIFACTS[name].content_type, fence))

    def _overwrite(self, job: Job, name: str, transcript: Transcript, fence: Callable[[], None]) -> Artifact:
        body = render(name, transcript, job.render_options)
        fence()
        self._store.put(_url(job, name), body, ARTIFACTS[name].content_type)
        return _artifact(job, name, body)

    def _force(
        self, job: Job, transcript: Transcript, facts: JobFacts, fence: Callable[[], None], begun: float
    ) -> Result:
        _require_words(job, transcript)
        for _ in range(ROUNDS):
            existing = self._results.existing(job.ref, force=True)
            if existing.result and existing.succeeded and existing.origin == facts.origin:
                return self.complete(job, existing.result, fence)  # this message has forced its way already
            # Formats that were asked for earlier must not go on telling the old text.
            there = self._store.keys(job.url(""))
            names = dict.fromkeys([*job.formats, *(name for name in ARTIFACTS if _url(job, name) in there)])
            artifacts = [self._overwrite(job, name, transcript, fence) for name in names]
            ours = self._success(job, transcript, facts, artifacts, begun)
            if self._results.replace(job.ref, ours, existing.etag, fence):
                return ours
        raise NodeFaultError(f"{job.url(RESULT_NAME)} keeps changing; somebody else forces the same job over and over")

    def _success(
        self, job: Job, transcript: Transcript, facts: JobFacts, artifacts: Sequence[Artifact], begun: float
    ) -> Result:
        return Result(
            job_id=job.job_id,
            status="succeeded",
            source=storable(job.source),
            output=job.output,
            language=transcript.language,
            duration=transcript.duration,
            speech_duration=facts.speech_duration,
            artifacts=tuple(artifacts),
            model=facts.model,
            attempts=facts.attempts,
            origin=facts.origin,
            timings=replace(facts.timings, publish=round(self._clock.now() - begun, 3)),
            worker=self._worker,
            finished_at=self._now(),
            metadata=job.metadata,
            media=facts.media,
            warnings=(*facts.warnings, *transcript.warnings),
        )

    def _now(self) -> str:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _url(job: Job, name: str) -> str:
    return job.url(ARTIFACTS[name].name)


def _artifact(job: Job, name: str, body: bytes) -> Artifact:
    return Artifact(name, split_s3(_url(job, name)).key, len(body), hashlib.sha256(body).hexdigest())


def _require_words(job: Job, transcript: Transcript) -> None:
    wanted = job.word_timestamps and any(ARTIFACTS[name].uses_words for name in job.formats)
    if wanted and transcript.segments and all(segment.words is None for segment in transcript.segments):
        raise PermanentError(
            ErrorCode.UNSUPPORTED_OPTION,
            "word_timestamps: the transcript that stands was made by a model that gives words no times",
        )
