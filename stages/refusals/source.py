# SPDX-License-Identifier: Apache-2.0
"""The errors of an object that a message names as its source."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from sqscribe.errors import (
    ErrorCode,
    NodeFaultError,
    PermanentCode,
    PermanentError,
    SettingsFaultError,
    SqscribeError,
    TransientError,
    Witness,
)
from stages.refusals.codes import Meaning
from stages.refusals.owners import Call, Named, Owner, owner_of
from stages.refusals.reading import Refusal, read

__all__ = ["broken_off", "source_error"]

_CODES: Mapping[Meaning, PermanentCode] = {
    Meaning.ABSENT: ErrorCode.SOURCE_NOT_FOUND,
    Meaning.GONE: ErrorCode.SOURCE_NOT_FOUND,
}
_READ_HINT = (
    "allow s3:GetObject, and s3:ListBucket, without which S3 says the same of objects that are missing; or restore it"
    " from its archive"
)


def source_error(url: str, error: ClientError | BotoCoreError, *, resumed: bool = False) -> SqscribeError:
    """What an answer to a GET of a source means for its job.

    Args:
        url: The source.
        error: What the client raised.
        resumed: Whether a part of it had come before.
    """
    if isinstance(error, ParamValidationError):
        return PermanentError(ErrorCode.BAD_MESSAGE, f"{url} names no possible object")
    refusal = read(error)
    match owner_of(Call.SOURCE, refusal.meaning, Named.MESSAGE):
        case Owner.JOB:
            return _changed(url, refusal, resumed=resumed)
        case Owner.BUCKET:
            return _refused(url, refusal)
        case Owner.SETTINGS:
            return SettingsFaultError(f"{url}: {refusal.advice}", witness=Witness.READ)
        case _:
            return NodeFaultError(f"{url}: {refusal.advice}", witness=Witness.READ)


def broken_off(url: str, tries: int, why: str) -> NodeFaultError:
    """The error of a body that never comes whole, though each request for it was answered."""
    return NodeFaultError(
        f"{url}: the transfer broke off {tries} times ({why})",
        ErrorCode.SOURCE_UNREACHABLE,
        witness=Witness.READ,
        tries=tries,
    )


def _changed(url: str, refusal: Refusal, *, resumed: bool) -> SqscribeError:
    if refusal.code in {"416", "InvalidRange"}:
        if not resumed:
            return PermanentError(ErrorCode.SOURCE_NOT_FOUND, f"{url}: there is nothing in it ({refusal.text})")
        return TransientError(ErrorCode.SOURCE_CHANGED, f"{url} shrank while it was fetched")
    return TransientError(ErrorCode.SOURCE_CHANGED, f"{url} was overwritten since the event, or while it was fetched")


def _refused(url: str, refusal: Refusal) -> PermanentError:
    code = _CODES.get(refusal.meaning, ErrorCode.SOURCE_FORBIDDEN)
    if refusal.code in {"405", "MethodNotAllowed"}:  # of a version that is a delete marker
        code = ErrorCode.SOURCE_NOT_FOUND
    if refusal.meaning is Meaning.DENIED:
        return PermanentError(code, f"{url}: {refusal.text}; {_READ_HINT}")
    return PermanentError(code, f"{url}: {refusal.advice}")
