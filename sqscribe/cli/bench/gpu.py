# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench gpu`: everything that a GPU must tell, in so many minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sqscribe.cli.bench.extras import begin, find_device, telling
from sqscribe.cli.bench.options import with_options
from sqscribe.errors import ExitCode, SettingsError

__all__ = ["gpu"]


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """The options of `sqscribe bench gpu`."""

    minutes: Annotated[float, typer.Option(min=0.1, help="For all steps; what does not fit is skipped by name.")] = 8.0
    device: Annotated[str, typer.Option(help="cuda; cpu to see that all of it works, with small models; or auto.")] = (
        "auto"
    )
    only: Annotated[str, typer.Option(help="Names of steps, comma-separated. [default: all]")] = ""
    released: Annotated[
        list[Path] | None,
        typer.Option("--released", help="Folder of a released model whose texts are compared too; may be repeated."),
    ] = None
    tests: Annotated[Path, typer.Option(help="The project's tests, of which those for a GPU are run.")] = Path("tests")
    results: Annotated[
        Path, typer.Option("--output", "-o", envvar="OUT", help="Folder for gpu.jsonl, gpu.log and gpu.txt.")
    ] = Path("bench/results")
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for recordings and models that are made. [default: ~/.cache/sqscribe/bench]"),
    ] = None


@with_options(GpuOptions)
def gpu(options: GpuOptions) -> None:
    """Measure everything that a GPU must tell, most important first, within some minutes.

    Whether it computes, tests that need one, the engine by batch size, the worker against faster-whisper, and other
    types, models and hosts. Each step is a program with a limit, and is written down as it ends. Nothing is downloaded.
    """
    console = begin()

    from sqscribe_bench.gpu.plan import STEPS, GpuPlan  # noqa: PLC0415 - `--help` should answer at once
    from sqscribe_bench.gpu.run import measure_gpu  # noqa: PLC0415
    from sqscribe_bench.gpu.step import Outcome  # noqa: PLC0415
    from sqscribe_bench.lab.library import default_cache  # noqa: PLC0415

    only = [each.strip() for each in options.only.split(",") if each.strip()]
    if unknown := sorted(set(only) - set(STEPS)):
        raise SettingsError(f"--only: {', '.join(unknown)} is unknown; there are {', '.join(STEPS)}")
    with TemporaryDirectory(prefix="sqscribe-bench-") as scratch:
        plan = GpuPlan(
            device=find_device(options.device),
            only=only,
            released=options.released or [],
            cache=(options.cache or default_cache()).absolute(),
            scratch=Path(scratch),
            tests=options.tests,
        )
        ended = measure_gpu(plan, 60 * options.minutes, options.results, console, telling(console))
    failed = any(each.outcome is Outcome.FAILED for each in ended)
    raise typer.Exit(ExitCode.JOBS_FAILED if failed else ExitCode.DONE)
