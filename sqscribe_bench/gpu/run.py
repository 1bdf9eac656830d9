# SPDX-License-Identifier: Apache-2.0
"""Carries out a plan and shows what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from sqscribe_bench.gpu.budget import Budget
from sqscribe_bench.gpu.plan import GpuPlan, steps_of
from sqscribe_bench.gpu.step import Ended
from sqscribe_bench.gpu.table import gpu_table
from sqscribe_bench.lab.lines import LineFile
from sqscribe_bench.lab.machine import this_machine

__all__ = ["measure_gpu"]

#: Columns of the table in the file.
_WIDE = 200


def measure_gpu(
    plan: GpuPlan, seconds: float, results: Path, console: Console, tell: Callable[[str], None]
) -> list[Ended]:
    """Runs the steps that there is time for, and prints and writes the table of them.

    Args:
        plan: What is measured.
        seconds: For all of it.
        results: Folder for `gpu.jsonl`, a line for each step as it ends, `gpu.log` and, at the end, `gpu.txt`.
        console: Where the table is printed.
        tell: Told what happens, line by line.
    """
    machine = this_machine()
    kept = LineFile(results / "gpu.jsonl")
    ended = list(Budget(seconds, results / "gpu.log", kept, tell).carry_out(steps_of(plan)))
    table = gpu_table(machine, ended)
    console.print(table)
    with (results / "gpu.txt").open("w", encoding="utf-8") as file:
        Console(file=file, width=_WIDE).print(table)
    return ended
