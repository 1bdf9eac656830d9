# SPDX-License-Identifier: Apache-2.0
"""Finding ffmpeg, and running it so that nothing of it outlives its use."""

from __future__ import annotations

import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, UnfitNodeError
from stages.ports import Cancellation

__all__ = ["Ended", "find_ffmpeg", "last_words", "memory_for", "run"]

#: Seconds between two looks at the cancellation and the time-outs.
_LOOK_SECONDS = 0.2
#: A pipe's usual capacity.
_CHUNK = 64 * 1024
#: Bytes of messages that are kept; a broken file can make ffmpeg write one for each packet.
_STDERR_TAIL = 8 * 1024

#: Bytes of memory of its own that a program gets for any file. With the pages of its code it stays below 300 MB. Four
#: fifths of it are never asked for by an ordinary file.
_MEMORY = 240 * 2**20
#: Most bytes for a large file: the index of a long video is kept in memory, and grows with the file.
_MOST_MEMORY = 768 * 2**20
#: Files that a program may have open; its libraries are closed once they are loaded.
_OPEN_FILES = 64

#: What a stranger's program needs to know of this machine: where programs and libraries are. Credentials are none of
#: its business, FFREPORT would have it write a file, and a proxy is for those that may use the network.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "LANG", "TMPDIR")

#: What ffmpeg says when it is refused memory. It ends by that, or leaves out a damaged packet that claimed a gigabyte.
_REFUSED_MEMORY = "Cannot allocate memory"
#: Likewise, while it reads an index: it goes on with a part of it, and takes that for the whole file.
_HALF_AN_INDEX = ("Cannot add index entry", "Cannot add Time To Sample")

#: The part of ffmpeg that speaks, and where it lies in memory.
_SPEAKER = re.compile(r"\[[^\[\]]*@ 0x[0-9a-f]+\] ?")
#: Lines that say that something was wrong, and not what.
_EMPTY_WORDS = re.compile(
    r"Conversion failed!|Error opening input file|Last message repeated|Terminating thread|Task finished"
)


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
    memory: int = _MEMORY,
) -> Ended:
    """Runs a program to its end and hands on what it writes to its standard output.

    The output comes through a pipe and not through a file: so a reader that has no room left holds the program up,
    and a program whose reader has died ends by itself. It gets a session of its own, which is killed as a whole and
    reaped however this ends. It may write no file, leave no core, and use no more than its share of memory and
    processor; it sees none of the worker's environment but the paths.

    Args:
        command: The program and its arguments.
        sink: Takes the output in order. What it raises ends the program; time spent in it does not count.
        cancellation: Ends the program.
        timeout: Seconds that the program may run.
        stall_timeout: Seconds that it may run without output.
        memory: Bytes of memory of its own that it may have; see `memory_for`.

    Raises:
        Cancelled: The job was called off.
        NodeFaultError: The program cannot be started.
        PermanentError: `media_unreadable`: a time-out, or more memory or processor time than it may have.
    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )
    except OSError as error:
        raise NodeFaultError(f"{command[0]} cannot be started ({error.strerror})") from error
    _confine(process.pid, memory, timeout)
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
    if process.returncode == -signal.SIGXCPU:
        raise PermanentError(
            ErrorCode.MEDIA_UNREADABLE, f"decoding was ended: it used more than {timeout:.0f} s of processor time"
        )
    if any(words in messages for words in _HALF_AN_INDEX) or (process.returncode and _REFUSED_MEMORY in messages):
        raise PermanentError(
            ErrorCode.MEDIA_UNREADABLE,
            f"decoding needs more than {memory // 2**20} MiB of memory: the file is damaged or made to do harm, or its "
            "index is very large; send its sound alone, as MP3 or FLAC",
        )
    return Ended(process.returncode, messages)


def memory_for(size: int) -> int:
    """Bytes of memory that decoding a file of this size may take.

    An index costs ffmpeg up to 130 bytes a frame, and no real frame is much smaller than that. So what a file may use
    up is in proportion to what its sender had to send.
    """
    return min(_MEMORY + size // 2, _MOST_MEMORY)


def last_words(messages: str, path: Path) -> str:
    """The line of ffmpeg's messages that says most, without addresses in memory and without our own paths.

    Args:
        messages: What it wrote to its standard error.
        path: The file that it was given.

    Returns:
        At most 200 characters; empty if it said nothing.
    """
    lines = [_SPEAKER.sub("", line).strip() for line in messages.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line]
    telling = [line for line in lines if not _EMPTY_WORDS.search(line)] or lines
    if not telling:
        return ""
    words = (
        telling[-1].replace(f"file:{path}", "the file").replace(str(path), "the file").replace(path.name, "the file")
    )
    return "".join(letter for letter in words if letter.isprintable())[:200]


def _confine(pid: int, memory: int, seconds: float) -> None:
    """Sets a program's limits, once it has been started: what runs between fork and exec is not safe in threads.

    The limit is for memory that is written to, and not for addresses: libraries reserve far more than they use.
    """
    processor = max(1, round(seconds))
    limits = {
        resource.RLIMIT_DATA: (memory, memory),
        resource.RLIMIT_CPU: (processor, processor + 5),  # at the second one it is killed, which says nothing
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (_OPEN_FILES, _OPEN_FILES),
    }
    for limit, values in limits.items():
        with suppress(ProcessLookupError, PermissionError, ValueError):  # it has ended, or is under stricter limits
            resource.prlimit(pid, limit, values)


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
