# SPDX-License-Identifier: Apache-2.0
"""Feeds an engine with windows that lie ready, in batches as the inference process makes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from sqscribe.errors import EngineBrokenError
from stages.inference.engine.batches import Batches, BatchLimit, is_out_of_memory
from stages.inference.engine.rows import WindowDecoder
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineStats,
    JobLanguage,
    JobRejected,
    Progress,
    WindowDone,
)

__all__ = ["Fed", "Feed", "OutOfMemory"]

#: Seconds that windows wait for a retry, as in the worker.
_RETRY_SECONDS = 1.0


class OutOfMemory(EngineBrokenError):  # noqa: N818 - what happened
    """A batch did not fit into the device's memory."""


@dataclass(frozen=True, slots=True)
class Fed:
    """What came out of a feed.

    Attributes:
        results: In the order in which they were finished.
        batches: In the order in which they came back.
    """

    results: Sequence[WindowDone]
    batches: Sequence[EngineStats]

    @property
    def seconds(self) -> float:
        """From the first batch's start to the last one's end."""
        if not self.batches:
            return 0.0
        return max(each.ended for each in self.batches) - min(each.began for each in self.batches)

    @property
    def rows(self) -> int:
        """How often a window was decoded, second times included."""
        return sum(each.windows for each in self.batches)

    @property
    def text_words(self) -> int:
        """How many words all texts have."""
        return sum(len(segment.text.split()) for done in self.results for segment in done.result.segments)


class Feed:
    """Puts windows through a decoder, with several batches under way at once.

    Args:
        decoder: Decodes the batches.
        batch_size: Windows of a batch.
        parallel: Batches under way at once; None: as many as the decoder asks for.
        small_batches: Whether a batch that does not fit into the device's memory makes the following ones smaller,
            as in the worker, or ends everything.
    """

    def __init__(
        self, decoder: WindowDecoder, batch_size: int, *, parallel: int | None = None, small_batches: bool = True
    ) -> None:
        self._decoder = decoder
        self._batch_size = batch_size
        self._parallel = parallel or decoder.parallel
        self._small_batches = small_batches

    def run(self, tasks: Sequence[DecodeTask]) -> Fed:
        """Decodes all windows of all tasks.

        Raises:
            OutOfMemory: A batch did not fit into the device's memory.
            EngineBrokenError: Something else failed.
        """
        wait = _Results(sum(len(task.windows) for task in tasks))
        scheduler = Scheduler(self._decoder, wait, retry_seconds=_RETRY_SECONDS)
        limit = BatchLimit(self._batch_size, lambda _rows: None if self._small_batches else wait.full())
        batches = Batches(self._decoder, scheduler, limit, lambda: None, lambda: None)
        for task in tasks:
            scheduler.add(task)
        threads = [
            threading.Thread(target=wait.guard, args=(batches.run,), name=f"batch-{number}")
            for number in range(self._parallel)
        ]
        for thread in threads:
            thread.start()
        wait.finished.wait()
        scheduler.close()
        for thread in threads:
            thread.join()
        return wait.done()


class _Results:
    """Takes the scheduler's events, in order, until so many windows are done or something failed."""

    def __init__(self, windows: int) -> None:
        self.finished = threading.Event()
        self._wanted = windows
        self._results: list[WindowDone] = []
        self._stats: list[EngineStats] = []
        self._failures: list[EngineBrokenError] = []
        if not windows:
            self.finished.set()

    def __call__(self, event: EngineEvent | Progress) -> None:
        match event:
            case WindowDone():
                self._results.append(event)
            case EngineStats():
                self._stats.append(event)
                # The figures of a batch come behind its windows.
                if len(self._results) == self._wanted:
                    self.finished.set()
            case JobRejected():
                # The scheduler takes a single window that does not fit for one that breaks the engine.
                memory = is_out_of_memory(RuntimeError(event.message))
                self._fail((OutOfMemory if memory else EngineBrokenError)(event.message))
            case EngineReady() | JobLanguage() | EngineFailed() | EngineLost() | Progress():
                pass  # of no batch
            case _:
                assert_never(event)

    def guard(self, work: Callable[[], None]) -> None:
        """Runs a thread's work and keeps its failure, which would otherwise be lost with the thread."""
        try:
            work()
        except EngineBrokenError as error:
            self._fail(error)
        except RuntimeError as error:
            self._fail(EngineBrokenError(str(error)))

    def full(self) -> None:
        """Notes that the device's memory is full."""
        self._fail(OutOfMemory("a batch did not fit into the device's memory"))

    def done(self) -> Fed:
        """The results and figures.

        Raises:
            EngineBrokenError: Something failed.
        """
        if self._failures:
            raise self._failures[0]
        return Fed(self._results, self._stats)

    def _fail(self, error: EngineBrokenError) -> None:
        self._failures.append(error)
        self.finished.set()
