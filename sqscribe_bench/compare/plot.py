# SPDX-License-Identifier: Apache-2.0
"""The comparison as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Canvas

from sqscribe_bench.compare.figures import Figure
from sqscribe_bench.compare.report import Report, shown

__all__ = ["colour", "plot_comparison"]

#: Okabe and Ito's, which most people can tell apart; grey for what is no rival.
_COLOURS = {
    "limit": "#999999",
    "sqscribe": "#0072B2",
    "loop": "#E69F00",
    "batched": "#D55E00",
    "whisper-s2t": "#009E73",
}
_PARALLEL = "#F0E442"
_GROUP = 0.84


def colour(contender: str) -> str:
    """A contender's, the same in all pictures."""
    return _COLOURS.get(contender, _PARALLEL)


def plot_comparison(report: Report, folder: Path) -> Path:
    """Writes `<name>.png`: speed above, CPU time below, word times off on the left and on on the right."""
    figures = [figure for figure in shown(report.figures) if figure.failure is None]
    sides = sorted({figure.words for figure in figures})
    canvas = Canvas(figsize=(1.5 + 6.0 * max(1, len(sides)), 9.0), layout="constrained")
    machine, same = report.machine, report.conditions
    gpus = f", {', '.join(machine.gpus)}" if machine.gpus else ""
    canvas.suptitle(
        f"{same.model}, {same.compute_type}, beam {same.beam_size} on {machine.cpu}, {machine.cores} cores{gpus}\n"
        f"medians of {report.rounds} interleaved rounds, lines from lowest to highest; scale {report.scale:g}",
        fontsize=11,
    )
    axes = canvas.subplots(2, max(1, len(sides)), squeeze=False, sharey="row")
    for column, words in enumerate(sides):
        own = [figure for figure in figures if figure.words is words]
        title = f"word times {'on' if words else 'off'}"
        _bars(axes[0][column], own, report, lambda figure: figure.speed)
        axes[0][column].set_title(title, fontsize=11)
        _bars(axes[1][column], own, report, lambda figure: figure.cpu_per_hour, spread=False)
    axes[0][0].set_ylabel("audio seconds per second (more is better)")
    axes[1][0].set_ylabel("CPU seconds per hour of audio (less is better)")
    shades = {label: bar for each in axes[0] for bar, label in zip(*each.get_legend_handles_labels(), strict=True)}
    canvas.legend(shades.values(), shades.keys(), loc="outside lower center", ncols=max(1, len(shades)), frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}.png"
    canvas.savefig(path, dpi=150)
    return path


def _bars(
    axes: Any, figures: Sequence[Figure], report: Report, value: Callable[[Figure], float], *, spread: bool = True
) -> None:
    """Bars of every contender, side by side for each workload."""
    workloads = [name for name in report.workloads if any(figure.workload == name for figure in figures)]
    # Parallel loops share a place, whatever their number: another one may be the best elsewhere.
    names = list(dict.fromkeys(_family(figure) for figure in figures))
    width = _GROUP / max(1, len(names))
    for place, name in enumerate(names):
        own = {figure.workload: figure for figure in figures if _family(figure) == name}
        xs = [workloads.index(workload) - _GROUP / 2 + (place + 0.5) * width for workload in own]
        heights = [value(figure) for figure in own.values()]
        errors = [
            [figure.speed - figure.slowest for figure in own.values()],
            [figure.fastest - figure.speed for figure in own.values()],
        ]
        bars = axes.bar(
            xs, heights, width * 0.92, label=name, color=colour(name), yerr=errors if spread else None, ecolor="#444444"
        )
        axes.bar_label(bars, labels=[_short(height) for height in heights], fontsize=8, padding=2)
    axes.set_xticks(range(len(workloads)), [_sized(name, report) for name in workloads])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    axes.margins(y=0.12)


def _family(figure: Figure) -> str:
    return "parallel loops" if figure.contender.startswith("loop x") else figure.contender


def _sized(workload: str, report: Report) -> str:
    count, seconds = report.workloads[workload]
    return f"{workload}\n{count} recording{'s' if count != 1 else ''}\n{seconds / 3600:.2g} h"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"
