# SPDX-License-Identifier: Apache-2.0
"""An engine without a process or a model, for tests of what uses one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sqscribe.errors import ErrorCode
from stages.inference.protocol import (
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineInfo,
    EngineLost,
    EngineReady,
    EngineStats,
    JobLanguage,
    JobRejected,
    WindowDone,
)
from stages.ports import Clock
from stages.values import Window
from worker.testing.decoder import digest_text, simulated_info, simulated_result

__all__ = ["FakeEngine"]


class FakeEngine:
    """Implements `Engine` on a thread. Windows come job by job in their order, a job's language before them.

    A test holds it, lets single windows go, and makes it die, hang or fail. All events come on that thread, so
    none reaches the listener inside a call that the test makes.

    Args:
        clock: Gives `last_progress`.
        text: Gives a window's text; None: a digest of its audio.
        language: The detected language of every job that names none.
        info: What its `EngineReady` says.
        held: Whether it starts held, as by `hold`.
        rejects: Gives the error code that a job is refused with, or None to take it.

    Attributes:
        submitted: Every task that was ever submitted, in order.
        cancelled: Every job that was ever cancelled, in order.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        text: Callable[[DecodeTask, Window], str] | None = None,
        language: str = "en",
        info: EngineInfo | None = None,
        held: bool = False,
        rejects: Callable[[DecodeTask], ErrorCode | None] | None = None,
    ) -> None:
        self._clock = clock
        self._text = text or (lambda task, window: digest_text(task.pcm_path, window))
        self._language = language
        self._info = info or simulated_info()
        self._rejects = rejects
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards all below
        self.submitted: list[DecodeTask] = []
        self.cancelled: list[str] = []
        self._events: deque[EngineEvent] = deque([EngineReady(self._info)])
        self._windows: dict[str, tuple[DecodeTask, deque[Window]]] = {}
        self._passes: float = 0 if held else float("inf")  # how many windows may still come out
        self._restarts = 0
        self._away = False  # lost, and not ready again
        self._ended = False
        self._stood_still: float | None = None

    @property
    def last_progress(self) -> float:
        """The time now, unless it hangs."""
        with self._changed:
            return self._clock.now() if self._stood_still is None else self._stood_still

    def start(self, listener: Callable[[EngineEvent], None]) -> None:
        """Starts the thread that calls the listener."""
        self._thread = threading.Thread(target=self._run, args=(listener,), name="fake-engine", daemon=True)
        self._thread.start()

    def submit(self, task: DecodeTask) -> None:
        """Queues a job's windows.

        Raises:
            ValueError: As the real client does.
        """
        with self._changed:
            if not task.windows or task.job_key in self._windows:
                raise ValueError(f"job {task.job_key} has no windows to decode, or has been submitted before")
            self.submitted.append(task)
            code = self._rejects(task) if self._rejects else None
            if code is not None:
                self._events.append(JobRejected(task.job_key, code, f"{code}: the fake engine was told to refuse this"))
            else:
                self._windows[task.job_key] = (task, deque(task.windows))
                if task.options.language is None:
                    self._events.append(JobLanguage(task.job_key, self._language, 0.75))
            self._changed.notify_all()

    def cancel(self, job_key: str) -> None:
        """Drops a job with the events of it that wait."""
        with self._changed:
            self.cancelled.append(job_key)
            self._windows.pop(job_key, None)
            self._events = deque(event for event in self._events if getattr(event, "job_key", None) != job_key)

    def replace(self) -> None:
        """Is lost and starts again, as if its process had been killed."""
        self.die()

    def stop(self, timeout: float) -> None:
        """Ends the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def hold(self) -> None:
        """Lets no window come out from now on."""
        with self._changed:
            self._passes = 0

    def release(self, windows: float = float("inf")) -> None:
        """Lets so many windows more come out."""
        with self._changed:
            self._passes += windows
            self._changed.notify_all()

    def die(self, exit_code: int = -9) -> None:
        """Is lost and starts again: what is not finished comes later all the same."""
        with self._changed:
            self.lose(exit_code)
            self.come_back()

    def lose(self, exit_code: int = -9) -> None:
        """Is lost; nothing comes out until it is back."""
        with self._changed:
            self._restarts += 1
            self._stood_still = None
            self._away = True
            self._events.append(EngineLost(exit_code, self._restarts))
            self._changed.notify_all()

    def come_back(self) -> None:
        """Is ready again after it was lost."""
        with self._changed:
            self._away = False
            self._events.append(EngineReady(self._info))
            self._changed.notify_all()

    def hang(self) -> None:
        """Lets nothing come out, and `last_progress` stay the same, until it dies."""
        with self._changed:
            self._stood_still = self._clock.now()

    def fail(self, message: str, *, unfit: bool = False) -> None:
        """Fails for good: nothing comes after this."""
        with self._changed:
            self._windows.clear()
            self._events.append(EngineFailed(message, unfit))
            self._changed.notify_all()

    def _run(self, listener: Callable[[EngineEvent], None]) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._has_news())
                if self._ended:
                    return
                if not self._events:
                    self._decode()
                event = self._events.popleft()
            listener(event)
            if isinstance(event, EngineFailed):
                return

    def _has_news(self) -> bool:
        return self._stood_still is None and bool(self._events or (self._windows and self._passes and not self._away))

    def _decode(self) -> None:
        job, (task, windows) = next(iter(self._windows.items()))
        window = windows.popleft()
        self._passes -= 1
        if not windows:
            del self._windows[job]
        language = task.options.language
        result = simulated_result(
            window, self._text(task, window), self._language if language in (None, "multi") else language
        )
        self._events.append(WindowDone(job, result))
        self._events.append(
            EngineStats(windows=1, audio_seconds=window.seconds, busy_seconds=0.0, began=0.0, ended=0.0, kind="decode")
        )
