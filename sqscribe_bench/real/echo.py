# SPDX-License-Identifier: Apache-2.0
"""Words of a prompt that came back as if they had been said."""

from __future__ import annotations

__all__ = ["echoed"]

#: So many words behind one another in both are no chance; of a shorter prompt, all of it.
_RUN = 4


def echoed(prompt: list[str], said: list[str], written: list[str]) -> int:
    """Words written that stand in runs of the prompt's, where nobody said them.

    Args:
        prompt: Its words.
        said: What was said.
        written: What was heard.
    """
    size = min(_RUN, len(prompt))
    if not size:
        return 0
    runs = _runs(prompt, size) - _runs(said, size)
    found = {
        at + step
        for at in range(len(written) - size + 1)
        if tuple(written[at : at + size]) in runs
        for step in range(size)
    }
    return len(found)


def _runs(words: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}
