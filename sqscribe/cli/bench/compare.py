# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench`: sqscribe against what people use otherwise, on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.cli.bench.busy import busy
from sqscribe.cli.bench.engine import engine
from sqscribe.cli.bench.extras import WIDE, need_extras
from sqscribe.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from sqscribe_bench.compare.report import Report

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_DEFAULT_SWEEP = {"cpu": 600.0, "cuda": 7200.0}
#: What `--short` stands for.
_SHORT_WORKLOAD, _SHORT_SCALE = "short", 0.05
#: What is compared if nothing is named.
_WORKLOADS = ("clips", "files", "hours", "mix")

app.command()(busy)
app.command()(engine)


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    workloads: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            "-w",
            help="clips, files, hours, mix or short (a mix without hours); may be repeated. [default: all but short]",
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Share of each workload's recordings, at least one.")] = 1.0,
    contenders: Annotated[
        list[str] | None,
        typer.Option(
            "--contender", "-c", help="limit, sqscribe, loop, loops or batched; may be repeated. [default: all]"
        ),
    ] = None,
    words: Annotated[
        bool | None, typer.Option("--words/--no-words", help="Word times on or off.  [default: both]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs each workload.")] = 3,
    model: Annotated[
        str,
        typer.Option(help="demo; random:ARCHITECTURE for random weights (random:base); or as SQSCRIBE_MODEL."),
    ] = "demo",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    compute_type: Annotated[
        str | None, typer.Option(help="As CTranslate2. [default: float16 on CUDA, int8 on CPU]")
    ] = None,
    beam_size: Annotated[int, typer.Option(min=1, max=10, help="Of all contenders.")] = 5,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the worker, as BATCH_SIZE=8; may be repeated."),
    ] = None,
    s2t: Annotated[
        Path | None,
        typer.Option("--s2t", metavar="DIR", help="Take whisper-s2t too, from this environment; made if need be."),
    ] = None,
    sweep_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, help="Audio on which batch sizes are tried before; 0: not at all. [default: 600, on CUDA 7200]"
        ),
    ] = None,
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="Draw what every stage and the device did, for each of the worker's runs."),
    ] = False,
    short: Annotated[
        bool, typer.Option("--short", help="A few minutes: little of clips and files, one round, word times off.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for one run.")] = 14_400.0,
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and plots.")] = Path("bench/results"),
    name: Annotated[str, typer.Option(help="Of the files there.")] = "compare",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for recordings and models that are made. [default: ~/.cache/sqscribe/bench]"),
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the contenders' logs in.")] = None,
) -> None:
    """Compare sqscribe with faster-whisper on the same recordings, model and machine.

    Each contender works on an embedded SQS and S3, in processes of its own, by turns with the others. Prints one table
    and writes JSON and plots.
    """
    if context.invoked_subcommand is not None:
        return
    need_extras()
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe_bench.commands import Setting, compare  # noqa: PLC0415
    from sqscribe_bench.compare.compare import CONTENDERS, Plan  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415
    from sqscribe_bench.lab.machine import this_machine  # noqa: PLC0415
    from sqscribe_bench.lab.program import unwind_on_sigterm  # noqa: PLC0415
    from sqscribe_bench.lab.workload import workload  # noqa: PLC0415

    unwind_on_sigterm()
    unknown = sorted(set(contenders or ()) - set(CONTENDERS))
    if unknown:
        raise SettingsError(f"contender {', '.join(unknown)} is unknown; there are {', '.join(CONTENDERS)}")
    if device == "auto":
        device = "cuda" if this_machine().gpus else "cpu"
    if device not in _DEFAULT_SWEEP:
        raise SettingsError(f"device {device!r} is unknown; use cpu, cuda or auto")
    if short:
        scale, rounds, sweep_seconds = min(scale, _SHORT_SCALE), 1, 0.0
        workloads, words = workloads or [_SHORT_WORKLOAD], bool(words)
    plan = Plan(
        workloads=tuple(workload(each, scale) for each in workloads or _WORKLOADS),
        words=(False, True) if words is None else (words,),
        contenders=tuple(each for each in CONTENDERS if not contenders or each in contenders),
        settings=_pairs(settings or []),
        rounds=rounds,
        s2t=s2t,
        sweep_seconds=_DEFAULT_SWEEP[device] if sweep_seconds is None else sweep_seconds,
        timeout=timeout,
    )
    setting = Setting(
        model=model,
        device=device,
        compute_type=compute_type,
        beam_size=beam_size,
        scale=scale,
        cache=cache or default_cache(),
        results=results,
        name=name,
        keep=logs,
        timeline=timeline,
    )
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    report = compare(setting, plan, lambda line: console.print(line, style="dim", highlight=False, markup=False))
    raise typer.Exit(_show(report, console))


