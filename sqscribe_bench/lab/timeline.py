# SPDX-License-Identifier: Apache-2.0
"""One run as a picture: what every stage and the device did at every moment, so that a gap is seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from sqscribe_bench.lab.run import Run
from sqscribe_bench.lab.trace import Span, Trace

__all__ = ["plot_timeline"]

_STAGES = ("fetch", "decode", "segment", "wait", "inference", "publish", "delete")
_SHADES = {
    "fetch": "#56B4E9",
    "decode": "#E69F00",
    "segment": "#F0E442",
    "wait": "#CCCCCC",
    "inference": "#999999",
    "publish": "#CC79A7",
    "batch": "#009E73",
    "device": "#0072B2",
}
_OTHER = "#555555"
#: Points of the busy share's line.
_STEPS = 120
#: Rows of one stage at most; what does not fit is drawn over the last one.
_MOST_ROWS = 8


def plot_timeline(trace: Trace, run: Run, path: Path) -> Path:
    """Writes a PNG: rows of bars for stages, batches and device, and the device's busy share below."""
    names = {span.name for span in trace.of("stage")}
    stages = [*(name for name in _STAGES if name in names), *sorted(names - set(_STAGES))]
    groups = {name: [span for span in trace.of("stage") if span.name == name] for name in stages}
    groups |= {kind: spans for kind in ("batch", "device") if (spans := trace.of(kind))}
    rows = {name: _rows(spans) for name, spans in groups.items()}
    height = sum(map(len, rows.values()))
    canvas = Canvas(figsize=(16.0, 3.5 + 0.28 * height), layout="constrained")
    bars, share = canvas.subplots(2, 1, sharex=True, height_ratios=[max(2, height), 6])
    busy = run.notes.get("device_busy_share")
    told = f"; device busy {busy:.1%} between first and last batch" if isinstance(busy, float) else ""
    canvas.suptitle(
        f"{run.contender} on {run.workload}: {run.audio_seconds / 3600:.2f} h of audio in {run.seconds:.0f} s, "
        f"{run.speed:.0f}x real time{told}",
        fontsize=11,
    )
    place, ticks = 0, []
    for name, own in rows.items():
        ticks.append((place + (len(own) - 1) / 2, name))
        for row in own:
            pieces = [(span.start, span.seconds) for span in row]
            bars.broken_barh(pieces, (place - 0.4, 0.8), facecolor=_SHADES.get(name, _OTHER), edgecolor="none")
            place += 1
        bars.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
    bars.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    bars.set_ylim(place - 0.4, -0.6)
    bars.spines[["top", "right"]].set_visible(False)
    edges, shares = trace.busy_over_time(run.seconds, _STEPS)
    share.stairs([100 * each for each in shares], edges, fill=True, color="#0072B2")
    share.set_ylim(0, 105)
    share.set_ylabel("device busy, %")
    share.set_xlabel(f"seconds since the first message was sent (each step {edges[1] - edges[0]:.2g} s)")
    share.set_xlim(0, run.seconds)
    share.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=130)
    return path


def _rows(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans in as few rows as there are under way at once."""
    rows: list[list[Span]] = []
    for span in spans:
        free = next((row for row in rows if row[-1].end <= span.start), None)
        if free is not None:
            free.append(span)
        elif len(rows) < _MOST_ROWS:
            rows.append([span])
        else:
            rows[-1].append(span)
    return rows
