# SPDX-License-Identifier: Apache-2.0
"""The frozen values that a job becomes on its way: source, audio, windows, window results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from sqscribe.result import Media
from sqscribe.transcript import JobWarning

__all__ = [
    "GAIN_STEP",
    "SAMPLE_RATE",
    "Audio",
    "Media",
    "Piece",
    "RawSegment",
    "RawWord",
    "Source",
    "Voice",
    "Window",
    "WindowResult",
    "Windows",
]

#: Samples a second of everything behind `decode`.
SAMPLE_RATE = 16_000
#: Samples that each of `Window.gains` stands for: 0.256 s.
GAIN_STEP = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """A fetched media file.

    Attributes:
        path: In the job's scratch folder.
        bytes: Its size.
        sha256: Hex digest of its bytes.
    """

    path: Path
    bytes: int
    sha256: str
    media: Media = field(default_factory=Media)


@dataclass(frozen=True, slots=True)
class Voice:
    """What is transcribed by itself: a channel or a track, a stretch of the PCM file; in samples.

    Attributes:
        file_start: Where it begins in the PCM file.
        samples: How long it is.
        track: Which track of the media file, from 0, where each is transcribed.
        channel: Which channel, from 0, where they are split.
    """

    file_start: int
    samples: int
    track: int | None = None
    channel: int | None = None

    @property
    def file_end(self) -> int:
        """Where it ends in the PCM file."""
        return self.file_start + self.samples


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded audio on disk: raw mono signed 16-bit little-endian PCM at `SAMPLE_RATE`.

    Attributes:
        path: A complete file, renamed into place, never rewritten.
        samples: Length of the recording: of its longest voice.
        start: Seconds of the file's own clock at sample 0 (the job's `start`).
        source_sha256: Digest of the media file that it was decoded from.
        apart: Its voices, which lie behind one another in the file and have the same clock; empty: it has one alone.
        warnings: What its reader should know about how it was decoded.
    """

    path: Path
    samples: int
    start: float
    source_sha256: str
    media: Media = field(default_factory=Media)
    apart: tuple[Voice, ...] = ()
    warnings: tuple[JobWarning, ...] = ()

    @property
    def voices(self) -> tuple[Voice, ...]:
        """What is transcribed by itself, in the order of the file: together all of it."""
        return self.apart or (Voice(0, self.samples),)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the PCM file that was laid into a window; all in samples.

    Attributes:
        window_start: Where it begins in the window.
        file_start: Where it begins in the PCM file.
        length: How long it is.
    """

    window_start: int
    file_start: int
    length: int


@dataclass(frozen=True, slots=True)
class Window:
    """Up to 30 s of speech, the unit of everything behind segmentation; all in samples.

    Attributes:
        index: Its place in the job, from 0.
        pieces: In order, without gaps in the window: each begins where the one before ends.
        speech: How many samples the voice activity detector took for speech.
        speech_end: Where in the window the last speech ends (at most `samples`).
        overlap_before: The first so many samples repeat the end of the window before (0 at a silence).
        overlap_after: The last so many samples are repeated by the next window (0 at a silence).
        spans: Where in the window the voice activity detector heard speech: first sample and the one behind the last.
        gains: By how many dB the model is shown the window raised, a value for the middle of each `GAIN_STEP` samples;
            empty: as it is.
    """

    index: int
    pieces: tuple[Piece, ...]
    speech: int
    speech_end: int
    overlap_before: int = 0
    overlap_after: int = 0
    spans: tuple[tuple[int, int], ...] = ()
    gains: tuple[int, ...] = ()

    @property
    def samples(self) -> int:
        """Length of the window."""
        last = self.pieces[-1]
        return last.window_start + last.length

    @property
    def seconds(self) -> float:
        """Length of the window in seconds."""
        return self.samples / SAMPLE_RATE

    def moved(self, samples: int) -> Window:
        """The same so much further behind in the file."""
        pieces = (replace(piece, file_start=piece.file_start + samples) for piece in self.pieces)
        return replace(self, pieces=tuple(pieces))


@dataclass(frozen=True, slots=True)
class Windows:
    """A job's audio, cut.

    Attributes:
        cutter: Name and version of the cutter and its settings; the same audio and cutter give the same cut.
        windows: Those of the first voice, then those of the next; none has pieces of two.
        speech: Seconds of speech in all (overlaps counted once).
    """

    audio: Audio
    windows: tuple[Window, ...]
    speech: float
    cutter: str

    def of(self, voice: Voice) -> tuple[Window, ...]:
        """The windows of a voice, placed as if it were a file of its own."""
        return tuple(
            window.moved(-voice.file_start)
            for window in self.windows
            if voice.file_start <= window.pieces[0].file_start < voice.file_end
        )


@dataclass(frozen=True, slots=True)
class RawWord:
    """A word in seconds of its window."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class RawSegment:
    """A segment in seconds of its window; `words` is None where the model cannot align.

    Attributes:
        suspect: Why it is not to be trusted; None when it is.
    """

    start: float
    end: float
    text: str
    words: tuple[RawWord, ...] | None
    suspect: str | None = None


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What the engine transcribed of one window. Final: it is never decoded again.

    Attributes:
        index: The window's place in the job.
        language: Whisper code that it was decoded with.
        language_probability: Of this window's own detection under `multi`, else None.
        segments: Empty when nothing was said.
        dropped: Why a text was thrown away: `silence`, `repetition`, `prompt_echo`; None when it was kept.
        retries: Reasons of every further decode, in order: `compression_ratio`, `logprob`, `truncated`,
            `incomplete`, `rest`, `pace`, `repetition`, `prompt_echo`, `prompt_drift`.
        missing: Stretches of the window, in seconds, that hold more speech than their words account for.
    """

    index: int
    language: str
    language_probability: float | None
    segments: tuple[RawSegment, ...]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    dropped: str | None = None
    retries: tuple[str, ...] = ()
    missing: tuple[tuple[float, float], ...] = ()
