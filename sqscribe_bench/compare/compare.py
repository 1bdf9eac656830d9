# SPDX-License-Identifier: Apache-2.0
"""The comparison: first the batch sizes are chosen, then all contenders run by turns, round after round."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqscribe.errors import SqscribeError
from sqscribe_bench.compare.contender import START_SECONDS, Contender, Loop, Sqscribe, loop_program, loop_settings
from sqscribe_bench.compare.limit import LimitContender, limit_program, limit_settings
from sqscribe_bench.compare.s2t import s2t_environment, s2t_program
from sqscribe_bench.lab.nvml import nvml_sampler
from sqscribe_bench.lab.program import Program
from sqscribe_bench.lab.run import BenchError, BenchRun, BenchTask, Conditions
from sqscribe_bench.lab.site import BenchSite
from sqscribe_bench.lab.trace import Trace
from sqscribe_bench.lab.workload import Recording, Workload

__all__ = ["CONTENDERS", "ComparePlan", "SpeedComparison"]

#: Names that `--contender` takes; `loops` are several parallel ones.
CONTENDERS = ("limit", "sqscribe", "loop", "loops", "batched")
#: A further contender, for which an environment of its own is needed.
S2T = "whisper-s2t"

_BATCHED_SIZES = {"cpu": (4, 8, 16), "cuda": (8, 16, 24, 32)}
_LIMIT_SIZES = {"cpu": (1, 2, 4, 8), "cuda": (8, 16, 32, 48, 64)}
#: faster-whisper's own default.
_BATCHED_SIZE = 8


@dataclass(frozen=True, slots=True)
class ComparePlan:
    """What is to be compared.

    Attributes:
        words: Whether word times are asked for; with two values, each workload is run with each.
        contenders: Names out of `CONTENDERS`.
        settings: Of the worker, as environment variables, beside the defaults.
        rounds: How often each contender runs each workload.
        s2t: Environment of whisper-s2t, made if need be; None: without it.
        sweep_seconds: Seconds of audio on which batch sizes are tried before; 0: the default sizes are taken, untried.
        timeout: Seconds for one run.
    """

    workloads: tuple[Workload, ...]
    words: tuple[bool, ...]
    contenders: tuple[str, ...]
    settings: Mapping[str, str]
    rounds: int
    s2t: Path | None
    sweep_seconds: float
    timeout: float

    @property
    def recordings(self) -> list[Recording]:
        """All recordings that will be transcribed."""
        own = dict.fromkeys(each for workload in self.workloads for each in workload.recordings)
        return [*own, *([self.sample] if self.sweep_seconds else [])]

    @property
    def sample(self) -> Recording:
        """The recording on which batch sizes are tried."""
        return Recording("sweep", self.sweep_seconds)


class SpeedComparison:
    """Carries out a plan.

    Args:
        tell: Told what happens, line by line.
        on_trace: Takes the trace of each of the worker's runs; None: it is not asked for one.

    Attributes:
        sweeps: Seconds by batch size, by contender; of those for which batch sizes were tried.
        contenders: Who takes part; known once `runs` has begun.
    """

    def __init__(
        self,
        plan: ComparePlan,
        site: BenchSite,
        conditions: Conditions,
        tell: Callable[[str], None],
        on_trace: Callable[[Trace, BenchRun], None] | None = None,
    ) -> None:
        self.sweeps: dict[str, dict[int, float]] = {}
        self.contenders: list[Contender] = []
        self._plan = plan
        self._site = site
        self._conditions = conditions
        self._tell = tell
        self._on_trace = on_trace
        self._limits: dict[tuple[str, int], BenchRun] = {}  # by workload and round

    def runs(self) -> Iterator[BenchRun]:
        """Runs everything; a contender that fails gives a run that says why, and the others go on."""
        self.contenders = [contender for name in self._plan.contenders for contender in self._made(name)]
        if self._plan.s2t is not None:
            self.contenders.append(self._s2t(self._plan.s2t))
        for workload in self._plan.workloads:
            for words in self._plan.words:
                able = [contender for contender in self.contenders if contender.word_times or not words]
                for number in range(1, self._plan.rounds + 1):
                    for contender in tuple(able):
                        run = self._run(contender, BenchTask(workload, words, number))
                        yield run
                        if run.failure is not None:  # it would fail again, and again take its time
                            able.remove(contender)

    def _run(self, contender: Contender, task: BenchTask) -> BenchRun:
        place = (task.workload.name, task.round)
        if isinstance(contender, LimitContender) and place in self._limits:
            return replace(self._limits[place], words=task.words)  # the engine computes word times in either case
        what = f"{task.workload.name}, words {'on' if task.words else 'off'}, round {task.round}: {contender.name}"
        try:
            run = contender.run(task, self._site, self._conditions, self._plan.timeout)
        except SqscribeError as error:
            self._tell(f"{what} failed: {error}")
            return BenchRun(contender.name, task.workload.name, task.words, task.round, failure=str(error))
        if isinstance(contender, LimitContender):
            self._limits[place] = run
        self._tell(f"{what}: {run.seconds:.1f} s, {run.speed:.1f}x real time, {run.text_words} words")
        return run

    def _made(self, name: str) -> list[Contender]:
        match name:
            case "limit":
                return [LimitContender(self._best(name, _LIMIT_SIZES, self._sweep_limit))]
            case "sqscribe":
                on_gpu = self._on_trace is not None and self._conditions.device == "cuda"
                watch = partial(nvml_sampler, None) if on_gpu else None
                return [Sqscribe(self._plan.settings, on_trace=self._on_trace, watch=watch)]
            case "loop":
                return [Loop("loop")]
            case "loops":
                counts = sorted({2, self._conditions.cores} - {1})
                return [Loop(f"loop x{count}", count) for count in counts]
            case _:
                sweep = partial(self._sweep_loop, loop_program)
                return [Loop(name, batch_size=self._best(name, _BATCHED_SIZES, sweep) or _BATCHED_SIZE)]

    def _s2t(self, folder: Path) -> Contender:
        try:
            python, version = s2t_environment(folder, self._tell)
        except BenchError as error:
            return _Absent(S2T, str(error))
        start = s2t_program(python)
        size = self._best(S2T, _BATCHED_SIZES, partial(self._sweep_loop, start)) or _BATCHED_SIZE
        more = f"version {version}, up to 50 messages at once"
        return Loop(S2T, batch_size=size, start=start, more=more, word_times=False)

    def _best(
        self, name: str, sizes: Mapping[str, Sequence[int]], sweep: Callable[[Sequence[int], str], Program]
    ) -> int | None:
        """The batch size at which the sample takes the least time; None without a sweep, or when it failed."""
        if not self._plan.sweep_seconds:
            return None
        try:
            with sweep(sizes[self._conditions.device], f"{self._site.name()}-sweep-{name}") as program:
                swept = json.loads(program.line(START_SECONDS + self._plan.timeout))
        except SqscribeError as error:
            self._tell(f"{name}: trying batch sizes failed: {error}")
            return None
        took = {int(size): seconds for size, seconds in swept.items()}
        self.sweeps[name] = took
        self._tell(f"{name}: " + ", ".join(f"batch {size} {seconds:.1f} s" for size, seconds in took.items()))
        return min(took, key=lambda size: took[size])

    def _sweep_limit(self, sizes: Sequence[int], log: str) -> Program:
        settings = limit_settings(self._conditions, [self._plan.sample], self._site)
        return limit_program(settings | {"sweep": sizes}, self._site, log)

    def _sweep_loop(
        self, start: Callable[[Mapping[str, Any], BenchSite, str], Program], sizes: Sequence[int], log: str
    ) -> Program:
        settings = loop_settings(self._conditions, self._conditions.cores)
        sample = [str(self._site.path(self._plan.sample).absolute())]
        return start(settings | {"sweep": sizes, "sample": sample}, self._site, log)


@dataclass(frozen=True, slots=True)
class _Absent:
    """A contender that could not be installed: its row says why."""

    name: str
    why: str
    word_times: bool = True

    def setting(self, conditions: Conditions) -> str:  # noqa: ARG002 - `Contender`
        """It has no setting."""
        return ""

    def run(self, task: BenchTask, site: BenchSite, conditions: Conditions, timeout: float) -> BenchRun:  # noqa: ARG002 - `Contender`
        """Fails, and says why there is no such contender."""
        raise BenchError(self.why)
