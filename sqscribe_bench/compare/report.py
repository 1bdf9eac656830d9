# SPDX-License-Identifier: Apache-2.0
"""What is left of a comparison: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from sqscribe_bench.compare.figures import Figure, best
from sqscribe_bench.lab.machine import Machine
from sqscribe_bench.lab.run import Conditions, Run

__all__ = ["Report", "shown", "table", "write_json"]

#: Of the file's layout.
VERSION = 1

_CAPTION = (
    "Seconds: from the first message sent to the last one deleted, models loaded and warm. CPU and memory: of all of a "
    "contender's processes, without the embedded SQS and S3, which share the machine.\n"
    "limit: no queue, no download, no decoding, no VAD in its time; run once for words on and off. sqscribe: falls "
    "back and decodes again where a text looks wrong, and aligns words in either case. loop, batched: temperature 0 "
    "alone, not conditioned on previous text; loop decodes timestamps and batched does not, which are their defaults."
)


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to say of one comparison.

    Attributes:
        name: Of the files.
        started: UTC, ISO 8601.
        settings: What each contender was set to, by name.
        sweeps: Seconds by batch size, where batch sizes were tried.
        sweep_seconds: Audio on which they were.
        workloads: By name: recordings and seconds of audio.
    """

    name: str
    started: str
    machine: Machine
    conditions: Conditions
    rounds: int
    scale: float
    settings: Mapping[str, str]
    sweeps: Mapping[str, Mapping[int, float]]
    sweep_seconds: float
    workloads: Mapping[str, tuple[int, float]]
    runs: Sequence[Run]
    figures: Sequence[Figure]


def shown(figures: Iterable[Figure]) -> list[Figure]:
    """The figures that the table and the plots show: of several parallel loops the best one of each workload."""
    cells: dict[tuple[str, bool], list[Figure]] = {}
    for figure in figures:
        cells.setdefault((figure.workload, figure.words), []).append(figure)
    chosen = []
    for own in cells.values():
        loops = best(own, "loop x")
        chosen += [figure for figure in own if not figure.contender.startswith("loop x") or figure is loops]
    return chosen


def table(report: Report) -> Table:
    """One table with everything that a figure needs to be understood."""
    made = Table(title=_title(report), caption=_caption(report), title_justify="left", caption_justify="left")
    for heading in ("workload", "words", "contender", "set to"):
        made.add_column(heading, no_wrap=heading != "set to")
    for heading in (
        "seconds",
        "x real time",
        "lowest - highest",
        "CPU s per audio hour",
        "outside the engine",
        "peak MB",
        "words heard",
        "windows",
        "sqscribe is",
    ):
        made.add_column(heading, justify="right")
    before = None
    for figure in shown(report.figures):
        cell = (figure.workload, figure.words)
        if before not in (None, cell):
            made.add_section()
        made.add_row(*(_cell(figure) if cell != before else ("", "")), *_row(figure, report.settings))
        before = cell
    return made


def write_json(report: Report, folder: Path) -> Path:
    """Writes `<name>.json` and gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"version": VERSION, **asdict(report)}
    path = folder / f"{report.name}.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")
    return path


def _cell(figure: Figure) -> tuple[str, str]:
    return figure.workload, "on" if figure.words else "off"


def _row(figure: Figure, settings: Mapping[str, str]) -> list[str]:
    start = [figure.contender, settings.get(figure.contender, "")]
    if figure.failure is not None:
        return [*start, "failed", *[""] * 8]
    return [
        *start,
        f"{figure.seconds:.1f}",
        f"{figure.speed:.1f}",
        f"{figure.slowest:.1f} - {figure.fastest:.1f}",
        f"{figure.cpu_per_hour:.1f}",
        f"{figure.outside_per_hour:.1f}" if figure.contender == "sqscribe" else "",
        f"{figure.peak_memory / 1e6:.0f}",
        f"{figure.text_words:.0f}",
        "" if figure.windows is None else f"{figure.windows:.0f}",
        "" if figure.ratio is None or figure.contender == "sqscribe" else f"{figure.ratio:.2f}x",
    ]


def _title(report: Report) -> str:
    machine, same = report.machine, report.conditions
    sizes = "; ".join(
        f"{name}: {count} recording{'s' if count != 1 else ''}, {seconds / 3600:.2f} h"
        for name, (count, seconds) in report.workloads.items()
    )
    length = f"{same.tokens} tokens of text in every window" if same.tokens else "texts as long as the model makes them"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{same.model}, {same.compute_type} on {same.device}, beam {same.beam_size}, patience {same.patience:g}, "
        f"language {same.language}, temperature 0, {length}\n"
        f"{machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB, "
        f"GPU: {', '.join(machine.gpus) or 'none'}; load average {machine.load} at the start\n"
        f"{versions}\n"
        f"{sizes} (scale {report.scale:g}); medians of {report.rounds} interleaved rounds"
    )


def _caption(report: Report) -> str:
    lines = [_CAPTION]
    for name, took in report.sweeps.items():
        sizes = ", ".join(f"{size}: {seconds:.1f} s" for size, seconds in took.items())
        lines.append(f"Batch sizes of {name}, tried on {report.sweep_seconds:g} s of audio: {sizes}.")
    loops = dict.fromkeys(figure.contender for figure in report.figures if figure.contender.startswith("loop x"))
    if len(loops) > 1:
        lines.append(f"Of {', '.join(loops)} the faster one is shown.")
    if any(figure.contender == "whisper-s2t" for figure in report.figures):
        lines.append("whisper-s2t has word times from a second model only, which it downloads: not run with words on.")
    failures = {figure.contender: figure.failure for figure in report.figures if figure.failure is not None}
    lines += [f"{name} failed: {why.splitlines()[-1][:200]}" for name, why in failures.items()]
    return "\n".join(lines)
