# SPDX-License-Identifier: Apache-2.0
"""The `/status` page: every stage and its jobs, and what the worker has done, as types that JSON has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqscribe import __version__
from worker.components import Components
from worker.lifecycle import Phase
from worker.node.name import node_name
from worker.outcomes import Stage
from worker.settings import Settings
from worker.telemetry.totals import TotalsSnapshot

__all__ = ["starting_page", "status_page"]

#: Most jobs that are listed for a stage; their number is always given.
LISTED = 20


def status_page(components: Components, phase: Phase, uptime: float) -> Mapping[str, Any]:
    """Gives the page as it is now.

    Args:
        components: The worker's.
        phase: The part of its life that it is in.
        uptime: Seconds since it was built.
    """
    pipeline, info = components.pipeline, components.engine_status.info
    jobs = pipeline.jobs.snapshot()
    totals = pipeline.totals()
    troubles = (components.intake.trouble, components.faults.current, components.engine_status.trouble)
    return {
        "version": __version__,
        "node": components.node,
        "phase": phase,
        "uptime": round(uptime, 1),
        "leases": components.leases.count,
        "waiting": components.intake.waiting,
        "buffer": {
            "seconds": round(components.buffer.seconds, 1),
            "limit": components.buffer.limit,
            "open": components.buffer.open,
        },
        "scratch": {"used": components.scratch.used, "free": components.scratch.free},
        "engine": asdict(info) if info else None,
        "trouble": [trouble for trouble in troubles if trouble],
        "stages": {
            stage: {
                "jobs": sum(job.stage is stage for job in jobs),
                "under_way": [
                    {
                        "job": job.job_id,
                        "seconds": round(job.seconds, 1),
                        "audio_seconds": round(job.audio_seconds, 1),
                        "windows": job.windows,
                        "windows_done": job.windows_done,
                    }
                    for job in jobs
                    if job.stage is stage
                ][:LISTED],
            }
            for stage in Stage
        },
        **_done(totals, uptime),
        "parts": [asdict(component) for component in components.health.components()],
    }


def starting_page(settings: Settings, reasons: Sequence[str], uptime: float) -> Mapping[str, Any]:
    """The same page of a worker that is not built yet: nothing is held, and nothing is done.

    Args:
        settings: The worker's.
        reasons: What it waits for.
        uptime: Seconds since the program was started.
    """
    return {
        "version": __version__,
        "node": node_name(),
        "phase": Phase.STARTING,
        "uptime": round(uptime, 1),
        "leases": 0,
        "waiting": 0,
        "buffer": {"seconds": 0.0, "limit": settings.buffer_seconds, "open": True},
        "scratch": {"used": 0, "free": 0},
        "engine": None,
        "trouble": list(reasons),
        "stages": {stage: {"jobs": 0, "under_way": []} for stage in Stage},
        **_done(TotalsSnapshot(jobs={}), uptime),
        "parts": [],
    }


def _done(totals: TotalsSnapshot, uptime: float) -> Mapping[str, Any]:
    return {
        "totals": {
            "jobs": dict(totals.jobs),
            "audio_seconds": round(totals.audio_seconds, 1),
            "windows": totals.windows,
            "batches": totals.batches,
            "busy_seconds": round(totals.busy_seconds, 2),
        },
        "rates": {
            "jobs_per_minute": round(60 * sum(totals.jobs.values()) / uptime, 2) if uptime else 0.0,
            "real_time_factor": round(totals.audio_seconds / uptime, 2) if uptime else 0.0,
        },
    }
