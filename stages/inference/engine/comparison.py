# SPDX-License-Identifier: Apache-2.0
"""What a device's numbers are worth: the same window, computed again by other means."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Comparison", "Incomparable"]

#: Least agreement. Weights and activations in 8 bit leave 0.98 with real models; other audio, or noise, has 0.3.
_LEAST = 0.8
#: A text whose tokens are less likely than what the decoder says when it is asked plainly, by more than this (natural
#: logarithm, on average), was not what the model said. Sampled at a high temperature, a text is 3 less likely.
_UNLIKELIER = 5.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A device against other means, on one window.

    An agreement is 1 for the same numbers, and about 0 for numbers that have nothing to do with one another, for none
    (NaN) and for those that are always the same.

    Attributes:
        against: What the other means are, for people.
        encoder: Agreement of the encoder's output.
        decoder: Agreement of the decoder's logits, on average over its steps.
        steps: So many.
        unlikelier: By how much a token of the text that came out of the engine is less likely than one of those steps,
            in the eyes of the other means, as the difference of mean logarithms.
    """

    against: str
    encoder: float
    decoder: float
    steps: int
    unlikelier: float

    @property
    def faults(self) -> tuple[str, ...]:
        """What differs; empty where the device computes what it should."""
        found = []
        if not self.encoder >= _LEAST:
            found.append(f"the encoder's output differs (agreement {self.encoder:.2f}, at least {_LEAST} is right)")
        if not self.decoder >= _LEAST:
            found.append(f"the decoder's logits differ (agreement {self.decoder:.2f}, at least {_LEAST} is right)")
        if not self.unlikelier <= _UNLIKELIER:
            found.append(
                f"the text is none that the decoder would write (less likely by {self.unlikelier:.1f} a token, at most "
                f"{_UNLIKELIER:.0f} is right)"
            )
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Incomparable:
    """There are no other means here.

    Attributes:
        why: For people, as the end of a sentence.
    """

    why: str
