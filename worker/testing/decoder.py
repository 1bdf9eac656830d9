# SPDX-License-Identifier: Apache-2.0
"""A decoder without a model: the text of a window is a digest of its audio, and faults come when a job asks for them.

It runs in the real inference process under the name `SIMULATED`, so that scheduling, crashes and restarts can be tested
in milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from sqscribe.errors import ErrorCode, UnfitNodeError
from stages.inference.engine.comparison import Incomparable
from stages.inference.engine.rows import Again, BatchKey, EngineJob, Finished, JobRefused, Outcome, Probed, Row
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineInfo, EngineSettings
from stages.inference.whisper.audio import loudness, read_window
from stages.inference.whisper.words import trim_to_sound
from stages.values import Piece, RawSegment, RawWord, Window, WindowResult
from worker.telemetry.trace import TraceWriter
from worker.testing.device import SimulatedDevice

__all__ = [
    "SIMULATED_SAMPLES",
    "SimulatedDecoder",
    "Simulation",
    "digest_text",
    "simulated_info",
    "simulated_result",
    "simulated_task",
]


#: Samples of each of the windows of `simulated_task`: so short that many of them cost nothing.
SIMULATED_SAMPLES = 160

#: Longest anything simulated hangs: nobody who waits for a hang's end has so much time.
_FOREVER = 1e6


@dataclass(frozen=True, slots=True)
class Simulation:
    """How the simulated device behaves. `EngineSettings.model` carries it as a query string: `parallel=2&load=hang`.

    Attributes:
        batch_seconds: What a batch costs.
        window_seconds: What each of its windows costs on top.
        host_share: As `SimulatedDevice` has it.
        exclusive: As `SimulatedDevice` has it.
        trace: File of the trace that is told when the device computed; empty for none.
        parallel: As `WindowDecoder.parallel`.
        languages: Whisper codes that the model has, joined by `+` in the query string.
        spoken: The language that every window is found to be in; empty for the first of `languages`.
        load: `ok`; `unfit` or `broken`: loading fails; `hang`: it never ends; `die`: the process is killed.
        text: What every window says; empty for a digest of its audio.
        words: Words a window that follow its text, spread evenly and trimmed to the sound as a real engine's are.
        silent: Every window comes out empty, as with a broken driver.
        fits: Most windows of a batch that the device has memory for; 0: any number.
        poison: Digests (as `digest_text` gives them) of windows that crash the process, joined by `+`.
        log: File to which every finished window is added as a line: the job's key within its worker, a tab, the
            window's index. So a test can count what was decoded, over all workers and their deaths.
    """

    batch_seconds: float = 0.0
    window_seconds: float = 0.0
    host_share: float = 0.0
    exclusive: bool = False
    trace: str = ""
    parallel: int = 1
    languages: tuple[str, ...] = ("en", "de", "fr")
    spoken: str = ""
    load: str = "ok"
    text: str = ""
    words: int = 0
    silent: bool = False
    fits: int = 0
    poison: tuple[str, ...] = ()
    log: str = ""

    @classmethod
    def parse(cls, model: str) -> Simulation:
        """Reads a query string; a name that is none of the attributes is a `TypeError`."""
        readers: dict[str, Callable[[str], object]] = {
            "batch_seconds": float,
            "window_seconds": float,
            "host_share": float,
            "exclusive": lambda text: text == "true",
            "words": int,
            "parallel": int,
            "fits": int,
            # parse_qsl has made blanks of the plus signs
            "languages": lambda text: tuple(text.split()),
            "poison": lambda text: tuple(text.split()),
            "silent": lambda text: text == "true",
        }
        values: dict[str, Any] = {name: readers.get(name, str)(value) for name, value in parse_qsl(model)}
        return cls(**values)


class SimulatedDecoder:
    """Implements `WindowDecoder`.

    A job asks for a fault by its `hotwords`. When it is opened: `reject` (it is refused), `choke` (opening it
    fails with an error). For every window, or with `@` and a number behind it for that one only: `retry` (it goes
    round once), `raise` (its batch fails with an error), `raise-once` (only the first batch that it is in), `break`
    (the same, and so does every later batch of the process), `memory` (its batch does not fit), `crash` (the process
    dies of a segmentation fault), `exit` (the process ends with code 1), `die` (the process is killed) or `hang` (its
    batch never ends).
    """

    def __init__(self, simulation: Simulation, settings: EngineSettings) -> None:
        self._simulation = simulation
        self._info = simulated_info(
            name=settings.name,
            languages=simulation.languages,
            batch_size=settings.batch_size or 4,
        )
        self._device = SimulatedDevice(
            exclusive=simulation.exclusive,
            host_share=simulation.host_share,
            trace=TraceWriter(Path(simulation.trace)) if simulation.trace else None,
        )
        self._raised: set[tuple[str, int]] = set()  # windows that raise no more
        self._broken = False

    @classmethod
    def load(cls, settings: EngineSettings) -> SimulatedDecoder:
        """Builds it from `settings.model`, a query string for `Simulation`.

        Raises:
            UnfitNodeError: The simulation says that the node is unfit.
        """
        simulation = Simulation.parse(settings.model)
        match simulation.load:
            case "unfit":
                raise UnfitNodeError("this simulated node has no device")
            case "broken":
                raise RuntimeError("this simulated model cannot be read")
            case "hang":
                _hang()
            case "die":
                _signal(signal.SIGKILL)
            case _:
                pass
        return cls(simulation, settings)

    @property
    def info(self) -> EngineInfo:
        """The facts of the simulated model."""
        return self._info

    @property
    def parallel(self) -> int:
        """How many batches the simulated device takes at a time."""
        return self._simulation.parallel

    def open(self, job_key: str, pcm_path: str, options: DecodeOptions) -> EngineJob | JobRefused:
        """Takes a job in; its prompt has one token a character."""
        match options.hotwords:
            case "reject":
                return JobRefused(ErrorCode.UNSUPPORTED_OPTION, "hotwords: this simulated model takes none")
            case "choke":
                raise ValueError("this simulated tokeniser cannot take the hotwords")
            case _:
                pass
        return EngineJob(job_key, pcm_path, options, own=options.initial_prompt or "")

    def rows(self, job: EngineJob, windows: tuple[Window, ...], *, probe: bool, language: str | None) -> list[Row]:
        """Fresh rows, keyed by prompt length and beam."""
        key = _key(job, probe=probe)
        return [Row(job, window, key, language) for window in windows]

    def settled(self, row: Row, language: str) -> Row:
        """The row, keyed anew."""
        row.key = _key(row.job, probe=False)
        row.language = language
        return row

    def run(self, rows: list[Row]) -> list[Outcome]:
        """Does as the rows' jobs ask, at the simulated cost."""
        cost = self._simulation.batch_seconds + self._simulation.window_seconds * len(rows)
        self._device.compute(cost, len(rows))
        if self._broken:
            raise RuntimeError("the simulated device failed for good")
        if 0 < self._simulation.fits < len(rows):
            raise RuntimeError("CUDA failed with error out of memory")
        for row in rows:
            self._befall(row)
        return [self._outcome(row) for row in rows]

    def relieve(self) -> None:
        """Does nothing: it keeps no memory that it could give back."""

    def compare(self, _pcm_path: str, _window: Window, _language: str, _text: str) -> Incomparable:
        """Has no numbers."""
        return Incomparable("a simulated device has no numbers")

    def _befall(self, row: Row) -> None:
        if self._simulation.poison and digest_text(row.job.pcm_path, row.window) in self._simulation.poison:
            _signal(signal.SIGSEGV)
        window = row.job.job_key, row.window.index
        match _fault(row):
            case "raise-once" if window not in self._raised:
                self._raised.add(window)
                raise RuntimeError("the simulated device failed once")
            case "raise":
                raise RuntimeError("the simulated device failed")
            case "break":
                self._broken = True
                raise RuntimeError("the simulated device failed")
            case "memory":
                raise RuntimeError("CUDA failed with error out of memory")
            case "crash":
                _signal(signal.SIGSEGV)
            case "exit":
                os._exit(1)
            case "die":
                _signal(signal.SIGKILL)
            case "hang":
                _hang()
            case _:
                pass

    def _outcome(self, row: Row) -> Outcome:
        spoken = self._simulation.spoken or self._simulation.languages[0]
        text = "" if self._simulation.silent else self._simulation.text or digest_text(row.job.pcm_path, row.window)
        if row.key.kind == "probe":
            row.encoded = text
            others = [code for code in self._simulation.languages if code != spoken]
            return Probed(row, {spoken: 0.75, **{code: 0.25 / len(others) for code in others}})
        if _fault(row) == "retry" and row.key.kind != "retry":
            row.key = row.key._replace(kind="retry")
            return Again((row,), "logprob")
        result = simulated_result(row.window, text, row.language or spoken)
        if self._simulation.words:
            result = self._spoken(row, text, result)
        if row.key.kind == "retry":
            result = replace(result, temperature=0.2, retries=("logprob",))
        if row.language is None:
            result = replace(result, language_probability=0.75)
        if self._simulation.log:
            _append(self._simulation.log, f"{row.job.job_key}\t{row.window.index}\n")
        return Finished(row.job.job_key, result)

    def _spoken(self, row: Row, text: str, result: WindowResult) -> WindowResult:
        """The result with many words, each trimmed to the sound."""
        words = [text, *(f"word{number}" for number in range(self._simulation.words))]
        result = simulated_result(row.window, " ".join(words), result.language)
        loud = loudness(read_window(row.job.pcm_path, row.window))
        return replace(
            result,
            segments=tuple(
                replace(segment, words=tuple(trim_to_sound(segment.words or (), loud))) for segment in result.segments
            ),
        )


