# SPDX-License-Identifier: Apache-2.0
"""What a trace tells of a run: how busy the device was, how full its batches, where jobs waited and the CPU worked."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from worker.telemetry.trace import Span, SpanKind

__all__ = ["Activity", "activity", "busy_share", "merged"]

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Activity:
    """Figures of one run.

    Attributes:
        busy: Share of the time between the first batch's start and the last one's end in which the device computed.
        longest_gap: Seconds of that time in which it did not, at most in one piece.
        batches: How many there were.
        fill: Windows of a batch, as a share of a full one, over all batches.
        waits: Median seconds of a job in each stage.
        stage_cpu: Seconds that the worker's threads computed for each stage.
    """

    busy: float
    longest_gap: float
    batches: int
    fill: float
    waits: dict[str, float]
    stage_cpu: dict[str, float]


def activity(spans: Sequence[Span], batch_size: int) -> Activity:
    """Reckons a run up.

    Args:
        spans: Of the run alone.
        batch_size: Windows of a full batch.

    Raises:
        ValueError: No batch is among them.
    """
    computed = merged(_device(spans))
    if not computed:
        raise ValueError("the trace holds no batch")
    batches = [span for span in spans if span.kind is SpanKind.BATCH]
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    cpu: defaultdict[str, float] = defaultdict(float)
    for span in spans:
        if span.kind is SpanKind.STAGE:
            seconds[span.name].append(span.seconds)
            cpu[span.name] += span.cpu or 0.0
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(computed)]
    return Activity(
        busy=busy_share(computed, computed[0][0], computed[-1][1]),
        longest_gap=max(gaps, default=0.0),
        batches=len(batches),
        fill=sum(span.windows or 0 for span in batches) / (batch_size * len(batches)) if batches else 0.0,
        waits={stage: median(own) for stage, own in seconds.items()},
        stage_cpu=dict(cpu),
    )


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The intervals without overlaps, in order."""
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def busy_share(computed: Sequence[Interval], start: float, end: float) -> float:
    """Share of the time between `start` and `end` that the intervals, which do not overlap, cover."""
    covered = sum(max(0.0, min(end, own_end) - max(start, own_start)) for own_start, own_end in computed)
    return covered / (end - start) if end > start else 0.0


def _device(spans: Sequence[Span]) -> list[Interval]:
    """When the device computed, as itself tells, else when a batch was under way."""
    own = [(span.start, span.end) for span in spans if span.kind is SpanKind.DEVICE]
    return own or [(span.start, span.end) for span in spans if span.kind is SpanKind.BATCH]
