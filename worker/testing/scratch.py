# SPDX-License-Identifier: Apache-2.0
"""A job's share of scratch space that has no end."""

from __future__ import annotations

from stages.ports import Cancellation

__all__ = ["BoundlessReserve"]


class BoundlessReserve:
    """Implements `stages.ports.ScratchReserve`: grants whatever is asked for.

    Attributes:
        totals: What was asked for, in order.
    """

    def __init__(self) -> None:
        self.totals: list[int] = []

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants the bytes, unless the job is called off."""
        cancellation.check()
        self.totals.append(total)
