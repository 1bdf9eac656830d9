# SPDX-License-Identifier: Apache-2.0
"""Errors, each of which says what becomes of the message whose job met it.

`docs/reference.md` has the table of what becomes of a message. A stage raises one of these; only the
pipeline acts on it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal, TypeAlias

__all__ = [
    "CancelReason",
    "Cancelled",
    "EngineBrokenError",
    "ErrorCode",
    "ExitCode",
    "JobFailedError",
    "MessageRefusedError",
    "NodeFaultError",
    "PermanentCode",
    "PermanentError",
    "SettingsError",
    "SettingsFaultError",
    "SqscribeError",
    "TransientCode",
    "TransientError",
    "UnfitNodeError",
    "Witness",
    "job_failure",
]


class ErrorCode(StrEnum):
    """The `error.code` of a `result.json` and the `error_code` attribute of a dead letter.

    Each is in `PermanentCode` or in `TransientCode`; mypy refuses one that is in neither.
    """

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
    SOURCE_UNREACHABLE = "source_unreachable"
    SOURCE_CHANGED = "source_changed"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    ENGINE_RESTARTED = "engine_restarted"
    INTERRUPTED = "interrupted"


#: Trying again changes nothing.
PermanentCode: TypeAlias = Literal[
    ErrorCode.BAD_MESSAGE,
    ErrorCode.SOURCE_NOT_FOUND,
    ErrorCode.SOURCE_FORBIDDEN,
    ErrorCode.SOURCE_BLOCKED,
    ErrorCode.SOURCE_TOO_LARGE,
    ErrorCode.MEDIA_UNREADABLE,
    ErrorCode.MEDIA_NO_AUDIO,
    ErrorCode.MEDIA_TOO_LONG,
    ErrorCode.UNSUPPORTED_OPTION,
    ErrorCode.OUTPUT_FORBIDDEN,
    ErrorCode.INFERENCE_FAILED,
]

#: Another try may succeed. `engine_restarted` is reserved: the client of the inference process gives the windows
#: of a lost process to the next one, so no job goes back for it. An engine that cannot do that would reject with it.
TransientCode: TypeAlias = Literal[
    ErrorCode.SOURCE_UNREACHABLE,
    ErrorCode.SOURCE_CHANGED,
    ErrorCode.STORAGE_UNAVAILABLE,
    ErrorCode.ENGINE_RESTARTED,
    ErrorCode.INTERRUPTED,
]


class SqscribeError(Exception):
    """Base of every error that sqscribe raises on purpose."""


class JobFailedError(SqscribeError):
    """Something is wrong with one job; no other job is affected.

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

    code: PermanentCode

    def __init__(self, code: PermanentCode, message: str) -> None:
        super().__init__(code, message)


class TransientError(JobFailedError):
    """The source failed for now: the message comes back after a back-off that grows with its receives."""

    code: TransientCode

    def __init__(self, code: TransientCode, message: str) -> None:
        super().__init__(code, message)


def job_failure(code: ErrorCode, message: str) -> PermanentError | TransientError:
    """The error of a code that comes from elsewhere: from the engine, or from a record."""
    match code:
        case (
            ErrorCode.SOURCE_UNREACHABLE
            | ErrorCode.SOURCE_CHANGED
            | ErrorCode.STORAGE_UNAVAILABLE
            | ErrorCode.ENGINE_RESTARTED
            | ErrorCode.INTERRUPTED
        ):
            return TransientError(code, message)
        case _:
            return PermanentError(code, message)


class Witness(StrEnum):
    """Whose success shows that a fault is one job's alone, so that it is not waited for without end."""

    OTHERS = "others"  # other jobs, at the same step
    READ = "read"  # the worker itself, when it reads below its own output
    WRITE = "write"  # the worker itself, when it writes there
    NOBODY = "nobody"  # it cannot be the job's


class NodeFaultError(SqscribeError):
    """This node or the store is at fault, not the job: the lease is kept and the step is repeated.

    Attributes:
        code: The contract's code, should the fault outlive the job's receives.
        witness: Whose success would show that it is this job's after all.
        tries: How often in a row it was met before it was raised.
    """

    def __init__(
        self,
        message: str,
        code: TransientCode = ErrorCode.STORAGE_UNAVAILABLE,
        *,
        witness: Witness = Witness.OTHERS,
        tries: int = 1,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.witness = witness
        self.tries = tries


class CancelReason(StrEnum):
    """Why work on a job stops without an outcome."""

    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"


class Cancelled(SqscribeError):  # noqa: N818 - not an error of anybody's
    """Work on a job was called off; whoever called it off decides about the message."""

    def __init__(self, reason: CancelReason) -> None:
        super().__init__(f"cancelled: {reason}")
        self.reason = reason


class SettingsError(SqscribeError):
    """The settings or the command's arguments cannot work (exit code 2)."""


class SettingsFaultError(NodeFaultError, SettingsError):
    """What the worker's settings name is gone or refuses it: no job is charged, and all waits until it is mended.

    At the start it ends the worker, as any `SettingsError` does.
    """


class MessageRefusedError(SqscribeError):
    """A queue does not take this very message: too large, or with something in it. Another one it would take."""


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
