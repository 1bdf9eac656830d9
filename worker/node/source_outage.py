# SPDX-License-Identifier: Apache-2.0
"""Sources that do not answer: tells sources that are down from a node whose network is down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from sqscribe.errors import NodeFaultError, Witness
from stages.fetch import NoAnswerError
from stages.ports import Clock

__all__ = ["SourceOutage"]

log = structlog.get_logger()
T = TypeVar("T")


class SourceOutage:
    """Turns the silence of sources into a fault of the node, while that is the likelier reason. Thread-safe.

    A single source that does not answer is down itself: its job fails for now, which costs it a receive. When several
    in a row on different hosts do not, and no source answers in between, the host that answered last is asked whether
    a connection to it still comes about. If not, there is an outage: jobs whose sources do not answer are kept, until
    any source answers again.

    But a queue may also be full of dead links. So after `longest` seconds without an answer, sources that do not
    answer count as down again, until the next answer.

    Args:
        clock: The length of an outage is measured by it.
        answers: Whether a connection to a host and port comes about.
        hosts: How many silent hosts in a row raise the suspicion.
        longest: Seconds that an outage may last; 0: there never is one.
    """

    def __init__(
        self, clock: Clock, answers: Callable[[str, int], bool], *, hosts: int = 3, longest: float = 900.0
    ) -> None:
        self._clock = clock
        self._answers = answers
        self._hosts = hosts
        self._longest = longest
        self._lock = threading.Lock()  # guards all below
        self._silent: set[str] = set()  # hosts, since the last answer
        self._witness: tuple[str, int] | None = None  # the host and port that answered last, over HTTP
        self._since: float | None = None  # when the outage began, while there is one
        self._over_at = float("-inf")  # when the last one ended
        self._given_up = False  # no host has answered for more than `longest` seconds

    def answered(self, host: str, port: int) -> None:
        """Notes that a host has answered, whatever it said: the network works."""
        with self._lock:
            self._witness = (host, port)
            self._note_answer()

    def outlasting(self, fetch: Callable[[], T]) -> T:
        """Makes a fetch; if it succeeds, its source has answered.

        Raises:
            NodeFaultError: There is an outage: the fetch is to be repeated.
            NoAnswerError: The source does not answer.
        """
        began = self._clock.now()
        try:
            source = fetch()
        except NoAnswerError as error:
            if not self._is_node_fault(error.host, began):
                raise
            raise NodeFaultError(
                f"{error.message}; nor does any other source answer, so it may be this node's network",
                error.code,
                witness=Witness.NOBODY,  # this class has asked one
            ) from error
        with self._lock:
            self._note_answer()
        return source

    def _is_node_fault(self, host: str, began: float) -> bool:
        """Whether the node's network is at fault for a host's silence at a fetch that began at clock time `began`."""
        if self._longest <= 0:
            return False
        with self._lock:
            if began <= self._over_at:
                return True  # it ran into an outage that has ended meanwhile
            if len(self._silent) < self._hosts:
                self._silent.add(host)
            if not self._suspected():
                return False
            witness = self._witness
        # Outside the lock: this takes as long as a connection may.
        if witness is not None and self._answers(*witness):
            self.answered(*witness)
        with self._lock:
            return self._is_outage(began)

    def _suspected(self) -> bool:
        return len(self._silent) >= self._hosts and not self._given_up

    def _is_outage(self, began: float) -> bool:
        if not self._suspected():
            return began <= self._over_at  # a host answered while the witness was asked
        now = self._clock.now()
        if self._since is None:
            self._since = now
            log.warning("sources_silent", hosts=sorted(self._silent))
        if now - self._since < self._longest:
            return True
        self._given_up, self._since = True, None
        log.warning("sources_given_up", hosts=sorted(self._silent), seconds=self._longest)
        return False

    def _note_answer(self) -> None:
        self._silent.clear()
        self._given_up = False
        if self._since is not None:
            now = self._clock.now()
            log.info("sources_answer_again", seconds=round(now - self._since, 1))
            self._since, self._over_at = None, now
