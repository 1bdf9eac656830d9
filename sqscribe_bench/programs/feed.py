# SPDX-License-Identifier: Apache-2.0
"""An engine's feed: windows that lie ready, dealt out in batches as the inference process does it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqscribe.errors import EngineBrokenError
from stages.inference.engine.batches import Batches, BatchLimit, is_out_of_memory
from stages.inference.engine.rows import Decoder
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import DecodeTask, EngineEvent, EngineStats, JobRejected, Progress, WindowDone

__all__ = ["Fed", "Feed", "OutOfMemory"]

#: Rows that wait for a retry; as in the worker.
_RETRY_SECONDS = 1.0


class OutOfMemory(EngineBrokenError):  # noqa: N818 - what happened
    """A batch did not fit into the device's memory."""


@dataclass(frozen=True, slots=True)
class Fed:
    """What came out.

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
        """Windows that were decoded; one that went round again counts again."""
        return sum(each.windows for each in self.batches)

    @property
    def text_words(self) -> int:
        """Words of all texts."""
        return sum(len(segment.text.split()) for done in self.results for segment in done.result.segments)


class Feed:
    """Puts windows through a decoder, some batches at once.

    Args:
        decoder: Does the work.
        batch_size: Windows of a batch.
        parallel: Batches under way at once; None: as many as the decoder asks for.
        small_batches: Whether a batch that does not fit into the device's memory makes the following ones smaller,
            as in the worker, or ends everything.
    """

    def __init__(
        self, decoder: Decoder, batch_size: int, *, parallel: int | None = None, small_batches: bool = True
    ) -> None:
        self._decoder = decoder
        self._batch_size = batch_size
        self._parallel = parallel or decoder.parallel
        self._small_batches = small_batches

    def run(self, tasks: Sequence[DecodeTask]) -> Fed:
        """Decodes all windows of all tasks.

        Raises:
            OutOfMemory: A batch did not fit.
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
                # A single window that does not fit is taken for a guilty one.
                memory = is_out_of_memory(RuntimeError(event.message))
                self._fail((OutOfMemory if memory else EngineBrokenError)(event.message))

    def guard(self, work: Callable[[], None]) -> None:
        """Does work that nobody else would see fail."""
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
        """What there is.

        Raises:
            EngineBrokenError: Something failed.
        """
        if self._failures:
            raise self._failures[0]
        return Fed(self._results, self._stats)

    def _fail(self, error: EngineBrokenError) -> None:
        self._failures.append(error)
        self.finished.set()
