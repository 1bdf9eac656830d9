# SPDX-License-Identifier: Apache-2.0
"""The report on how cost grows: a table, JSON, a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from matplotlib.figure import Figure as Canvas
from rich.table import Table

from sqscribe_bench.lab.machine import Machine
from sqscribe_bench.scale.scale import AXES, Point

__all__ = ["ScaleReport", "plot_scale", "scale_table", "write_scale_json"]

VERSION = 1

_PARTS = {"worker": "#0072B2", "readers": "#E69F00", "engine": "#009E73"}


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """Everything that is reported of how cost grows.

    Attributes:
        name: Name of the files.
        started: UTC, ISO 8601.
        device: The simulated device of the axis `workers`.
        verdicts: Where cost does not grow in proportion, in words.
    """

    name: str
    started: str
    machine: Machine
    device: str
    points: Sequence[Point]
    verdicts: Sequence[str]


def scale_table(report: ScaleReport) -> Table:
    """The table, with a row for each point."""
    machine = report.machine
    made = Table(
        title=f"{machine.cpu}, {machine.cores} cores; load average {machine.load} at the start; "
        f"device of each of several workers: {report.device}",
        caption="\n".join([*(f"{name}: {axis.size}; {axis.title}." for name, axis in AXES.items()), *report.verdicts]),
        title_justify="left",
        caption_justify="left",
    )
    made.add_column("what grows")
    for heading in (
        "size",
        "jobs",
        "seconds",
        "x real time",
        "CPU ms per job",
        *(f"{part}" for part in _PARTS),
        "CPU s per audio hour",
        "peak MB of the worker",
        "SQS calls per job",
        "S3 calls per job",
    ):
        made.add_column(heading, justify="right")
    before = None
    for point in report.points:
        if before not in (None, point.axis):
            made.add_section()
        made.add_row(point.axis if before != point.axis else "", *_row(point))
        before = point.axis
    return made


def _row(point: Point) -> list[str]:
    size = f"{point.size:g}"
    if point.failure is not None:
        return [size, "failed", point.failure.splitlines()[-1][:80]]
    calls = [point.parts.get(name) for name in ("queue_calls_per_job", "store_calls_per_job")]
    return [
        size,
        str(point.jobs),
        f"{point.seconds:.1f}",
        f"{point.speed:.1f}",
        f"{1000 * point.cpu_seconds / point.jobs:.1f}",
        *(f"{1000 * point.parts[part] / point.jobs:.1f}" for part in _PARTS),
        f"{3600 * point.cpu_seconds / point.audio_seconds:.1f}",
        f"{point.parts['peak_memory'] / 1e6:.0f}",
        *("" if each is None else f"{each:.2f}" for each in calls),
    ]


def write_scale_json(report: ScaleReport, folder: Path) -> Path:
    """Writes `<name>.json` and gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}.json"
    content = {"version": VERSION, **asdict(report)}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")
    return path


def plot_scale(report: ScaleReport, folder: Path) -> Path:
    """Writes `<name>.png`: a panel for each axis, on logarithmic scales, with a line for growth in proportion."""
    axes = [name for name in AXES if any(point.axis == name and point.failure is None for point in report.points)]
    rows, columns = -(-len(axes) // 2) or 1, min(2, len(axes)) or 1
    canvas = Canvas(figsize=(6.5 * columns, 4.5 * rows), layout="constrained")
    canvas.suptitle(f"{report.machine.cpu}, {report.machine.cores} cores", fontsize=11)
    for panel, name in zip_longest(canvas.subplots(rows, columns, squeeze=False).flat, axes):
        if name is None:
            panel.set_axis_off()
            continue
        points = [point for point in report.points if point.axis == name and point.failure is None]
        sizes = [point.size for point in points]
        about = AXES[name]
        panel.set_title(about.title, fontsize=10)
        if name == "workers":
            panel.plot(sizes, [point.speed for point in points], "o-", color="#0072B2", label="measured")
            linear = [points[0].speed * size / sizes[0] for size in sizes]
            panel.set_ylabel("audio seconds per second")
        else:
            panel.plot(sizes, [point.cost for point in points], "o-", color="black", label="all processes")
            for part, shade in _PARTS.items():
                own = [(point.size, _share(point, part)) for point in points if point.parts.get(part)]
                if own:
                    panel.plot(*zip(*own, strict=True), ".--", color=shade, label=part)
            linear = [points[-1].cost * size / sizes[-1] for size in sizes]
            per = " per recording" if name == "length" else ""
            panel.set_ylabel(f"CPU seconds{per}")
        panel.plot(sizes, linear, color="#bbbbbb", linewidth=3, label="in proportion", zorder=0)
        if name == "workers":
            panel.set_ylim(bottom=0)
        else:
            panel.set_xscale("log")
            panel.set_yscale("log")
        panel.set_xlabel(about.size)
        panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
        panel.minorticks_off()
        panel.grid(color="#eeeeee")
        panel.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}.png"
    canvas.savefig(path, dpi=150)
    return path


def _share(point: Point, part: str) -> float:
    value = point.parts[part]
    return value / point.jobs if point.axis == "length" else value
