# SPDX-License-Identifier: Apache-2.0
"""What one fetch may ask of others in all."""

from __future__ import annotations

import threading

from sqscribe.errors import ErrorCode, TransientError

__all__ = ["BudgetSpentError", "FetchBudget"]


class BudgetSpentError(TransientError):
    """The fetch has asked for all that it may; another try would ask for more of the same."""


class FetchBudget:
    """Counts the requests and bytes of one fetch: redirects, tries, ranges, and all that a page leads to. Thread-safe.

    Args:
        requests: Most requests.
        size: Most bytes, as they come over the line.
    """

    def __init__(self, requests: int, size: int) -> None:
        self._most_requests = requests
        self._most_bytes = size
        self._lock = threading.Lock()  # guards the two below
        self._requests = 0
        self._bytes = 0

    @property
    def requests(self) -> int:
        """How many were made."""
        return self._requests

    def request(self) -> None:
        """Counts a request that is about to be made.

        Raises:
            BudgetSpentError: It would be one too many.
        """
        with self._lock:
            if self._requests >= self._most_requests:
                raise BudgetSpentError(
                    ErrorCode.SOURCE_UNREACHABLE,
                    f"the source is not complete after {self._requests} requests, which is as many as a job may make",
                )
            self._requests += 1

    def received(self, count: int) -> None:
        """Counts bytes that have come.

        Raises:
            BudgetSpentError: They are too many.
        """
        with self._lock:
            self._bytes += count
            if self._bytes > self._most_bytes:
                raise BudgetSpentError(
                    ErrorCode.SOURCE_UNREACHABLE,
                    f"the source is not complete after {self._bytes} bytes in all tries together; it may not cost more",
                )
