# SPDX-License-Identifier: Apache-2.0
"""The `/status` page: every stage, its jobs and what it got done, as JSON's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqscribe import __version__
from worker.components import Parts
from worker.lifecycle import Phase
from worker.telemetry.metrics import Stage

__all__ = ["status_page"]

#: Jobs listed at most for each stage; their number is always told.
LISTED = 20


def status_page(parts: Parts, phase: Phase, uptime: float) -> Mapping[str, Any]:
    """What the worker does now.

    Args:
        parts: The worker's.
        phase: Of its life.
        uptime: Seconds since it was built.
    """
    pipeline, info = parts.pipeline, parts.pipeline.info
    jobs = pipeline.snapshot()
    totals = pipeline.totals()
    troubles = (parts.intake.trouble, parts.faults.current, pipeline.engine_trouble)
    return {
        "version": __version__,
        "node": parts.node,
        "phase": phase,
        "uptime": round(uptime, 1),
        "leases": parts.leases.count,
        "waiting": parts.intake.waiting,
        "buffer": {"seconds": round(parts.buffer.seconds, 1), "limit": parts.buffer.limit, "open": parts.buffer.open},
        "scratch": {"used": parts.scratch.used, "free": parts.scratch.free},
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
        "parts": [asdict(part) for part in parts.health.parts()],
    }
