# SPDX-License-Identifier: Apache-2.0
"""Which kind of queue a URL means: the one place that a new kind is added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqscribe.errors import SettingsError
from sqscribe.urls import redact
from stages.ports import Clock
from worker.aws import AwsClients
from worker.queues import Queue
from worker.queues.sqs import SqsQueue

__all__ = ["QueueFactory", "open_queue"]

#: Makes the queue at a URL; is given AWS's clients, a clock, and the seconds that a received message stays hidden.
QueueFactory = Callable[[str, AwsClients, Clock, int], Queue]


def _sqs(url: str, clients: AwsClients, clock: Clock, visibility_timeout: int) -> Queue:
    return SqsQueue(url, clients.sqs(url), clients.heartbeat_sqs(url), clock, visibility_timeout=visibility_timeout)


_FACTORIES = {"https": _sqs, "http": _sqs}

#: By the scheme of the queue's URL.
FACTORIES: Mapping[str, QueueFactory] = MappingProxyType(_FACTORIES)


def open_queue(url: str, clients: AwsClients, clock: Clock, visibility_timeout: int) -> Queue:
    """The queue at a URL; nothing is asked of it yet.

    Args:
        url: `SQSCRIBE_QUEUE_URL`.
        clients: For queues of AWS, and of what speaks its protocol.
        clock: Dates receives.
        visibility_timeout: Seconds that a received message stays hidden.

    Raises:
        SettingsError: No kind of queue has such a URL, or AWS's settings cannot be used.
    """
    scheme, separator, _ = url.partition("://")
    factory = FACTORIES.get(scheme.lower()) if separator else None
    if factory is None:
        known = ", ".join(f"{name}://" for name in FACTORIES)
        raise SettingsError(
            f"SQSCRIBE_QUEUE_URL: {redact(url)!r} is no queue that this worker knows; their URLs begin with {known}"
        )
    return factory(url, clients, clock, visibility_timeout)
