# SPDX-License-Identifier: Apache-2.0
"""The inference process: what runs in the spawned child.

Its threads: a reader takes what the worker sends into the scheduler; `decoder.parallel` batch threads work; a sender is
the only one that writes to the result pipe; a watcher ends the process when the worker is gone. Torch and CTranslate2
are loaded here, by the decoder, and the module itself imports neither: the worker imports it to name the entry.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.queues import Queue
from typing import assert_never, cast

import structlog

from sqscribe.errors import ExitCode, SqscribeError, UnfitNodeError
from sqscribe.logs import configure
from stages.inference.engine import control
from stages.inference.engine.batches import Batches, BatchLimit, reject_lost
from stages.inference.engine.gpu import choose_gpu
from stages.inference.engine.memory import share_one_arena
from stages.inference.engine.rows import WindowDecoder
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    BatchSizeReduced,
    CancelJob,
    DecodeTask,
    EngineFailed,
    EngineReady,
    EngineSettings,
    Envelope,
    Report,
    Request,
    Stop,
    WindowKey,
)

__all__ = ["EXIT_ORPHANED", "Launch", "main"]

#: Exit code of a process whose worker is gone; nobody is left to read it but a process table.
EXIT_ORPHANED = 70

#: How long the last events may take to be written; the worker reads all the time, unless it is hung itself.
_FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What one process is started with.

    Attributes:
        decoder: Where the decoder comes from, as `package.module:name` of a callable that takes the settings and
            gives a `WindowDecoder`; a name, because it is imported in the process alone.
        generation: Number of the process, from 1.
        suspects: Windows that processes before this one may have failed on, to be decoded group by group.
    """

    settings: EngineSettings
    decoder: str
    generation: int
    suspects: tuple[tuple[WindowKey, ...], ...] = ()


def main(launch: Launch, inbox: Queue[Envelope[Request]], outbox: Connection) -> None:
    """The process's entry. Never returns: it ends the process with a code of `ExitCode`, or `EXIT_ORPHANED`.

    Args:
        launch: What to run.
        inbox: Work; this process is its only reader.
        outbox: Results; this process holds its only writing end.
    """
    share_one_arena()  # before there is any other thread
    # The worker alone decides when this process ends. A Ctrl-C at a terminal and a service manager's SIGTERM reach
    # the whole process group, and a drain needs the engine.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    settings = launch.settings
    configure(settings.log_format, settings.log_level, stage="inference", engine=launch.generation)
    code = _Process(launch, inbox, outbox).run()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing here needs the interpreter's tidying up, and a batch thread may be deep in a library that is not fit
    # for it.
    os._exit(code)


