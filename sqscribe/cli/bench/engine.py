# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench engine`: the engine alone, by batch size, on whatever device there is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.cli.bench.extras import begin, find_device, telling
from sqscribe.cli.bench.options import with_options
from sqscribe.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from sqscribe_bench.engine.sweep import EnginePlan, EngineSetup

__all__ = ["engine"]

_MODELS = {"cpu": "random:base", "cuda": "random:large-v3-turbo"}
_SIZES = {"cpu": "1,2,4,8", "cuda": "1,2,4,8,16,24,32,48,64"}
#: Batches that a point is measured on, at least.
_BATCHES = {"cpu": 4, "cuda": 8}
#: What `--short` stands for, besides one round.
_SHORT_SIZES, _SHORT_BATCHES = {"cpu": "1,4", "cuda": "1,8,32"}, 2


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of `sqscribe bench engine`."""

    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="random:ARCHITECTURE for random weights whose texts are as long as speech; demo; a folder; or as "
            "SQSCRIBE_MODEL. May be repeated. [default: random:large-v3-turbo on CUDA, random:base on CPU]",
        ),
    ] = None
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto"
    compute_types: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-type",
            help="As CTranslate2: float16, int8_float16, …; may be repeated. [default: float16 on CUDA, int8 on CPU]",
        ),
    ] = None
    encoders: Annotated[
        list[str] | None,
        typer.Option("--encoder", help="As SQSCRIBE_ENCODER: torch, ctranslate2; may be repeated. [default: auto]"),
    ] = None
    batch_sizes: Annotated[
        str | None,
        typer.Option(help="Comma-separated. [default: 1,2,4,8,16,24,32,48,64 on CUDA, 1,2,4,8 on CPU]"),
    ] = None
    beam_sizes: Annotated[str, typer.Option(help="Comma-separated.")] = "5,1"
    parallel: Annotated[
        str, typer.Option(help="Batches in flight, comma-separated; auto: as many as the worker has.")
    ] = "auto,1"
    cores: Annotated[
        str, typer.Option(help="Cores of the host to pin the engine to, comma-separated; all: not pinned.")
    ] = "all"
    rounds: Annotated[int, typer.Option(min=1, help="How often each configuration is measured, by turns.")] = 2
    seconds: Annotated[float, typer.Option(min=0, help="How long each batch size is measured, about.")] = 10.0
    batches: Annotated[
        int | None, typer.Option(min=1, help="On how many batches at least. [default: 8 on CUDA, 4 on CPU]")
    ] = None
    relapse: Annotated[
        int,
        typer.Option(min=0, help="One in so many windows is decoded again in a run more; 0: there is no such run."),
    ] = 10
    auto_table: Annotated[
        bool,
        typer.Option(
            "--auto-table", help="Show besides what the automatic batch size and `bench busy` should reckon with."
        ),
    ] = False
    short: Annotated[bool, typer.Option("--short", help="A few minutes: few batch sizes, one round.")] = False
    timeout: Annotated[float, typer.Option(help="Seconds for one batch size.")] = 3600.0
    results: Annotated[Path, typer.Option("--output", "-o", help="Folder for JSON and plot.")] = Path("bench/results")
    name: Annotated[str, typer.Option(help="Of the files there.")] = "engine"
    cache: Annotated[
        Path | None, typer.Option(help="Folder for models that are made. [default: ~/.cache/sqscribe/bench]")
    ] = None
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the engines' logs in.")] = None


@with_options(EngineOptions)
def engine(options: EngineOptions) -> None:
    """Measure the engine alone: speed, how busy the device is, memory and host CPU, by batch size.

    Nothing is downloaded, decoded or published: windows of 30 s lie ready. Each configuration runs in a process of its
    own, by turns with the others. A batch that does not fit into the device's memory ends that configuration's sweep.
    """
    console = begin()

    from sqscribe_bench.commands import measure_engine  # noqa: PLC0415 - `--help` should answer at once
    from sqscribe_bench.engine.report import auto_table, engine_table  # noqa: PLC0415

    report = measure_engine(
        _plan(options, find_device(options.device)),
        results=options.results,
        name=options.name,
        keep=options.logs,
        tell=telling(console),
    )
    console.print(engine_table(report))
    if options.auto_table:
        console.print(auto_table(report))
    raise typer.Exit(ExitCode.JOBS_FAILED if any(run.failure for run in report.runs) else ExitCode.DONE)


def _plan(options: EngineOptions, device: str) -> EnginePlan:
    from sqscribe_bench.engine.sweep import EnginePlan  # noqa: PLC0415

    sizes, batches = options.batch_sizes or _SIZES[device], options.batches or _BATCHES[device]
    rounds, seconds = options.rounds, options.seconds
    if options.short:
        rounds, seconds = 1, min(seconds, 1.0)
        sizes, batches = options.batch_sizes or _SHORT_SIZES[device], options.batches or _SHORT_BATCHES
    return EnginePlan(
        device=device,
        setups=_setups(options, device),
        batch_sizes=sorted(_counts("--batch-sizes", sizes)),
        rounds=rounds,
        seconds=seconds,
        batches=batches,
        relapse=options.relapse,
        timeout=options.timeout,
    )


def _setups(options: EngineOptions, device: str) -> list[EngineSetup]:
    """Every combination of what is varied; models with random weights are made if need be."""
    from sqscribe_bench.engine.sweep import EngineSetup  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415
    from sqscribe_bench.lab.machine import cpu_cores  # noqa: PLC0415
    from sqscribe_bench.lab.model import model_folder  # noqa: PLC0415

    cores = _counts_or("--cores", options.cores, "all")
    if any(each and each > cpu_cores() for each in cores):
        raise SettingsError(f"--cores {options.cores}: there are {cpu_cores()}")
    beam_sizes = _counts("--beam-sizes", options.beam_sizes)
    parallel = _counts_or("--parallel", options.parallel, "auto")
    compute_types: list[str] | list[None] = options.compute_types or [None]
    encoders = options.encoders or ["auto"]
    if unknown := set(encoders) - {"auto", "torch", "ctranslate2"}:
        raise SettingsError(f"--encoder {min(unknown)}: there are auto, torch and ctranslate2")
    cache = options.cache or default_cache()
    folders = {model: model_folder(model, cache) for model in options.models or [_MODELS[device]]}
    return [
        EngineSetup(model, folder, compute_type, beam_size, flight, pinned, encoder)
        for (model, folder), compute_type, encoder, beam_size, flight, pinned in itertools.product(
            folders.items(), compute_types, encoders, beam_sizes, parallel, cores
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
