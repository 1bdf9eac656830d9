# SPDX-License-Identifier: Apache-2.0
"""The `result.json` of a job in the store: what it says, and the conditional writes that keep a success final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqscribe.errors import ErrorCode, JobFailedError, NodeFaultError, PermanentError, job_failure
from sqscribe.job import JobRef
from sqscribe.result import RESULT_NAME, Result
from stages.ports import Store

__all__ = ["ROUNDS", "ExistingResult", "ResultStore"]

#: How often a `result.json` may change between a look and a write before the node takes a pause.
ROUNDS = 5

_RESULT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class ExistingResult:
    """The `result.json` that a job has already.

    Attributes:
        result: None where there is none, or where `force` is to replace something that is no result.
        etag: None where there is none.
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
        """Id of the first message of the line of copies that it was written for."""
        return self.result.origin if self.result else None

    @property
    def error(self) -> JobFailedError:
        """Why the job was given up.

        Raises:
            ValueError: It was not, or for a reason that this version does not know.
        """
        if self.result is None or self.result.error is None:
            raise ValueError("the job has not failed")
        return job_failure(ErrorCode(self.result.error.code), self.result.error.message)


class ResultStore:
    """Reads and writes `result.json`. Holds no state; thread-safe. All methods raise what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def existing(self, ref: JobRef, *, force: bool = False) -> ExistingResult:
        """Looks at a job's result.

        Args:
            ref: The job's.
            force: Whether something that is no result may be replaced.

        Raises:
            PermanentError: `output_forbidden`: something that is no result is in its place, and may not be replaced.
        """
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

    def conclude(self, ref: JobRef, ours: Result, fence: Callable[[], None]) -> Result:
        """Puts a result where there is none, or in the place of a failed one; a succeeded one is final.

        Args:
            ref: The job's.
            ours: What to put.
            fence: Called before each write.

        Returns:
            The result that is there in the end.

        Raises:
            NodeFaultError: It changes again and again.
            PermanentError: As of `existing`.
        """
        fence()
        if self._store.put_if_absent(ref.url(RESULT_NAME), ours.to_json(), _RESULT_TYPE):
            return ours
        for _ in range(ROUNDS):
            existing = self.existing(ref)
            if existing.result and (existing.succeeded or _same_failure(existing.result, ours)):
                return existing.result
            if self.replace(ref, ours, existing.etag, fence):
                return ours
        raise NodeFaultError(
            f"{ref.url(RESULT_NAME)} keeps changing; somebody else publishes the same job over and over"
        )

    def replace(self, ref: JobRef, ours: Result, etag: str | None, fence: Callable[[], None]) -> bool:
        """Puts a result in the place of the one with this ETag, or of none; False when another one is there."""
        fence()
        url, body = ref.url(RESULT_NAME), ours.to_json()
        if etag is None:
            return self._store.put_if_absent(url, body, _RESULT_TYPE)
        return self._store.replace(url, body, _RESULT_TYPE, etag)


def _same_failure(one: Result, other: Result) -> bool:
    return not other.succeeded and one.origin == other.origin and one.error == other.error
