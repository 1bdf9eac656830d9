# SPDX-License-Identifier: Apache-2.0
"""From points to figures: medians over the rounds, memory of a window, the host's share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sqscribe_bench.engine.sweep import WINDOW_SECONDS, EnginePoint, EngineRun, EngineSetup, Loaded

__all__ = ["EngineFigure", "WindowMemory", "engine_figures", "host_share", "window_memory"]


@dataclass(frozen=True, slots=True)
class EngineFigure:
    """One batch size of one configuration: medians over the rounds.

    Attributes:
        relapse: One in so many windows was made to be decoded again; 0: none was.
        rounds: How many rounds did not fail.
        windows: Windows for each second.
        slowest: The same, of the slowest round.
        fastest: The same, of the fastest round.
        busy: Share of the time in which the device computed; None where that is unknown.
        batch_median: Median seconds of a batch.
        batch_p95: Seconds of a batch that 95 % of them do not exceed.
        encode: Seconds of a batch in calls that encode.
        generate: Seconds of a batch in calls that generate text.
        align: Seconds of a batch in calls that find word times.
        cpu_per_batch: CPU seconds of the host for a batch.
        cores_used: Cores of the host that computed, on average.
        peak_memory: Bytes beyond those before the model was loaded, the most of any round.
        batch_memory: The same without what the model itself took.
        words_per_window: Words of a window's text, which show whether the work was done.
        again: Windows decoded again, as a share of all.
        mel: Seconds of a batch's log-mel on the device; None where it was not timed.
        mel_on_host: The same on the host; None where the host is the device.
        failure: Why there are no figures; None for good ones.
    """

    setup: EngineSetup
    loaded: Loaded
    batch_size: int
    relapse: int
    rounds: int
    windows: float = 0.0
    slowest: float = 0.0
    fastest: float = 0.0
    busy: float | None = None
    batch_median: float = 0.0
    batch_p95: float = 0.0
    encode: float = 0.0
    generate: float = 0.0
    align: float = 0.0
    cpu_per_batch: float = 0.0
    cores_used: float = 0.0
    peak_memory: int = 0
    batch_memory: int = 0
    words_per_window: float = 0.0
    again: float = 0.0
    mel: float | None = None
    mel_on_host: float | None = None
    failure: str | None = None

    @property
    def hours(self) -> float:
        """Hours of audio for each hour, in windows of 30 s."""
        return self.windows * WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class WindowMemory:
    """What a window takes of the device's memory while its batch is under way.

    Attributes:
        measured: Bytes by which the most that was in use grew with each window under way.
        fixed: Bytes that batches took whatever their size.
        expected: Bytes that `stages.inference.whisper.batch_size` expects.
    """

    measured: float
    fixed: float
    expected: int

    @property
    def ratio(self) -> float:
        """Measured over expected: above 1, batches of the automatic size may not fit."""
        return self.measured / self.expected


def engine_figures(runs: Sequence[EngineRun]) -> list[EngineFigure]:
    """Figures of all configurations and batch sizes, in the order of their first points; a relapse's come last."""
    cells: dict[tuple[EngineSetup, bool, int], list[tuple[EngineRun, EnginePoint]]] = {}
    for run in runs:
        for point in run.points:
            cells.setdefault((run.setup, point.relapse > 0, point.batch_size), []).append((run, point))
    order = {setup: place for place, setup in enumerate(dict.fromkeys(run.setup for run in runs))}
    keys = sorted(cells, key=lambda cell: (order[cell[0]], cell[1], cell[2]))
    return [_figure(cells[key]) for key in keys]


def window_memory(figures: Iterable[EngineFigure]) -> WindowMemory | None:
    """Fits a line through the memory of one configuration's batch sizes; None unless two of them fitted."""
    good = [figure for figure in figures if figure.failure is None and not figure.relapse]
    if len({figure.batch_size for figure in good}) < 2:
        return None
    xs = [figure.batch_size * figure.loaded.parallel for figure in good]
    ys = [figure.batch_memory for figure in good]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)
    return WindowMemory(measured=slope, fixed=y - slope * x, expected=good[0].loaded.row_bytes)


def host_share(figure: EngineFigure) -> float | None:
    """Cores that the host computes on while the device does, as `sqscribe bench busy` takes it; None if unknown."""
    return figure.cores_used / figure.busy if figure.busy else None


def _figure(found: Sequence[tuple[EngineRun, EnginePoint]]) -> EngineFigure:
    first_run, first = found[0]
    loaded = _loaded(first_run)
    good = [(run, point) for run, point in found if point.failure is None]
    if not good:
        return EngineFigure(first_run.setup, loaded, first.batch_size, first.relapse, rounds=0, failure=_why(first))

    def mid(value: Callable[[EnginePoint], float]) -> float:
        return median(value(point) for _, point in good)

    speeds = [point.windows / point.seconds for _, point in good]
    known = [point.busy for _, point in good if point.busy is not None]
    # It is timed in the first round alone, and does not depend on what else is asked.
    mel = list(
        next((_loaded(run).mel[first.batch_size] for run, _ in good if first.batch_size in _loaded(run).mel), ())
    )
    return EngineFigure(
        setup=first_run.setup,
        loaded=loaded,
        batch_size=first.batch_size,
        relapse=first.relapse,
        rounds=len(good),
        windows=median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        busy=median(known) if known else None,
        batch_median=mid(lambda point: point.batch_median),
        batch_p95=mid(lambda point: point.batch_p95),
        encode=mid(lambda point: point.encode / point.batches),
        generate=mid(lambda point: point.generate / point.batches),
        align=mid(lambda point: point.align / point.batches),
        cpu_per_batch=mid(lambda point: point.cpu_seconds / point.batches),
        cores_used=mid(lambda point: point.cpu_seconds / point.seconds),
        peak_memory=max(point.peak_memory for _, point in good),
        batch_memory=max(point.peak_memory - _loaded(run).model_memory for run, point in good),
        words_per_window=mid(lambda point: point.text_words / point.windows),
        again=mid(lambda point: point.rows / point.windows - 1.0),
        mel=mel[0] if mel else None,
        mel_on_host=mel[1] if len(mel) > 1 else None,
    )


def _loaded(run: EngineRun) -> Loaded:
    if run.loaded is None:
        raise ValueError("a run that has points has loaded its model")
    return run.loaded


def _why(point: EnginePoint) -> str:
    return "out of memory" if point.out_of_memory else point.failure or ""
