# SPDX-License-Identifier: Apache-2.0
"""From runs to figures: medians, and ratios of medians."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sqscribe_bench.lab.run import Run

__all__ = ["Figure", "best", "figures"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one contender made of one workload: medians over the rounds.

    Attributes:
        words: Whether word times were asked for.
        runs: Good ones.
        speed: Seconds of audio a second.
        slowest: Of the runs' speeds.
        fastest: Likewise.
        cpu_per_hour: CPU seconds for an hour of audio.
        outside_per_hour: The same without children that still run: in a worker's case, all but inference.
        peak_memory: Bytes; of any run the most.
        peak_main_memory: The same of the first process alone.
        text_words: Words of the transcripts.
        tokens: Tokens decoded; None where the contender does not tell.
        windows: Windows decoded; None where the contender does not tell.
        ratio: sqscribe's median speed over this one's; None without one of the two.
        failure: Why there is no good run.
    """

    contender: str
    workload: str
    words: bool
    runs: int
    seconds: float
    speed: float
    slowest: float
    fastest: float
    cpu_per_hour: float
    outside_per_hour: float
    peak_memory: int
    peak_main_memory: int
    text_words: float
    windows: float | None
    tokens: float | None = None
    ratio: float | None = None
    failure: str | None = None


def figures(runs: Sequence[Run], measured: str = "sqscribe") -> list[Figure]:
    """Figures of all contenders and workloads, in the order of their first runs.

    Args:
        runs: In any order.
        measured: The contender whose speed is compared to all others'.
    """
    cells: dict[tuple[str, bool, str], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.workload, run.words, run.contender), []).append(run)
    made = []
    for (workload, words, contender), own in cells.items():
        good = [run for run in own if run.failure is None]
        mine = [run.speed for run in cells.get((workload, words, measured), ()) if run.failure is None]
        if not good:
            made.append(_failed(workload, words, contender, own[0].failure or ""))
            continue
        speeds = [run.speed for run in good]
        made.append(
            Figure(
                contender=contender,
                workload=workload,
                words=words,
                runs=len(good),
                seconds=median(run.seconds for run in good),
                speed=median(speeds),
                slowest=min(speeds),
                fastest=max(speeds),
                cpu_per_hour=median(run.cpu_per_hour for run in good),
                outside_per_hour=median(run.outside_per_hour for run in good),
                peak_memory=max(run.usage.peak_memory for run in good),
                peak_main_memory=max(run.usage.peak_main_memory for run in good),
                text_words=median(run.text_words for run in good),
                windows=_told(run.windows for run in good),
                tokens=_told(run.tokens for run in good),
                ratio=median(mine) / median(speeds) if mine else None,
            )
        )
    return made


def best(made: Iterable[Figure], prefix: str) -> Figure | None:
    """The fastest of the contenders whose name begins so; of failed ones any; None without one."""
    own = [figure for figure in made if figure.contender.startswith(prefix)]
    return max(own, key=lambda figure: figure.speed, default=None)


def _failed(workload: str, words: bool, contender: str, why: str) -> Figure:
    nothing = dict.fromkeys(("seconds", "speed", "slowest", "fastest", "cpu_per_hour", "outside_per_hour"), 0.0)
    return Figure(
        contender=contender,
        workload=workload,
        words=words,
        runs=0,
        **nothing,
        peak_memory=0,
        peak_main_memory=0,
        text_words=0.0,
        windows=None,
        failure=why,
    )


def _told(values: Iterable[int | None]) -> float | None:
    """The median of what was told."""
    told = [value for value in values if value is not None]
    return median(told) if told else None
