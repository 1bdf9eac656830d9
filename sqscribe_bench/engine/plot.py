# SPDX-License-Identifier: Apache-2.0
"""The engine by itself as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure as Canvas

from sqscribe_bench.engine.report import EngineReport, by_setup, described

__all__ = ["plot_engine"]

#: Okabe and Ito's, which most people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")


def plot_engine(report: EngineReport, folder: Path) -> Path:
    """Writes `<name>.png`: windows a second above, how busy the device was below, both over the batch size."""
    canvas = Canvas(figsize=(9.0, 9.0), layout="constrained")
    machine = report.machine
    canvas.suptitle(
        f"The engine alone: {', '.join(machine.gpus) or 'no GPU'}; {machine.cpu}, {machine.cores} cores\n"
        f"medians of {report.plan.rounds} interleaved rounds, lines from lowest to highest; "
        "crosses: windows decoded again",
        fontsize=11,
    )
    speed, busy = canvas.subplots(2, 1, sharex=True)
    for place, own in enumerate(by_setup(report.figures)):
        shade = _COLOURS[place % len(_COLOURS)]
        style = ("-", "--", ":")[place // len(_COLOURS) % 3]
        good = [figure for figure in own if figure.failure is None]
        plain = [figure for figure in good if not figure.relapse]
        sizes = [figure.batch_size for figure in plain]
        spread = [
            [figure.windows - figure.slowest for figure in plain],
            [figure.fastest - figure.windows for figure in plain],
        ]
        speed.errorbar(
            sizes,
            [figure.windows for figure in plain],
            yerr=spread,
            marker="o",
            color=shade,
            linestyle=style,
            label=described(own[0]),
        )
        again = [figure for figure in good if figure.relapse]
        speed.plot([figure.batch_size for figure in again], [figure.windows for figure in again], "x", color=shade)
        told = [(figure.batch_size, figure.busy) for figure in plain if figure.busy is not None]
        busy.plot([size for size, _ in told], [share for _, share in told], "o", color=shade, linestyle=style)
    speed.set_ylabel("windows a second (30 s each)")
    busy.set_ylabel("device busy" if report.plan.device == "cuda" else "a batch under way, share of the time")
    busy.set_xlabel("windows of a batch")
    busy.set_ylim(0, 1.05)
    busy.set_xscale("log", base=2)
    busy.set_xticks(list(report.plan.batch_sizes), [str(size) for size in report.plan.batch_sizes])
    busy.minorticks_off()
    speed.set_ylim(bottom=0)
    for axes in (speed, busy):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#eeeeee")
    handles, labels = speed.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}.png"
    canvas.savefig(path, dpi=150)
    return path
