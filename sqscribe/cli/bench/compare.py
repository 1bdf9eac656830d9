# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench`: sqscribe against what people use otherwise, on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.cli.bench.busy import busy
from sqscribe.cli.bench.engine import engine
from sqscribe.cli.bench.extras import begin, find_device, telling
from sqscribe.cli.bench.gpu import gpu
from sqscribe.cli.bench.options import with_options
from sqscribe.cli.bench.scale import scale
from sqscribe.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from sqscribe_bench.commands import CompareSetting
    from sqscribe_bench.compare.compare import ComparePlan

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_DEFAULT_SWEEP = {"cpu": 600.0, "cuda": 7200.0}
#: What `--short` stands for.
_SHORT_WORKLOAD, _SHORT_SCALE = "short", 0.05
#: What is compared if nothing is named.
_WORKLOADS = ("clips", "files", "hours", "mix")

app.command()(busy)
app.command()(engine)
app.command()(gpu)
app.command()(scale)


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The options of `sqscribe bench`."""

    workloads: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            "-w",
            help="clips, files, hours, mix or short (a mix without hours); may be repeated. [default: all but short]",
        ),
    ] = None
    scale: Annotated[float, typer.Option(help="Share of each workload's recordings, at least one.")] = 1.0
    contenders: Annotated[
        list[str] | None,
        typer.Option(
            "--contender", "-c", help="limit, sqscribe, loop, loops or batched; may be repeated. [default: all]"
        ),
    ] = None
    words: Annotated[bool | None, typer.Option("--words/--no-words", help="Word times on or off.  [default: both]")] = (
        None
    )
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs each workload.")] = 3
    model: Annotated[
        str,
        typer.Option(help="demo; random:ARCHITECTURE for random weights (random:base); or as SQSCRIBE_MODEL."),
    ] = "demo"
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto"
    compute_type: Annotated[
        str | None, typer.Option(help="As CTranslate2. [default: float16 on CUDA, int8 on CPU]")
    ] = None
    beam_size: Annotated[int, typer.Option(min=1, max=10, help="Of all contenders.")] = 5
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the worker, as BATCH_SIZE=8; may be repeated."),
    ] = None
    s2t: Annotated[
        Path | None,
        typer.Option("--s2t", metavar="DIR", help="Take whisper-s2t too, from this environment; made if need be."),
    ] = None
    sweep_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, help="Audio on which batch sizes are tried before; 0: not at all. [default: 600, on CUDA 7200]"
        ),
    ] = None
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="Draw what every stage and the device did, for each of the worker's runs."),
    ] = False
    short: Annotated[
        bool, typer.Option("--short", help="A few minutes: little of clips and files, one round, word times off.")
    ] = False
    timeout: Annotated[float, typer.Option(help="Seconds for one run.")] = 14_400.0
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and plots.")] = Path("bench/results")
    name: Annotated[str, typer.Option(help="Of the files there.")] = "compare"
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for recordings and models that are made. [default: ~/.cache/sqscribe/bench]"),
    ] = None
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the contenders' logs in.")] = None


@app.callback(invoke_without_command=True)
@with_options(CompareOptions)
def bench(context: typer.Context, options: CompareOptions) -> None:
    """Compare sqscribe with faster-whisper on the same recordings, model and machine.

    Each contender works on an embedded SQS and S3, in processes of its own, by turns with the others. Prints one table
    and writes JSON and plots.
    """
    if context.invoked_subcommand is not None:
        return
    console = begin()

    from sqscribe_bench.commands import compare  # noqa: PLC0415 - `--help` should answer at once
    from sqscribe_bench.compare.report import table  # noqa: PLC0415

    device = find_device(options.device)
    report = compare(_setting(options, device), _plan(options, device), telling(console))
    console.print(table(report))
    raise typer.Exit(ExitCode.JOBS_FAILED if any(run.failure for run in report.runs) else ExitCode.DONE)


def _setting(options: CompareOptions, device: str) -> CompareSetting:
    from sqscribe_bench.commands import CompareSetting  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415

    return CompareSetting(
        model=options.model,
        device=device,
        compute_type=options.compute_type,
        beam_size=options.beam_size,
        scale=_scale(options),
        cache=options.cache or default_cache(),
        results=options.results,
        name=options.name,
        keep=options.logs,
        timeline=options.timeline,
    )


def _plan(options: CompareOptions, device: str) -> ComparePlan:
    from sqscribe_bench.compare.compare import CONTENDERS, ComparePlan  # noqa: PLC0415
    from sqscribe_bench.lab.workload import workload  # noqa: PLC0415

    unknown = sorted(set(options.contenders or ()) - set(CONTENDERS))
    if unknown:
        raise SettingsError(f"contender {', '.join(unknown)} is unknown; there are {', '.join(CONTENDERS)}")
    names, words = options.workloads or list(_WORKLOADS), options.words
    sweep_seconds = _DEFAULT_SWEEP[device] if options.sweep_seconds is None else options.sweep_seconds
    if options.short:
        names, words, sweep_seconds = options.workloads or [_SHORT_WORKLOAD], bool(words), 0.0
    return ComparePlan(
        workloads=tuple(workload(each, _scale(options)) for each in names),
        words=(False, True) if words is None else (words,),
        contenders=tuple(each for each in CONTENDERS if not options.contenders or each in options.contenders),
        settings=_pairs(options.settings or []),
        rounds=1 if options.short else options.rounds,
        s2t=options.s2t,
        sweep_seconds=sweep_seconds,
        timeout=options.timeout,
    )


def _scale(options: CompareOptions) -> float:
    return min(options.scale, _SHORT_SCALE) if options.short else options.scale


def _pairs(given: list[str]) -> dict[str, str]:
    """Environment variables of `NAME=VALUE`, with or without the prefix."""
    pairs = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise SettingsError(f"--set {each}: must be NAME=VALUE, as BATCH_SIZE=8")
        pairs["SQSCRIBE_" + key.upper().removeprefix("SQSCRIBE_")] = value
    return pairs
