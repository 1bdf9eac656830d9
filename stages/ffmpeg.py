# SPDX-License-Identifier: Apache-2.0
"""Finding ffmpeg, and running it so that nothing of it outlives its use."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, UnfitNodeError
from stages.ports import Cancellation

__all__ = ["Ended", "find_ffmpeg", "run"]

#: Seconds between two looks at the cancellation and the time-outs.
_LOOK_SECONDS = 0.2
#: A pipe's usual capacity.
_CHUNK = 64 * 1024
#: Bytes of messages that are kept; a broken file can make ffmpeg write one for each packet.
_STDERR_TAIL = 8 * 1024


def find_ffmpeg() -> str:
    """The system's ffmpeg, else the one of the `imageio-ffmpeg` wheel.

    Raises:
        UnfitNodeError: There is neither.
    """
    system = shutil.which("ffmpeg")
    if system:
        return system
    import imageio_ffmpeg  # noqa: PLC0415 - only where the system has none

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnfitNodeError("there is no ffmpeg; install it, or the imageio-ffmpeg wheel for this platform") from error


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        returncode: Negative for a signal.
        messages: The end of what it wrote to its standard error.
    """

    returncode: int
    messages: str


def run(
    command: Sequence[str],
    sink: Callable[[bytes], None],
    cancellation: Cancellation,
    *,
    timeout: float,
    stall_timeout: float,
) -> Ended:
    """Runs a program to its end and hands on what it writes to its standard output.

    The output comes through a pipe and not through a file: so a reader that has no room left holds the program up,
    and a program whose reader has died ends by itself. It gets a session of its own, which is killed as a whole and
    reaped however this ends.

    Args:
        command: The program and its arguments.
        sink: Takes the output in order. What it raises ends the program; time spent in it does not count.
        cancellation: Ends the program.
        timeout: Seconds that the program may run.
        stall_timeout: Seconds that it may run without output.

    Raises:
        Cancelled: The job was called off.
        NodeFaultError: The program cannot be started.
        PermanentError: `media_unreadable`: a time-out.
    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise NodeFaultError(f"{command[0]} cannot be started ({error.strerror})") from error
    _favour_throughput(process.pid)
    try:
        messages = _pump(process, sink, cancellation, timeout, stall_timeout)
        with suppress(subprocess.TimeoutExpired):  # killed below: its output is complete, whatever it still does
            process.wait(stall_timeout)
    finally:
        if process.poll() is None:  # reaps; only a group whose leader is not reaped is sure to be this one
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
    return Ended(process.returncode, messages)


def _favour_throughput(pid: int) -> None:
    """Lets a program's threads work on until they must wait.

    From version 7 on ffmpeg has a thread for each step, and each hands every frame (of 26 ms) to the next one, which
    then interrupts it: without this, half of the time goes into changing from one thread to another.
    """
    with suppress(OSError):  # where it is not allowed, it is only slower
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def _pump(
    process: subprocess.Popen[bytes],
    sink: Callable[[bytes], None],
    cancellation: Cancellation,
    timeout: float,
    stall_timeout: float,
) -> str:
    """Reads both pipes to their ends; returns the messages."""
    tail = b""
    started = progressed = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, data=pipe is process.stdout)
        while selector.get_map():
            cancellation.check()
            for key, _ in selector.select(_LOOK_SECONDS):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data:
                    came = time.monotonic()
                    sink(chunk)
                    progressed = time.monotonic()
                    started += progressed - came
                else:
                    tail = (tail + chunk)[-_STDERR_TAIL:]
            now = time.monotonic()
            if now - started > timeout or now - progressed > stall_timeout:
                raise PermanentError(
                    ErrorCode.MEDIA_UNREADABLE,
                    f"decoding was ended after {now - started:.0f} s ({now - progressed:.0f} s without output)",
                )
    return tail.decode(errors="replace")
