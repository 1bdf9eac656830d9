# SPDX-License-Identifier: Apache-2.0
"""One inference process as the worker holds it: the handle, the queue to it, the pipe from it."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from typing import cast

import structlog

from stages.inference.engine.process import Launch, main
from stages.inference.protocol import BatchSizeReduced, CancelJob, DecodeTask, EngineEvent, Envelope, Progress, Stop

__all__ = ["KILL_SECONDS", "Child"]

log = structlog.get_logger()

#: How long a process that was killed may take to be gone. One in the hands of a hung driver may take for ever.
KILL_SECONDS = 5.0


class Child:
    """One process and its two pipes, which no other process ever gets.

    A process that is killed may hold the queue's lock or leave half an item in a pipe
    (https://github.com/python/cpython/issues/96062), so that nothing of it can be used again.
    """

    def __init__(self, launch: Launch) -> None:
        # Never fork: CUDA does not survive it, nor do locks of other threads.
        context = multiprocessing.get_context("spawn")
        self._generation = launch.generation
        self._inbox: Queue[Envelope] = context.Queue()
        # Were the process to die while the queue's thread writes to a full pipe, the thread would block for ever.
        # With our copy of the reading end closed it gets EPIPE, and this flag lets it end by that without a
        # traceback. CPython's own process pool sets it for the same reason (concurrent/futures/process.py).
        self._inbox._ignore_epipe = True  # type: ignore[attr-defined]  # noqa: SLF001
        events, theirs = context.Pipe(duplex=False)
        self.events: Connection = events
        self.process: SpawnProcess = context.Process(
            target=main,
            args=(launch, self._inbox, theirs),
            name=f"sqscribe-inference-{launch.generation}",
        )
        # A signal to the whole process group must not end it before it has set itself to ignore them; a blocked one
        # is inherited as such.
        signals = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            self._inbox._reader.close()  # type: ignore[attr-defined]  # noqa: SLF001 - see above

    def send(self, item: DecodeTask | CancelJob | Stop) -> None:
        """Queues an item; the queue's own thread writes it."""
        self._inbox.put(Envelope(self._generation, item))

    def receive(self) -> EngineEvent | Progress | BatchSizeReduced | None:
        """The next event; None at the end, which may come in the middle of one."""
        try:
            envelope: Envelope = self.events.recv()
        except (EOFError, OSError):
            return None
        if envelope.generation != self._generation:
            raise RuntimeError(f"an event of process {envelope.generation} reached {self._generation}")
        # What the process sends: `Envelope` is one type for both directions.
        return cast("EngineEvent | Progress | BatchSizeReduced", envelope.item)

    def end(self) -> int | None:
        """Kills the process if it still runs, reaps it, frees what belongs to it, and gives its exit code."""
        self.process.kill()
        self.process.join(KILL_SECONDS)
        exit_code = self.process.exitcode
        self.events.close()
        self._inbox.close()
        if exit_code is None:
            log.error(
                "engine_unkillable", pid=self.process.pid, reason="stuck in the kernel, perhaps in the GPU driver"
            )
            self._inbox.cancel_join_thread()
        else:
            self._inbox.join_thread()
            self.process.close()
        return exit_code
