# SPDX-License-Identifier: Apache-2.0
"""What each HTTP status means for a source: one table."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from enum import Enum
from typing import Final

from sqscribe.errors import ErrorCode, JobFailedError, PermanentError, TransientError

__all__ = ["BusyError", "Meaning", "meaning_of", "refusal", "retry_after"]


class Meaning(Enum):
    """What becomes of a fetch that ends in a status."""

    CARRIES = "the body is the source"
    FORBIDDEN = "source_forbidden"
    MISSING = "source_not_found"
    AGAIN = "source_unreachable, and tried again"


#: By the first digit, which is what HTTP asks of those who do not know a status (RFC 9110, section 15).
_BY_CLASS: Final[Mapping[int, Meaning]] = {
    1: Meaning.AGAIN,  # an answer that only announces another; the client reads on, so this one has lost the other
    2: Meaning.CARRIES,
    3: Meaning.MISSING,  # a redirect that leads nowhere
    4: Meaning.MISSING,
    5: Meaning.AGAIN,
}
_BY_STATUS: Final[Mapping[int, Meaning]] = {
    202: Meaning.AGAIN,  # is still being made
    204: Meaning.MISSING,  # there is nothing
    205: Meaning.MISSING,
    401: Meaning.FORBIDDEN,
    402: Meaning.FORBIDDEN,
    403: Meaning.FORBIDDEN,
    407: Meaning.FORBIDDEN,
    408: Meaning.AGAIN,  # waited too long for us
    409: Meaning.AGAIN,  # is being changed
    420: Meaning.AGAIN,  # some servers' 429
    421: Meaning.AGAIN,  # the wrong one of several servers behind a name
    423: Meaning.AGAIN,  # is locked by somebody
    424: Meaning.AGAIN,  # something else failed
    425: Meaning.AGAIN,
    429: Meaning.AGAIN,
    430: Meaning.AGAIN,  # some servers' 429
    451: Meaning.FORBIDDEN,
    499: Meaning.AGAIN,  # a proxy lost one side
    999: Meaning.FORBIDDEN,  # a site that takes us for a robot
}


class BusyError(TransientError):
    """The server says that another try may succeed.

    Attributes:
        retry_after: After how many seconds, where it says so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(ErrorCode.SOURCE_UNREACHABLE, message)
        self.retry_after = retry_after


def meaning_of(status: int) -> Meaning:
    """What a status means; a status of no known class may pass."""
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Meaning.AGAIN)


def refusal(status: int, said: str, after: float | None = None) -> JobFailedError:
    """The error that a status other than success means for the job.

    Args:
        status: The server's.
        said: The error's text.
        after: What `retry_after` read.
    """
    match meaning_of(status):
        case Meaning.FORBIDDEN:
            return PermanentError(
                ErrorCode.SOURCE_FORBIDDEN, f"{said}; make it public, or use a presigned URL that outlives the queue"
            )
        case Meaning.AGAIN:
            return BusyError(said, after)
        case _:
            return PermanentError(ErrorCode.SOURCE_NOT_FOUND, said)


def retry_after(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or until a date; None where it says neither."""
    if not value:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
