# SPDX-License-Identifier: Apache-2.0
"""How busy a device of a given speed is kept: the real worker in front of a simulated one, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from sqscribe_bench.compare.contender import Sqscribe
from sqscribe_bench.lab.run import BenchError, Conditions, Run, Task
from sqscribe_bench.lab.site import Site
from sqscribe_bench.lab.timeline import plot_timeline
from sqscribe_bench.lab.trace import TRACE_VARIABLE, Span, Trace
from sqscribe_bench.lab.workload import Workload

__all__ = ["Busy", "Device", "keep_busy", "longest_gap"]

#: Seconds of a full window.
_WINDOW_SECONDS = 30.0
#: Share of a full batch's time that it costs whatever is in it: prompts, launches, the longest row.
_FIXED_SHARE = 0.1
#: Words of a window at the speed of talk.
_WORDS = 75


@dataclass(frozen=True, slots=True)
class Device:
    """A simulated device.

    Attributes:
        speed: Times real time, with full batches of full windows.
        batch_size: Windows of a full batch.
        host_share: Cores that the host computes on while the device does.
    """

    speed: float
    batch_size: int = 16
    host_share: float = 0.5

    def model(self, trace: Path) -> str:
        """What `SQSCRIBE_MODEL` is to be."""
        batch = self.batch_size * _WINDOW_SECONDS / self.speed
        wishes = {
            "batch_seconds": _FIXED_SHARE * batch,
            "window_seconds": (1.0 - _FIXED_SHARE) * batch / self.batch_size,
            "host_share": self.host_share,
            "exclusive": "true",
            "parallel": 2,
            "words": _WORDS,
            "trace": trace,
        }
        return f"simulated:{urlencode(wishes)}"


@dataclass(frozen=True, slots=True)
class Busy:
    """What came of one run.

    Attributes:
        share: Of the time from the first batch's start to the last one's end, in which the device computed.
        longest_gap: Seconds of that time in which it did not, at most in one piece.
        fill: Windows of a batch, as a share of a full one, over all batches.
        waits: Median seconds of a job in each stage.
        timeline: The picture of it.
    """

    device: Device
    run: Run
    share: float
    longest_gap: float
    fill: float
    waits: dict[str, float]
    timeline: Path


def keep_busy(
    device: Device, workload: Workload, number: int, site: Site, conditions: Conditions, results: Path, timeout: float
) -> Busy:
    """Puts a workload through the worker.

    Args:
        device: Stands in for the engine's.
        workload: What to transcribe.
        number: Of the round.
        site: Where.
        conditions: Of these, what is not the model's.
        results: Folder for the picture; the last round's stays.
        timeout: Seconds.

    Raises:
        BenchError: It did not get through in time.
    """
    file = site.folder / f"{site.name()}-busy.jsonl"
    settings = {
        "SQSCRIBE_MODEL": device.model(file),
        "SQSCRIBE_BATCH_SIZE": str(device.batch_size),
        TRACE_VARIABLE: str(file),
    }
    kept: list[Trace] = []
    contender = Sqscribe(settings, on_trace=lambda trace, _: kept.append(trace))
    run = contender.run(Task(workload, words=False, round=number), site, conditions, timeout)
    trace = kept[0]
    picture = results / f"timeline-{workload.name}-{device.speed:g}x.png"
    return Busy(
        device=device,
        run=run,
        share=float(run.notes["device_busy_share"]),
        longest_gap=longest_gap(trace.of("device")),
        fill=_fill(trace.of("batch"), device.batch_size),
        waits=_waits(trace.of("stage")),
        timeline=plot_timeline(trace, run, picture),
    )


def longest_gap(spans: Sequence[Span]) -> float:
    """Seconds between the first and the last of them in which none was under way, at most in one piece.

    Raises:
        BenchError: There are none.
    """
    if not spans:
        raise BenchError("the device never computed")
    ordered = sorted(spans, key=lambda span: span.start)
    longest, until = 0.0, ordered[0].end
    for span in ordered:
        longest, until = max(longest, span.start - until), max(until, span.end)
    return longest


def _fill(batches: Sequence[Span], size: int) -> float:
    return sum(span.windows or 0 for span in batches) / (size * len(batches)) if batches else 0.0


def _waits(stages: Sequence[Span]) -> dict[str, float]:
    names = dict.fromkeys(span.name for span in stages)
    return {name: median(span.seconds for span in stages if span.name == name) for name in names}
