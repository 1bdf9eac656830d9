# SPDX-License-Identifier: Apache-2.0
"""Looks names up, in bounded time: the system's resolver may hang for minutes and hears no cancellation."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["STEP_SECONDS", "Resolver"]

#: Seconds between two signs of life of a thread that waits for the network.
STEP_SECONDS = 0.2


class _Lookup:
    """One question to the resolver, and what came of it once `done` is set."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answers: list[Any] = []
        self.failure: Exception | None = None


class Resolver:
    """Asks the system's resolver in a thread, of which the caller can despair. Thread-safe.

    Args:
        resolve: As `socket.getaddrinfo`.
        most: Questions under way at a time; a resolver that hangs costs so many threads and no more.
    """

    def __init__(self, resolve: Callable[..., Iterable[Any]] = socket.getaddrinfo, most: int = 64) -> None:
        self._resolve = resolve
        self._most = most
        self._room = threading.Condition()  # guards _under_way
        self._under_way = 0

    def answers(self, host: str, port: int, deadline: float, check: Callable[[], None]) -> list[Any]:
        """What `getaddrinfo` says about a name.

        Args:
            host: The name.
            port: For the socket addresses.
            deadline: By the monotonic clock.
            check: Called several times a second; what it raises ends the wait.

        Raises:
            OSError: The name cannot be resolved; `TimeoutError`: not in time.
            UnicodeError: It is no name.
        """
        with self._room:
            while self._under_way >= self._most:
                _wait(self._room, deadline, check, "too many names wait for the name server")
            self._under_way += 1
        lookup = _Lookup()
        threading.Thread(target=self._run, args=(lookup, host, port), name="resolver", daemon=True).start()
        while not lookup.done.is_set():
            _wait(lookup.done, deadline, check, f"the name server said nothing about {host} in time")
        if lookup.failure:
            raise lookup.failure
        return lookup.answers

    def _run(self, lookup: _Lookup, host: str, port: int) -> None:
        try:
            lookup.answers = list(self._resolve(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - the caller's, who raises it
            lookup.failure = error
        finally:
            with self._room:
                self._under_way -= 1
                self._room.notify()
            lookup.done.set()


def _wait(what: threading.Event | threading.Condition, deadline: float, check: Callable[[], None], said: str) -> None:
    """Waits for a moment, with a sign of life; raises at the deadline."""
    check()
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(said)
    what.wait(min(STEP_SECONDS, left))
