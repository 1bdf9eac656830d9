# SPDX-License-Identifier: Apache-2.0
"""A message's line: the first message that a job came with, and the copies of it that followed one another."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from worker.queues import Message

__all__ = ["GENERATION_ATTRIBUTE", "MOST_GENERATIONS", "ORIGIN_ATTRIBUTE", "Lineage"]

#: Attributes of a copy: the id of the first message of its line, and the copy's number from 1.
ORIGIN_ATTRIBUTE = "sqscribe_origin"
GENERATION_ATTRIBUTE = "sqscribe_generation"
#: Copies that one line may have. The last of them lives and ends as any message does.
MOST_GENERATIONS = 20
#: Hex digits of `Lineage.label`.
LABEL_DIGITS = 12

_GENERATION = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class Lineage:
    """A message's place in its line of copies.

    Attributes:
        origin: Id of the line's first message.
        generation: 0 for that message, one more for each copy.
    """

    origin: str
    generation: int = 0

    @classmethod
    def of(cls, message: Message) -> Lineage:
        """Reads the message's attributes; without any that can be read, the message begins a line of its own."""
        number = message.attributes.get(GENERATION_ATTRIBUTE, "")
        return cls(
            origin=message.attributes.get(ORIGIN_ATTRIBUTE) or message.id,
            generation=int(number) if _GENERATION.fullmatch(number) else 0,
        )

    @property
    def label(self) -> str:
        """A short name for the line that fits into any key: the beginning of a digest of its origin."""
        return hashlib.sha256(self.origin.encode(errors="surrogatepass")).hexdigest()[:LABEL_DIGITS]

    @property
    def following(self) -> Lineage:
        """The place of the next copy."""
        return replace(self, generation=self.generation + 1)

    @property
    def is_last(self) -> bool:
        """Whether no copy may follow."""
        return self.generation >= MOST_GENERATIONS

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of a message in this place."""
        return {ORIGIN_ATTRIBUTE: self.origin, GENERATION_ATTRIBUTE: str(self.generation)}
