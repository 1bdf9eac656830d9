# SPDX-License-Identifier: Apache-2.0
"""What a worker and its engine did at which time, read from the file that SQSCRIBE_TRACE names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from sqscribe_bench.lab.run import BenchError

__all__ = ["TRACE_VARIABLE", "Span", "Trace", "busy_over_time", "busy_seconds", "read_trace"]

TRACE_VARIABLE = "SQSCRIBE_TRACE"


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time.

    Attributes:
        kind: `stage`, `batch` or `device`.
        name: The stage, or what the batch was for.
        start: Seconds since the run's start.
        end: Seconds since the run's start.
        job: The job that it was for; None where there is no single one.
        cpu: CPU seconds of its thread; None where they were not measured.
        windows: How many windows a batch had.
    """

    kind: str
    name: str
    start: float
    end: float
    job: str | None = None
    cpu: float | None = None
    windows: int | None = None

    @property
    def seconds(self) -> float:
        """How long it took, in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of a run, in the order of their starts.

    Attributes:
        looks: At a GPU: seconds since the run's start, and the share of the time just before in which a kernel ran.
    """

    spans: Sequence[Span]
    looks: Sequence[tuple[float, float]] = ()

    def of(self, kind: str) -> list[Span]:
        """The spans of a kind."""
        return [span for span in self.spans if span.kind == kind]

    @property
    def busy(self) -> list[Span]:
        """The spans in which the device had work; where that was not traced, those of batches."""
        return self.of("device") or self.of("batch")

    def busy_over_time(self, seconds: float, steps: int) -> tuple[list[float], list[float]]:
        """How busy the device was over time: the edges of equal steps, and the busy share of each.

        Where somebody looked at a GPU, its looks count. A step without a look is like the one before it.
        """
        edges, shares = busy_over_time(self.busy, seconds, steps)
        if self.looks:
            share = 0.0
            for step, (start, end) in enumerate(pairwise(edges)):
                inside = [seen for moment, seen in self.looks if start <= moment < end]
                shares[step] = share = fmean(inside) if inside else share
        return edges, shares

    def figures(self, audio_seconds: float) -> dict[str, float]:
        """Busy share from the first batch to the last, batch fill, and seconds of each stage for an hour of audio."""
        made: dict[str, float] = {}
        busy, batches = self.busy, self.of("batch")
        if busy:
            first, last = min(span.start for span in busy), max(span.end for span in busy)
            looks = [share for moment, share in self.looks if first <= moment <= last]
            made["device_busy_share"] = fmean(looks) if looks else busy_seconds(busy) / max(last - first, 1e-9)
        if sizes := [span.windows for span in batches if span.windows]:
            made["batch_fill"] = sum(sizes) / (len(sizes) * max(sizes))
        for name in dict.fromkeys(span.name for span in self.of("stage")):
            own = [span for span in self.of("stage") if span.name == name]
            made[f"{name}_seconds_per_hour"] = 3600 * sum(span.seconds for span in own) / audio_seconds
            if measured := [span.cpu for span in own if span.cpu is not None]:
                made[f"{name}_cpu_per_hour"] = 3600 * sum(measured) / audio_seconds
        return made


def read_trace(path: Path, began: float, ended: float) -> Trace:
    """Reads the spans that began between two moments of the monotonic clock.

    Raises:
        BenchError: There is no such file, because this worker does not trace.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise BenchError(f"the worker wrote no trace: it does not know {TRACE_VARIABLE}") from None
    spans = sorted(_spans(lines, began, ended), key=lambda span: span.start)
    return Trace(tuple(spans))


def busy_seconds(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of the spans was under way."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def busy_over_time(spans: Sequence[Span], seconds: float, steps: int) -> tuple[list[float], list[float]]:
    """The edges of equal steps, and the share of each in which at least one span was under way."""
    width = seconds / steps
    edges = [step * width for step in range(steps + 1)]
    shares = []
    for start in edges[:-1]:
        end = start + width
        inside = [
            Span(span.kind, span.name, max(span.start, start), min(span.end, end))
            for span in spans
            if span.start < end and span.end > start
        ]
        shares.append(busy_seconds(inside) / width)
    return edges, shares


def _spans(lines: Iterable[str], began: float, ended: float) -> Iterator[Span]:
    for line in lines:
        told = json.loads(line)
        if began <= told["start"] <= ended:
            yield Span(
                kind=told["kind"],
                name=told["name"],
                start=told["start"] - began,
                end=told["end"] - began,
                job=told.get("job"),
                cpu=told.get("cpu"),
                windows=told.get("windows"),
            )
