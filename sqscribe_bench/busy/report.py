# SPDX-License-Identifier: Apache-2.0
"""The report on how busy devices were kept: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from sqscribe_bench.busy.busy import Busy
from sqscribe_bench.lab.machine import Machine

__all__ = ["BusyReport", "busy_table", "cpu_table", "write_busy"]

#: The stages in which a thread of the worker computes.
_STAGES = ("fetch", "decode", "segment", "publish")
_CAPTION = (
    "Busy: share of the time from the first batch's start to the last one's end in which the device computed, from "
    "messages in SQS to deleted messages. The device is simulated: it takes the time of one, one batch after another, "
    "and the host computes on so many cores for it meanwhile. All else is real."
)


@dataclass(frozen=True, slots=True)
class BusyReport:
    """Every run, and the machine that they took place on.

    Attributes:
        started: UTC, ISO 8601.
    """

    machine: Machine
    started: str
    runs: Sequence[Busy]


def busy_table(report: BusyReport) -> Table:
    """Medians over the rounds, a row for each speed."""
    table = Table(
        title=_title(report.machine, report.runs), caption=_CAPTION, title_justify="left", caption_justify="left"
    )
    for heading in (
        "device", "host cores", "busy", "lowest", "longest gap", "windows a batch", "x real time", "waiting: fetch",
        "decode", "segment", "for room", "in the engine", "publish", "peak MB, worker",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for own in _by_speed(report.runs):
        first = own[0]

        stages = ("fetch", "decode", "segment", "wait", "inference", "publish")
        waits = [median(each.waits.get(stage, 0.0) for each in own) for stage in stages]
        table.add_row(
            f"{first.device.speed:g}x",
            f"{first.device.host_share:g}",
            f"{median(each.share for each in own):.3f}",
            f"{min(each.share for each in own):.3f}",
            f"{median(each.longest_gap for each in own):.2f} s",
            f"{median(each.fill for each in own):.0%} of {first.device.batch_size}",
            f"{median(each.run.speed for each in own):.1f}",
            *(f"{wait:.2f} s" for wait in waits),
            f"{max(each.run.usage.peak_main_memory for each in own) / 1e6:.0f}",
        )
    return table


def cpu_table(found: Sequence[Busy]) -> Table:
    """CPU seconds for an hour of audio, by what took them: medians over all runs."""
    table = Table(title="CPU seconds for an hour of audio", title_justify="left")
    for heading in ("part", "of the worker", "CPU s per audio hour"):
        table.add_column(heading, justify="right" if heading.startswith("CPU") else "left")
    for (part, place), seconds in _cpu(found).items():
        table.add_row(part, place, f"{seconds:.2f}")
    return table


def write_busy(report: BusyReport, path: Path) -> None:
    """Writes everything as JSON."""
    runs = [asdict(each) | {"timeline": each.timeline.name} for each in report.runs]
    content = {"version": 1, "started": report.started, "machine": asdict(report.machine), "runs": runs}
    content["cpu_seconds_per_hour"] = {part: seconds for (part, _), seconds in _cpu(report.runs).items()}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")


def _cpu(found: Sequence[Busy]) -> Mapping[tuple[str, str], float]:
    """CPU seconds for an hour of audio, by the part that took them and where in the worker it is."""
    parts: dict[tuple[str, str], list[float]] = {}
    for each in found:
        usage, per_hour = each.run.usage, 3600 / each.run.audio_seconds
        threads = {stage: float(each.run.notes.get(f"{stage}_cpu_per_hour", 0.0)) for stage in _STAGES}
        shares = {(stage, "its thread"): seconds for stage, seconds in threads.items()}
        shares["readers of media", "child processes"] = usage.ended_cpu_seconds * per_hour
        shares["all else", "receive, leases, deletes, events, logs"] = usage.main_cpu_seconds * per_hour - sum(
            threads.values()
        )
        shares["outside inference", "sum of the above"] = usage.outside_cpu_seconds * per_hour
        for part, seconds in shares.items():
            parts.setdefault(part, []).append(seconds)
    return {part: median(seconds) for part, seconds in parts.items()}


def _by_speed(found: Sequence[Busy]) -> list[list[Busy]]:
    speeds: dict[float, list[Busy]] = {}
    for each in found:
        speeds.setdefault(each.device.speed, []).append(each)
    return list(speeds.values())


def _title(machine: Machine, found: Sequence[Busy]) -> str:
    run = found[0].run
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{run.workload}: {run.jobs} recordings, {run.audio_seconds / 3600:.2f} h; medians of "
        f"{max(each.run.round for each in found)} rounds\n{machine.cpu}, {machine.cores} cores; load average "
        f"{machine.load} at the start\n{versions}"
    )
