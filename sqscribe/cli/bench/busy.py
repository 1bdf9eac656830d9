# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench busy`: whether the worker keeps a fast device busy, on a machine that has none."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sqscribe.cli.bench.extras import WIDE, need_extras

__all__ = ["busy"]


def busy(
    speeds: Annotated[str, typer.Option(help="Of the devices, times real time, comma-separated.")] = "60,120,200",
    workload_name: Annotated[str, typer.Option("--workload", "-w", help="clips, files, hours or mix.")] = "mix",
    scale: Annotated[float, typer.Option(help="Share of its recordings, at least one of each kind.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each device runs it.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows of a full batch.")] = 16,
    host_share: Annotated[
        float, typer.Option(min=0, max=1, help="Cores that the host computes on while the device does.")
    ] = 0.5,
    timeout: Annotated[float, typer.Option(help="Seconds for one run.")] = 3600.0,
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and pictures.")] = Path(
        "bench/results"
    ),
    name: Annotated[str, typer.Option(help="Of the JSON file there.")] = "busy",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for recordings. [default: ~/.cache/sqscribe/bench]")
    ] = None,
) -> None:
    """Keep a simulated device busy, and show where the time goes.

    The device takes the time of one that transcribes so many times faster than real time, and the host's computing
    that goes with it. Receiving, fetching, decoding, cutting, publishing and deleting are real.
    """
    need_extras()
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe_bench.busy.busy import Device, keep_busy  # noqa: PLC0415
    from sqscribe_bench.busy.report import busy_table, cpu_table, write_busy  # noqa: PLC0415
    from sqscribe_bench.lab.library import Library, default_cache  # noqa: PLC0415
    from sqscribe_bench.lab.machine import this_machine  # noqa: PLC0415
    from sqscribe_bench.lab.program import unwind_on_sigterm  # noqa: PLC0415
    from sqscribe_bench.lab.run import Conditions  # noqa: PLC0415
    from sqscribe_bench.lab.site import Site  # noqa: PLC0415
    from sqscribe_bench.lab.workload import WARM_UP, workload  # noqa: PLC0415

    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    machine, started = this_machine(), datetime.now(UTC).isoformat(timespec="seconds")
    task = workload(workload_name, scale)
    library = Library(cache or default_cache())
    library.make([WARM_UP, *task.recordings])
    devices = [Device(float(speed), batch_size, host_share) for speed in speeds.split(",")]
    conditions = Conditions(
        model="simulated",
        folder="",
        device="cpu",
        compute_type="float32",
        beam_size=5,
        cores=machine.cores,
    )
    found = []
    with TemporaryDirectory(prefix="sqscribe-bench-") as scratch, Site(library, Path(scratch)) as site:
        for number in range(1, rounds + 1):
            for device in devices:
                each = keep_busy(device, task, number, site, conditions, results, timeout)
                console.print(
                    f"{device.speed:g}x, round {number}: busy {each.share:.3f}, {each.run.seconds:.1f} s",
                    style="dim",
                    highlight=False,
                )
                found.append(each)
    write_busy(found, machine, started, results / f"{name}.json")
    console.print(busy_table(found, machine))
    console.print(cpu_table(found))
    console.print(f"wrote {results / name}.json and {', '.join(sorted({each.timeline.name for each in found}))}")
