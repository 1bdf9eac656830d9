# SPDX-License-Identifier: Apache-2.0
"""One measured run of a contender, and the conditions that all contenders share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqscribe.errors import SqscribeError
from sqscribe_bench.lab.workload import Workload

__all__ = ["BenchError", "BenchRun", "BenchTask", "Conditions", "Usage"]


class BenchError(SqscribeError):
    """A contender did not do what it was asked to."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for every contender.

    Attributes:
        model: The model as it was asked for.
        folder: What each of them loads: a folder, or a name that faster-whisper knows.
        device: `cpu` or `cuda`.
        compute_type: CTranslate2's name of it.
        beam_size: Beams of the search.
        cores: Cores that all processes of a contender may use together.
        tokens: Words that a model with random weights gives for every window; None for any other model.
        patience: Of the beam search, as sqscribe has it.
        language: Of all recordings.
    """

    model: str
    folder: str
    device: str
    compute_type: str
    beam_size: int
    cores: int
    tokens: int | None = None
    patience: float = 2.0
    language: str = "en"


@dataclass(frozen=True, slots=True)
class BenchTask:
    """What a contender is to do in one run."""

    workload: Workload
    words: bool
    round: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a contender's processes used.

    Attributes:
        cpu_seconds: CPU seconds of all of them, those that have ended included.
        main_cpu_seconds: CPU seconds of those that were started, without their children.
        ended_cpu_seconds: CPU seconds of processes below them that have ended, such as readers of media.
        peak_memory: Bytes of all of them together at one moment; memory that they share counts for each.
        peak_main_memory: The same for the first process alone.
    """

    cpu_seconds: float
    main_cpu_seconds: float
    ended_cpu_seconds: float
    peak_memory: int
    peak_main_memory: int

    @property
    def outside_cpu_seconds(self) -> float:
        """CPU seconds without children that still run: for a worker, everything but inference."""
        return self.main_cpu_seconds + self.ended_cpu_seconds

    @property
    def living_cpu_seconds(self) -> float:
        """CPU seconds of children that still run: for a worker, its engine."""
        return self.cpu_seconds - self.outside_cpu_seconds


@dataclass(frozen=True, slots=True)
class BenchRun:
    """How a contender did a task.

    Attributes:
        contender: Its name.
        seconds: From the first message sent to the last one deleted.
        audio_seconds: Length of the recordings.
        jobs: How many jobs there were.
        usage: What its processes used.
        text_words: Words of all transcripts together, which show whether contenders did the same work.
        windows: Windows that were decoded, second times included; None where the contender does not say.
        tokens: Tokens that were decoded, timestamps included; None where the contender does not say.
        began: When the clock started, on the machine's monotonic clock.
        notes: Anything else that the contender reports.
        failure: Why there are no figures; None for a good run.
    """

    contender: str
    workload: str
    words: bool
    round: int
    seconds: float = 0.0
    audio_seconds: float = 0.0
    jobs: int = 0
    usage: Usage = field(default=Usage(0.0, 0.0, 0.0, 0, 0))
    text_words: int = 0
    windows: int | None = None
    tokens: int | None = None
    began: float = 0.0
    notes: Mapping[str, float | str] = field(default_factory=dict)
    failure: str | None = None

    @property
    def speed(self) -> float:
        """Seconds of audio for each second."""
        return self.audio_seconds / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_hour(self) -> float:
        """CPU seconds for an hour of audio."""
        return 3600 * self.usage.cpu_seconds / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def outside_per_hour(self) -> float:
        """CPU seconds outside inference for an hour of audio; only a worker has this figure."""
        return 3600 * self.usage.outside_cpu_seconds / self.audio_seconds if self.audio_seconds else 0.0
