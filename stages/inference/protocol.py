# SPDX-License-Identifier: Apache-2.0
"""The values that cross between the worker and the inference process, and the engine as the worker sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from sqscribe.errors import ErrorCode
from sqscribe.logs import LogFormat, LogLevel
from sqscribe.tuning import TEMPERATURES
from stages.values import Window, WindowResult

__all__ = [
    "PROBE_WINDOWS",
    "RANDOM_MARK",
    "BatchSizeReduced",
    "CancelJob",
    "ControlClip",
    "DecodeOptions",
    "DecodeTask",
    "EncoderChoice",
    "EncoderKind",
    "Engine",
    "EngineEvent",
    "EngineFailed",
    "EngineInfo",
    "EngineLost",
    "EngineReady",
    "EngineSettings",
    "EngineStats",
    "Envelope",
    "JobLanguage",
    "JobRejected",
    "Progress",
    "Report",
    "Request",
    "Stop",
    "WindowDone",
    "WindowKey",
]

#: Windows that a job's language is detected on, at most. One is misled by a jingle or a guest; each costs an encoder
#: pass, and its output stays on the device until all have answered.
PROBE_WINDOWS = 5

#: A file beside a model's own that says that its weights are random, as the benchmark's are: it understands no speech,
#: so that no recording can show whether the device works.
RANDOM_MARK = "random-weights"
#: What computes the encoder's output.
EncoderKind = Literal["ctranslate2", "torch"]
#: The same as the settings name it; `auto`: whichever is known to be faster.
EncoderChoice = Literal["auto", "torch", "ctranslate2"]
#: What tells a window from all others in an engine: its job's key and its index there.
WindowKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine is built. Crosses to the process once, at its start.

    Attributes:
        model: A faster-whisper name, or a local CTranslate2 folder. (`demo` and `s3://` are resolved before.)
        revision: Of a named model; None for the newest.
        name: What `result.json` calls the model.
        device: `auto`, `cuda` or `cpu`.
        device_index: Of several GPUs, the one to work on.
        compute_type: As CTranslate2; None: the best that the device has.
        batch_size: Windows of one batch; None: chosen from the device and the model.
        cpu_threads: Threads of one batch on CPU; None: chosen from the cores.
        beam_size: Default beam, which the automatic batch size reckons with.
        retry_seconds: How long a row that needs another decode may wait for company.
        suspect_seconds: How long windows that are decoded by themselves may wait behind all others.
        encoder: What computes the encoder's output, where the model has one that several can.
        control: The clip that is transcribed at the start and the text it must give; None skips the check.
        log_level: Level of the process's own log lines.
        log_format: `json` or `console`.
    """

    model: str
    name: str
    revision: str | None = None
    device: str = "auto"
    device_index: int = 0
    compute_type: str | None = None
    batch_size: int | None = None
    cpu_threads: int | None = None
    beam_size: int = 5
    retry_seconds: float = 1.0
    suspect_seconds: float = 30.0
    encoder: EncoderChoice = "auto"
    control: ControlClip | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"


@dataclass(frozen=True, slots=True)
class ControlClip:
    """A recording with a known text.

    Attributes:
        path: A WAV file, 16 kHz mono signed 16-bit.
        text: Its words, lower case, without punctuation.
        max_error_rate: Word errors per word that are still taken for a working device (0 demands every word).
        language: Whisper code of what is said; None: detected.
        must_understand: Whether every model must. Otherwise one that knows more languages than this one, or others,
            need not, if the device computes what the model's files say.
    """

    path: str
    text: str
    max_error_rate: float
    language: str | None = "en"
    must_understand: bool = True


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What shapes the text of one job's windows.

    Attributes:
        language: Whisper code; `multi`: detected per window; None: detected once per job.
        task: `transcribe` or `translate`.
        initial_prompt: Given to every window, before `hotwords`.
        beam_size: 1 to 10.
        temperatures: The first one decodes; the others are its fallbacks. 0 is a beam search. None is there twice.
        no_repeat_ngram_size: No so many tokens in a row are written twice; 0: any may be.
        repetition_penalty: By how much tokens that were written before are less likely; 1: not at all.
        suppress_numerals: Whether tokens with digits and the like are never written.
        candidates: Whisper codes that detection chooses among; empty: all of the model's.
    """

    language: str | None
    task: str
    initial_prompt: str | None
    hotwords: str | None
    beam_size: int
    temperatures: tuple[float, ...] = TEMPERATURES
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    suppress_numerals: bool = False
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """A job's windows, worker to engine.

    Attributes:
        job_key: Unique per attempt within this worker; not the job id.
        pcm_path: The PCM file (see `stages.values.Audio`); windows say where they lie in it.
        windows: Those still to be decoded.
        probes: Indexes of the windows that the language is detected on (spread over the whole job); empty when
            `options.language` is set.
    """

    job_key: str
    pcm_path: str
    windows: tuple[Window, ...]
    options: DecodeOptions
    probes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Forget the job's windows; results that are under way are thrown away. Worker to engine."""

    job_key: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the batch in hand and end. Worker to engine."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What runs, and what it can do.

    Attributes:
        name: Of the model, as `result.json` has it.
        revision: Of the model's files: the asked-for or resolved revision, else a digest of `config.json`.
        device: For people: `cpu`, or the GPU's name.
        languages: Codes, as messages have them; `("en",)` for English-only models.
        can_translate: False for models that answer in the source language whatever they are told.
        can_align: Whether words can have times.
        batch_size: Windows of a full batch.
        startup_seconds: From the process's start to ready.
        driver: Version of NVIDIA's driver; None on a CPU, or where it does not say.
        cuda: Newest CUDA that the driver runs.
        variant: What else shapes the text, where it is not as it is by default.
        detects_language: Whether the model can say which language is spoken.
        unsupported: Fields of a message that the engine has no use for: a job that sets one of them is refused.
    """

    name: str
    revision: str
    device: str
    compute_type: str
    languages: tuple[str, ...]
    can_translate: bool
    can_align: bool
    batch_size: int
    startup_seconds: float
    driver: str | None = None
    cuda: str | None = None
    variant: tuple[str, ...] = ()
    detects_language: bool = True
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineReady:
    """The control clip came out right: work may be sent. (Work sent earlier waits in the queue.)."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class WindowDone:
    """One window is finished."""

    job_key: str
    result: WindowResult


