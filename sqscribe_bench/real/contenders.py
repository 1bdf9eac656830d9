# SPDX-License-Identifier: Apache-2.0
"""The contenders by name."""

from __future__ import annotations

from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.contender import Contender, Engine

__all__ = ["contender"]


def contender(name: str, engine: Engine, cache: Cache) -> Contender:
    """One of `contender.CONTENDERS`."""
    if name == "sqscribe":
        from sqscribe_bench.real.ours import Sqscribe  # noqa: PLC0415 - each loads what only it needs

        return Sqscribe(engine)
    from sqscribe_bench.real.theirs import FasterWhisper  # noqa: PLC0415

    return FasterWhisper(engine, cache, batched=name == "batched")
