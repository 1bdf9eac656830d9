# SPDX-License-Identifier: Apache-2.0
"""Measures how cost grows with the number of jobs, the length of the audio and the number of workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import log
from typing import Any

from sqscribe.errors import SqscribeError
from sqscribe_bench.compare.contender import Sqscribe
from sqscribe_bench.lab.program import Program, environment
from sqscribe_bench.lab.run import BenchTask, Conditions
from sqscribe_bench.lab.site import BenchSite
from sqscribe_bench.lab.workload import Recording, Workload

__all__ = ["AXES", "NULL_MODEL", "Point", "Scale", "ScalePlan", "verdicts"]

#: An engine that costs nothing, so that all the rest is measured, its process and the way to it included.
NULL_MODEL = "simulated:"
#: The recording of the axes that count jobs.
TINY = Recording("tiny", 1.0)

#: A cost that grows faster than this power of the size is mentioned.
_STEEP = 1.1
#: A further worker that adds less than this share of the first one's speed is mentioned.
_EFFICIENT = 0.9


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied.

    Attributes:
        title: Under which conditions.
        size: What is counted.
    """

    title: str
    size: str


AXES = {
    "jobs": Axis("queue in memory, folder as store, WAV of 1 s, no device", "jobs"),
    "embedded": Axis("embedded SQS and S3, WAV of 1 s, no device", "jobs"),
    "length": Axis("embedded SQS and S3, mp3, no device", "minutes of each recording"),
    "workers": Axis("embedded SQS and S3, mp3, a simulated device each", "workers on one queue"),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Attributes:
        axis: Which of `AXES` was varied.
        size: How far.
        cpu_seconds: CPU seconds of all processes of the worker together.
        parts: CPU seconds of each part, and other figures, by name.
        failure: Why it could not be measured; None when it was.
    """

    axis: str
    size: float
    jobs: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None

    @property
    def cost(self) -> float:
        """CPU seconds, which should grow in proportion to the size; per recording where the length is the size."""
        return self._each(self.cpu_seconds)

    @property
    def own_cost(self) -> float:
        """The same for the worker's own process, without readers and engine; 0 where that was not measured."""
        return self._each(self.parts.get("worker", 0.0))

    @property
    def speed(self) -> float:
        """Seconds of audio for each second."""
        return self.audio_seconds / self.seconds if self.seconds else 0.0

    def _each(self, seconds: float) -> float:
        return seconds / self.jobs if self.axis == "length" else seconds


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """What is measured.

    Attributes:
        jobs: Numbers of jobs with everything in memory.
        embedded: Numbers of jobs on the embedded SQS and S3.
        minutes: Lengths of recordings.
        length_minutes: Audio in all for each length; a longer recording is alone.
        workers: Numbers of workers.
        device: The model of each of those workers, as SQSCRIBE_MODEL.
        shared_minutes: Audio that those workers share, in recordings of a minute.
        timeout: Seconds for one point.
    """

    jobs: Sequence[int]
    embedded: Sequence[int]
    minutes: Sequence[float]
    length_minutes: float
    workers: Sequence[int]
    device: str
    shared_minutes: int
    timeout: float

    @property
    def recordings(self) -> list[Recording]:
        """All recordings that will be transcribed, except the tiny one."""
        lengths = [each for minutes in self.minutes for each in self.of_length(minutes).recordings]
        return list(dict.fromkeys([*lengths, *(self.shared.recordings if self.workers else ())]))

    @property
    def shared(self) -> Workload:
        """The recordings that the workers share: many short ones, because a worker takes several at once."""
        return self._recordings(1.0, self.shared_minutes)

    def of_length(self, minutes: float) -> Workload:
        """Recordings of one length, as many as `length_minutes` allow."""
        return self._recordings(minutes, max(1, round(self.length_minutes / minutes)))

    @staticmethod
    def _recordings(minutes: float, count: int) -> Workload:
        recordings = tuple(Recording(f"length-{number:03}", 60 * minutes) for number in range(count))
        return Workload(f"{minutes:g} min", recordings)


class Scale:
    """Carries out a plan.

    Args:
        tiny: Path of a WAV file with a word in it.
        cores: How many this machine has.
        tell: Told what happens, line by line.
    """

    def __init__(self, plan: ScalePlan, site: BenchSite, tiny: str, cores: int, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._site = site
        self._tiny = tiny
        self._cores = cores
        self._tell = tell

    def points(self) -> Iterator[Point]:
        """Measures everything; a point that fails says why, and the others go on."""
        plan = self._plan
        for jobs in plan.jobs:
            yield self._point("jobs", jobs, partial(self._in_memory, jobs))
        for jobs in plan.embedded:
            yield self._point("embedded", jobs, partial(self._embedded, jobs))
        for minutes in plan.minutes:
            yield self._point("length", minutes, partial(self._length, minutes))
        for workers in plan.workers:
            yield self._point("workers", workers, partial(self._workers, workers))

    def _point(self, axis: str, size: float, measure: Callable[[], Point]) -> Point:
        what = f"{axis}, {AXES[axis].size}: {size:g}"
        try:
            point = measure()
        except SqscribeError as error:
            self._tell(f"{what} failed: {error}")
            return Point(axis, size, failure=str(error))
        self._tell(f"{what}: {point.seconds:.1f} s, {point.cpu_seconds:.2f} CPU s")
        return point

    def _in_memory(self, jobs: int) -> Point:
        settings = {"jobs": jobs, "recording": self._tiny, "model": NULL_MODEL}
        arguments = ["-m", "sqscribe_bench.programs.jobs", json.dumps(settings)]
        with Program(arguments, environment(), self._site.folder / f"{self._site.name()}-jobs.log") as program:
            said: dict[str, Any] = json.loads(program.line(self._plan.timeout))
        parts = {"worker": said["own"], "readers": said["readers"], "engine": said["engine"]}
        return Point(
            axis="jobs",
            size=jobs,
            jobs=jobs,
            audio_seconds=jobs * TINY.seconds,
            seconds=said["seconds"],
            cpu_seconds=sum(parts.values()),
            parts=parts | {"peak_memory": said["peak_memory"]},
        )

    def _embedded(self, jobs: int) -> Point:
        recordings = tuple(Recording(f"tiny-{number:05}", TINY.seconds) for number in range(jobs))
        self._site.put(recordings, self._tiny)
        return self._run("embedded", jobs, Workload("tiny", recordings), Sqscribe({}), NULL_MODEL)

    def _length(self, minutes: float) -> Point:
        return self._run("length", minutes, self._plan.of_length(minutes), Sqscribe({}), NULL_MODEL)

    def _workers(self, workers: int) -> Point:
        name = f"sqscribe x{workers}"
        return self._run(
            "workers", workers, self._plan.shared, Sqscribe({}, name=name, workers=workers), self._plan.device
        )

    def _run(self, axis: str, size: float, work: Workload, contender: Sqscribe, model: str) -> Point:
        conditions = Conditions(model, model, "cpu", "int8", beam_size=5, cores=self._cores)
        run = contender.run(BenchTask(work, words=False, round=1), self._site, conditions, self._plan.timeout)
        usage = run.usage
        return Point(
            axis=axis,
            size=size,
            jobs=run.jobs,
            audio_seconds=run.audio_seconds,
            seconds=run.seconds,
            cpu_seconds=usage.cpu_seconds,
            parts={
                "worker": usage.main_cpu_seconds,
                "readers": usage.ended_cpu_seconds,
                "engine": usage.living_cpu_seconds,
                "peak_memory": usage.peak_main_memory,
                **{name: value for name, value in run.notes.items() if isinstance(value, int | float)},
            },
        )


def verdicts(points: Sequence[Point]) -> list[str]:
    """Where cost does not grow in proportion, in words; one line at least for each axis with two good points."""
    lines = []
    for axis in AXES:
        own = [point for point in points if point.axis == axis and point.failure is None]
        if len(own) < 2:
            continue
        found = list(_crowded(own) if axis == "workers" else _steep(own))
        good = "every worker brings as much as the first" if axis == "workers" else "CPU time grows no faster than size"
        lines += [f"{axis}: {line}" for line in found or [good]]
    return lines


def _steep(points: Sequence[Point]) -> Iterator[str]:
    """Steps at which all CPU time, or the worker's own, grows faster than the size."""
    for early, late in pairwise(points):
        for whose, before, after in (
            ("CPU time", early.cost, late.cost),
            ("the worker's own CPU time", early.own_cost, late.own_cost),
        ):
            if before <= 0 or after <= 0:
                continue
            power = log(after / before) / log(late.size / early.size)
            if power > _STEEP:
                yield f"from {early.size:g} to {late.size:g}, {whose} grows with the power {power:.2f}"


def _crowded(points: Sequence[Point]) -> Iterator[str]:
    first = points[0]
    for point in points[1:]:
        share = point.speed * first.size / (first.speed * point.size)
        if share < _EFFICIENT:
            yield f"each of {point.size:g} workers has {share:.0%} of the speed of {first.size:g}"
