# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench scale`: how cost grows with the number of jobs, the length of the audio and the number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.cli.bench.extras import begin, telling
from sqscribe.cli.bench.options import with_options
from sqscribe.errors import ExitCode

if TYPE_CHECKING:
    from sqscribe_bench.scale.scale import ScalePlan

__all__ = ["scale"]

#: Lengths of recordings that are measured, in minutes.
_MINUTES = (1.0, 5.0, 15.0, 60.0)


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """The options of `sqscribe bench scale`."""

    jobs: Annotated[
        int, typer.Option(min=0, help="Most jobs with queue and store in memory: 10, 100, … up to so many.")
    ] = 10_000
    embedded: Annotated[int, typer.Option(min=0, help="The same on the embedded SQS and S3.")] = 300
    minutes: Annotated[float, typer.Option(min=0, help="Longest recording: 1, 5, 15, 60 up to so many.")] = 60.0
    workers: Annotated[int, typer.Option(min=0, help="Most workers on one queue: 1, 2, … up to so many.")] = 3
    device: Annotated[str, typer.Option(help="The simulated device of each of those, as SQSCRIBE_MODEL.")] = (
        "simulated:window_seconds=0.45&batch_seconds=0.02"
    )
    shared: Annotated[int, typer.Option(min=1, help="Minutes of audio that those share, a minute each.")] = 120
    short: Annotated[bool, typer.Option("--short", help="A minute or two: few of everything.")] = False
    timeout: Annotated[float, typer.Option(help="Seconds for one point.")] = 3600.0
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and plot.")] = Path("bench/results")
    name: Annotated[str, typer.Option(help="Of the files there.")] = "scale"
    cache: Annotated[
        Path | None, typer.Option(help="Folder for recordings that are made. [default: ~/.cache/sqscribe/bench]")
    ] = None
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the workers' logs in.")] = None


@with_options(ScaleOptions)
def scale(options: ScaleOptions) -> None:
    """Show how cost grows with the number of jobs, the length of the audio and the number of workers.

    No model is loaded: what is measured is all that stands around one. 0 leaves an axis out.
    """
    console = begin()

    from sqscribe_bench.commands import measure_scale  # noqa: PLC0415 - `--help` should answer at once
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415
    from sqscribe_bench.scale.report import scale_table  # noqa: PLC0415

    report = measure_scale(
        _plan(options),
        cache=options.cache or default_cache(),
        results=options.results,
        name=options.name,
        keep=options.logs,
        tell=telling(console),
    )
    console.print(scale_table(report))
    raise typer.Exit(ExitCode.JOBS_FAILED if any(point.failure for point in report.points) else ExitCode.DONE)


def _plan(options: ScaleOptions) -> ScalePlan:
    from sqscribe_bench.scale.scale import ScalePlan  # noqa: PLC0415

    jobs, embedded, workers = options.jobs, options.embedded, options.workers
    minutes, shared = options.minutes, options.shared
    if options.short:
        jobs, embedded, workers = min(jobs, 100), min(embedded, 30), min(workers, 2)
        minutes, shared = min(minutes, 5.0), min(shared, 20)
    return ScalePlan(
        jobs=_decades(jobs),
        embedded=_decades(embedded),
        minutes=[each for each in _MINUTES if each <= minutes],
        length_minutes=minutes,
        workers=range(1, workers + 1),
        device=options.device,
        shared_minutes=shared,
        timeout=options.timeout,
    )


def _decades(most: int) -> list[int]:
    """The powers of ten below a number, and the number itself; nothing for 0."""
    below = [10**power for power in range(1, 9) if 10**power < most]
    return [*below, most] if most else []
