# SPDX-License-Identifier: Apache-2.0
"""Whose a refusal is: for each call and each meaning, one owner."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from stages.refusals.codes import Meaning

__all__ = ["OWNERS", "Call", "Named", "Owner", "owner_of"]


class Call(StrEnum):
    """What a worker asks of SQS and S3."""

    RECEIVE = "receive"
    EXTEND = "extend"
    DELETE_MESSAGE = "delete_message"
    SEND_DEAD_LETTER = "send_dead_letter"
    SEND_COPY = "send_copy"
    GET = "get"
    PUT = "put"
    DELETE = "delete"
    LIST = "list"
    SOURCE = "source"


class Named(StrEnum):
    """Who named the bucket or queue that a call goes to."""

    MESSAGE = "message"
    SETTINGS = "settings"


class Owner(StrEnum):
    """Who has to do something about a refusal, and so what becomes of the job.

    `ANSWER`: nobody, it only says what stands. `JOB`: this one message cannot be served, or no longer is this
    worker's. `BUCKET`: the bucket or object that the message names; fails for good. `SETTINGS`: what the worker's
    settings name, or its keys; everything waits until it is mended. `NODE`: this machine. `SERVICE`: it passes.
    """

    ANSWER = "answer"
    JOB = "job"
    BUCKET = "bucket"
    SETTINGS = "settings"
    NODE = "node"
    SERVICE = "service"


_QUEUE = (Call.RECEIVE, Call.EXTEND, Call.DELETE_MESSAGE, Call.SEND_DEAD_LETTER, Call.SEND_COPY)
_SENDS = (Call.SEND_DEAD_LETTER, Call.SEND_COPY)


def _row(default: Owner, **others: Owner) -> Mapping[Call, Owner]:
    return {call: others.get(call.name, default) for call in Call}


_SENT = {call.name: Owner.JOB for call in _SENDS}
_HELD = {call.name: Owner.JOB for call in (Call.EXTEND, Call.DELETE_MESSAGE)}

#: `BUCKET` stands for whoever named the place: it becomes `SETTINGS` where they did.
OWNERS: Mapping[Meaning, Mapping[Call, Owner]] = {
    Meaning.ABSENT: _row(Owner.BUCKET, GET=Owner.ANSWER, PUT=Owner.ANSWER, DELETE=Owner.ANSWER),
    # A source that is another one than before, a write that came second; nothing else asks under a condition.
    Meaning.CONDITION: _row(Owner.SERVICE, PUT=Owner.ANSWER, SOURCE=Owner.JOB),
    Meaning.GONE: _row(Owner.BUCKET),
    Meaning.DENIED: _row(Owner.BUCKET),
    Meaning.KEY: _row(Owner.BUCKET),
    Meaning.OWN_KEY: _row(Owner.BUCKET),
    Meaning.ARCHIVED: _row(Owner.BUCKET),
    Meaning.ELSEWHERE: _row(Owner.BUCKET),
    Meaning.UNFIT: _row(Owner.BUCKET, **_SENT),
    Meaning.UNKNOWN_TO_IT: _row(Owner.BUCKET, **_SENT),
    Meaning.CONTENT: _row(Owner.BUCKET, **_SENT),
    Meaning.RECEIPT: _row(Owner.BUCKET, **_SENT, **_HELD),
    Meaning.CREDENTIALS: _row(Owner.SETTINGS),
    Meaning.CLOCK: _row(Owner.NODE),
    Meaning.BUSY: _row(Owner.SERVICE),
}

#: What holds for a whole bucket: where the settings name it too, it is theirs, under whatever prefix it was met.
_OF_THE_BUCKET = frozenset({Meaning.GONE, Meaning.KEY, Meaning.ELSEWHERE})


def owner_of(call: Call, meaning: Meaning, named: Named, *, same_bucket: bool = False) -> Owner:
    """Whose a refusal is.

    Args:
        call: What was asked.
        meaning: What the answer says.
        named: Who named the place; queues are always the settings'.
        same_bucket: Whether the message named a place in the bucket that the settings name.
    """
    owner = OWNERS[meaning][call]
    if owner is not Owner.BUCKET:
        return owner
    if call in _QUEUE or named is Named.SETTINGS or (same_bucket and meaning in _OF_THE_BUCKET):
        return Owner.SETTINGS
    return Owner.BUCKET
