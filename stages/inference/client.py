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

import structlog

from stages.inference.child import KILL_SECONDS, Child
from stages.inference.process import Launch
from stages.inference.protocol import (
    CancelJob,
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineSettings,
    JobLanguage,
    JobRejected,
    Progress,
    Stop,
    WindowDone,
)
from stages.ports import Clock
from stages.values import Window

__all__ = ["DEFAULT_DECODER", "EngineClient"]

log = structlog.get_logger()

#: The Whisper decoder; see `process.Launch.decoder`.
DEFAULT_DECODER = "stages.inference.decoder:WhisperDecoder.load"

#: How often the limit on a start is looked at.
_CHECK_SECONDS = 1.0

#: Longest pause between two starts.
_MAX_RESTART_DELAY = 30.0


class EngineClient:
    """The engine in a process of its own. Implements `Engine`.

    Args:
        settings: How the engine is built.
        clock: For the limits below and `last_progress`.
        decoder: `package.module:name` of what builds the decoder, in the process.
        start_timeout: Seconds from the start of a process to ready, a model's download included; then it counts as
            lost.
        max_failures: So many processes lost in a row without one finished window end it all.
        restart_delay: Seconds before the second start in a row; doubles from there. The first comes at once.
    """

    def __init__(
        self,
        settings: EngineSettings,
        clock: Clock,
        decoder: str = DEFAULT_DECODER,
        *,
        start_timeout: float = 900.0,
        max_failures: int = 3,
        restart_delay: float = 0.5,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._decoder = decoder
        self._start_timeout = start_timeout
        self._max_failures = max_failures
        self._restart_delay = restart_delay
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        # The engine thread's own.
        self._failures = 0  # processes lost in a row without a finished window
        self._restarts = 0  # processes lost in all
        self._lock = threading.Lock()  # guards all below
        self._jobs: dict[str, _Job] = {}
        self._child: Child | None = None  # while one runs
        self._ready = False  # whether it has said so
        self._last_progress = clock.now()

    @property
    def pid(self) -> int | None:
        """Of the running process; None between two, before `start` and after `stop`."""
        with self._lock:
            return self._child.process.pid if self._child else None

    @property
    def last_progress(self) -> float:
        """As `Engine` has it. A start counts as progress: it has a limit of its own."""
        with self._lock:
            if self._child and not self._ready:
                return self._clock.now()
            return self._last_progress

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
        if not task.windows:
            raise ValueError(f"job {task.job} has no windows to decode")
        with self._lock:
            if task.job in self._jobs:
                raise ValueError(f"job {task.job} has been submitted before")
            self._jobs[task.job] = _Job(task)
            if self._child:
                self._child.send(task)

    def cancel(self, job: str) -> None:
        """Drops a job; none of its events come after this returns, but for one that is being handled."""
        with self._lock:
            if self._jobs.pop(job, None) and self._child:
                self._child.send(CancelJob(job))

    def replace(self) -> None:
        """Kills a process that hangs; it counts as lost, so the next one takes over what is not finished."""
        with self._lock:
            if self._child:
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
        except Exception as error:
            # Without this thread nothing moves any more: better to end than to look alive.
            log.exception("engine_thread_failed")
            listener(EngineFailed(f"the engine's own thread failed: {type(error).__name__}: {error}", unfit=False))
            raise

    def _supervise(self, listener: Callable[[EngineEvent], None]) -> None:
        generation = 0
        while not self._stopping.is_set():
            generation += 1
            child = Child(Launch(self._settings, self._decoder, generation))
            try:
                self._adopt(child)
                failed = self._watch(child, listener)
            finally:
                with self._lock:
                    self._child = None
                exit_code = child.end()
            if self._stopping.is_set():
                return
            failed = failed or self._count_loss(exit_code)
            if failed:
                listener(failed)
                return
            listener(EngineLost(exit_code, self._restarts))
            if self._failures > 1:
                delay = min(self._restart_delay * 2 ** (self._failures - 2), _MAX_RESTART_DELAY)
                self._clock.wait(self._stopping, delay)

    def _adopt(self, child: Child) -> None:
        """Gives the process all that is not finished, and lets `submit` and `stop` see it."""
        with self._lock:
            for job in self._jobs.values():
                child.send(job.remaining())
            self._child = child
            self._ready = False
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
                if item is None or isinstance(item, EngineFailed):
                    return item
                if isinstance(item, Progress):
                    self._beat(item)
                elif self._is_news(item):
                    listener(item)
            elif awake:
                return None
            if not self._ready and self._clock.now() > ready_until:
                log.error("engine_killed", reason="its start took too long", seconds=self._start_timeout)
                return None

    def _beat(self, progress: Progress) -> None:
        with self._lock:
            self._last_progress = self._clock.now() - progress.stalled

    def _is_news(self, event: EngineEvent) -> bool:
        """Keeps the books; False if the listener is not to hear of it (what was cancelled, or is known already)."""
        with self._lock:
            match event:
                case EngineReady():
                    self._ready = True
                    self._last_progress = self._clock.now()
                case WindowDone(job, result):
                    state = self._jobs.get(job)
                    if state is None or state.left.pop(result.index, None) is None:
                        return False
                    self._failures = 0
                    if not state.left:
                        del self._jobs[job]
                case JobLanguage(job, language):
                    state = self._jobs.get(job)
                    if state is None or state.language is not None:
                        return False
                    state.language = language
                case JobRejected(job):
                    return self._jobs.pop(job, None) is not None
        return True

    def _count_loss(self, exit_code: int | None) -> EngineFailed | None:
        """Counts a process that ended unasked; one too many is a failure."""
        self._restarts += 1
        self._failures += 1
        if self._failures < self._max_failures:
            return None
        return EngineFailed(
            f"the inference process was lost {self._failures} times in a row without finishing a window "
            f"(exit code {exit_code} at last); its own log lines say more",
            unfit=False,
        )


class _Job:
    """What is still to come of a job.

    Attributes:
        left: Windows that are not finished, by index.
        language: Once it is settled, if the job named none.
    """

    def __init__(self, task: DecodeTask) -> None:
        self.task = task
        self.left: dict[int, Window] = {window.index: window for window in task.windows}
        self.language: str | None = None

    def remaining(self) -> DecodeTask:
        """The task again, without what is done: in the settled language, which is not asked for anew."""
        options = replace(self.task.options, language=self.language or self.task.options.language)
        return replace(self.task, windows=tuple(self.left.values()), options=options)
