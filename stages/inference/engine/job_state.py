# SPDX-License-Identifier: Apache-2.0
"""A job inside the engine: what of it waits for its language, is under way, and is still to come."""

from __future__ import annotations

from collections.abc import Sequence

from stages.inference.engine.rows import EngineJob, Probed
from stages.inference.likelihood import among, most_likely
from stages.inference.protocol import PROBE_WINDOWS
from stages.values import Window

__all__ = ["JobState", "mean_language"]


class JobState:
    """What the scheduler knows of a job. It has no lock: the scheduler calls it under its own.

    Args:
        job: As the decoder has opened it.
        windows: Those still to be decoded.

    Attributes:
        left: Indexes of the windows that are not finished.
        rows: How many of its rows there are: queued, under way, or waiting for the language to be settled.
    """

    def __init__(self, job: EngineJob, windows: tuple[Window, ...]) -> None:
        self.job = job
        self.left = {window.index for window in windows}
        self.rows = 0
        self._waiting = windows  # have no row yet, because the language is not settled
        self._probes = 0  # how many windows the language is asked of
        self._answers: list[Probed] = []

    @property
    def lost(self) -> bool:
        """Whether windows are left that no row will ever finish."""
        return bool(self.left) and not self.rows

    def take_probes(self, indexes: Sequence[int]) -> tuple[Window, ...]:
        """The windows to ask the language of: the given ones, or the first ones where those are done already."""
        wanted = [window for window in self._waiting if window.index in indexes] or self._waiting
        probes = tuple(wanted[:PROBE_WINDOWS])
        self._waiting = tuple(window for window in self._waiting if window not in probes)
        self._probes = len(probes)
        return probes

    def answered(self, outcome: Probed) -> list[Probed]:
        """Notes an answer; gives all of them with the last one, and until then nothing.

        The rows that have answered count as the job's until then.
        """
        self._answers.append(outcome)
        self.rows += 1
        if len(self._answers) < self._probes:
            return []
        answers, self._answers = self._answers, []
        self.rows -= len(answers)
        return answers

    def take_waiting(self) -> tuple[Window, ...]:
        """The windows that have no row yet."""
        waiting, self._waiting = self._waiting, ()
        return waiting


def mean_language(probed: Sequence[Probed], candidates: Sequence[str] = ()) -> tuple[str, float]:
    """The language with the highest mean probability, each window weighing as much as it holds speech.

    Args:
        probed: The windows' answers.
        candidates: Whisper codes that are chosen among. They are so once the windows are summed up: one in which
            none of them is likely has no more to say for it. Empty: all.

    Returns:
        Whisper code, and its mean probability among the candidates.
    """
    # In the windows' order: sums of floats depend on the order, and batches come back in any.
    ordered = sorted(probed, key=lambda outcome: outcome.row.window.index)
    weights = [max(1, outcome.row.window.speech) for outcome in ordered]
    totals: dict[str, float] = {}
    for outcome, weight in zip(ordered, weights, strict=True):
        for language, probability in outcome.probabilities.items():
            totals[language] = totals.get(language, 0.0) + weight * probability
    means = {language: total / sum(weights) for language, total in totals.items()}
    return most_likely(among(means, candidates))
