# SPDX-License-Identifier: Apache-2.0
"""A real worker as a program of its own: started in a clean environment, watched, and ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqscribe.errors import SqscribeError
from worker.embedded.environment import clean_environment
from worker.embedded.starting import start_program

if TYPE_CHECKING:
    from worker.embedded.aws import EmbeddedAws

__all__ = ["Page", "ProgramError", "WorkerProgram", "worker_environment"]

#: Never without `-P`: a file of the folder where the program starts must not hide a module.
_ARGUMENTS = ("-P", "-m", "sqscribe", "worker")
#: How often a worker that starts is asked whether it is ready.
_LOOK_SECONDS = 0.1
#: How long a worker's page may take to answer.
_ANSWER_SECONDS = 10.0
#: Characters of the log's end that an error shows.
_TAIL = 1500


class ProgramError(SqscribeError):
    """A worker that was started as a program has ended, or is not ready in time."""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the worker's HTTP server."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class WorkerProgram:
    """`sqscribe worker` in a process of its own. A context manager: the worker has ended when it is left.

    The folder of its log is its working directory, which keeps it from a `.env` file of this process's folder.

    Args:
        env: All of its environment; see `worker_environment`.
        log: File for its standard error.
        output: File for its standard output; None: the log, too.
        stop_seconds: How long it may take to end in order before it is killed.
        own_session: Whether a signal to this process's group, as Ctrl-C sends it, passes it by.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        log: Path,
        *,
        output: Path | None = None,
        stop_seconds: float = 40.0,
        own_session: bool = False,
    ) -> None:
        self.log = log
        self.port = int(env.get("SQSCRIBE_HTTP_PORT", "0"))
        self._stop_seconds = stop_seconds
        with ExitStack() as files:
            errors = files.enter_context(log.open("wb"))
            self.process = start_program(
                [sys.executable, *_ARGUMENTS],
                stdin=subprocess.DEVNULL,
                stdout=files.enter_context(output.open("wb")) if output else errors,
                stderr=errors,
                env=dict(env),
                cwd=log.parent,
                start_new_session=own_session,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raises unless the process runs.

        Raises:
            ProgramError: It has ended; the end of its log is in the message.
        """
        code = self.process.poll()
        if code is not None:
            tail = self.log.read_text("utf-8", errors="replace")[-_TAIL:].strip()
            raise ProgramError(f"{self.log.stem} ended with exit code {code}: {tail}")

    def get(self, path: str) -> Page:
        """Asks the worker's HTTP server for a page.

        Raises:
            OSError: It does not listen, or did not answer in time.
            HTTPException: It ended in the middle of its answer.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Page(answer.status, answer.read())
        finally:
            connection.close()

    def status(self) -> dict[str, Any] | None:
        """The worker's status page; None while it does not answer."""
        try:
            page: dict[str, Any] = json.loads(self.get("/status").body)
        except (OSError, HTTPException):
            return None
        return page

    def ready(self) -> bool:
        """Whether the worker takes messages; False while it does not answer."""
        try:
            return self.get("/ready").status == 200
        except (OSError, HTTPException):
            return False

    def wait_until_ready(self, timeout: float) -> None:
        """Waits until the worker takes messages.

        Raises:
            ProgramError: It ended, or was not ready within `timeout` seconds.
        """
        deadline, pause = time.monotonic() + timeout, threading.Event()
        while not self.ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProgramError(f"the worker was not ready after {timeout:g} s")
            pause.wait(_LOOK_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the worker's process, if it still runs."""
        self.process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Waits until the worker has ended, which it must have been asked for; kills it after `timeout` seconds.

        Returns:
            The exit code.
        """
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.process.wait()

    def stop(self) -> int:
        """Asks the worker to end in order and waits for it; kills it if it takes too long. Repeating it is harmless.

        Returns:
            The exit code.
        """
        self.signal(signal.SIGTERM)
        return self.wait(self._stop_seconds)


def worker_environment(aws: EmbeddedAws | None, settings: Mapping[str, object], **more: str) -> dict[str, str]:
    """The environment of a worker on the embedded SQS and S3.

    Args:
        aws: Where its queue and its buckets are; None for a worker that has neither.
        settings: By the names that they have on the worker, in lower case and without prefix.
        more: Other environment variables, over all others.
    """
    given = {f"SQSCRIBE_{name.upper()}": str(value) for name, value in settings.items()}
    return clean_environment() | (aws.env() if aws else {}) | given | more
