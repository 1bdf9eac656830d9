# SPDX-License-Identifier: Apache-2.0
"""Which receipts SQS would accept, for an emulator that takes any that a message ever had."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Receipts"]

#: Codes and texts of SQS.
_STALE = ("ReceiptHandleIsInvalid", "The specified receipt handle isn't valid.")
_NOT_IN_FLIGHT = ("MessageNotInflight", "The specified message isn't in flight.")


@dataclass(slots=True, eq=False)
class _Held:
    receipt: str
    hidden_until: float
    deleted: bool = False


class Receipts:
    """The newest receipt of every message of one queue. Not thread-safe: it belongs to the queue's lock.

    A receipt counts until its message is received again. From when the message is visible on, its visibility cannot be
    changed any more. Times are a monotonic clock's, in seconds.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._messages: dict[str, str] = {}

    def received(self, message_id: str, receipt: str, hidden_until: float) -> None:
        """Notes that a receive has brought a message."""
        self._held[message_id] = _Held(receipt, hidden_until)
        self._messages[receipt] = message_id

    def message(self, receipt: str) -> str | None:
        """The id of the message that a receipt is for."""
        return self._messages.get(receipt)

    def refusal(self, receipt: str, now: float) -> tuple[str, str] | None:
        """Why a change of visibility is refused: code and text; None when it is granted."""
        held = self._newest(receipt)
        if held is None or held.deleted:
            return _STALE
        return _NOT_IN_FLIGHT if held.hidden_until <= now else None

    def changed(self, receipt: str, hidden_until: float) -> None:
        """Notes that a change of visibility was granted and made."""
        held = self._newest(receipt)
        if held is not None:
            held.hidden_until = hidden_until

    def deletes(self, receipt: str) -> bool:
        """Whether a delete removes the message.

        A standard queue answers yes to a delete with an older receipt too, but removes nothing.
        """
        return self._newest(receipt) is not None

    def deleted(self, receipt: str) -> None:
        """Notes that a message was deleted."""
        held = self._newest(receipt)
        if held is not None:
            held.deleted = True

    def _newest(self, receipt: str) -> _Held | None:
        held = self._held.get(self._messages.get(receipt, ""))
        return held if held is not None and held.receipt == receipt else None
