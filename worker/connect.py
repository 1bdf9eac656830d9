# SPDX-License-Identifier: Apache-2.0
"""The worker's connections to what is outside of it: queue, store and sources, made from its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3

from sqscribe.errors import SettingsError
from sqscribe.job import JobDefaults
from stages.fetch.request import FetchLimits
from stages.ports import Store
from worker.aws import AwsClients
from worker.node.clock import SystemClock
from worker.queues import Message, Queue
from worker.queues.choice import open_queue
from worker.receive.messages import MessageParser, Parsed
from worker.settings import Settings
from worker.stores.s3 import S3Store
from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Connections", "connect_aws", "poll_seconds", "storage_client"]

#: The longest poll leaves most of the grace for giving back what it may bring.
POLL_SHARE_OF_GRACE = 0.3
LONGEST_POLL = 20.0
#: Seconds for which sources that do not answer may be taken for an outage of this node's network.
SOURCE_OUTAGE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Connections:
    """What a worker talks to.

    Attributes:
        parse: Reads the jobs of a message.
        s3_client: Makes a client for sources and models in S3.
        allow_local: Whether a source may be a path on this machine.
        source_outage: Longest time for which sources that do not answer may count as an outage; 0: never.
    """

    queue: Queue
    store: Store
    parse: Callable[[Message], Parsed]
    s3_client: Callable[[], Any] = field(default=partial(boto3.client, "s3"))
    allow_local: bool = False
    source_outage: float = SOURCE_OUTAGE_SECONDS


def connect_aws(settings: Settings, metrics: Metrics) -> Connections:
    """Connects to SQS and S3, or to what speaks their protocols.

    Raises:
        SettingsError: A setting that the worker needs is missing, or AWS's own cannot be used.
    """
    if not settings.queue_url:
        raise SettingsError("SQSCRIBE_QUEUE_URL: not set; the worker needs the URL of its SQS queue (--queue-url)")
    if not settings.output:
        raise SettingsError(
            "SQSCRIBE_OUTPUT: not set; the worker needs a place for results, s3://bucket/prefix (--output)"
        )
    threads = settings.downloaders * FetchLimits(settings.max_source_bytes).connections + settings.uploaders

    def count(service: str, operation: str) -> None:
        (metrics.queue_called if service == "sqs" else metrics.store_called)(operation)

    lease = settings.visibility_timeout
    clients = AwsClients(
        connections=threads + 4,
        # A lease may be set shorter than the usual time-outs; no call is to hang for longer than it lasts.
        connect_timeout=min(5.0, lease / 2),
        read_timeout=min(30.0, max(poll_seconds(settings) + 1.0, 0.9 * lease)),
        heartbeat_connect_timeout=min(3.0, lease / 2),
        heartbeat_read_timeout=min(5.0, lease / 2),
        on_call=count,
    )
    s3 = storage_client(settings, clients)
    parser = MessageParser(JobDefaults(settings.output, settings.formats, settings.beam_size), settings.allowed_buckets)
    return Connections(
        queue=open_queue(settings.queue_url, clients, SystemClock(), settings.visibility_timeout),
        store=S3Store(s3, own=settings.output, conditional_writes=settings.conditional_writes),
        parse=lambda message: parser.parse(message.body, message.id),
        s3_client=lambda: s3,
    )


def storage_client(settings: Settings, clients: AwsClients) -> S3Client:
    """The client for objects, which may live elsewhere than the queue."""
    return clients.s3(
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint_url,
        checksums=settings.s3_checksums,
        requester_pays=settings.s3_requester_pays,
    )


def poll_seconds(settings: Settings) -> float:
    """Seconds of a long poll: less than the lease that its messages get, which counts from its beginning."""
    return min(LONGEST_POLL, POLL_SHARE_OF_GRACE * settings.shutdown_grace, max(1.0, settings.visibility_timeout / 2))
