# SPDX-License-Identifier: Apache-2.0
"""The worker's side of the inference process: starts it, feeds it, and starts it again when it is lost.

Nothing here imports torch or CTranslate2.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import wait
from typing import assert_never

import structlog

from sqscribe.errors import ErrorCode
from stages.inference.client.backlog import Backlog
from stages.inference.client.child import KILL_SECONDS, Child
from stages.inference.client.restarts import GivenUp, RestartPolicy, is_crash, loss_text
from stages.inference.engine.process import Launch
from stages.inference.protocol import (
    BatchSizeReduced,
    CancelJob,
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineSettings,
    EngineStats,
    JobLanguage,
    JobRejected,
    Progress,
    Report,
    Stop,
    WindowDone,
    WindowKey,
)
from stages.ports import Clock

__all__ = ["DEFAULT_DECODER", "EngineClient"]

log = structlog.get_logger()

#: The Whisper decoder; see `process.Launch.decoder`.
DEFAULT_DECODER = "stages.inference.whisper.decoder:WhisperDecoder.load"

#: How often the limit on a start is looked at.
_CHECK_SECONDS = 1.0


class EngineClient:
    """The engine in a process of its own. Implements `Engine`.

    A process that is lost is followed by another one, which takes over what is not finished. Windows that were under
    way when it crashed, or hung, are suspects: they go behind all others and apart from them, in ever smaller groups,
    until the one that no process survives is found, and its job is rejected with `inference_failed`.

    Args:
        settings: How the engine is built.
        clock: For the limits below and `last_progress`.
        decoder: `package.module:name` of what builds the decoder, in the process.
        start_timeout: Seconds from the start of a process to ready, a model's download included; then it counts as
            lost.
        max_failures: See `RestartPolicy`.
        max_guilty: See `RestartPolicy`.
        restart_delay: See `RestartPolicy`.
        recycle_windows: A process that has finished so many windows makes way for the next one; 0: never.
    """

    def __init__(
        self,
        settings: EngineSettings,
        clock: Clock,
        decoder: str = DEFAULT_DECODER,
        *,
        start_timeout: float = 900.0,
        max_failures: int = 3,
        max_guilty: int = 5,
        restart_delay: float = 0.5,
        recycle_windows: int = 0,
    ) -> None:
        self._clock = clock
        self._decoder = decoder
        self._start_timeout = start_timeout
        self._recycle_windows = recycle_windows
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        # The engine thread's own.
        self._settings = settings  # with the batch size that was found to fit
        self._restart_policy = RestartPolicy(max_failures, max_guilty, restart_delay)
        self._restarts = 0  # processes lost in all
        self._was_ready = False  # whether any process was
        self._under_way: tuple[tuple[WindowKey, ...], ...] = ()  # in the running process, by its last beat
        self._finished = 0  # windows, by the running process
        self._recycling = False  # whether it has been told to end
        self._lock = threading.Lock()  # guards all below
        self._backlog = Backlog()
        self._child: Child | None = None  # while one runs
        self._ready = False  # whether it has said so
        self._hung = False  # whether it was killed for it
        self._last_progress = clock.now()

    @property
    def pid(self) -> int | None:
        """Of the running process; None between two, before `start` and after `stop`."""
        with self._lock:
            return self._child.process.pid if self._child else None

    @property
    def last_progress(self) -> float:
        """As `Engine` has it. While no process is ready, time is progress: a start has a limit of its own."""
        with self._lock:
            return self._last_progress if self._child and self._ready else self._clock.now()

    def start(self, listener: Callable[[EngineEvent], None]) -> None:
        """Starts the process; events come on one thread, in order, until `stop` has returned.

        Raises:
            RuntimeError: It was started before.
        """
        if self._thread is not None:
            raise RuntimeError("this engine client was started before; make a new one")
        # The interpreter waits for its child processes before it ends, and this one does not end by SIGTERM.
        atexit.register(self.stop, 0.0)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="engine", daemon=True)
        self._thread.start()

    def submit(self, task: DecodeTask) -> None:
        """Queues a job's windows; never blocks.

        Raises:
            ValueError: The job has no windows, or its key is taken.
        """
        with self._lock:
            self._backlog.add(task)
            if self._child:
                self._child.send(task)

    def cancel(self, job_key: str) -> None:
        """Drops a job; none of its events come after this returns, but for one that is being handled."""
        with self._lock:
            if self._backlog.drop(job_key) and self._child:
                self._child.send(CancelJob(job_key))

    def replace(self) -> None:
        """Kills a process that hangs; it counts as lost, so the next one takes over what is not finished."""
        with self._lock:
            if self._child:
                self._hung = True
                self._child.process.kill()
            self._last_progress = self._clock.now()

    def stop(self, timeout: float) -> None:
        """Ends the process within `timeout` seconds, by force if need be. Repeating it is harmless.

        A process that is ready may finish the batch in hand; one that is starting is killed at once.
        """
        atexit.unregister(self.stop)
        self._stopping.set()
        with self._lock:
            if self._child and self._ready:
                self._child.send(Stop())
            elif self._child:
                self._child.process.kill()
        if self._thread is None or self._thread is threading.current_thread():
            return
        grace = max(0.0, timeout - min(1.0, timeout / 4))
        self._thread.join(grace)
        with self._lock:
            if self._child:
                log.warning("engine_killed", reason="did not stop in time", seconds=grace)
                self._child.process.kill()
        self._thread.join(KILL_SECONDS)

    def _run(self, listener: Callable[[EngineEvent], None]) -> None:
        try:
            self._supervise(listener)
        except GivenUp as end:
            listener(end.event)
        except Exception as error:
            # Without this thread nothing moves any more: better to end than to look alive.
            log.exception("engine_thread_failed")
            listener(EngineFailed(f"the engine's own thread failed: {type(error).__name__}: {error}", unfit=False))
            raise

    def _supervise(self, listener: Callable[[EngineEvent], None]) -> None:
        generation = 0
        while not self._stopping.is_set():
            generation += 1
            child = Child(self._launch(generation))
            said = None
            try:
                self._adopt(child)
                said = self._watch(child, listener)
            finally:
                with self._lock:
                    self._child = None
                exit_code = child.end()
            if self._stopping.is_set():
                return
            if self._recycling and exit_code == 0 and said is None:
                log.info("engine_recycled", windows=self._finished)
                continue
            self._count_loss(exit_code, said, listener)
            self._clock.wait(self._stopping, self._restart_policy.delay)

    def _launch(self, generation: int) -> Launch:
        settings = self._settings
        if self._restart_policy.search_first:
            settings = replace(settings, suspect_seconds=0.0)
        with self._lock:
            return Launch(settings, self._decoder, generation, self._backlog.suspects)

    def _adopt(self, child: Child) -> None:
        """Gives the process all that is not finished, and lets `submit` and `stop` see it."""
        self._under_way, self._finished, self._recycling = (), 0, False
        with self._lock:
            for task in self._backlog.tasks(suspects_first=self._restart_policy.search_first):
                child.send(task)
            self._child = child
            self._ready = self._hung = False
            # A `stop` that came meanwhile has not seen this process, and set the event before it looked.
            if self._stopping.is_set():
                child.process.kill()

    def _watch(self, child: Child, listener: Callable[[EngineEvent], None]) -> EngineFailed | None:
        """Hands events on until the process has ended or has to end; gives what it died of, if it said so."""
        ready_until = self._clock.now() + self._start_timeout
        while True:
            awake = wait([child.events, child.process.sentinel], timeout=_CHECK_SECONDS)
            if child.events in awake:
                # Also after a death: what was written in full is read to the end, before the pipe says EOF.
                item = child.receive()
                if isinstance(item, EngineFailed):
                    child.process.join(KILL_SECONDS)  # it is about to end by itself, with a code that says more
                    return item
                if item is None:
                    return None
                self._handle(item, listener)
            elif awake:
                return None
            if not self._ready and self._clock.now() > ready_until:
                log.error("engine_killed", reason="its start took too long", seconds=self._start_timeout)
                return None

    def _handle(self, item: Report, listener: Callable[[EngineEvent], None]) -> None:
        match item:
            case Progress(stalled, under_way):
                self._under_way = under_way
                with self._lock:
                    self._last_progress = self._clock.now() - stalled
                return
            case BatchSizeReduced(batch_size):
                log.warning("batch_size_reduced", batch_size=batch_size, reason="out of memory")
                self._settings = replace(self._settings, batch_size=batch_size)
                return
            case EngineReady():
                self._was_ready = True
                with self._lock:
                    self._ready = True
                    self._last_progress = self._clock.now()
            case WindowDone() | JobLanguage() | JobRejected() | EngineStats() | EngineFailed() | EngineLost():
                pass
            case _:
                assert_never(item)
        with self._lock:
            suspect = isinstance(item, WindowDone) and self._backlog.suspected([[(item.job_key, item.result.index)]])
            # Nothing is told of a job that was cancelled, nor anything twice.
            if not self._backlog.note(item):
                return
        if isinstance(item, JobRejected) and item.code is ErrorCode.INFERENCE_FAILED:
            self._restart_policy.found(item.message)
        listener(item)
        if isinstance(item, WindowDone):
            self._restart_policy.finished(suspect=suspect)
            self._finished += 1
            self._recycle()

    def _recycle(self) -> None:
        """Has the process end, once it has worked for long enough; the next one takes over in order."""
        if not 0 < self._recycle_windows <= self._finished or self._recycling:
            return
        self._recycling = True
        with self._lock:
            if self._child:
                self._child.send(Stop())

    def _count_loss(
        self, exit_code: int | None, said: EngineFailed | None, listener: Callable[[EngineEvent], None]
    ) -> None:
        """Finds out why a process ended unasked, counts it, and suspects the windows that it may have died of.

        Raises:
            GivenUp: It was one too many, or there is no device to work on.
        """
        if said and said.unfit and not self._was_ready:
            raise GivenUp(said)
        self._restarts += 1
        rejected: list[JobRejected] = []
        if self._under_way and (why := self._crash(exit_code, said)):
            with self._lock:
                suspected = self._backlog.suspected(self._under_way)
                rejected = self._backlog.crashed(self._under_way, why)
                groups = [len(group) for group in self._backlog.suspects]
            log.warning("windows_suspected", under_way=sum(map(len, self._under_way)), groups=groups, reason=why)
            if not suspected:
                self._restart_policy.crashed(said, exit_code)
        else:
            self._restart_policy.failed(said, exit_code)
        listener(EngineLost(exit_code, self._restarts))
        for event in rejected:
            self._restart_policy.found(event.message)
            listener(event)

    def _crash(self, exit_code: int | None, said: EngineFailed | None) -> str | None:
        """What the process died of, if its windows may have brought it about.

        Who kills a process from outside says nothing of them, unless it was us, who saw it hang.
        """
        if self._hung:
            return "the engine hung"
        if said:
            return said.message
        return f"the engine {loss_text(exit_code)}" if is_crash(exit_code) else None
