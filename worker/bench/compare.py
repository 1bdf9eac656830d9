# SPDX-License-Identifier: Apache-2.0
"""The comparison: sweeps first, then all contenders by turns, round after round."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqscribe.errors import SqscribeError
from worker.bench.contender import START_SECONDS, Contender, Loop, Sqscribe, loop_order, loop_program
from worker.bench.limit import Limit, limit_order, limit_program
from worker.bench.program import Program
from worker.bench.run import Conditions, Run, Task
from worker.bench.site import Site
from worker.bench.workload import Recording, Workload

__all__ = ["CONTENDERS", "Comparison", "Plan"]

#: Names that `--contender` takes; `loops` are several parallel ones.
CONTENDERS = ("limit", "sqscribe", "loop", "loops", "batched")

_BATCHED_SIZES = {"cpu": (4, 8, 16), "cuda": (8, 16, 24, 32)}
_LIMIT_SIZES = {"cpu": (1, 2, 4, 8), "cuda": (8, 16, 32, 48, 64)}
#: faster-whisper's own default.
_BATCHED_SIZE = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be compared.

    Attributes:
        words: Whether word times are asked for: both, one after the other, or one of the two.
        contenders: Of `CONTENDERS`.
        settings: Of the worker, as environment variables, beside the defaults.
        rounds: How often each contender runs each workload.
        sweep_seconds: Audio on which batch sizes are tried before; 0: they are not, and the defaults are taken.
        timeout: Seconds for one run.
    """

    workloads: tuple[Workload, ...]
    words: tuple[bool, ...]
    contenders: tuple[str, ...]
    settings: Mapping[str, str]
    rounds: int
    sweep_seconds: float
    timeout: float

    @property
    def recordings(self) -> list[Recording]:
        """All that will be transcribed."""
        own = dict.fromkeys(each for workload in self.workloads for each in workload.recordings)
        return [*own, *([self.sample] if self.sweep_seconds else [])]

    @property
    def sample(self) -> Recording:
        """What batch sizes are tried on."""
        return Recording("sweep", self.sweep_seconds)


class Comparison:
    """Runs a plan.

    Args:
        tell: Told what happens, line by line.

    Attributes:
        sweeps: By contender: batch size to seconds, where batch sizes were tried.
        contenders: Those that run; known once `runs` has begun.
    """

    def __init__(self, plan: Plan, site: Site, conditions: Conditions, tell: Callable[[str], None]) -> None:
        self.sweeps: dict[str, dict[int, float]] = {}
        self.contenders: list[Contender] = []
        self._plan = plan
        self._site = site
        self._conditions = conditions
        self._tell = tell

    def runs(self) -> Iterator[Run]:
        """Runs everything; a contender that fails gives a run that says why, and the others go on."""
        self.contenders = [contender for name in self._plan.contenders for contender in self._made(name)]
        for workload in self._plan.workloads:
            for words in self._plan.words:
                for number in range(1, self._plan.rounds + 1):
                    task = Task(workload, words, number)
                    for contender in self.contenders:
                        yield self._run(contender, task)

    def _run(self, contender: Contender, task: Task) -> Run:
        what = f"{task.workload.name}, words {'on' if task.words else 'off'}, round {task.round}: {contender.name}"
        try:
            run = contender.run(task, self._site, self._conditions, self._plan.timeout)
        except SqscribeError as error:
            self._tell(f"{what} failed: {error}")
            return Run(contender.name, task.workload.name, task.words, task.round, failure=str(error))
        self._tell(f"{what}: {run.seconds:.1f} s, {run.speed:.1f}x real time, {run.text_words} words")
        return run

    def _made(self, name: str) -> list[Contender]:
        match name:
            case "limit":
                return [Limit(self._best("limit", _LIMIT_SIZES))]
            case "sqscribe":
                return [Sqscribe(self._plan.settings)]
            case "loop":
                return [Loop("loop")]
            case "loops":
                counts = sorted({2, self._conditions.cores} - {1})
                return [Loop(f"loop x{count}", count) for count in counts]
            case _:
                return [Loop("batched", batch_size=self._best("batched", _BATCHED_SIZES) or _BATCHED_SIZE)]

    def _best(self, name: str, sizes: Mapping[str, Sequence[int]]) -> int | None:
        """The batch size at which the sample takes the least time; None without a sweep, or when it failed."""
        if not self._plan.sweep_seconds:
            return None
        try:
            with self._sweeping(name, sizes[self._conditions.device]) as program:
                swept = json.loads(program.line(START_SECONDS + self._plan.timeout))
        except SqscribeError as error:
            self._tell(f"{name}: trying batch sizes failed: {error}")
            return None
        took = {int(size): seconds for size, seconds in swept.items()}
        self.sweeps[name] = took
        self._tell(f"{name}: " + ", ".join(f"batch {size} {seconds:.1f} s" for size, seconds in took.items()))
        return min(took, key=lambda size: took[size])

    def _sweeping(self, name: str, sizes: Sequence[int]) -> Program:
        log, sample = f"{self._site.name()}-sweep-{name}", self._plan.sample
        if name == "limit":
            return limit_program(
                limit_order(self._conditions, [sample], self._site) | {"sweep": sizes}, self._site, log
            )
        order = loop_order(self._conditions, self._conditions.cores)
        return loop_program(order | {"sweep": sizes, "sample": [str(self._site.path(sample))]}, self._site, log)
