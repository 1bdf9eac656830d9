# SPDX-License-Identifier: Apache-2.0
"""Starts the fault proxy, and talks to it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.embedded.environment import clean_environment
from worker.testing.faults.call_fault import CallFault

__all__ = ["FaultProxy"]


class FaultProxy:
    """A proxy in a process of its own, in front of an emulator of SQS and S3. A context manager.

    It ends with the process that started it. See `gateway` for how it corrects the emulator, `call_fault` for what it
    makes go wrong, and `access_log` for what it writes down.

    Args:
        upstream: The emulator's address.
        log: File for the access log.
        seed: Decides the sequence of faults.
        rate: Share of calls that fail.
        truncated: Share of objects whose body breaks off.
        stall_seconds: Longest stall.
        timeout_seconds: How long a time-out takes; longer than the clients' read time-out.
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
        self._lock = threading.Lock()  # guards the way to the process: one command and its answer at a time
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
                    *(sys.executable, "-P", "-m", f"{__package__}.server"),
                    *(str(part) for pair in arguments.items() for part in pair),
                ],
                # Orders come through this pipe. It ends when the pipe closes, which it does however this process goes.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[descriptor],
                env=clean_environment(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the proxy's process runs."""
        return self._process.poll() is None

    def force(self, operation: str, fault: CallFault | None) -> None:
        """Has every call of an operation that comes from now on go wrong in the same way.

        Args:
            operation: AWS's name for it.
            fault: None leaves it to chance again.

        Raises:
            RuntimeError: The process has ended.
        """
        command = {"operation": operation, "fault": asdict(fault) if fault else None}
        with self._lock:
            commands, answers = self._process.stdin, self._process.stdout
            if commands is None or answers is None or not self.alive:
                raise RuntimeError("the fault proxy does not run")
            commands.write(json.dumps(command).encode() + b"\n")
            commands.flush()
            if not answers.readline():
                raise RuntimeError("the fault proxy has ended")

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the proxy, by force after `timeout` seconds. Repeating it is harmless."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
