# SPDX-License-Identifier: Apache-2.0
"""The `/status` page: every stage, its jobs and what it got done, as JSON's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqscribe import __version__
from worker.components import Components
from worker.lifecycle import Phase
from worker.outcomes import Stage

__all__ = ["status_page"]

#: Jobs listed at most for each stage; their number is always told.
LISTED = 20


def status_page(components: Components, phase: Phase, uptime: float) -> Mapping[str, Any]:
    """What the worker does now.

    Args:
        components: The worker's.
        phase: Of its life.
        uptime: Seconds since it was built.
    """
    pipeline, info = components.pipeline, components.pipeline.info
    jobs = pipeline.snapshot()
    totals = pipeline.totals()
    troubles = (components.intake.trouble, components.faults.current, pipeline.engine_trouble)
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
                        "job": job.job,
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
        "parts": [asdict(component) for component in components.health.components()],
    }
