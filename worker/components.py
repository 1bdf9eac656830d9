# SPDX-License-Identifier: Apache-2.0
"""What a worker is made of: one frozen value that the daemon starts and stops, built by `worker.build`."""

from __future__ import annotations

from dataclasses import dataclass

from stages.decode import AudioDecoder
from stages.fetch import Lanes
from stages.inference.protocol import Engine
from stages.ports import Clock
from worker.jobs.buffer import AudioBuffer
from worker.jobs.engine_status import EngineStatus
from worker.jobs.pipeline import Pipeline
from worker.leases import Heartbeat, LeaseTable
from worker.leases.deleter import Deleter
from worker.node.faults import NodeFaults
from worker.node.scratch import ScratchSpace
from worker.receive.intake import Intake
from worker.telemetry.health import Health
from worker.telemetry.metrics import Metrics

__all__ = ["Components"]


@dataclass(frozen=True, slots=True)
class Components:
    """The components; each owns its state, and nothing else does.

    Attributes:
        node: Name of this node in logs and results.
    """

    node: str
    clock: Clock
    metrics: Metrics
    health: Health
    faults: NodeFaults
    buffer: AudioBuffer
    scratch: ScratchSpace
    decoder: AudioDecoder
    leases: LeaseTable
    heartbeat: Heartbeat
    deleter: Deleter
    lanes: Lanes
    intake: Intake
    pipeline: Pipeline
    engine: Engine
    engine_status: EngineStatus