def digest_text(pcm_path: str, window: Window) -> str:
    """A word that tells a window's audio from any other: 12 hex digits over the samples that its pieces name."""
    digest = hashlib.blake2b(digest_size=6)
    with open(pcm_path, "rb") as pcm:  # noqa: PTH123 - it is a string in `DecodeTask` as well
        for piece in window.pieces:
            pcm.seek(2 * piece.file_start)
            digest.update(pcm.read(2 * piece.length))
    return digest.hexdigest()


def simulated_task(
    job_key: str, pcm_path: str, count: int = 3, *, language: str | None = "en", **options: Any
) -> DecodeTask:
    """A job of `count` windows, one behind the other in the PCM file; `options` are those of `DecodeOptions`."""
    windows = tuple(
        Window(
            index,
            (Piece(0, index * SIMULATED_SAMPLES, SIMULATED_SAMPLES),),
            speech=SIMULATED_SAMPLES,
            speech_end=SIMULATED_SAMPLES,
        )
        for index in range(count)
    )
    given = {"task": "transcribe", "initial_prompt": None, "hotwords": None, "beam_size": 5, **options}
    probes = () if language else tuple(range(0, count, max(1, count // 5)))[:5]
    return DecodeTask(job_key, pcm_path, windows, DecodeOptions(language=language, **given), probes)


def simulated_info(
    name: str = "simulated", languages: tuple[str, ...] = ("en", "de", "fr"), batch_size: int = 4
) -> EngineInfo:
    """What a fake engine says of itself: it can do everything."""
    return EngineInfo(
        name=name,
        revision="simulated",
        device="simulated",
        compute_type="float32",
        languages=languages,
        can_translate=True,
        can_align=True,
        batch_size=batch_size,
        startup_seconds=0.0,
    )


def simulated_result(window: Window, text: str, language: str) -> WindowResult:
    """One segment over the entire window with its words spread evenly; none for an empty text."""
    words = text.split()
    step = window.seconds / len(words) if words else 0.0
    raw = tuple(RawWord(f" {word}", place * step, (place + 1) * step, 1.0) for place, word in enumerate(words))
    segments = (RawSegment(0.0, window.seconds, "".join(word.word for word in raw), raw),) if words else ()
    return WindowResult(
        index=window.index,
        language=language,
        language_probability=None,
        segments=segments,
        avg_logprob=-0.1 if words else -2.0,
        compression_ratio=1.0,
        no_speech_prob=0.0 if words else 1.0,
        temperature=0.0,
        dropped=None if words else "silence",
    )


def _append(path: str, line: str) -> None:
    """Adds a line in one write, so that those of several processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _key(job: EngineJob, *, probe: bool) -> BatchKey:
    return BatchKey("probe" if probe else "decode", (len(job.own), job.options.beam_size))


def _fault(row: Row) -> str | None:
    fault, _, index = (row.job.options.hotwords or "").partition("@")
    return fault if index in ("", str(row.window.index)) else None


def _hang() -> None:
    threading.Event().wait(_FOREVER)


def _signal(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    _hang()  # until the signal has arrived
