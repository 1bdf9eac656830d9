# SPDX-License-Identifier: Apache-2.0
"""The batch threads when a batch fails: what goes again, what is rejected, and when the process has to end."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import EngineBrokenError, ErrorCode
from stages.inference.engine.batches import Batches, BatchLimit, is_out_of_memory
from stages.inference.engine.rows import Row
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import EngineEvent, EngineSettings, EngineStats, JobRejected, Progress, WindowDone
from worker.testing.decoder import SIMULATED_SAMPLES, SimulatedDecoder, simulated_task


class Bench:
    """Batch threads of a simulated device in this process."""

    def __init__(self, model: str, pcm: Path, batch_size: int, threads: int) -> None:
        self.pcm = str(pcm)
        self.events: list[EngineEvent] = []
        self.reduced: list[int] = []
        self.checks = 0
        self.announced: list[Progress] = []
        self.check: Callable[[], object] = lambda: None
        self._said: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
        self._last_beat: Progress | None = None
        self.decoder = SimulatedDecoder.load(EngineSettings(model=model, name="simulated", batch_size=batch_size))
        self.scheduler = Scheduler(self.decoder, self._hear, retry_seconds=0.0)
        limit = BatchLimit(batch_size, self.reduced.append)
        self.errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self.batches = Batches(self.decoder, self.scheduler, limit, self._announce, self._check)
        self.threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def add(self, job: str, count: int, hotwords: str | None = None, language: str | None = "en") -> None:
        self.scheduler.add(simulated_task(job, self.pcm, count, hotwords=hotwords, language=language))

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def until(self, enough: Callable[[], object]) -> None:
        while not enough():
            self.events.append(self._said.get(timeout=20.0))

    def windows(self, job: str) -> list[int]:
        return sorted(
            event.result.index for event in self.events if isinstance(event, WindowDone) and event.job_key == job
        )

    def rejected(self) -> list[JobRejected]:
        return [event for event in self.events if isinstance(event, JobRejected)]

    def stop(self) -> None:
        self.scheduler.close()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(20.0)
                assert not thread.is_alive()

    def _hear(self, event: EngineEvent | Progress) -> None:
        if isinstance(event, Progress):
            self._last_beat = event
        else:
            self._said.put(event)

    def _announce(self) -> None:
        assert self._last_beat is not None
        self.announced.append(self._last_beat)

    def _check(self) -> None:
        self.checks += 1
        self.check()

    def _run(self) -> None:
        try:
            self.batches.run()
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.errors.put(error)


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    benches = []
    pcm = tmp_path / "audio.pcm"
    pcm.write_bytes(os.urandom(2 * SIMULATED_SAMPLES * 100))

    def make(model: str = "", batch_size: int = 8, threads: int = 1) -> Bench:
        benches.append(Bench(model, pcm, batch_size, threads))
        return benches[-1]

    with capture_logs():  # tracebacks for a terminal take seconds
        yield make
        for bench in benches:
            bench.stop()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_window_that_always_raises_costs_its_own_job_alone(make: Make, threads: int) -> None:
    # Given a job with one bad window in its middle, among others
    bench = make(f"parallel={threads}", threads=threads)
    bench.add("bad", 20, hotwords="raise@11")
    for number in range(5):
        bench.add(f"good {number}", 10)

    # When all is worked off
    bench.start()
    bench.until(lambda: bench.rejected() and all(len(bench.windows(f"good {n}")) == 10 for n in range(5)))

    # Then it is rejected with what went wrong, and nothing else
    (rejected,) = bench.rejected()
    assert (rejected.job_key, rejected.code) == ("bad", ErrorCode.INFERENCE_FAILED)
    assert rejected.message.startswith("window 11, ")
    assert "RuntimeError: the simulated device failed" in rejected.message
    # And the device was looked after each time: of 8 rows, 4, 2, 1 and 1
    assert bench.checks <= 5


def test_an_error_that_does_not_come_again_costs_nothing(make: Make) -> None:
    bench = make()
    bench.add("job", 20, hotwords="raise-once@3")

    bench.start()
    bench.until(lambda: len(bench.windows("job")) == 20)

    assert bench.checks == 1
    assert bench.rejected() == []


def test_the_windows_of_a_batch_are_announced_before_it_is_run(make: Make) -> None:
    bench = make()
    seen: list[bool] = []
    run = bench.decoder.run

    def watched(rows: list[Row]) -> object:
        batch = tuple((row.job.job_key, row.window.index) for row in rows)
        seen.append(batch in bench.announced[-1].under_way)
        return run(rows)

    bench.decoder.run = watched  # type: ignore[method-assign, assignment]
    bench.add("job", 20)

    bench.start()
    bench.until(lambda: len(bench.windows("job")) == 20)

    assert seen == [True, True, True]


def test_a_device_that_fails_at_its_control_recording_as_well_ends_it(make: Make) -> None:
    bench = make()
    bench.add("job", 4, hotwords="break@2")

    def check() -> None:
        raise EngineBrokenError("it misheard")

    bench.check = check
    bench.start()

    error = bench.errors.get(timeout=20.0)
    assert isinstance(error, EngineBrokenError)
    assert "the simulated device failed" in str(error)
    assert "it misheard" in str(error)
    assert bench.rejected() == []


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_that_do_not_fit_become_smaller_once_for_all_and_everything_gets_done(make: Make, threads: int) -> None:
    # Given a device with room for 5 windows where batches have 32
    bench = make("fits=5&window_seconds=0.0001", batch_size=32, threads=threads)
    bench.add("a", 60, language=None)
    bench.add("b", 40)

    bench.start()
    bench.until(lambda: len(bench.windows("a")) == 60 and len(bench.windows("b")) == 40)

    # Then the limit came down step by step, and nobody was suspected of anything
    assert bench.reduced == [24, 18, 13, 9, 6, 4]
    assert bench.checks == 0
    assert bench.rejected() == []
    assert max(event.windows for event in bench.events if isinstance(event, EngineStats)) <= 5


def test_a_window_that_does_not_fit_even_alone_is_rejected(make: Make) -> None:
    bench = make(batch_size=4)
    bench.add("big", 8, hotwords="memory@5")
    bench.add("good", 8)

    bench.start()
    bench.until(lambda: bench.rejected() and len(bench.windows("good")) == 8)

    (rejected,) = bench.rejected()
    assert (rejected.job_key, rejected.code) == ("big", ErrorCode.INFERENCE_FAILED)
    assert "out of memory" in rejected.message
    # The device was looked after when the window had it for itself.
    assert bench.checks == 2
    assert bench.reduced == [3, 2, 1]


def test_a_device_without_memory_for_its_control_recording_is_at_fault_itself(make: Make) -> None:
    bench = make("", batch_size=1)
    bench.add("job", 1, hotwords="memory")

    def check() -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    bench.check = check
    bench.start()

    assert isinstance(bench.errors.get(timeout=20.0), EngineBrokenError)
    assert bench.rejected() == []


def test_a_check_that_another_batch_leaves_no_memory_for_says_nothing(make: Make) -> None:
    bench = make()
    bench.add("job", 4, hotwords="raise-once@2")

    def check() -> None:
        raise MemoryError

    bench.check = check
    bench.start()
    bench.until(lambda: len(bench.windows("job")) == 4)

    assert bench.errors.empty()


def test_the_limit_never_grows_and_never_falls_below_one() -> None:
    told: list[int] = []
    limit = BatchLimit(32, told.append)

    limit.reduce(32)
    limit.reduce(32)  # was under way together with the first
    limit.reduce(20)
    limit.reduce(1)
    limit.reduce(1)

    assert told == [24, 15, 1]
    assert limit.rows == 1


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA failed with error an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_said_of_memory_is_understood(error: Exception, *, memory: bool) -> None:
    assert is_out_of_memory(error) is memory
