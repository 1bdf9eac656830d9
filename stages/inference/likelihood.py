# SPDX-License-Identifier: Apache-2.0
"""Languages by their probability. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["among", "most_likely"]


def among(probabilities: Mapping[str, float], candidates: Sequence[str]) -> dict[str, float]:
    """Probabilities if it is one of the candidates for certain; as they are where there are no candidates.

    Where none of them has any probability at all, they are equally likely.
    """
    if not candidates:
        return dict(probabilities)
    found = {code: probabilities.get(code, 0.0) for code in candidates}
    total = sum(found.values())
    return {code: value / total if total > 0 else 1 / len(found) for code, value in found.items()}


def most_likely(probabilities: Mapping[str, float]) -> tuple[str, float]:
    """The best language and its probability; among equals the first by code, so that it never flickers."""
    code = min(probabilities, key=lambda name: (-probabilities[name], name))
    return code, probabilities[code]
