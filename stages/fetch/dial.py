# SPDX-License-Identifier: Apache-2.0
"""Connects to the first of several addresses that answers, in bounded time."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from stages.fetch.resolve import STEP_SECONDS

__all__ = ["SocketAddress", "dial"]

#: Family and address, as a socket takes them.
SocketAddress = tuple[int, Any]

#: Seconds that an address has before the next one is tried beside it, https://www.rfc-editor.org/rfc/rfc8305#section-5
_HEAD_START = 0.25
#: Addresses that are tried; a name with hundreds is no honest one.
_MOST_ADDRESSES = 16


def dial(addresses: Sequence[SocketAddress], deadline: float, check: Callable[[], None]) -> socket.socket:
    """Connects to the first address that answers.

    An address that says nothing holds the others up for a moment only, and all of them together end at the deadline:
    a name with many dead addresses costs no more than one with a single one.

    Args:
        addresses: All of them checked.
        deadline: By the monotonic clock.
        check: Called several times a second; what it raises ends all tries.

    Raises:
        OSError: None answers; `TimeoutError`: not in time.
    """
    waiting = list(addresses[:_MOST_ADDRESSES])
    failure: OSError = OSError("the name has no address")
    next_start = 0.0
    with _Tries() as tries:
        while waiting or tries.under_way:
            check()
            now = time.monotonic()
            if now >= deadline:
                raise TimeoutError("no address answered in time")
            if waiting and (now >= next_start or not tries.under_way):
                tries.start(*waiting.pop(0))
                next_start = now + _HEAD_START
            until = min(now + STEP_SECONDS, deadline, next_start if waiting else deadline)
            connection = tries.winner(max(0.0, until - now))
            if connection:
                return connection
            failure = tries.failure or failure
    raise failure


class _Tries:
    """Connections under way. A context manager: those that did not win are closed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.under_way: set[socket.socket] = set()
        self.failure: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        for connection in self.under_way:
            connection.close()

    def start(self, family: int, address: Any) -> None:
        """Begins to connect; how that ends is told by the socket once it is writable."""
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(0)
        code = connection.connect_ex(address)
        if code in (0, errno.EINPROGRESS):
            self.under_way.add(connection)
            self._selector.register(connection, selectors.EVENT_WRITE)
        else:
            self._fail(connection, code)

    def winner(self, timeout: float) -> socket.socket | None:
        """The first that is connected within so many seconds."""
        if not self.under_way:
            return None
        for key, _ in self._selector.select(timeout):
            connection: socket.socket = key.fileobj  # type: ignore[assignment]  # sockets alone were registered
            self._selector.unregister(connection)
            self.under_way.discard(connection)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            self._fail(connection, code)
        return None

    def _fail(self, connection: socket.socket, code: int) -> None:
        connection.close()
        self.failure = OSError(code, os.strerror(code))
