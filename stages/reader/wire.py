# SPDX-License-Identifier: Apache-2.0
"""What the reader is asked and what it answers: messages through a pipe, sound among them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

__all__ = ["RATE", "Failure", "Form", "Kind", "Message", "MessageReader", "MessageWriter", "Report", "Task", "Track"]

#: Samples a second of the sound that is sent.
RATE = 16_000
#: Kind, position in samples, bytes that follow.
_HEAD = struct.Struct("<cqI")


class Kind:
    """What a message holds."""

    FORM = b"F"  # how the sound that follows is laid out
    SOUND = b"S"  # samples of all channels, interleaved, signed 16-bit little-endian
    REPORT = b"R"  # the last message


class Failure:
    """Why there is no sound."""

    UNREADABLE = "unreadable"
    NO_AUDIO = "no_audio"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be read.

    Attributes:
        path: The file.
        track: Which audio track, from 0; None: the reader chooses.
        languages: Tags of a track that is preferred to others, as files write them.
        stop: Seconds after which no more is wanted.
        limit: Seconds after which the file is too long, where that is known from its head; None: it never is.
    """

    path: str
    track: int | None
    languages: tuple[str, ...]
    stop: float
    limit: float | None

    def text(self) -> str:
        """As the reader's only argument."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Task:
        """The reader's side of `text`."""
        values = json.loads(text)
        return cls(**(values | {"languages": tuple(values["languages"])}))


@dataclass(frozen=True, slots=True)
class Form:
    """How a stretch of sound is laid out.

    Attributes:
        at: Seconds of the file's clock at which it begins.
        rate: Samples a second in the file.
        layout: ffmpeg's name.
        channels: A name for each; `NONE` where the file does not say.
    """

    at: float
    rate: int
    layout: str
    channels: tuple[str, ...]

    @classmethod
    def parse(cls, text: bytes) -> Form:
        """The decoder's side of a message of kind `FORM`."""
        values = json.loads(text)
        return cls(**(values | {"channels": tuple(values["channels"])}))


@dataclass(frozen=True, slots=True)
class Track:
    """An audio track of a file.

    Attributes:
        codec: None where no decoder knows it.
        language: Its tag as the file writes it.
        default: Whether the file names it as the one to play.
    """

    codec: str | None
    language: str | None
    default: bool


@dataclass(slots=True)
class Report:
    """What was found in a file and what became of it; durations in seconds.

    Attributes:
        failure: Why there is no sound.
        said: What ffmpeg's libraries say to that.
        tracks: The audio tracks.
        order: Tracks that can be decoded, the one to be preferred first.
        track: The one that was decoded.
        declared: How long the file says that it is; None where it does not say, or only a guess is possible.
        decoded: Where the sound ended.
        seen: Where any track ended.
        stopped: Whether the rest was not wanted.
        errors: Packets that could not be decoded, the first and the last left out.
        broken: Why the container could not be read to its end.
        gaps: Holes that are kept as silence.
        gap_seconds: Their sum.
        unended: Whether the mark that ends a recording of this kind is missing.
        leaps: Jumps of time that nothing else in the file bears out; they are not followed.
    """

    failure: str | None = None
    said: str = ""
    tracks: list[Track] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    track: int | None = None
    declared: float | None = None
    decoded: float = 0.0
    seen: float = 0.0
    stopped: bool = False
    errors: int = 0
    broken: str | None = None
    gaps: int = 0
    gap_seconds: float = 0.0
    leaps: int = 0
    unended: bool = False

    @classmethod
    def parse(cls, text: bytes) -> Report:
        """The decoder's side of a message of kind `REPORT`."""
        values = json.loads(text)
        return cls(**(values | {"tracks": [Track(**track) for track in values["tracks"]]}))


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: One of `Kind`.
        position: Of sound: where its first sample lies, in samples from the beginning of the file.
    """

    kind: bytes
    position: int
    payload: bytes


class MessageWriter:
    """The reader's end of the pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def sound(self, position: int, samples: memoryview) -> None:
        """Sends a piece of sound."""
        self._write(_HEAD.pack(Kind.SOUND, position, len(samples)))
        self._write(samples)

    def form(self, form: Form) -> None:
        """Says how the sound that follows is laid out."""
        self._say(Kind.FORM, json.dumps(asdict(form)).encode())

    def report(self, report: Report) -> None:
        """Sends the last message."""
        self._say(Kind.REPORT, json.dumps(asdict(report)).encode())

    def _say(self, kind: bytes, payload: bytes) -> None:
        self._write(_HEAD.pack(kind, 0, len(payload)) + payload)

    def _write(self, content: bytes | memoryview) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._pipe, left) :]


class MessageReader:
    """The decoder's end of the pipe: takes what comes, in any pieces, and gives whole messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that are whole now."""
        self._held += chunk
        at = 0
        while len(self._held) - at >= _HEAD.size:
            kind, position, length = _HEAD.unpack_from(self._held, at)
            end = at + _HEAD.size + length
            if end > len(self._held):
                break
            yield Message(kind, position, bytes(memoryview(self._held)[at + _HEAD.size : end]))
            at = end
        del self._held[:at]
