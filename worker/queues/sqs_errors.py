# SPDX-License-Identifier: Apache-2.0
"""What SQS' answer to one entry of a batch means for the message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from stages.refusals import Call, Named, Owner, code_name, meaning_of, owner_of
from worker.queues import BatchResult

__all__ = ["Refusal", "gather", "judge"]


class Refusal(Enum):
    """What an error means for its message; see `BatchResult`."""

    REFUSED = "refused"
    BEYOND = "beyond"
    FAILED = "failed"


#: `InvalidParameterValue` may mean many things; these words, in lower case, tell which.
_BEYOND_WORDS = ("beyond the limit",)
_REFUSED_WORDS = (
    "receipt handle has expired",  # standard queues after 12 h: https://github.com/boto/boto3/issues/2898
    "does not exist or is not available",  # FIFO and deleted messages: https://github.com/aws/aws-sdk-js/issues/1279
    "receipt handle is invalid",
    "not a valid receipt handle",
)


def judge(code: str, message: str) -> Refusal:
    """Sorts an error of ChangeMessageVisibility or DeleteMessage.

    Asking for more than is left of the 12 h is no modelled error: it arrives as a bare `InvalidParameterValue`
    ("Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"), as an expired receipt does.
    """
    name = code_name(code)
    if owner_of(Call.EXTEND, meaning_of(name), Named.SETTINGS) is Owner.JOB:
        return Refusal.REFUSED
    if name in {"InvalidParameterValue", "InvalidParameterValueException"}:
        text = message.lower()
        if any(words in text for words in _BEYOND_WORDS):
            return Refusal.BEYOND
        if any(words in text for words in _REFUSED_WORDS):
            return Refusal.REFUSED
    return Refusal.FAILED


def gather(done: Iterable[str], errors: Mapping[str, tuple[str, str]]) -> BatchResult:
    """Makes the result of a batch from the ids that were confirmed and the others' (code, message)."""
    sorted_out: dict[Refusal, dict[str, str]] = {refusal: {} for refusal in Refusal}
    for message_id, (code, message) in errors.items():
        sorted_out[judge(code, message)][message_id] = f"{code_name(code)}: {message}" if message else code_name(code)
    return BatchResult(
        done=frozenset(done),
        refused=sorted_out[Refusal.REFUSED],
        beyond=sorted_out[Refusal.BEYOND],
        failed=sorted_out[Refusal.FAILED],
    )
