# SPDX-License-Identifier: Apache-2.0
"""What a worker and its engine did when: read from the file that SQSCRIBE_TRACE names."""

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
    """One thing that was done.

    Attributes:
        kind: `stage`, `batch` or `device`.
        name: Of the stage, or what the batch was for.
        start: Seconds, on the clock that all processes of a machine share.
        cpu: Seconds that its thread took; None where nobody measured.
        windows: Of a batch.
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
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Trace:
    """All of a run's, in the order of their starts; clock times count from the run's start.

    Attributes:
        looks: At a GPU: when, and the share of the moments before in which a kernel ran.
    """

    spans: Sequence[Span]
    looks: Sequence[tuple[float, float]] = ()

    def of(self, kind: str) -> list[Span]:
        """Those of a kind."""
        return [span for span in self.spans if span.kind == kind]

    @property
    def busy(self) -> list[Span]:
        """When the device had work; as far as nobody looked at the device, when a batch was under way."""
        return self.of("device") or self.of("batch")

    def busy_over_time(self, seconds: float, steps: int) -> tuple[list[float], list[float]]:
        """The device's share of each of so many equal steps: edges, shares. By looks at the device, if there are any.

        A step without a look is as the one before it.
        """
        edges, shares = busy_over_time(self.busy, seconds, steps)
        if self.looks:
            share = 0.0
            for step, (start, end) in enumerate(pairwise(edges)):
                inside = [seen for moment, seen in self.looks if start <= moment < end]
                shares[step] = share = fmean(inside) if inside else share
        return edges, shares

    def figures(self, audio_seconds: float) -> dict[str, float]:
        """Busy share between first and last batch, batch fill, and what each stage took for an hour of audio."""
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
    """Reads what began between two moments.

    Raises:
        BenchError: There is no such file: this worker writes none.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise BenchError(f"the worker wrote no trace: it does not know {TRACE_VARIABLE}") from None
    spans = sorted(_spans(lines, began, ended), key=lambda span: span.start)
    return Trace(tuple(spans))


def busy_seconds(spans: Iterable[Span]) -> float:
    """Time in which at least one of them was under way."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def busy_over_time(spans: Sequence[Span], seconds: float, steps: int) -> tuple[list[float], list[float]]:
    """The share of each of so many equal steps in which at least one span was under way: edges, shares."""
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
