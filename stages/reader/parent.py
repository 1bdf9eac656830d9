# SPDX-License-Identifier: Apache-2.0
"""The parent of readers: has the libraries loaded, runs no thread, and forks a reader for each file.

To load Python and the libraries takes ten times as long as to decode a short clip. A copy of a process that has
loaded them takes a millisecond, and may be lost like any other. The parent itself never sees a byte of a file.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from stages.reader.orders import BEGUN, MOST_BYTES, Exit, Order
from stages.reader.program import read

__all__ = ["main"]

#: Files that the parent may have open: three for each reader that it starts.
_OPEN_FILES = 1024
#: Files that a reader may have open.
_READERS_FILES = 64
#: Descriptors that come with an order.
_PIPES = 3
#: Of prctl(2): the signal that a process gets when its parent ends, and that it gains no rights by what it executes.
_PDEATHSIG, _NO_NEW_PRIVILEGES = 1, 38
#: Exit code of a shell for a program that cannot be started.
_CANNOT_START = 127


def main() -> None:
    """Serves the worker behind the socket that the first argument names, and ends with it."""
    worker = socket.socket(fileno=int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    gc.collect()
    gc.freeze()  # a reader that collects garbage would write to, and so copy, all that it shares
    _Parent(worker).serve()
    os._exit(0)


class _Parent:
    """Starts readers, ends them when told so, and reaps them.

    Whoever ends one is its parent, and has not reaped it yet: so no other process that was given its number is hit.
    """

    def __init__(self, worker: socket.socket) -> None:
        self._worker = worker
        self._own = os.getpid()
        self._prctl = ctypes.CDLL(None).prctl
        self._readers: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the byte that it leaves in the pipe is what counts

    def serve(self) -> None:
        """Does what it is told until the worker is gone; then ends what is left."""
        self._selector.register(self._worker, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, 0)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    message, pipes, _, _ = socket.recv_fds(self._worker, MOST_BYTES, _PIPES)
                    if not message:
                        for pid in self._readers:
                            _kill(pid)
                        return
                    self._start(message, pipes)
                elif key.data == 0:
                    with suppress(BlockingIOError):
                        os.read(self._woken, _OPEN_FILES)
                else:
                    # Told to, or whoever waited for it is gone.
                    self._selector.unregister(key.fileobj)
                    _kill(key.data)
            self._reap()

    def _start(self, message: bytes, pipes: Sequence[int]) -> None:
        control = socket.socket(fileno=pipes[-1])
        try:
            pid = os.fork()
        except OSError as error:
            with suppress(OSError):
                control.send(Exit(None, refused=str(error.strerror)).pack())
            control.close()
        else:
            if pid == 0:
                self._become(message, pipes)
            self._readers[pid] = control
            self._selector.register(control, selectors.EVENT_READ, pid)
            with suppress(OSError):  # whoever wanted it is gone, and so will it be
                control.send(BEGUN)
        for pipe in pipes[:-1]:
            os.close(pipe)

    def _become(self, message: bytes, pipes: Sequence[int]) -> None:
        """Makes the fork a reader. Does not return."""
        code = 1
        try:
            os.setsid()
            self._prctl(_PDEATHSIG, signal.SIGKILL)
            self._prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
            if os.getppid() != self._own:
                os._exit(code)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(pipes[0], 1)
            os.dup2(pipes[1], 2)
            os.closerange(3, _OPEN_FILES)  # nothing of the worker's, the parent's or another file's is in its reach
            order = Order.parse(message)
            _confine(order)
            if order.command:
                code = _CANNOT_START
                os.execvp(order.command[0], [*order.command, order.task])  # noqa: S606 - no shell, on purpose
            read(order.task, 1)
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must never return into its parent's loop
            with suppress(OSError):
                os.write(2, traceback.format_exc().encode(errors="replace"))
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Tells of readers that have ended."""
        for pid in list(self._readers):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill(pid)  # what it may have started; as long as it is not reaped, the group is this one
            _, status, used = os.wait4(pid, 0)
            control = self._readers.pop(pid)
            with suppress(KeyError):
                self._selector.unregister(control)
            end = Exit(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
            with suppress(OSError):  # nobody waits for it any more
                control.send(end.pack())
            control.close()


def _kill(pid: int) -> None:
    """Ends a reader and what it has started. It may have been forked only just, and have no group yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _confine(order: Order) -> None:
    """Sets a reader's limits: no file may be written, no core left.

    The limit of memory is for what is written to, and not for addresses: libraries reserve far more than they use.
    """
    limits = {
        resource.RLIMIT_DATA: (order.memory, order.memory),
        resource.RLIMIT_CPU: (order.seconds, order.seconds + 5),  # at the second one it is killed, which says nothing
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (_READERS_FILES, _READERS_FILES),
    }
    for limit, values in limits.items():
        with suppress(ValueError):  # it is under stricter ones
            resource.setrlimit(limit, values)
    with suppress(OSError):  # where it is not allowed, it is only slower
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
