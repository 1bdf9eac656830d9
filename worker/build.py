# SPDX-License-Identifier: Apache-2.0
"""Puts a worker together from its settings: what is built here, in order, is the whole wiring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from sqscribe import __version__
from sqscribe.errors import SettingsError
from sqscribe.job import JobDefaults
from sqscribe.logs import LogFormat
from sqscribe.result import WorkerFacts
from stages.decode import DecodeLimits, Decoder
from stages.fetch import Fetcher, FetchLimits
from stages.fetch.address import AddressPolicy
from stages.inference.client.client import DEFAULT_DECODER, EngineClient
from stages.inference.protocol import Engine, EngineSettings
from stages.ports import Clock, Store
from stages.publish import Publisher
from stages.segment import Segmenter
from worker.aws import AwsClients
from worker.components import Parts
from worker.daemon import Daemon
from worker.jobs.buffer import AudioBuffer
from worker.jobs.checkpoint import Checkpoints
from worker.jobs.finish import Finisher
from worker.jobs.handover import Handover
from worker.jobs.in_engine import Decoding
from worker.jobs.pipeline import Pipeline
from worker.jobs.prepare import Preparer
from worker.jobs.saving import Keeper
from worker.leases import Heartbeat, LeaseTable
from worker.leases.deleter import Deleter
from worker.node.clock import SystemClock
from worker.node.faults import NodeFaults
from worker.node.models import download_model, engine_settings, is_simulated
from worker.node.name import node_name
from worker.node.scratch import ScratchSpace
from worker.node.source_outage import SourceOutage
from worker.queues import Message, Queue
from worker.queues.sqs import SqsQueue
from worker.receive.intake import BATCH, Intake
from worker.receive.messages import MessageParser, Parsed
from worker.settings import Settings
from worker.stores.s3 import S3Store
from worker.telemetry.health import Health
from worker.telemetry.metrics import Metrics
from worker.telemetry.trace import TraceWriter
from worker.testing.decoder import SIMULATED

__all__ = ["Outside", "build_worker", "connect_aws"]

#: Receives of a queue that has no redrive policy.
DEFAULT_MAX_RECEIVES = 10
#: The longest poll leaves most of the grace for giving back what it may bring.
POLL_SHARE_OF_GRACE = 0.3
LONGEST_POLL = 20.0
#: Messages received at once for each downloader: one in hand and one to go on with.
MESSAGES_PER_DOWNLOADER = 2

#: Scratch that must be free before more is received: a common source. How large the next one is, only its fetch tells.
SOURCE_BYTES = 64 << 20
#: Seconds for which sources that do not answer may be taken for an outage of this node's network.
SOURCE_OUTAGE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Outside:
    """The world that a worker talks to.

    Attributes:
        parse: Message to jobs.
        s3_client: For sources and models in S3.
        allow_local: Whether a source may be a path on this machine.
        source_outage: Longest time for which sources that do not answer may count as an outage; 0: never.
    """

    queue: Queue
    store: Store
    parse: Callable[[Message], Parsed]
    s3_client: Callable[[], Any] = field(default=partial(boto3.client, "s3"))
    allow_local: bool = False
    source_outage: float = SOURCE_OUTAGE_SECONDS


def connect_aws(settings: Settings, metrics: Metrics) -> Outside:
    """The real world: SQS and S3, or what speaks their protocols.

    Raises:
        SettingsError: A setting that the worker needs is missing, or AWS's own cannot be used.
    """
    if not settings.queue_url:
        raise SettingsError("SQSCRIBE_QUEUE_URL: not set; the worker needs the URL of its SQS queue (--queue-url)")
    if not settings.output:
        raise SettingsError(
            "SQSCRIBE_OUTPUT: not set; the worker needs a place for results, s3://bucket/prefix (--output)"
        )
    threads = settings.downloaders + settings.uploaders

    def count(service: str, operation: str) -> None:
        (metrics.queue_called if service == "sqs" else metrics.store_called)(operation)

    lease = settings.visibility_timeout
    clients = AwsClients(
        connections=threads + 4,
        # A lease may be set shorter than the usual time-outs; no call is to hang for longer than it lasts.
        connect_timeout=min(5.0, lease / 2),
        read_timeout=min(30.0, max(_poll(settings) + 1.0, 0.9 * lease)),
        heartbeat_connect_timeout=min(3.0, lease / 2),
        heartbeat_read_timeout=min(5.0, lease / 2),
        on_call=count,
    )
    s3 = clients.s3(
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        region=settings.s3_region,
    )
    parser = MessageParser(JobDefaults(settings.output, settings.formats, settings.beam_size), settings.allowed_buckets)
    return Outside(
        queue=SqsQueue(
            settings.queue_url,
            clients.sqs(settings.queue_url),
            clients.heartbeat_sqs(settings.queue_url),
            SystemClock(),
            visibility_timeout=settings.visibility_timeout,
        ),
        store=S3Store(s3, conditional_writes=settings.conditional_writes),
        parse=lambda message: parser.parse(message.body, message.id),
        s3_client=lambda: s3,
    )


def build_worker(
    settings: Settings,
    connect: Callable[[Settings, Metrics], Outside] = connect_aws,
    make_engine: Callable[[EngineSettings, Clock], Engine] | None = None,
) -> Daemon:
    """Builds a worker; nothing is started, but the queue is asked for its attributes.

    Args:
        settings: Read by `worker.settings`.
        connect: Makes the world.
        make_engine: Makes the engine; the real one by default.

    Raises:
        SettingsError: The settings cannot work, or the queue does not exist or refuses access.
        UnfitNodeError: This machine lacks ffmpeg or the model that finds speech.
        NodeFaultError: The queue, or the store that holds the model, cannot be reached.
    """
    clock, node = SystemClock(), node_name()
    metrics, health = Metrics(TraceWriter(settings.trace) if settings.trace else None), Health()
    outside = connect(settings, metrics)
    # Wrong settings end here, before a model is loaded.
    facts = outside.queue.facts()
    max_receives = settings.max_receives or facts.max_receives or DEFAULT_MAX_RECEIVES
    dead_letter_url = settings.dead_letter_queue_url or facts.dead_letter_url

    decoder, segmenter = Decoder(DecodeLimits(max_seconds=settings.max_duration)), Segmenter()
    scratch = ScratchSpace(settings.scratch_dir, settings.scratch_bytes, clock)
    try:
        engine = _engine(settings, outside, scratch.root, clock, make_engine)
    except BaseException:
        scratch.close()  # no daemon will
        raise
    buffer = AudioBuffer(settings.buffer_seconds)
    faults = NodeFaults(clock)
    leases = LeaseTable(
        outside.queue,
        clock,
        visibility_timeout=settings.visibility_timeout,
        on_renewals=metrics.leases_renewed,
        on_lost=metrics.lease_lost,
    )
    heartbeat = Heartbeat(leases, outside.queue, clock)
    deleter = Deleter(leases, outside.queue, clock)
    publisher = Publisher(outside.store, clock, WorkerFacts(__version__, node))
    fetch_limits, policy = (
        FetchLimits(max_bytes=settings.max_source_bytes),
        AddressPolicy(settings.allow_private_sources),
    )
    outage = SourceOutage(
        clock, partial(policy.answers, timeout=fetch_limits.connect_timeout), longest=outside.source_outage
    )
    fetcher = Fetcher(
        fetch_limits,
        outside.s3_client,
        allow_local=outside.allow_local,
        allowed_buckets=frozenset(settings.allowed_buckets) if settings.allowed_buckets else None,
        policy=policy,
        on_answer=outage.answered,
    )
    preparer = Preparer(fetcher, decoder, segmenter, scratch, outage, faults, metrics, clock)
    decoding, checkpoints = Decoding(engine, buffer), Checkpoints(outside.store)
    keeper = Keeper(
        checkpoints,
        Handover(outside.queue, checkpoints, clock, max_receives),
        decoding,
        faults,
        clock,
        preparer.cutter,
        interval=settings.checkpoint_seconds,
    )
    pipeline = Pipeline(
        preparer=preparer,
        decoding=decoding,
        keeper=keeper,
        finisher=Finisher(publisher, checkpoints, outside.queue, leases, deleter, faults, dead_letter_url),
        publisher=publisher,
        buffer=buffer,
        faults=faults,
        metrics=metrics,
        clock=clock,
        max_receives=max_receives,
    )
    intake = Intake(
        outside.queue,
        leases,
        outside.parse,
        partial(_room, pipeline, scratch, min(BATCH, MESSAGES_PER_DOWNLOADER * settings.downloaders)),
        pipeline.settle,
        clock,
        wait=_poll(settings),
    )
    metrics.watch(
        stage_jobs=pipeline.stage_jobs,
        buffered_audio_seconds=lambda: buffer.seconds,
        leases=lambda: leases.count,
    )
    parts = Parts(
        node=node,
        clock=clock,
        metrics=metrics,
        health=health,
        faults=faults,
        buffer=buffer,
        scratch=scratch,
        leases=leases,
        heartbeat=heartbeat,
        deleter=deleter,
        intake=intake,
        pipeline=pipeline,
        engine=engine,
    )
    return Daemon(
        parts,
        http_port=settings.http_port,
        downloaders=settings.downloaders,
        uploaders=settings.uploaders,
        grace=settings.shutdown_grace,
        engine_stall=settings.engine_stall_seconds,
        exit_when_idle=settings.exit_when_idle,
    )


def _poll(settings: Settings) -> float:
    """Seconds of a long poll: less than the lease that its messages get, which counts from its beginning."""
    return min(LONGEST_POLL, POLL_SHARE_OF_GRACE * settings.shutdown_grace, max(1.0, settings.visibility_timeout / 2))


def _room(pipeline: Pipeline, scratch: ScratchSpace, most: int) -> int:
    """How many messages there is room for: seconds in the buffer, bytes in the scratch space."""
    return pipeline.room(most) if scratch.has_room(min(SOURCE_BYTES, scratch.budget // 4)) else 0


def _engine(
    settings: Settings,
    outside: Outside,
    scratch: Path,
    clock: Clock,
    make_engine: Callable[[EngineSettings, Clock], Engine] | None,
) -> Engine:
    log_format: LogFormat = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    resolved = engine_settings(settings, partial(download_model, outside.s3_client), scratch, log_format)
    if make_engine:
        return make_engine(resolved, clock)
    decoder = SIMULATED if is_simulated(settings.model) else DEFAULT_DECODER
    return EngineClient(resolved, clock, decoder, recycle_windows=settings.engine_recycle_windows)
