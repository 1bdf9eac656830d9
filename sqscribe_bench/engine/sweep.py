# SPDX-License-Identifier: Apache-2.0
"""Measures the engine alone: each configuration in a process of its own, one batch size after another."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqscribe_bench.compare.contender import START_SECONDS
from sqscribe_bench.lab.nvml import NvmlSampler, nvml_sampler
from sqscribe_bench.lab.program import Program, environment
from sqscribe_bench.lab.run import BenchError
from sqscribe_bench.lab.speech import Speech
from sqscribe_bench.lab.workload import SEED

__all__ = [
    "WINDOW_SECONDS",
    "EnginePlan",
    "EnginePoint",
    "EngineRun",
    "EngineSetup",
    "EngineSweep",
    "Loaded",
    "engine_launcher",
    "write_windows",
]

#: Length of every window: all are full ones.
WINDOW_SECONDS = 30.0
#: How many different windows there are; a run takes them by turns.
_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """One configuration of the engine.

    Attributes:
        model: The model as it was asked for.
        folder: The folder or name that the engine loads.
        compute_type: As CTranslate2; None for the device's default.
        parallel: Batches under way at once; None: the engine's own choice.
        cores: How many of the host's cores the process is pinned to; None: it is not.
        encoder: What computes the encoder, as SQSCRIBE_ENCODER.
    """

    model: str
    folder: str
    compute_type: str | None
    beam_size: int
    parallel: int | None
    cores: int | None
    encoder: str = "auto"

    def __str__(self) -> str:
        flight = f"{self.parallel or 'its own number of'} in flight"
        cores = f", {self.cores} cores" if self.cores else ""
        weights = f"{self.compute_type or 'default type'}{self.encoded}"
        return f"{self.model}, {weights}, beam {self.beam_size}, {flight}{cores}"

    @property
    def encoded(self) -> str:
        """What stands behind the compute type: nothing where it is left to the engine who encodes."""
        return "" if self.encoder == "auto" else f", encoder {self.encoder}"


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What is measured.

    Attributes:
        device: `cpu` or `cuda`.
        batch_sizes: In ascending order.
        rounds: How often each configuration is measured.
        seconds: How long each batch size is measured, about.
        batches: On how many batches each size is measured, at least.
        relapse: In one more run, one in so many windows is made to be decoded again; 0: there is no such run.
        timeout: Seconds for one batch size.
    """

    device: str
    setups: Sequence[EngineSetup]
    batch_sizes: Sequence[int]
    rounds: int
    seconds: float
    batches: int
    relapse: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an engine's process reports once its model is loaded.

    Attributes:
        device: `cpu`, or the GPU's name.
        uuid: NVML's name of the GPU.
        parallel: Batches under way at once.
        cores: How many cores it may use.
        model_memory: Bytes that loading the model took.
        auto_batch_size: The batch size that the worker would choose.
        row_bytes: Memory of a window that `stages.inference.whisper.batch_size` expects with this beam.
        mel: Seconds of a batch's log-mel by batch size: on the device, and on the host where that is not the same.
    """

    device: str
    uuid: str | None
    compute_type: str
    revision: str
    parallel: int
    cores: int
    model_memory: int
    auto_batch_size: int
    row_bytes: int
    mel: Mapping[int, Sequence[float]]


@dataclass(frozen=True, slots=True)
class EnginePoint:
    """One batch size of one configuration in one round.

    Attributes:
        relapse: One in so many windows was made to be decoded again; 0: none was.
        windows: How many windows were finished.
        rows: How often a window was decoded, the second times included.
        batches: How many batches there were.
        began: When the first batch began, on the machine's monotonic clock.
        seconds: From the first batch's start to the last one's end.
        under_way: Share of that time with a batch under way.
        busy: Share of it in which the device computed; on a CPU, `under_way`; None where that is unknown.
        batch_median: Median seconds of a batch.
        batch_p95: Seconds of a batch that 95 % of them do not exceed.
        cpu_seconds: CPU seconds of the host, by the whole process.
        peak_memory: Bytes beyond those in use before the model was loaded; of the device, or on a CPU of the process.
        encode: Seconds of all calls that encode, waiting for other batches included.
        generate: The same for calls that generate text.
        align: The same for calls that find word times.
        text_words: Words of all texts.
        failure: Why it could not be measured; None when it was.
        out_of_memory: Whether it failed because the device's memory was full.
    """

    batch_size: int
    relapse: int = 0
    windows: int = 0
    rows: int = 0
    batches: int = 0
    began: float = 0.0
    seconds: float = 0.0
    under_way: float = 0.0
    busy: float | None = None
    batch_median: float = 0.0
    batch_p95: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    encode: float = 0.0
    generate: float = 0.0
    align: float = 0.0
    text_words: int = 0
    failure: str | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What one process measured.

    Attributes:
        loaded: None if its model was not loaded.
        failure: Why it ended too early; None when it did not.
    """

    setup: EngineSetup
    round: int
    loaded: Loaded | None = None
    points: Sequence[EnginePoint] = field(default_factory=tuple)
    failure: str | None = None


