# SPDX-License-Identifier: Apache-2.0
"""Puts a worker together from its settings: what is built here, in order, is the whole wiring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqscribe import __version__
from sqscribe.logs import LogFormat
from sqscribe.result import WorkerFacts
from stages.decode import DecodeLimits, Decoder
from stages.fetch import Fetcher, FetchLimits
from stages.fetch.address import AddressPolicy
from stages.inference.client.client import DEFAULT_DECODER, EngineClient
from stages.inference.protocol import Engine, EngineSettings
from stages.ports import Clock
from stages.publish import Publisher
from stages.segment import Segmenter
from worker.components import Components
from worker.connect import Connections, connect_aws, poll_seconds
from worker.daemon import Daemon
from worker.jobs.buffer import AudioBuffer
from worker.jobs.checkpoint import Checkpoints
from worker.jobs.finish import Finisher
from worker.jobs.handover import Handover
from worker.jobs.in_engine import Decoding
from worker.jobs.pipeline import Pipeline
from worker.jobs.prepare import Preparer
from worker.jobs.saving import CheckpointSaver
from worker.leases import Heartbeat, LeaseTable
from worker.leases.deleter import Deleter
from worker.node.clock import SystemClock
from worker.node.faults import NodeFaults
from worker.node.models import SIMULATED, download_model, engine_settings, is_simulated
from worker.node.name import node_name
from worker.node.scratch import ScratchSpace
from worker.node.source_outage import SourceOutage
from worker.receive.intake import BATCH, Intake
from worker.settings import Settings
from worker.telemetry.health import Health
from worker.telemetry.metrics import Metrics
from worker.telemetry.trace import TraceWriter

__all__ = ["build_worker"]

#: Receives of a queue that has no redrive policy.
DEFAULT_MAX_RECEIVES = 10
#: Messages received at once for each downloader: one in hand and one to go on with.
MESSAGES_PER_DOWNLOADER = 2

#: Scratch that must be free before more is received: a common source. How large the next one is, only its fetch tells.
SOURCE_BYTES = 64 << 20


def build_worker(
    settings: Settings,
    connect: Callable[[Settings, Metrics], Connections] = connect_aws,
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
    connections = connect(settings, metrics)
    # Wrong settings end here, before a model is loaded.
    facts = connections.queue.facts()
    max_receives = settings.max_receives or facts.max_receives or DEFAULT_MAX_RECEIVES
    dead_letter_url = settings.dead_letter_queue_url or facts.dead_letter_url

    decoder, segmenter = Decoder(DecodeLimits(max_seconds=settings.max_duration)), Segmenter()
    scratch = ScratchSpace(settings.scratch_dir, settings.scratch_bytes, clock)
    try:
        engine = _engine(settings, connections, scratch.root, clock, make_engine)
    except BaseException:
        scratch.close()  # no daemon will
        raise
    buffer = AudioBuffer(settings.buffer_seconds)
    faults = NodeFaults(clock)
    leases = LeaseTable(
        connections.queue,
        clock,
        visibility_timeout=settings.visibility_timeout,
        on_renewals=metrics.leases_renewed,
        on_lost=metrics.lease_lost,
    )
    heartbeat = Heartbeat(leases, connections.queue, clock)
    deleter = Deleter(leases, connections.queue, clock)
    publisher = Publisher(connections.store, clock, WorkerFacts(__version__, node))
    fetch_limits, policy = (
        FetchLimits(max_bytes=settings.max_source_bytes),
        AddressPolicy(settings.allow_private_sources),
    )
    outage = SourceOutage(
        clock, partial(policy.answers, timeout=fetch_limits.connect_timeout), longest=connections.source_outage
    )
    fetcher = Fetcher(
        fetch_limits,
        connections.s3_client,
        allow_local=connections.allow_local,
        allowed_buckets=frozenset(settings.allowed_buckets) if settings.allowed_buckets else None,
        policy=policy,
        on_answer=outage.answered,
    )
    preparer = Preparer(fetcher, decoder, segmenter, scratch, outage, faults, metrics, clock)
    decoding, checkpoints = Decoding(engine, buffer), Checkpoints(connections.store)
    saver = CheckpointSaver(
        checkpoints,
        Handover(connections.queue, checkpoints, clock, max_receives),
        decoding,
        faults,
        clock,
        preparer.cutter,
        interval=settings.checkpoint_seconds,
    )
    pipeline = Pipeline(
        preparer=preparer,
        decoding=decoding,
        saver=saver,
        finisher=Finisher(publisher, checkpoints, connections.queue, leases, deleter, faults, dead_letter_url),
        publisher=publisher,
        buffer=buffer,
        faults=faults,
        metrics=metrics,
        clock=clock,
        max_receives=max_receives,
    )
    intake = Intake(
        connections.queue,
        leases,
        connections.parse,
        partial(_room, pipeline, scratch, min(BATCH, MESSAGES_PER_DOWNLOADER * settings.downloaders)),
        pipeline.settle,
        clock,
        wait=poll_seconds(settings),
    )
    metrics.watch(
        stage_jobs=pipeline.stage_jobs,
        buffered_audio_seconds=lambda: buffer.seconds,
        leases=lambda: leases.count,
    )
    components = Components(
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
        components,
        http_port=settings.http_port,
        downloaders=settings.downloaders,
        uploaders=settings.uploaders,
        grace=settings.shutdown_grace,
        engine_stall=settings.engine_stall_seconds,
        exit_when_idle=settings.exit_when_idle,
    )


def _room(pipeline: Pipeline, scratch: ScratchSpace, most: int) -> int:
    """How many messages there is room for: seconds in the buffer, bytes in the scratch space."""
    return pipeline.room(most) if scratch.has_room(min(SOURCE_BYTES, scratch.budget // 4)) else 0


def _engine(
    settings: Settings,
    connections: Connections,
    scratch: Path,
    clock: Clock,
    make_engine: Callable[[EngineSettings, Clock], Engine] | None,
) -> Engine:
    log_format: LogFormat = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    resolved = engine_settings(settings, partial(download_model, connections.s3_client), scratch, log_format)
    if make_engine:
        return make_engine(resolved, clock)
    decoder = SIMULATED if is_simulated(settings.model) else DEFAULT_DECODER
    return EngineClient(resolved, clock, decoder, recycle_windows=settings.engine_recycle_windows)
