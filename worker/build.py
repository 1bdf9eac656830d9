# SPDX-License-Identifier: Apache-2.0
"""Puts a worker together from its settings: what is built here, in order, is the whole wiring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqscribe import __version__
from sqscribe.logs import LogFormat
from sqscribe.result import WorkerFacts
from stages.decode import AudioDecoder, DecodeLimits
from stages.fetch import Fetcher, FetchLimits, Lanes, PageRules
from stages.fetch.address import AddressPolicy
from stages.inference.client.client import EngineClient
from stages.inference.protocol import Engine, EngineSettings
from stages.ports import Cancellation, Clock
from stages.publish import Publisher
from stages.segment import Segmenter
from worker.components import Components
from worker.connect import Connections, connect_aws, poll_seconds
from worker.daemon import Daemon
from worker.front import Front, make_front
from worker.jobs.buffer import AudioBuffer
from worker.jobs.checkpoint import Checkpoints
from worker.jobs.dead_letters import DeadLetters
from worker.jobs.engine_status import EngineStatus
from worker.jobs.finish import Finisher
from worker.jobs.handover import Handover
from worker.jobs.in_engine import JobsInEngine
from worker.jobs.pipeline import Pipeline
from worker.jobs.prepare import Preparer
from worker.jobs.room import Room
from worker.jobs.saving import CheckpointSaver
from worker.leases import Heartbeat, LeaseTable
from worker.leases.deleter import Deleter
from worker.lifecycle import INTERVALS, Intervals
from worker.node.clock import SystemClock
from worker.node.faults import NodeFaults
from worker.node.models import decoder_of, download_model, engine_settings
from worker.node.name import node_name
from worker.node.scratch import ScratchSpace
from worker.node.source_outage import SourceOutage
from worker.node.store_probe import StoreProbe
from worker.queues import BATCH
from worker.receive.intake import Intake
from worker.settings import Settings
from worker.telemetry.health import Health
from worker.telemetry.metrics import Metrics

__all__ = ["build_worker"]

#: Receives of a queue that has no redrive policy.
DEFAULT_MAX_RECEIVES = 10
#: Messages received at once for each downloader: one in hand and one to go on with.
MESSAGES_PER_DOWNLOADER = 2


@dataclass(frozen=True, slots=True)
class _Ground:
    """What is built first, as the other components are built on it.

    Attributes:
        node: Name of this node in logs and results.
        max_receives: Receives after which a transient failure is final.
        dead_letter_url: Where messages that fail for good are copied; None: nowhere.
    """

    settings: Settings
    clock: Clock
    node: str
    metrics: Metrics
    health: Health
    connections: Connections
    max_receives: int
    dead_letter_url: str | None
    faults: NodeFaults
    leases: LeaseTable
    deleter: Deleter
    buffer: AudioBuffer
    engine_status: EngineStatus


def build_worker(
    settings: Settings,
    connect: Callable[[Settings, Metrics], Connections] = connect_aws,
    make_engine: Callable[[EngineSettings, Clock], Engine] | None = None,
    intervals: Intervals = INTERVALS,
    front: Front | None = None,
    cancellation: Cancellation | None = None,
) -> Daemon:
    """Builds a worker; nothing is started, but the queue is asked for its attributes, and a model in S3 is brought.

    Args:
        settings: Read by `worker.settings`.
        connect: Makes the connections to queue, store and sources.
        make_engine: Makes the engine; the real one by default.
        intervals: How often the daemon looks after things.
        front: What others see of it already; made here by default.
        cancellation: Ends the download of a model.

    Raises:
        Cancelled: It was called off.
        SettingsError: The settings cannot work, or the queue does not exist or refuses access.
        UnfitNodeError: This machine lacks PyAV or the model that finds speech.
        NodeFaultError: The queue, or the store that holds the model, cannot be reached.
    """
    front = front or make_front(settings)
    ground = _ground(settings, connect, front)
    # A machine that lacks something ends here, before it has a scratch folder or loads a model.
    decoder, segmenter = AudioDecoder(DecodeLimits(max_seconds=settings.max_duration)), Segmenter()
    scratch = ScratchSpace(settings.scratch_dir, settings.scratch_bytes, ground.clock)
    try:
        if settings.model.startswith("s3://"):
            front.health.starting("downloading the model")
        engine = _engine(ground, scratch.root, make_engine, cancellation)
    except BaseException:
        scratch.close()  # no daemon will
        raise
    return Daemon(
        _components(ground, decoder, segmenter, scratch, engine),
        http=front.http,
        downloaders=3 * settings.downloaders,  # as many again for slow lanes, and for waits between tries
        uploaders=settings.uploaders,
        grace=settings.shutdown_grace,
        engine_stall=settings.engine_stall_seconds,
        exit_when_idle=settings.exit_when_idle,
        intervals=intervals,
    )


def _ground(settings: Settings, connect: Callable[[Settings, Metrics], Connections], front: Front) -> _Ground:
    """Connects the worker to its world; wrong settings end here, before a model is loaded."""
    clock, metrics = SystemClock(), front.metrics
    connections = connect(settings, metrics)
    facts = connections.queue.facts()
    probe = StoreProbe(connections.store, settings.output).works if settings.output else None
    faults = NodeFaults(clock, probe=probe)
    leases = LeaseTable(
        connections.queue,
        clock,
        visibility_timeout=settings.visibility_timeout,
        on_renewals=metrics.leases_renewed,
        on_lost=metrics.lease_lost,
    )
    return _Ground(
        settings=settings,
        clock=clock,
        node=node_name(),
        metrics=metrics,
        health=front.health,
        connections=connections,
        max_receives=settings.max_receives or facts.max_receives or DEFAULT_MAX_RECEIVES,
        dead_letter_url=settings.dead_letter_queue_url or facts.dead_letter_url,
        faults=faults,
        leases=leases,
        deleter=Deleter(leases, connections.queue, clock, on_trouble=partial(faults.note, "deleting messages")),
        buffer=AudioBuffer(settings.buffer_seconds),
        engine_status=EngineStatus(metrics),
    )


def _engine(
    ground: _Ground,
    scratch: Path,
    make_engine: Callable[[EngineSettings, Clock], Engine] | None,
    cancellation: Cancellation | None,
) -> Engine:
    settings = ground.settings
    log_format: LogFormat = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    download = partial(download_model, ground.connections.s3_client, cancellation=cancellation)
    resolved = engine_settings(settings, download, scratch, log_format)
    if make_engine:
        return make_engine(resolved, ground.clock)
    return EngineClient(
        resolved, ground.clock, decoder_of(settings.model), recycle_windows=settings.engine_recycle_windows
    )


def _components(
    ground: _Ground, decoder: AudioDecoder, segmenter: Segmenter, scratch: ScratchSpace, engine: Engine
) -> Components:
    clock, leases, buffer = ground.clock, ground.leases, ground.buffer
    downloaders = ground.settings.downloaders
    lanes = Lanes(downloaders, slow=downloaders, rests=downloaders)
    preparer = _preparer(ground, decoder, segmenter, scratch, lanes)
    pipeline = _pipeline(ground, preparer, scratch, engine)
    intake = Intake(
        ground.connections.queue,
        leases,
        ground.connections.parse,
        pipeline.room,
        pipeline.settle,
        clock,
        wait=poll_seconds(ground.settings),
    )
    ground.metrics.watch(
        stage_jobs=pipeline.jobs.count,
        buffered_audio_seconds=lambda: buffer.seconds,
        leases=lambda: leases.count,
    )
    return Components(
        node=ground.node,
        clock=clock,
        metrics=ground.metrics,
        health=ground.health,
        faults=ground.faults,
        buffer=buffer,
        scratch=scratch,
        decoder=decoder,
        leases=leases,
        heartbeat=Heartbeat(
            leases, ground.connections.queue, clock, on_trouble=partial(ground.faults.note, "renewing leases")
        ),
        deleter=ground.deleter,
        lanes=lanes,
        intake=intake,
        pipeline=pipeline,
        engine=engine,
        engine_status=ground.engine_status,
    )


def _preparer(
    ground: _Ground, decoder: AudioDecoder, segmenter: Segmenter, scratch: ScratchSpace, lanes: Lanes
) -> Preparer:
    settings, connections = ground.settings, ground.connections
    limits = FetchLimits(max_bytes=settings.max_source_bytes)
    policy = AddressPolicy(settings.allow_private_sources)
    answers = partial(policy.answers, timeout=limits.connect_timeout)
    outage = SourceOutage(ground.clock, answers, longest=connections.source_outage)
    fetcher = Fetcher(
        limits,
        connections.s3_client,
        allow_local=connections.allow_local,
        allowed_buckets=frozenset(settings.allowed_buckets) if settings.allowed_buckets else None,
        policy=policy,
        on_answer=outage.answered,
        lanes=lanes,
        pages=PageRules.read(
            settings.ytdlp_extractors,
            generic=settings.ytdlp_generic,
            cookies=settings.ytdlp_cookies,
            proxy=settings.ytdlp_proxy,
        ),
    )
    return Preparer(fetcher, decoder, segmenter, scratch, outage, ground.faults, ground.metrics, ground.clock)


def _pipeline(ground: _Ground, preparer: Preparer, scratch: ScratchSpace, engine: Engine) -> Pipeline:
    clock, faults, buffer, connections = ground.clock, ground.faults, ground.buffer, ground.connections
    publisher = Publisher(connections.store, clock, WorkerFacts(__version__, ground.node))
    checkpoints, in_engine = Checkpoints(connections.store), JobsInEngine(engine, buffer)
    saver = CheckpointSaver(
        checkpoints,
        Handover(connections.queue, checkpoints, clock, ground.max_receives),
        in_engine,
        faults,
        clock,
        preparer.cutter,
        interval=ground.settings.checkpoint_seconds,
    )
    finisher = Finisher(
        publisher,
        saver,
        DeadLetters(connections.queue, ground.dead_letter_url, publisher),
        ground.leases,
        ground.deleter,
        faults,
        ground.engine_status,
        ground.settings.output,
    )
    most = min(BATCH, MESSAGES_PER_DOWNLOADER * ground.settings.downloaders)
    return Pipeline(
        preparer=preparer,
        in_engine=in_engine,
        saver=saver,
        finisher=finisher,
        publisher=publisher,
        engine=ground.engine_status,
        buffer=buffer,
        room=Room(buffer, scratch, faults, ground.engine_status, most),
        faults=faults,
        metrics=ground.metrics,
        clock=clock,
        max_receives=ground.max_receives,
    )
