# SPDX-License-Identifier: Apache-2.0
"""A decoder run by a scheduler until its tasks are done, without a process."""

from __future__ import annotations

from collections.abc import Sequence

from stages.inference.engine.rows import WindowDecoder
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import DecodeTask, EngineEvent, Progress, WindowDone
from stages.values import WindowResult

__all__ = ["decoded", "results"]


def decoded(decoder: WindowDecoder, tasks: Sequence[DecodeTask], limit: int = 4) -> list[EngineEvent]:
    """What the engine tells of the tasks, in batches of at most so many rows."""
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    for item in tasks:
        scheduler.add(item)
    while batch := scheduler.take(limit, timeout=0.0):
        scheduler.give(batch, decoder.run(batch.rows))
    return [event for event in events if not isinstance(event, Progress)]


def results(events: Sequence[EngineEvent]) -> dict[tuple[str, int], WindowResult]:
    """What was transcribed, by job and window."""
    return {(event.job_key, event.result.index): event.result for event in events if isinstance(event, WindowDone)}
