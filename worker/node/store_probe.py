# SPDX-License-Identifier: Apache-2.0
"""Tells a store that fails from one job whose objects fail: the worker reads or writes for itself."""

from __future__ import annotations

from typing import assert_never

from sqscribe.errors import NodeFaultError, PermanentError, Witness
from stages.ports import Store

__all__ = ["StoreProbe"]

#: Below the worker's output; as a checkpoint's, its name is one that workers may delete and that a rule removes.
_PROBE = "sqscribe-probe/checkpoint/probe.json"


class StoreProbe:
    """Asks whether the worker's own output works. Holds no state; thread-safe.

    Args:
        store: Is asked.
        output: The worker's own.
    """

    def __init__(self, store: Store, output: str) -> None:
        self._store = store
        self._url = f"{output.rstrip('/')}/{_PROBE}"

    def works(self, witness: Witness) -> bool:
        """Whether the worker can read, or write, there now; False for any other witness."""
        try:
            match witness:
                case Witness.READ:
                    self._store.get(self._url)
                case Witness.WRITE:
                    self._store.put(self._url, b"{}", "application/json", temporary=True)
                    self._store.delete(self._url)
                case Witness.OTHERS | Witness.NOBODY:
                    return False
                case _:
                    assert_never(witness)
        except (NodeFaultError, PermanentError):
            return False
        return True