class _Process:
    """The process's threads, and what they share."""

    def __init__(self, launch: Launch, inbox: Queue[Envelope[Request]], outbox: Connection) -> None:
        self._launch = launch
        self._inbox = inbox
        self._outbox = outbox
        self._events: queue.SimpleQueue[Report | threading.Event | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()  # one entry a worker thread
        self._log = structlog.get_logger()

    def run(self) -> ExitCode:
        """Starts, works until told to stop, and gives the exit code."""
        sender = threading.Thread(target=self._send, name="sender", daemon=True)
        sender.start()
        try:
            decoder = self._start()
            self._work(decoder)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the worker is told and the process ends
            unfit = isinstance(error, UnfitNodeError)
            self._log.error("engine_error", unfit=unfit, exc_info=error)
            message = str(error) if isinstance(error, SqscribeError) else f"{type(error).__name__}: {error}"
            self._events.put(EngineFailed(message, unfit))
            code = ExitCode.UNFIT_NODE if unfit else ExitCode.ENGINE_BROKEN
        else:
            code = ExitCode.DONE
        self._events.put(None)
        sender.join(_FLUSH_SECONDS)
        return code

    def _start(self) -> WindowDecoder:
        began = time.monotonic()
        settings = self._launch.settings
        if settings.device != "cpu":
            choose_gpu(settings.device_index)
        decoder = _load(self._launch.decoder, settings)
        loaded = time.monotonic()
        error_rate = self._check(decoder)
        ready = time.monotonic()
        info = replace(decoder.info, startup_seconds=ready - began)
        self._log.info(
            "engine_started",
            model=info.name,
            revision=info.revision,
            device=info.device,
            compute_type=info.compute_type,
            batch_size=info.batch_size,
            load_seconds=round(loaded - began, 3),
            control_seconds=round(ready - loaded, 3),
            control_error_rate=error_rate,
        )
        self._events.put(EngineReady(info))
        return decoder

    def _check(self, decoder: WindowDecoder) -> float | None:
        settings = self._launch.settings
        if settings.control is None:
            return None
        return control.check(decoder, settings.control, beam_size=settings.beam_size)

    def _work(self, decoder: WindowDecoder) -> None:
        settings = self._launch.settings
        scheduler = Scheduler(
            decoder,
            self._events.put,
            retry_seconds=settings.retry_seconds,
            suspects=self._launch.suspects,
            suspect_seconds=settings.suspect_seconds,
        )
        limit = BatchLimit(decoder.info.batch_size, lambda rows: self._events.put(BatchSizeReduced(rows)))
        batches = Batches(decoder, scheduler, limit, self._flush, partial(self._check, decoder))
        self._thread("reader", lambda: self._read(scheduler))
        for number in range(decoder.parallel):
            self._thread(f"batch-{number}", batches.run)
        # The reader, then every batch thread, ends after a `Stop`. The first error of any is the end of all.
        for _ in range(1 + decoder.parallel):
            if error := self._ended.get():
                raise error

    def _thread(self, name: str, target: Callable[[], None]) -> None:
        def run() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - handed to the main thread, which reports it
                self._ended.put(error)
            else:
                self._ended.put(None)

        threading.Thread(target=run, name=name, daemon=True).start()

    def _read(self, scheduler: Scheduler) -> None:
        while True:
            envelope = self._inbox.get()
            if envelope.generation != self._launch.generation:
                raise RuntimeError(f"an item for process {envelope.generation} reached {self._launch.generation}")
            match envelope.item:
                case DecodeTask() as task:
                    try:
                        scheduler.add(task)
                    except FileNotFoundError:
                        if not reject_lost(scheduler, {task.job_key: task.pcm_path}):
                            raise
                case CancelJob(job_key):
                    scheduler.cancel(job_key)
                case Stop():
                    scheduler.close()
                    return
                case _:
                    assert_never(envelope.item)

    def _flush(self) -> None:
        """Waits until all events so far are in the pipe, where they outlive this process."""
        written = threading.Event()
        self._events.put(written)
        written.wait(_FLUSH_SECONDS)

    def _send(self) -> None:
        try:
            while (item := self._events.get()) is not None:
                if isinstance(item, threading.Event):
                    item.set()
                else:
                    self._outbox.send(Envelope(self._launch.generation, item))
        except OSError:
            os._exit(EXIT_ORPHANED)  # the worker has closed its end
        except BaseException:  # noqa: BLE001 - a process that cannot answer is of no use
            self._log.exception("sender_failed")
            os._exit(ExitCode.UNEXPECTED)


def _load(name: str, settings: EngineSettings) -> WindowDecoder:
    """Builds the decoder.

    Raises:
        UnfitNodeError: It cannot be had on this node.
    """
    module, _, path = name.partition(":")
    try:
        factory: object = importlib.import_module(module)
        for part in path.split("."):
            factory = getattr(factory, part)
        return cast("Callable[[EngineSettings], WindowDecoder]", factory)(settings)
    except SqscribeError:
        raise
    except Exception as error:
        raise UnfitNodeError(
            f"model {settings.name} cannot be loaded on this node: {type(error).__name__}: {error}"
        ) from error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(EXIT_ORPHANED)
