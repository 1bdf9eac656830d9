# SPDX-License-Identifier: Apache-2.0
"""Errors, each of which says what becomes of the message that met it.

The table of dispositions stands in `docs/reference.md`. A stage raises one of these; only the pipeline acts on it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = [
    "CancelReason",
    "Cancelled",
    "EngineBrokenError",
    "ErrorCode",
    "ExitCode",
    "JobFailedError",
    "NodeFaultError",
    "PermanentError",
    "SettingsError",
    "SqscribeError",
    "TransientError",
    "UnfitNodeError",
]


class ErrorCode(StrEnum):
    """The `error.code` of a `result.json` and the `error_code` attribute of a dead letter."""

    # Permanent: trying again changes nothing.
    BAD_MESSAGE = "bad_message"
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_FORBIDDEN = "source_forbidden"
    SOURCE_BLOCKED = "source_blocked"
    SOURCE_TOO_LARGE = "source_too_large"
    MEDIA_UNREADABLE = "media_unreadable"
    MEDIA_NO_AUDIO = "media_no_audio"
    MEDIA_TOO_LONG = "media_too_long"
    UNSUPPORTED_OPTION = "unsupported_option"
    OUTPUT_FORBIDDEN = "output_forbidden"
    INFERENCE_FAILED = "inference_failed"
    # Transient: another try may succeed.
    SOURCE_UNREACHABLE = "source_unreachable"
    SOURCE_CHANGED = "source_changed"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    ENGINE_RESTARTED = "engine_restarted"
    INTERRUPTED = "interrupted"


class SqscribeError(Exception):
    """Base of every error that sqscribe raises on purpose."""


class JobFailedError(SqscribeError):
    """Something is wrong with one job; no other job is touched by it.

    Attributes:
        code: What went wrong, in the contract's words.
        message: For a person: what, why and what to do. Never holds secrets or query strings.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class PermanentError(JobFailedError):
    """The job can never succeed: recorded as failed, copied to the dead-letter queue, then deleted."""


class TransientError(JobFailedError):
    """The source failed for now: the message comes back after a back-off that grows with its receives."""


class NodeFaultError(SqscribeError):
    """This node or the store is at fault, not the job: the lease is kept and the step is repeated.

    Attributes:
        code: The contract's code, should the fault outlive the job's receives.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.STORAGE_UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code


class CancelReason(StrEnum):
    """Why work on a job stops without an outcome."""

    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"
    SIBLING_FAILED = "sibling_failed"


class Cancelled(SqscribeError):  # noqa: N818 - not an error of anybody's
    """Work on a job was called off; whoever called it off decides about the message."""

    def __init__(self, reason: CancelReason) -> None:
        super().__init__(f"cancelled: {reason}")
        self.reason = reason


class SettingsError(SqscribeError):
    """The settings or the command's arguments cannot work (exit code 2)."""


class UnfitNodeError(SqscribeError):
    """This node cannot do the work that was asked of it (exit code 3)."""


class EngineBrokenError(SqscribeError):
    """The inference process keeps failing on input that is known to be good (exit code 4)."""


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    UNEXPECTED = 1  # a bug, or a stage of the worker that died or hung
    USAGE = 2  # wrong arguments or settings
    UNFIT_NODE = 3  # no working GPU where one was demanded, a library missing
    ENGINE_BROKEN = 4  # the engine keeps failing on good input
    JOBS_FAILED = 5  # some of the jobs asked for failed
