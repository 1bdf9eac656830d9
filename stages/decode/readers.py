# SPDX-License-Identifier: Apache-2.0
"""Readers at work: the worker's side of the processes that open media files."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from stages.decode.parent import PATIENCE, Parent, command
from stages.decode.reader_limits import Ended, ReaderLimits, breach
from stages.ports import Cancellation
from stages.reader.orders import BEGUN, KILL, LOST, MOST_BYTES, Exit, Order
from stages.reader.wire import Task

__all__ = ["Readers"]

#: Seconds between two looks at the cancellation and the time-outs.
_LOOK_SECONDS = 0.2
#: A pipe's usual capacity.
_CHUNK = 64 * 1024
#: Bytes of messages that are kept; a broken file can make ffmpeg write one for each packet.
_STDERR_TAIL = 8 * 1024


class Readers:
    """Runs readers, one for each file, all forked by one parent that is started when the first is wanted.

    Thread-safe. The parent ends with this object, with `close`, or with the worker's process, whatever ends that; its
    readers end with it. One that died is replaced.

    Args:
        program: Takes the reader's place, and gets `Task.text` as its last argument; None: `stages.reader`.

    Raises:
        UnfitNodeError: PyAV is missing.
    """

    def __init__(self, program: Sequence[str] | None = None) -> None:
        self._program = tuple(program or ())
        self._command = command()
        self._lock = threading.Lock()  # guards the parent
        self._parent: Parent | None = None

    def run(self, task: Task, sink: Callable[[bytes], None], cancellation: Cancellation, limits: ReaderLimits) -> Ended:
        """Runs a reader to its end and hands on what it writes.

        The output comes through a pipe and not through a file: so one that takes it slowly holds the reader up, and a
        reader whose worker has died ends. It has a session of its own, which is killed as a whole and reaped however
        this ends. It may write no file, leave no core, and use no more than its share of memory and processor; it
        sees none of the worker's environment but the paths, and has nothing open but the file and its pipes.

        Args:
            task: What it reads.
            sink: Takes the output in order. What it raises ends the reader; time spent in it does not count.
            cancellation: Ends the reader.
            limits: Of this reader.

        Raises:
            Cancelled: The job was called off.
            NodeFaultError: No reader can be started.
            PermanentError: `media_unreadable`: a time-out, or more memory or processor time than it may have.
        """
        order = Order(task.text(), self._program, limits.memory, max(1, round(limits.timeout)))
        parent = self._living()
        with _Reader(parent, order) as reader:
            end, messages = reader.begun(cancellation), ""
            if end is None:
                messages = reader.pump(sink, cancellation, limits)
                end = reader.ended(limits.stall_timeout)
        if end is LOST:
            return Ended(*parent.failed(), 0.0, 0)
        if end.returncode is None:
            raise NodeFaultError(f"no process can be started to decode with ({end.refused})")
        ended = Ended(end.returncode, messages, end.cpu_seconds, end.peak)
        error = breach(ended, limits)
        if error:
            raise error
        return ended

    def close(self) -> None:
        """Ends the parent and reaps it."""
        with self._lock:
            parent, self._parent = self._parent, None
        if parent:
            parent.end()

    def _living(self) -> Parent:
        with self._lock:
            if self._parent is None or not self._parent.lives:
                self._parent = Parent(self._command)
            return self._parent


class _Reader:
    """One reader, from its order to its end. A context manager: it is gone afterwards.

    Args:
        parent: Forks it.
        order: What it is.
    """

    def __init__(self, parent: Parent, order: Order) -> None:
        self._parent = parent
        self._order = order
        self._end: Exit | None = None

    def __enter__(self) -> Self:
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output, output = os.pipe()
        self._errors, errors = os.pipe()
        try:
            # If the parent is gone, the pipes end at once, and its end says why.
            with suppress(ConnectionError):
                socket.send_fds(self._parent.socket, [self._order.pack()], [output, errors, control.fileno()])
        except TimeoutError:
            self._parent.kill()
        finally:
            control.close()
            os.close(output)
            os.close(errors)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._end is None:
                with suppress(OSError):
                    self._control.send(KILL)
                self.ended(PATIENCE)
        finally:
            self._control.close()
            os.close(self._output)
            os.close(self._errors)

    def begun(self, cancellation: Cancellation) -> Exit | None:
        """Waits until it runs: the parent may have to load its libraries first, which is no file's fault.

        Returns:
            None; where it cannot run, its end.
        """
        self._control.settimeout(_LOOK_SECONDS)
        last = time.monotonic() + PATIENCE
        while time.monotonic() < last:
            cancellation.check()
            with suppress(TimeoutError):
                message = self._receive()
                if message != BEGUN:
                    return self._take(message)
                return None
        self._parent.kill()
        return self._take(b"")

    def pump(self, sink: Callable[[bytes], None], cancellation: Cancellation, limits: ReaderLimits) -> str:
        """Reads both pipes to their ends; returns the messages."""
        tail = b""
        started = progressed = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._errors, selectors.EVENT_READ)
            while selector.get_map():
                cancellation.check()
                for key, _ in selector.select(_LOOK_SECONDS):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fd)
                    elif key.fd == self._output:
                        came = time.monotonic()
                        sink(chunk)
                        progressed = time.monotonic()
                        started += progressed - came
                    else:
                        tail = (tail + chunk)[-_STDERR_TAIL:]
                now = time.monotonic()
                if now - started > limits.timeout or now - progressed > limits.stall_timeout:
                    raise PermanentError(
                        ErrorCode.MEDIA_UNREADABLE,
                        f"decoding was ended after {now - started:.0f} s ({now - progressed:.0f} s without output)",
                    )
        return tail.decode(errors="replace")

    def ended(self, patience: float) -> Exit:
        """Waits for its end, and brings it about if it takes too long."""
        for seconds in (patience, PATIENCE):
            self._control.settimeout(seconds)
            try:
                message = self._receive()
                return self._take(self._receive() if message == BEGUN else message)
            except TimeoutError:
                with suppress(OSError):
                    self._control.send(KILL)
        self._parent.kill()
        return self._take(b"")

    def _receive(self) -> bytes:
        try:
            return self._control.recv(MOST_BYTES)
        except ConnectionError:
            return b""

    def _take(self, message: bytes) -> Exit:
        self._end = Exit.parse(message) if message else LOST
        return self._end
