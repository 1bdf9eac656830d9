# SPDX-License-Identifier: Apache-2.0
"""The process that forks readers, as the worker sees it: started, given orders through a socket, ended."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqscribe.errors import NodeFaultError, UnfitNodeError

__all__ = ["KILLED_FROM_OUTSIDE", "PATIENCE", "Parent", "command"]

#: Signals that no file makes a program end by.
KILLED_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: Seconds in which the parent takes an order and sees to a reader's end. It starts within one, and does little else.
PATIENCE = 30.0
#: Seconds in which it ends by itself.
_FAREWELL = 5.0
#: Bytes of its messages that are looked at.
_STDERR_TAIL = 8 * 1024

#: Starts the parent by its place and PyAV's, and not by what the environment says: its process sees none of it. It
#: writes no files, and what a site adds to every Python is left out.
_START = "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; from stages.reader.parent import main; main()"
_FLAGS = ("-I", "-S", "-B")

#: What a stranger's reader needs to know of this machine: where programs and libraries are. Credentials are none of
#: its business, FFREPORT would have it write a file, and a proxy is for those that may use the network.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "LANG", "TMPDIR")


class Parent:
    """The process that forks readers. Ends when nobody holds this object any more."""

    def __init__(self, command: Sequence[str]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self._complaints = os.memfd_create("complaints")
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # an interrupt from the terminal is the worker's to deal with
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            )
        except OSError as error:
            self.socket.close()
            os.close(self._complaints)
            raise NodeFaultError(f"{command[0]} cannot be started ({error.strerror})") from error
        finally:
            theirs.close()
        self._given_up = False
        self.end = weakref.finalize(self, _farewell, self._process, self.socket, self._complaints)

    @property
    def lives(self) -> bool:
        """Whether it can be given orders."""
        return self._process.poll() is None

    def failed(self) -> tuple[int, str]:
        """The signal that ended it from outside, and nothing: so its readers were killed, too.

        Raises:
            NodeFaultError: It ended for any other reason: nothing can be decoded here.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)
        if self._given_up or self._process.returncode is None:
            self.kill()
            raise NodeFaultError("no file can be decoded on this machine (the process that starts decoders hangs)")
        returncode = self._process.returncode
        if -returncode in KILLED_FROM_OUTSIDE:
            return returncode, ""
        said = os.pread(self._complaints, _STDERR_TAIL, max(0, os.fstat(self._complaints).st_size - _STDERR_TAIL))
        last = said.decode(errors="replace").strip().rsplit("\n", 1)[-1][:300]
        raise NodeFaultError(f"no file can be decoded on this machine (exit code {returncode}: {last})")

    def kill(self) -> None:
        """Ends it, since it does not answer, and its readers with it."""
        self._given_up = True
        self._process.kill()


def _farewell(process: subprocess.Popen[bytes], end: socket.socket, complaints: int) -> None:
    """Lets the parent go, and reaps it."""
    end.close()
    try:
        process.wait(_FAREWELL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    os.close(complaints)


def command() -> list[str]:
    """What starts the parent.

    Raises:
        UnfitNodeError: PyAV is missing.
    """
    found = importlib.util.find_spec("av")
    if found is None or found.origin is None:
        raise UnfitNodeError("PyAV is missing: install the package `av`")
    packages = (Path(found.origin).parents[1], Path(__file__).parents[2])
    return [sys.executable, *_FLAGS, "-c", _START, *map(str, packages)]
