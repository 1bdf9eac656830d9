# SPDX-License-Identifier: Apache-2.0
"""The contenders by name."""

from __future__ import annotations

from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.contender import ModelSetup, QualityContender

__all__ = ["contender"]


def contender(name: str, engine: ModelSetup, cache: Cache) -> QualityContender:
    """One of `contender.CONTENDERS`."""
    if name == "sqscribe":
        from sqscribe_bench.real.ours import Sqscribe  # noqa: PLC0415 - each loads what only it needs

        return Sqscribe(engine)
    from sqscribe_bench.real.theirs import FasterWhisper  # noqa: PLC0415

    return FasterWhisper(engine, cache, batched=name == "batched")