class Speaker(Protocol):
    """A process that answers line by line; see `sqscribe_bench.lab.program.Program`."""

    def line(self, timeout: float) -> str:
        """The next line."""


#: Starts the program with its settings, pinned to so many cores.
Launch = Callable[[Mapping[str, Any], int | None], AbstractContextManager[Speaker]]
#: Is given each batch size of a process as soon as it is measured.
Keep = Callable[["EngineRun"], None]
#: Watches a GPU; see `sqscribe_bench.lab.nvml.nvml_sampler`.
Watch = Callable[[str | None], AbstractContextManager[NvmlSampler]]


class EngineSweep:
    """Carries out a plan.

    Args:
        pcm: File with windows of 30 s, one behind the other.
        launch: Starts an engine's process.
        tell: Told what happens, line by line.
        watch: Watches the GPU.
        keep: Is given each point as it comes, as a run of that point alone; None: nobody is.
    """

    def __init__(
        self,
        plan: EnginePlan,
        pcm: Path,
        launch: Launch,
        tell: Callable[[str], None],
        watch: Watch = nvml_sampler,
        keep: Keep | None = None,
    ) -> None:
        self._plan = plan
        self._pcm = pcm
        self._launch = launch
        self._tell = tell
        self._watch = watch
        self._keep = keep
        #: What was left out, and why.
        self.notes: list[str] = []

    def runs(self) -> Iterator[EngineRun]:
        """All configurations by turns, round after round. One that fails says why, and the others go on."""
        for number in range(1, self._plan.rounds + 1):
            for setup in self._plan.setups:
                self._tell(f"round {number}: {setup}")
                yield self._run(setup, number)

    def _run(self, setup: EngineSetup, number: int) -> EngineRun:
        loaded: Loaded | None = None
        points: list[EnginePoint] = []
        try:
            with ExitStack() as stack:
                program = stack.enter_context(self._launch(self._settings(setup, number), setup.cores))
                about = json.loads(program.line(START_SECONDS))
                loaded = Loaded(**about | {"mel": {int(size): took for size, took in about["mel"].items()}})
                sampler = self._sampler(stack, loaded)
                while line := program.line(self._plan.timeout):
                    points.append(self._point(setup, json.loads(line), sampler))
                    if self._keep:
                        self._keep(EngineRun(setup, number, loaded, points[-1:]))
        except BenchError as error:
            self._tell(f"{setup} failed: {error}")
            return EngineRun(setup, number, loaded, points, str(error))
        return EngineRun(setup, number, loaded, points)

    def _settings(self, setup: EngineSetup, number: int) -> dict[str, Any]:
        plan = self._plan
        return {
            "model": setup.folder,
            "device": plan.device,
            "compute_type": setup.compute_type,
            "encoder": setup.encoder,
            "beam_size": setup.beam_size,
            "parallel": setup.parallel,
            "pcm": str(self._pcm),
            "batch_sizes": list(plan.batch_sizes),
            "seconds": plan.seconds,
            "batches": plan.batches,
            "relapse": plan.relapse,
            "mel": number == 1,
        }

    def _sampler(self, stack: ExitStack, loaded: Loaded) -> NvmlSampler | None:
        if self._plan.device != "cuda":
            return None
        try:
            return stack.enter_context(self._watch(loaded.uuid))
        except BenchError as error:
            self._note(f"Busy is not measured: {error}.")
            return None

    def _point(self, setup: EngineSetup, said: dict[str, Any], sampler: NvmlSampler | None) -> EnginePoint:
        point = EnginePoint(**said)
        what = f"batch {point.batch_size}{f', one in {point.relapse} again' if point.relapse else ''}"
        if point.failure is not None:
            why = "did not fit into the device's memory" if point.out_of_memory else f"failed: {point.failure}"
            self._note(f"{setup}: {what} {why}{'' if point.relapse else '; larger ones were not tried'}.")
            return point
        self._tell(f"{what}: {point.windows / point.seconds:.2f} windows/s")
        if self._plan.device != "cuda":
            return EnginePoint(**said | {"busy": point.under_way})
        return EnginePoint(**said | {"busy": sampler and sampler.busy(point.began, point.began + point.seconds)})

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            self._tell(note)


def engine_launcher(folder: Path) -> Launch:
    """Starts `sqscribe_bench.programs.engine`, whose logs go into a folder."""
    numbers = itertools.count(1)

    def launch(settings: Mapping[str, Any], cores: int | None) -> Program:
        # The engine is to find CUDA's libraries without being told where they are.
        environ = environment(LD_LIBRARY_PATH=os.environ.get("LD_LIBRARY_PATH", ""))
        module = "sqscribe_bench.programs.engine"
        start = ["-m", "sqscribe_bench.programs.pinned", str(cores), module] if cores else ["-m", module]
        return Program([*start, json.dumps(settings)], environ, folder / f"engine-{next(numbers):03}.log")

    return launch


def write_windows(path: Path) -> None:
    """Writes windows full of speech, one behind the other, as PCM."""
    speech = Speech()
    with path.open("wb") as file:
        for number in range(_WINDOWS):
            file.write(speech.say(f"{SEED}/engine-{number}", WINDOW_SECONDS).tobytes())
