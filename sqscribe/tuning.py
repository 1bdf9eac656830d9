# SPDX-License-Identifier: Apache-2.0
"""How a job's text is looked for: what few messages say, and what holds where they do not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

__all__ = ["LONGEST_WINDOW", "TEMPERATURES", "Tuning", "VadTuning", "canonical"]

#: Whisper's own: a beam search, then samples that are ever freer.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
#: Seconds of audio that Whisper's encoder takes.
LONGEST_WINDOW = 30.0


@dataclass(frozen=True, slots=True)
class VadTuning:
    """What counts as speech, and how much silence is left out.

    Attributes:
        threshold: Probability, 0 to 1, from which on a moment is speech.
        min_silence: Seconds; a shorter silence stays in.
        pad: Seconds of silence that are kept before and after speech.
    """

    threshold: float = 0.5
    min_silence: float = 1.0
    pad: float = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Options under the names that they have in a message.

    Attributes:
        temperature: The first one decodes; the others follow one by one while the text fails its checks. 0 is a beam
            search. None is there twice.
        no_repeat_ngram_size: No so many tokens in a row are written twice; 0: any may be.
        repetition_penalty: By how much tokens that were written before are less likely; 1: not at all.
        suppress_numerals: Whether numbers are spelled out.
        languages: Whisper codes that detection chooses among; empty: all of the model's.
        vad: How silence is found, where it is left out.
        level: Whether speech is brought to a common loudness, piece by piece.
        max_window: Most seconds of a window.
    """

    temperature: tuple[float, ...] = TEMPERATURES
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    suppress_numerals: bool = False
    languages: tuple[str, ...] = ()
    vad: VadTuning = field(default_factory=VadTuning)
    level: bool = True
    max_window: float = LONGEST_WINDOW

    def fields(self) -> dict[str, object]:
        """What differs from the default, as a message has it: each choice has one form only."""
        usual = Tuning()
        found: dict[str, object] = {
            each.name: _canonical_list(value) if isinstance(value, tuple) else canonical(value)
            for each in fields(self)
            if each.name != "vad" and (value := getattr(self, each.name)) != getattr(usual, each.name)
        }
        if len(self.temperature) == 1:
            found["temperature"] = canonical(self.temperature[0])
        if self.vad != usual.vad:
            plain = asdict(usual.vad)
            found["vad"] = {name: canonical(value) for name, value in asdict(self.vad).items() if value != plain[name]}
        return found


def canonical(value: object) -> object:
    """The value as canonical JSON has it: integral numbers are integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _canonical_list(values: tuple[object, ...]) -> list[object]:
    return [canonical(value) for value in values]
