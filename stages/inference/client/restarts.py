# SPDX-License-Identifier: Apache-2.0
"""Processes lost one after the other: when to try again, and when to give up."""

from __future__ import annotations

import signal

from stages.inference.protocol import EngineFailed

__all__ = ["GivenUp", "RestartPolicy", "is_crash", "loss_text"]

#: Longest pause between two starts.
_MAX_RESTART_DELAY = 30.0

#: Signals that a process brings upon itself. The others come from outside: SIGKILL from whoever wants the memory or
#: the process gone, which says nothing of the input.
_OWN_SIGNALS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)


class GivenUp(Exception):  # noqa: N818 - what it carries is the failure
    """The engine cannot work.

    Attributes:
        event: What the worker is told.
    """

    def __init__(self, event: EngineFailed) -> None:
        super().__init__(event.message)
        self.event = event


class RestartPolicy:
    """Counts what was lost since the engine last proved that it works. Belongs to the engine's thread.

    Args:
        max_failures: So many processes lost in a row end it all, be it by what no input explains or by ever new input.
        max_guilty: So many jobs in a row that no process survived, too: a device that works for the control recording
            and for nothing else must not condemn every job there is.
        restart_delay: Seconds before the second start in a row; doubles from there. The first comes at once.
    """

    def __init__(self, max_failures: int, max_guilty: int, restart_delay: float) -> None:
        self._max_failures = max_failures
        self._max_guilty = max_guilty
        self._restart_delay = restart_delay
        self._failures = 0  # no input explains these
        self._crashes = 0  # of windows that were not suspected before
        self._guilty = 0

    @property
    def delay(self) -> float:
        """Seconds to wait before the next start."""
        count = max(self._failures, self._crashes)
        return min(self._restart_delay * 2.0 ** (count - 2), _MAX_RESTART_DELAY) if count > 1 else 0.0

    @property
    def search_first(self) -> bool:
        """Whether the suspects had better go ahead of all others, which crash as well: of the same job, perhaps."""
        return self._crashes > 1

    def finished(self, *, suspect: bool) -> None:
        """A window is done: the engine works. One of a suspect proves nothing for the others."""
        self._failures = self._guilty = 0
        if not suspect:
            self._crashes = 0

    def failed(self, said: EngineFailed | None, exit_code: int | None) -> None:
        """Counts a process whose loss no input explains.

        Args:
            said: The process's last words, if it had any.
            exit_code: As in `EngineLost`.

        Raises:
            GivenUp: It was one too many.
        """
        self._failures += 1
        if self._failures >= self._max_failures:
            raise GivenUp(said or _lost(self._failures, exit_code))

    def crashed(self, said: EngineFailed | None, exit_code: int | None) -> None:
        """Counts a process that crashed on windows which had not been suspected.

        Raises:
            GivenUp: It was one too many.
        """
        self._crashes += 1
        if self._crashes >= self._max_failures:
            raise GivenUp(said or _lost(self._crashes, exit_code))

    def found(self, why: str) -> None:
        """Counts a job that turned out to defeat the engine, which explains the losses before.

        Raises:
            GivenUp: It was one too many.
        """
        self._failures = self._crashes = 0
        self._guilty += 1
        if self._guilty >= self._max_guilty:
            raise GivenUp(
                EngineFailed(
                    f"{self._guilty} jobs in a row defeated the engine without one finished window in between, so it "
                    f"must be the engine; of the last one: {why}",
                    unfit=False,
                )
            )


def _lost(times: int, exit_code: int | None) -> EngineFailed:
    return EngineFailed(
        f"the inference process was lost {times} times in a row without finishing a window ({loss_text(exit_code)} at "
        "last); its own log lines say more",
        unfit=False,
    )


def is_crash(exit_code: int | None) -> bool:
    """Whether a process that ended with this code did so by what it was doing."""
    return exit_code is not None and (exit_code >= 0 or -exit_code in _OWN_SIGNALS)


def loss_text(exit_code: int | None) -> str:
    """How a process ended, for people."""
    if exit_code is not None and exit_code < 0:
        try:
            return f"ended by {signal.Signals(-exit_code).name}"
        except ValueError:  # a real-time signal
            return f"ended by signal {-exit_code}"
    return f"ended with exit code {exit_code}"