@dataclass(frozen=True, slots=True)
class JobLanguage:
    """The job's language is settled; sent before any of its windows, only if the job named none."""

    job_key: str
    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class JobRejected:
    """The engine cannot do this job: a prompt too long, a language that the model lacks, a window that defeats it."""

    job_key: str
    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class EngineStats:
    """One batch is through.

    Attributes:
        windows: How many rows the batch had.
        audio_seconds: How much audio they held.
        busy_seconds: Time in which at least one batch was on the device, since the last of these events.
        began: Seconds of the monotonic clock, which all processes of a machine share.
        ended: Likewise.
        kind: `probe`, `decode` or `retry`.
        retries: Rows that go round again, by reason.
    """

    windows: int
    audio_seconds: float
    busy_seconds: float
    began: float
    ended: float
    kind: str
    retries: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class EngineFailed:
    """The engine cannot work at all; the process ends after this.

    Attributes:
        unfit: True when the node is at fault (no GPU where one was demanded, a library that is missing, a model
            that cannot be loaded); False when the control clip came out wrong or something else broke.
    """

    message: str
    unfit: bool


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The process ended unasked. Made by the client, which has begun to start the next one.

    Attributes:
        exit_code: As `multiprocessing` gives it: negative for a signal.
        restarts: How many processes have been lost so far.
    """

    exit_code: int | None
    restarts: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life: a batch begins or has ended, or there is nothing to do. Goes no further than the client.

    Attributes:
        stalled: Seconds that the oldest batch under way has taken so far; 0 when there is none. A batch that
            hangs is seen by this even while others come and go.
        under_way: The windows of each batch under way, the oldest batch first. It has left the process before the
            decoder sees a batch, so that what a crash may have come from is known to who is left.
    """

    stalled: float
    under_way: tuple[tuple[WindowKey, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class BatchSizeReduced:
    """A batch did not fit into the device's memory. Goes no further than the client.

    Attributes:
        batch_size: Windows of a batch from now on.
    """

    batch_size: int


#: What the worker is told.
EngineEvent = EngineReady | WindowDone | JobLanguage | JobRejected | EngineStats | EngineFailed | EngineLost
#: What the client asks of a process.
Request = DecodeTask | CancelJob | Stop
#: What a process tells its client.
Report = EngineEvent | Progress | BatchSizeReduced

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Envelope(Generic[Item]):
    """What crosses the process border, either way.

    Attributes:
        generation: Number of the process, from 1, so that nothing of a lost one is ever taken for the next one's.
        item: A `Request` to the process, or a `Report` from it.
    """

    generation: int
    item: Item


class Engine(Protocol):
    """The engine as the pipeline sees it: the spawned process's client, or a fake."""

    def start(self, listener: Callable[[EngineEvent], None]) -> None:
        """Starts; events come on a thread of the engine's own, in order, until `stop` has returned."""

    def submit(self, task: DecodeTask) -> None:
        """Queues a job's windows; never blocks."""

    def cancel(self, job_key: str) -> None:
        """Drops a job; none of its events come after this returns, but for one that is being handled."""

    def replace(self) -> None:
        """Kills the process and starts the next one, which takes over what is not finished; for one that hangs."""

    def stop(self, timeout: float) -> None:
        """Ends the process within `timeout` seconds, by force if need be. Repeating it is harmless."""

    @property
    def last_progress(self) -> float:
        """Clock time of the last sign of work or idleness from the process; that of a hung engine does not move."""