@app.command(name="scale")
def scale_command(
    jobs: Annotated[
        int, typer.Option(min=0, help="Most jobs with queue and store in memory: 10, 100, … up to so many.")
    ] = 10_000,
    embedded: Annotated[int, typer.Option(min=0, help="The same on the embedded SQS and S3.")] = 300,
    minutes: Annotated[float, typer.Option(min=0, help="Longest recording: 1, 5, 15, 60 up to so many.")] = 60.0,
    workers: Annotated[int, typer.Option(min=0, help="Most workers on one queue: 1, 2, … up to so many.")] = 3,
    device: Annotated[
        str, typer.Option(help="The simulated device of each of those, as SQSCRIBE_MODEL.")
    ] = "simulated:window_seconds=0.45&batch_seconds=0.02",
    shared: Annotated[int, typer.Option(min=1, help="Minutes of audio that those share, a minute each.")] = 120,
    short: Annotated[bool, typer.Option("--short", help="A minute or two: few of everything.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for one point.")] = 3600.0,
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and plot.")] = Path("bench/results"),
    name: Annotated[str, typer.Option(help="Of the files there.")] = "scale",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for recordings that are made. [default: ~/.cache/sqscribe/bench]")
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the workers' logs in.")] = None,
) -> None:
    """Show how cost grows with the number of jobs, the length of the audio and the number of workers.

    No model is loaded: what is measured is all that stands around one. 0 leaves an axis out.
    """
    need_extras()
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe_bench.commands import measure_scale  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415
    from sqscribe_bench.lab.program import unwind_on_sigterm  # noqa: PLC0415
    from sqscribe_bench.scale.report import scale_table  # noqa: PLC0415
    from sqscribe_bench.scale.scale import ScalePlan  # noqa: PLC0415

    unwind_on_sigterm()
    if short:
        jobs, embedded, workers = min(jobs, 100), min(embedded, 30), min(workers, 2)
        minutes, shared = min(minutes, 5.0), min(shared, 20)
    plan = ScalePlan(
        jobs=_decades(jobs),
        embedded=_decades(embedded),
        minutes=[each for each in (1.0, 5.0, 15.0, 60.0) if each <= minutes],
        length_minutes=minutes,
        workers=range(1, workers + 1),
        device=device,
        shared_minutes=shared,
        timeout=timeout,
    )
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    report = measure_scale(
        plan,
        cache=cache or default_cache(),
        results=results,
        name=name,
        keep=logs,
        tell=lambda line: console.print(line, style="dim", highlight=False, markup=False),
    )
    console.print(scale_table(report))
    raise typer.Exit(ExitCode.JOBS_FAILED if any(point.failure for point in report.points) else ExitCode.DONE)


def _decades(most: int) -> list[int]:
    """10, 100, … and the most."""
    below = [10**power for power in range(1, 9) if 10**power < most]
    return [*below, most] if most else []


def _show(report: Report, console: Console) -> ExitCode:
    from sqscribe_bench.compare.report import table  # noqa: PLC0415

    console.print(table(report))
    return ExitCode.JOBS_FAILED if any(run.failure for run in report.runs) else ExitCode.DONE


def _pairs(given: list[str]) -> dict[str, str]:
    """Environment variables of `NAME=VALUE`, with or without the prefix."""
    pairs = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise SettingsError(f"--set {each}: must be NAME=VALUE, as BATCH_SIZE=8")
        pairs["SQSCRIBE_" + key.upper().removeprefix("SQSCRIBE_")] = value
    return pairs
