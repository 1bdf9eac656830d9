# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench busy`: whether the worker keeps a fast device busy, on a machine that has none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sqscribe.cli.bench.extras import begin, telling
from sqscribe.cli.bench.options import with_options

__all__ = ["busy"]


@dataclass(frozen=True, slots=True)
class BusyOptions:
    """The options of `sqscribe bench busy`."""

    speeds: Annotated[str, typer.Option(help="Of the devices, times real time, comma-separated.")] = "60,120,200"
    workload_name: Annotated[str, typer.Option("--workload", "-w", help="clips, files, hours or mix.")] = "mix"
    scale: Annotated[float, typer.Option(help="Share of its recordings, at least one of each kind.")] = 1.0
    rounds: Annotated[int, typer.Option(min=1, help="How often each device runs it.")] = 3
    batch_size: Annotated[int, typer.Option(min=1, help="Windows of a full batch.")] = 16
    host_share: Annotated[
        float, typer.Option(min=0, max=1, help="Cores that the host computes on while the device does.")
    ] = 0.5
    timeout: Annotated[float, typer.Option(help="Seconds for one run.")] = 3600.0
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and pictures.")] = Path(
        "bench/results"
    )
    name: Annotated[str, typer.Option(help="Of the JSON file there.")] = "busy"
    cache: Annotated[Path | None, typer.Option(help="Folder for recordings. [default: ~/.cache/sqscribe/bench]")] = None


@with_options(BusyOptions)
def busy(options: BusyOptions) -> None:
    """Keep a simulated device busy, and show where the time goes.

    The device takes the time of one that transcribes so many times faster than real time, and the host's computing
    that goes with it. Receiving, fetching, decoding, cutting, publishing and deleting are real.
    """
    console = begin()

    from sqscribe_bench.busy.busy import BusyPlan, Device  # noqa: PLC0415 - `--help` should answer at once
    from sqscribe_bench.busy.report import busy_table, cpu_table  # noqa: PLC0415
    from sqscribe_bench.commands import measure_busy  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415
    from sqscribe_bench.lab.workload import workload  # noqa: PLC0415

    plan = BusyPlan(
        devices=[Device(float(speed), options.batch_size, options.host_share) for speed in options.speeds.split(",")],
        workload=workload(options.workload_name, options.scale),
        rounds=options.rounds,
        timeout=options.timeout,
    )
    report = measure_busy(
        plan,
        cache=options.cache or default_cache(),
        results=options.results,
        name=options.name,
        tell=telling(console),
    )
    console.print(busy_table(report))
    console.print(cpu_table(report.runs))
    pictures = sorted({each.timeline.name for each in report.runs})
    console.print(f"wrote {options.results / options.name}.json and {', '.join(pictures)}")
