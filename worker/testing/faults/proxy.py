# SPDX-License-Identifier: Apache-2.0
"""The fault proxy, as those see it who run workers against it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import worker

__all__ = ["FaultProxy"]


class FaultProxy:
    """A proxy in a process of its own before an emulator of SQS and S3: a context manager.

    It ends with the process that started it. See `gateway` for what it puts right about the emulator, `misfortune` for
    what it puts wrong, and `access_log` for what it writes down.

    Args:
        upstream: The emulator's address.
        log: File for the access log.
        seed: Of the faults.
        rate: Share of calls that fail.
        truncated: Share of objects whose body breaks off.
        stall_seconds: Longest stall.
        timeout_seconds: Longer than the clients' read time-out.
    """

    def __init__(
        self,
        upstream: str,
        log: Path,
        *,
        seed: int = 1,
        rate: float = 0.03,
        truncated: float = 0.03,
        stall_seconds: float = 6.0,
        timeout_seconds: float = 40.0,
    ) -> None:
        self.log = log
        # Callers may connect at once: they wait in this socket's backlog until the process accepts them.
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            descriptor = listening.fileno()
            arguments = {
                "--socket": descriptor,
                "--upstream": upstream,
                "--log": log,
                "--seed": seed,
                "--rate": rate,
                "--truncated": truncated,
                "--stall": stall_seconds,
                "--timeout": timeout_seconds,
            }
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", f"{__package__}.server"),
                    *(str(part) for pair in arguments.items() for part in pair),
                ],
                # It ends when this pipe closes, which it does however this process goes.
                stdin=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[descriptor],
                env=os.environ | {"PYTHONPATH": str(Path(worker.__file__).parents[1])},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def stop(self, timeout: float = 5.0) -> None:
        """Ends it, by force after `timeout` seconds. Repeating it is harmless."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
