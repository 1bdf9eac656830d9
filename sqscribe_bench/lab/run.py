# SPDX-License-Identifier: Apache-2.0
"""One measured run, and what was the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqscribe.errors import SqscribeError
from sqscribe_bench.lab.workload import Workload

__all__ = ["BenchError", "Conditions", "Run", "Task", "Usage"]


class BenchError(SqscribeError):
    """A contender did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for every contender.

    Attributes:
        model: As it was asked for.
        folder: What each of them loads: a folder, or a name that faster-whisper knows.
        device: `cpu` or `cuda`.
        compute_type: As CTranslate2.
        patience: As sqscribe has it.
        cores: Cores to use, by all processes of a contender together.
        tokens: Words that the model hears in every window; None: as many as it thinks there are.
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
class Task:
    """What a contender is to do in one run."""

    workload: Workload
    words: bool
    round: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a contender's processes took.

    Attributes:
        cpu_seconds: Of all of them, also of those that have ended.
        main_cpu_seconds: Of those that were started, without their children.
        ended_cpu_seconds: Of children that have ended, such as ffmpeg.
        peak_memory: Bytes, all of them together at one moment; what they share counts for each.
        peak_main_memory: The same of the first process alone.
        main_seconds: CPU of the first process alone.
        ended_seconds: CPU of those that it has started and that have ended: of a worker, ffmpeg's.
    """

    cpu_seconds: float
    main_cpu_seconds: float
    ended_cpu_seconds: float
    peak_memory: int
    peak_main_memory: int
    main_seconds: float = 0.0
    ended_seconds: float = 0.0

    @property
    def outside_cpu_seconds(self) -> float:
        """Without children that still run: in a worker's case, all but inference."""
        return self.main_cpu_seconds + self.ended_cpu_seconds

    @property
    def living_cpu_seconds(self) -> float:
        """Of children that still run: in a worker's case, its engine."""
        return self.cpu_seconds - self.outside_cpu_seconds


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a task.

    Attributes:
        contender: As the table names it.
        seconds: From the first message sent to the last one deleted.
        audio_seconds: Length of the recordings.
        jobs: How many there were.
        text_words: Words of all transcripts together: whether the contenders did the same work.
        windows: Windows that were decoded, again or not, where the contender tells.
        tokens: Tokens that were decoded, timestamps among them, where the contender tells.
        began: When the clock started, by the machine's monotonic clock.
        notes: What else the contender tells.
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
        """Seconds of audio a second."""
        return self.audio_seconds / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_hour(self) -> float:
        """CPU seconds for an hour of audio."""
        return 3600 * self.usage.cpu_seconds / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def outside_per_hour(self) -> float:
        """The same of what is not inference, for a worker."""
        return 3600 * self.usage.outside_cpu_seconds / self.audio_seconds if self.audio_seconds else 0.0
