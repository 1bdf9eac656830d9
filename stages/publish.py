# SPDX-License-Identifier: Apache-2.0
"""Publish: the transcript and its formats into the store, then `result.json`, which says that they stand.

Any number of workers may publish the same job at once, and any of them may die between two writes:

1. The master is put if absent: the first one stands and decides the content for everybody.
2. Each other format is rendered from the master that stands and put if absent; the first one stands here too, so
   that what a result names never changes. The result names what stands, not what was meant.
3. `result.json` comes last: put if absent, or in the place of a failed one. One that succeeded is final.

With `force` the first two write whatever stands, and the third replaces exactly the result that stood before the
first began; if it finds another one there, somebody else published meanwhile, and all three are done again. So the
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
from sqscribe.transcript import Transcript
from sqscribe.urls import split_s3, storable
from stages.ports import Clock, Store

__all__ = ["ExistingResult", "JobFacts", "Publisher"]

log = structlog.get_logger()

#: How often a `result.json` may change under our hands before the node takes a pause.
ROUNDS = 5

RESULT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What `result.json` tells of the work. What is not known stays None.

    Attributes:
        duration: Seconds of the decoded audio; that of a standing master goes before it.
        speech_duration: Seconds of it that were taken for speech.
        attempts: Receives of the message so far.
        origin: Id of the first message of this job's line of copies.
        timings: All but `publish`, which is measured here.
    """

    origin: str
    attempts: int
    duration: float | None = None
    speech_duration: float | None = None
    model: ModelFacts | None = None
    timings: Timings = field(default_factory=Timings)
    media: Media = field(default_factory=Media)


@dataclass(frozen=True, slots=True)
class ExistingResult:
    """The `result.json` that stands for a job.

    Attributes:
        result: None where none stands, or where `force` is to replace something that is no result.
        etag: None where none stands.
    """

    result: Result | None = None
    etag: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the job is done."""
        return self.result is not None and self.result.succeeded

    @property
    def failed(self) -> bool:
        """Whether the job was given up."""
        return self.result is not None and not self.result.succeeded

    @property
    def origin(self) -> str | None:
        """Id of the message that it was written for."""
        return self.result.origin if self.result else None

    @property
    def error(self) -> PermanentError:
        """Why the job was given up.

        Raises:
            ValueError: It was not, or for a reason that this version does not know.
        """
        if self.result is None or self.result.error is None:
            raise ValueError("no failure stands")
        return PermanentError(ErrorCode(self.result.error.code), self.result.error.message)


class Publisher:
    """Writes what stands in S3 for a job. Holds no state; thread-safe.

    Every method may be repeated at will. Each calls `fence` before every single write; it raises where the write is
    not allowed (the lease is lost), and that goes through. Besides, all raise what the store raises.
    """

    def __init__(self, store: Store, clock: Clock, worker: WorkerFacts) -> None:
        self._store = store
        self._clock = clock
        self._worker = worker

    def existing(self, job: Job | JobRef) -> ExistingResult:
        """Looks at the `result.json` of a job, or of a message that cannot be one.

        Raises:
            PermanentError: `output_forbidden`, when something else stands in its place and the job does not force.
        """
        return self._existing(job.ref, force=job.force) if isinstance(job, Job) else self._existing(job)

    def succeed(self, job: Job, transcript: Transcript, facts: JobFacts, fence: Callable[[], None]) -> Result:
        """Publishes a transcript, or completes what somebody else published first.

        Returns:
            The result that stands in the end.

        Raises:
            PermanentError: `unsupported_option`, when the master that stands lacks the words that the job asks for;
                `output_forbidden`, when something else stands in the master's or the result's place.
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
        return self._conclude(job.ref, self._success(job, existing, facts, artifacts, begun), fence)

    def complete(self, job: Job, result: Result, fence: Callable[[], None]) -> Result:
        """Adds the formats that a finished job lacks, from the master that stands. The result stays as it is.

        Args:
            job: What is asked for now.
            result: The succeeded result that stands.
            fence: See above.

        Returns:
            `result`.

        Raises:
            PermanentError: `output_forbidden`, when the master no longer stands beside its result;
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
            facts: As far as the work came.
            fence: See above.

        Returns:
            The result that stands in the end.

        Raises:
            PermanentError: `output_forbidden`, when something else stands in the result's place.
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
        return self._conclude(ref, ours, fence)

    # -- the master and its formats --------------------------------------------------------------------------------

    def _put_first(self, url: str, body: bytes, content_type: str, fence: Callable[[], None]) -> bytes:
        """Puts the object unless one stands; the bytes that stand once this returns."""
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

    # -- the result ------------------------------------------------------------------------------------------------

    def _existing(self, ref: JobRef, *, force: bool = False) -> ExistingResult:
        url = ref.url(RESULT_NAME)
        stored = self._store.get(url)
        if stored is None:
            return ExistingResult()
        try:
            return ExistingResult(Result.from_json(stored.body), stored.etag)
        except ValueError as error:
            if force:
                return ExistingResult(None, stored.etag)
            # Of a later version, perhaps, and a success: not ours to replace.
            raise PermanentError(
                ErrorCode.OUTPUT_FORBIDDEN,
                f"{url} stands and is no result ({error}); remove it, or send the job with force",
            ) from None

    def _conclude(self, ref: JobRef, ours: Result, fence: Callable[[], None]) -> Result:
        """Puts the result if none stands, or in the place of a failed one; a succeeded one is final."""
        url, body = ref.url(RESULT_NAME), ours.to_json()
        fence()
        if self._store.put_if_absent(url, body, RESULT_TYPE):
            return ours
        for _ in range(ROUNDS):
            existing = self._existing(ref)
            if existing.result and (existing.succeeded or _same_failure(existing.result, ours)):
                return existing.result
            if self._replaced(url, body, existing.etag, fence):
                return ours
        raise NodeFaultError(f"{url} keeps changing; somebody else publishes the same job over and over")

    def _replaced(self, url: str, body: bytes, etag: str | None, fence: Callable[[], None]) -> bool:
        fence()
        if etag is None:
            return self._store.put_if_absent(url, body, RESULT_TYPE)
        return self._store.replace(url, body, RESULT_TYPE, etag)

    def _force(
        self, job: Job, transcript: Transcript, facts: JobFacts, fence: Callable[[], None], begun: float
    ) -> Result:
        _require_words(job, transcript)
        for _ in range(ROUNDS):
            existing = self._existing(job.ref, force=True)
            if existing.result and existing.succeeded and existing.origin == facts.origin:
                return self.complete(job, existing.result, fence)  # this message has forced its way already
            # Formats that were asked for earlier must not go on telling the old text.
            there = self._store.keys(job.url(""))
            names = dict.fromkeys([*job.formats, *(name for name in ARTIFACTS if _url(job, name) in there)])
            artifacts = [self._overwrite(job, name, transcript, fence) for name in names]
            ours = self._success(job, transcript, facts, artifacts, begun)
            if self._replaced(job.url(RESULT_NAME), ours.to_json(), existing.etag, fence):
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


def _same_failure(one: Result, other: Result) -> bool:
    return not other.succeeded and one.origin == other.origin and one.error == other.error
