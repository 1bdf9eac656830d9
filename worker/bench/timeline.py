# SPDX-License-Identifier: Apache-2.0
"""A picture of a run: what each thread of the worker and the device did at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.bench.activity import busy_share, merged
from worker.telemetry.trace import Span, SpanKind

__all__ = ["draw_timeline"]

_COLOURS = {
    "fetch": "#4c78a8",
    "decode": "#72b7b2",
    "segment": "#54a24b",
    "wait": "#d9d9d9",
    "publish": "#b279a2",
    "batch": "#f58518",
    "device": "#e45756",
}
#: Bars of the device's busy share over a run.
_BARS = 120
_LANE = 0.8


def draw_timeline(spans: Sequence[Span], path: Path, title: str) -> None:
    """Writes the picture as PNG.

    Args:
        spans: Of one run.
        path: Of the picture.
        title: Above it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra; needed here alone
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above
    from matplotlib.patches import Patch  # noqa: PLC0415 - as above

    begun, ended = min(span.start for span in spans), max(span.end for span in spans)
    lanes = _lanes(spans)
    figure = Figure(figsize=(14.0, 2.8 + 0.34 * len(lanes)), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[0.34 * len(lanes), 1.3])
    for number, (_, own) in enumerate(lanes):
        _draw_lane(upper, number, own, begun)
    upper.set_yticks(range(len(lanes)), [name for name, _ in lanes])
    upper.invert_yaxis()
    upper.set_title(title)
    upper.legend(
        handles=[Patch(color=colour, label=name) for name, colour in _COLOURS.items()],
        ncols=len(_COLOURS),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        frameon=False,
    )
    _draw_busy(lower, spans, begun, ended)
    figure.savefig(path, dpi=110)


def _lanes(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """The device, the batches under way (each lane without overlaps), then the worker's threads."""
    lanes = [("device", [span for span in spans if span.kind is SpanKind.DEVICE])]
    under_way: list[list[Span]] = []
    for span in sorted((span for span in spans if span.kind is SpanKind.BATCH), key=lambda span: span.start):
        free = next((lane for lane in under_way if lane[-1].end <= span.start), None)
        if free is None:
            under_way.append([span])
        else:
            free.append(span)
    lanes += [(f"batch {number}", lane) for number, lane in enumerate(under_way, 1)]
    threads: dict[str, list[Span]] = {}
    for span in spans:
        # A job that the engine has keeps no thread busy.
        if span.kind is SpanKind.STAGE and span.name != "inference":
            threads.setdefault(span.thread, []).append(span)
    return [lane for lane in lanes if lane[1]] + sorted(threads.items())


def _draw_lane(axes: Any, number: int, spans: Sequence[Span], begun: float) -> None:
    by_colour: dict[str, list[tuple[float, float]]] = {}
    for span in spans:
        name = span.name if span.kind is SpanKind.STAGE else span.kind.value
        by_colour.setdefault(_COLOURS[name], []).append((span.start - begun, span.seconds))
    for colour, bars in by_colour.items():
        axes.broken_barh(bars, (number - _LANE / 2, _LANE), facecolors=colour, linewidth=0)


def _draw_busy(axes: Any, spans: Sequence[Span], begun: float, ended: float) -> None:
    kind = SpanKind.DEVICE if any(span.kind is SpanKind.DEVICE for span in spans) else SpanKind.BATCH
    computed = merged((span.start, span.end) for span in spans if span.kind is kind)
    width = (ended - begun) / _BARS
    edges = [begun + number * width for number in range(_BARS)]
    shares = [100 * busy_share(computed, edge, edge + width) for edge in edges]
    axes.bar([edge - begun for edge in edges], shares, width=width, align="edge", color=_COLOURS[kind.value])
    axes.set_ylim(0, 105)
    axes.set_xlim(0, ended - begun)
    axes.set_ylabel("device busy, %")
    axes.set_xlabel("seconds")
