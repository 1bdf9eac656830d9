# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench engine`: the engine alone, by batch size, on whatever device there is."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.cli.bench.extras import WIDE, need_extras
from sqscribe.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from sqscribe_bench.engine.sweep import EngineSetup

__all__ = ["engine"]

_MODELS = {"cpu": "random:base", "cuda": "random:large-v3-turbo"}
_SIZES = {"cpu": "1,2,4,8", "cuda": "1,2,4,8,16,24,32,48,64"}
#: Batches that a point is measured on, at least.
_BATCHES = {"cpu": 4, "cuda": 8}
#: What `--short` stands for, besides one round.
_SHORT_SIZES, _SHORT_BATCHES = {"cpu": "1,4", "cuda": "1,8,32"}, 2


def engine(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="random:ARCHITECTURE for random weights whose texts are as long as speech; demo; a folder; or as "
            "SQSCRIBE_MODEL. May be repeated. [default: random:large-v3-turbo on CUDA, random:base on CPU]",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    compute_types: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-type",
            help="As CTranslate2: float16, int8_float16, …; may be repeated. [default: float16 on CUDA, int8 on CPU]",
        ),
    ] = None,
    batch_sizes: Annotated[
        str | None,
        typer.Option(help="Comma-separated. [default: 1,2,4,8,16,24,32,48,64 on CUDA, 1,2,4,8 on CPU]"),
    ] = None,
    beam_sizes: Annotated[str, typer.Option(help="Comma-separated.")] = "5,1",
    parallel: Annotated[
        str, typer.Option(help="Batches in flight, comma-separated; auto: as many as the worker has.")
    ] = "auto,1",
    cores: Annotated[
        str, typer.Option(help="Cores of the host to pin the engine to, comma-separated; all: not pinned.")
    ] = "all",
    rounds: Annotated[int, typer.Option(min=1, help="How often each configuration is measured, by turns.")] = 2,
    seconds: Annotated[float, typer.Option(min=0, help="How long each batch size is measured, about.")] = 10.0,
    batches: Annotated[
        int | None, typer.Option(min=1, help="On how many batches at least. [default: 8 on CUDA, 4 on CPU]")
    ] = None,
    relapse: Annotated[
        int,
        typer.Option(min=0, help="One in so many windows is decoded again in a run more; 0: there is no such run."),
    ] = 10,
    auto_table: Annotated[
        bool,
        typer.Option(
            "--auto-table", help="Show besides what the automatic batch size and `bench busy` should reckon with."
        ),
    ] = False,
    short: Annotated[bool, typer.Option("--short", help="A few minutes: few batch sizes, one round.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for one batch size.")] = 3600.0,
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and plot.")] = Path("bench/results"),
    name: Annotated[str, typer.Option(help="Of the files there.")] = "engine",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for models that are made. [default: ~/.cache/sqscribe/bench]")
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the engines' logs in.")] = None,
) -> None:
    """Measure the engine alone: speed, how busy the device is, memory and host CPU, by batch size.

    Nothing is downloaded, decoded or published: windows of 30 s lie ready. Each configuration runs in a process of its
    own, by turns with the others. A batch that does not fit into the device's memory ends that configuration's sweep.
    """
    need_extras()
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe_bench.commands import measure_engine  # noqa: PLC0415
    from sqscribe_bench.engine.report import auto_table as shown_auto  # noqa: PLC0415
    from sqscribe_bench.engine.report import engine_table  # noqa: PLC0415
    from sqscribe_bench.engine.sweep import EnginePlan  # noqa: PLC0415
    from sqscribe_bench.lab.machine import this_machine  # noqa: PLC0415
    from sqscribe_bench.lab.program import unwind_on_sigterm  # noqa: PLC0415

    unwind_on_sigterm()
    machine = this_machine()
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    if device not in _SIZES:
        raise SettingsError(f"device {device!r} is unknown; use cpu, cuda or auto")
    sizes, most = batch_sizes or _SIZES[device], batches or _BATCHES[device]
    if short:
        rounds, seconds = 1, min(seconds, 1.0)
        sizes, most = batch_sizes or _SHORT_SIZES[device], batches or _SHORT_BATCHES
    pinned = _counts_or("--cores", cores, "all")
    if any(each and each > machine.cores for each in pinned):
        raise SettingsError(f"--cores {cores}: there are {machine.cores}")
    plan = EnginePlan(
        device=device,
        setups=_setups(
            models or [_MODELS[device]],
            compute_types or [None],
            _counts("--beam-sizes", beam_sizes),
            _counts_or("--parallel", parallel, "auto"),
            pinned,
            cache,
        ),
        batch_sizes=sorted(_counts("--batch-sizes", sizes)),
        rounds=rounds,
        seconds=seconds,
        batches=most,
        relapse=relapse,
        timeout=timeout,
    )
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    report = measure_engine(
        plan,
        results=results,
        name=name,
        keep=logs,
        tell=lambda line: console.print(line, style="dim", highlight=False, markup=False),
    )
    console.print(engine_table(report))
    if auto_table:
        console.print(shown_auto(report))
    raise typer.Exit(ExitCode.JOBS_FAILED if any(run.failure for run in report.runs) else ExitCode.DONE)


def _setups(
    models: list[str],
    compute_types: list[str] | list[None],
    beam_sizes: list[int],
    parallel: list[int | None],
    cores: list[int | None],
    cache: Path | None,
) -> list[EngineSetup]:
    """Every combination; models with random weights are made if need be."""
    from sqscribe_bench.engine.sweep import EngineSetup  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415
    from sqscribe_bench.lab.model import model_folder  # noqa: PLC0415

    folders = {model: model_folder(model, cache or default_cache()) for model in models}
    return [
        EngineSetup(model, folder, compute_type, beam_size, flight, pinned)
        for (model, folder), compute_type, beam_size, flight, pinned in itertools.product(
            folders.items(), compute_types, beam_sizes, parallel, cores
        )
    ]


def _counts(option: str, given: str) -> list[int]:
    """Of a comma-separated list, each once."""
    return [_count(each, f"{option} {given}: must be numbers above 0") for each in dict.fromkeys(_split(given))]


def _counts_or(option: str, given: str, word: str) -> list[int | None]:
    """The same; None for the word."""
    wrong = f"{option} {given}: must be numbers above 0, or {word}"
    return [None if each == word else _count(each, wrong) for each in dict.fromkeys(_split(given))]


def _split(given: str) -> list[str]:
    return [each.strip() for each in given.split(",")]


def _count(text: str, wrong: str) -> int:
    if not text.isdecimal() or not int(text):
        raise SettingsError(f"{wrong}, with commas between them")
    return int(text)
