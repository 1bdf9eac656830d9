# SPDX-License-Identifier: Apache-2.0
"""How busy a device of a given speed is kept: the real worker in front of a simulated one, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from worker.bench.activity import Activity, activity
from worker.bench.contender import Sqscribe
from worker.bench.run import Conditions, Run, Task
from worker.bench.site import Site
from worker.bench.timeline import draw_timeline
from worker.bench.workload import WARM_UP, Workload
from worker.telemetry.trace import Span, SpanKind, read_trace

__all__ = ["Busy", "Device", "keep_busy"]

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
        timeline: The picture of it.
    """

    device: Device
    run: Run
    activity: Activity
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
    trace = site.folder / f"{site.name()}.trace"
    settings = {
        "SQSCRIBE_MODEL": device.model(trace),
        "SQSCRIBE_TRACE": str(trace),
        "SQSCRIBE_BATCH_SIZE": str(device.batch_size),
    }
    run = Sqscribe(settings).run(Task(workload, words=False, round=number), site, conditions, timeout)
    spans = _measured(read_trace(trace))
    results.mkdir(parents=True, exist_ok=True)
    picture = results / f"timeline-{workload.name}-{device.speed:g}x.png"
    found = activity(spans, device.batch_size)
    title = f"{workload.name} on a simulated device of {device.speed:g}x real time: busy {found.busy:.1%}"
    draw_timeline(spans, picture, title)
    return Busy(device, run, found, picture)


def _measured(spans: Sequence[Span]) -> list[Span]:
    """The spans behind the recording that nobody's clock counts."""
    begun = min(
        span.start
        for span in spans
        if span.kind is SpanKind.STAGE and not (span.job or "").partition("-")[2].startswith(WARM_UP.name)
    )
    return [span for span in spans if span.start >= begun]
