# SPDX-License-Identifier: Apache-2.0
"""Dead letters: copies of messages that failed for good, in the largest form that the dead-letter queue takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import structlog

from sqscribe.errors import JobFailedError, MessageRefusedError, PermanentError, SettingsFaultError
from sqscribe.job import JobRef
from sqscribe.result import RESULT_NAME
from stages.publish import Publisher
from worker.queues import MOST_ATTRIBUTES, Message, Outgoing, Queue

__all__ = ["DeadLetters", "Letter"]

log = structlog.get_logger()

#: Most bytes of the `error_message` attribute.
ERROR_MESSAGE_BYTES = 1024
#: The same, where a queue takes little: one may be limited to 1,024 bytes in all.
SHORT_MESSAGE_BYTES = 128
#: Letters of the body that stand in for it where it does not fit.
EXCERPT = 8192


@dataclass(frozen=True, slots=True)
class Letter:
    """What a dead letter is about.

    Attributes:
        message: The message that failed, or of which a record failed.
        ref: The job's.
        body: The message's own body, or one that holds the one record alone.
        short_body: Makes the same job in fewer bytes; None where there is no job.
        error: Why it failed.
    """

    message: Message
    ref: JobRef
    body: str
    short_body: str | None
    error: JobFailedError


class DeadLetters:
    """Sends dead letters. Holds no state; thread-safe.

    A body as large as its queue allows has no room for attributes beside it, and the dead-letter queue may allow less,
    or other letters, or other attributes. So a letter that is refused is sent with less in it, and what it lacks is
    kept beside the job's result.

    Args:
        queue: Sends.
        url: The dead-letter queue; None: there is none, and nothing is sent.
        publisher: Keeps a body that cannot be sent.
    """

    def __init__(self, queue: Queue, url: str | None, publisher: Publisher) -> None:
        self._queue = queue
        self._url = url
        self._publisher = publisher

    @property
    def sends(self) -> bool:
        """Whether there is a dead-letter queue."""
        return self._url is not None

    def send(self, letter: Letter, fence: Callable[[], None]) -> None:
        """Sends a letter; it may be repeated.

        Args:
            letter: What it is about.
            fence: Called before each write.

        Raises:
            Cancelled: As `fence` does.
            NodeFaultError: The queue, or the store that is to keep the body, cannot be reached.
            SettingsFaultError: The queue is not there, refuses access, or takes no letter however small.
        """
        if self._url is None:
            return
        refused: MessageRefusedError | None = None
        for form, outgoing in self._forms(letter, fence):
            fence()
            try:
                self._queue.send(self._url, outgoing)
            except MessageRefusedError as error:
                refused = error
                continue
            if refused is not None:
                log.warning("dead_letter_cut", message=letter.message.id, sent=form, error=str(refused))
            log.info("dead_lettered", message=letter.message.id, code=letter.error.code)
            return
        raise SettingsFaultError(f"SQSCRIBE_DEAD_LETTER_QUEUE_URL: it takes no dead letter, however small: {refused}")

    def _forms(self, letter: Letter, fence: Callable[[], None]) -> Iterator[tuple[str, Outgoing]]:
        """The letter in ever smaller forms, each with its name."""
        message = letter.message
        why = _why(letter.error, ERROR_MESSAGE_BYTES)
        bare = Outgoing(
            body=letter.body,
            attributes=why,
            group_id=message.group_id,
            # The same failure of the same message is one dead letter, even if it is sent twice.
            deduplication_id=sha256(f"{message.id}/{letter.ref.job_id}".encode()).hexdigest(),
        )
        sender = _senders(message, why)
        yield "whole", replace(bare, **sender)
        yield "without the sender's attributes", bare
        if letter.short_body is not None:
            yield "the job alone", replace(bare, body=letter.short_body, **sender)
        pointer = self._pointer(letter, fence)
        excerpt = json.dumps({**pointer, "body": letter.body[:EXCERPT]})
        yield "the beginning of the body", replace(bare, body=excerpt, **sender)
        # A queue that is no fair one may take no group either.
        short = replace(bare, attributes=_why(letter.error, SHORT_MESSAGE_BYTES), group_id=None)
        yield "where its record stands", replace(short, body=json.dumps(pointer))
        least = {"error_code": str(letter.error.code)}
        yield "the job's id", replace(short, body=json.dumps({"job_id": letter.ref.job_id}), attributes=least)

    def _pointer(self, letter: Letter, fence: Callable[[], None]) -> dict[str, object]:
        """Where the rest is: the record of the failure, and the message's body beside it."""
        pointer: dict[str, object] = {
            "job_id": letter.ref.job_id,
            "result": letter.ref.url(RESULT_NAME),
            "message_id": letter.message.id,
            "bytes": len(letter.body.encode(errors="replace")),
        }
        try:
            pointer["message"] = self._publisher.keep_message(letter.ref, letter.body, fence)
        except PermanentError as error:
            log.warning("message_not_kept", message=letter.message.id, error=error.message)
        return pointer


def _why(error: JobFailedError, most: int) -> dict[str, str]:
    return {"error_code": str(error.code), "error_message": _clipped(error.message, most)}


def _senders(message: Message, why: Mapping[str, str]) -> dict[str, Any]:
    """The sender's attributes with their types, as many as there is room for beside the worker's own.

    A letter that somebody puts back into the queue is a new job, not a copy of this line of work.
    """
    names = [
        name for name in {**message.attributes, **message.typed} if name not in why and not name.startswith("sqscribe_")
    ]
    kept, dropped = names[: MOST_ATTRIBUTES - len(why)], names[MOST_ATTRIBUTES - len(why) :]
    if dropped:
        log.warning("attributes_dropped", message=message.id, names=dropped)
    return {
        "attributes": {name: message.attributes[name] for name in kept if name in message.attributes} | dict(why),
        "typed": {name: message.typed[name] for name in kept if name in message.typed},
    }


def _clipped(text: str, most: int) -> str:
    """At most so many bytes of UTF-8 in characters that SQS takes."""
    allowed = "".join(letter if letter in "\t\n\r" or letter.isprintable() else "\ufffd" for letter in text)
    return allowed.encode()[:most].decode(errors="ignore") or "unknown"
