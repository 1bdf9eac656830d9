# SPDX-License-Identifier: Apache-2.0
"""The stage: which way a file is decoded, and what it means when its reader ends."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from sqscribe.bundled import speeches
from sqscribe.errors import ErrorCode, JobFailedError, NodeFaultError, PermanentError, TransientError
from stages.decode.findings import Findings, emptiness, failure, warnings
from stages.decode.language_tags import tags_of
from stages.decode.mixing import Mixer
from stages.decode.parent import KILLED_FROM_OUTSIDE
from stages.decode.pcm import SAMPLE_BYTES, Part, PcmWriter, too_long
from stages.decode.reader_limits import Ended, ReaderLimits, memory_for
from stages.decode.readers import Readers
from stages.disk import disk_faults
from stages.media_kind import explain
from stages.ports import Cancellation, ScratchReserve
from stages.reader.wire import Form, Kind, Message, MessageReader, Report, Task
from stages.values import SAMPLE_RATE, Audio, Source
from stages.wav import PlainWav, find_plain_wav

__all__ = ["AudioDecoder", "DecodeLimits"]

#: A track without a louder sample has no sound: -72 dB.
_SILENT_PEAK = 8
#: How much of a known clip is decoded, in seconds.
_WITNESS_SECONDS = 5.0
#: Tracks that are looked at for sound.
_MOST_TRACKS = 8


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits of one decode; durations in seconds.

    Attributes:
        max_seconds: Longest audio that is taken (of the part that is asked for).
        timeout: What the reader may take in all.
        stall_timeout: What it may take between two pieces of output.
    """

    max_seconds: float
    timeout: float = 3600.0
    stall_timeout: float = 120.0


class AudioDecoder:
    """Decodes media files, each in a process of its own. Thread-safe. A context manager: `close` at its end.

    Args:
        limits: Of one decode.
        reader: A program in place of the reader; see `Readers`.

    Raises:
        UnfitNodeError: PyAV is missing.
    """

    def __init__(self, limits: DecodeLimits, reader: Sequence[str] | None = None) -> None:
        self._limits = limits
        self._readers = Readers(reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is kept ready for the next file. Whoever decodes again starts it anew."""
        self._readers.close()

    def decode(
        self,
        source: Source,
        folder: Path,
        reserve: ScratchReserve,
        cancellation: Cancellation,
        start: float | None = None,
        end: float | None = None,
        *,
        language: str | None = None,
        track: int | None = None,
    ) -> Audio:
        """Decodes an audio track to `folder/audio.pcm`, complete or not there at all.

        A WAV file that holds such PCM already is copied; all else is read by `stages.reader`.

        A part is cut out of the decoded track, not sought in the file: containers without an index give wrong times
        after a seek, and so the samples of a part are the very ones of the whole.

        Args:
            source: The media file; it stays.
            folder: The job's scratch folder.
            reserve: Asked for the source and the PCM together, before they grow.
            cancellation: Ends the reader.
            start: Seconds of the file's own clock; `Audio.start` says so.
            end: Likewise.
            language: Whisper code: a track in this language is preferred to others, but not to the file's default one.
            track: Which audio track, from 0; None: the default one, else one in the language, else the first, and of
                these the first that has sound.

        Returns:
            At least one sample of audio.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk is full or broken, or no file can be decoded on this machine.
            PermanentError: `media_unreadable`; `media_no_audio` (no audio stream, or none of it in the part that is
                asked for); `media_too_long`; `source_too_large`, for this machine's scratch space.
            TransientError: `interrupted`: somebody else killed the reader.
        """
        cancellation.check()
        if source.bytes == 0:
            raise PermanentError(ErrorCode.MEDIA_UNREADABLE, "the source is empty")
        part = Part(start, end, self._limits.max_seconds)
        held = 0 if source.path.is_symlink() else source.bytes
        partial_path = folder / "audio.pcm.part"
        writer = partial(PcmWriter, partial_path, part, held, reserve, cancellation)
        wav = find_plain_wav(source.path)
        if wav:  # to start a process costs more than all else that is done for a short clip
            samples, found = self._copy(wav, part, writer, cancellation), Findings()
        else:
            request = _Request(source.path, part, tags_of(language))
            try:
                samples, found = self._read_with_sound(request, track, writer, cancellation)
            except JobFailedError:
                partial_path.unlink(missing_ok=True)
                raise
        path = partial_path.rename(folder / "audio.pcm")
        return Audio(
            path=path,
            samples=samples,
            start=part.begin,
            source_sha256=source.sha256,
            media=source.media,
            warnings=tuple(warnings(found)),
        )

    def _copy(self, wav: PlainWav, part: Part, writer: Callable[[], PcmWriter], cancellation: Cancellation) -> int:
        if part.limit is not None and wav.length > part.limit * SAMPLE_RATE * SAMPLE_BYTES:
            raise too_long(part.most)
        with writer() as pcm:
            wav.copy(pcm.write, cancellation, math.ceil(part.stop * SAMPLE_RATE) * SAMPLE_BYTES)
            _raise(emptiness(pcm, wav.path))
            return pcm.samples

    def _read_with_sound(
        self, request: _Request, track: int | None, writer: Callable[[], PcmWriter], cancellation: Cancellation
    ) -> tuple[int, Findings]:
        """Reads the first track that has sound; where none has, the first."""
        samples, found, error = self._read(request, track, writer, cancellation)
        first, order = (found.report.track, found.report.order) if found.report else (track, [])
        if track is None and (error or found.peak < _SILENT_PEAK):
            for other in order[1:_MOST_TRACKS]:
                try_samples, other_found, other_error = self._read(request, other, writer, cancellation)
                if not other_error and other_found.peak >= _SILENT_PEAK:
                    return try_samples, other_found
            if order[1:]:
                samples, found, error = self._read(request, first, writer, cancellation)
        _raise(error)
        return samples, found

    def _read(
        self, request: _Request, track: int | None, writer: Callable[[], PcmWriter], cancellation: Cancellation
    ) -> tuple[int, Findings, JobFailedError | None]:
        """Reads one track; what is wrong with it is returned, what is wrong with more than it is raised."""
        with writer() as pcm:
            listener = _Listener(pcm)
            ended = self._run(request.task(track), listener.take, cancellation)
            found = listener.found
            if found.report is None:
                raise self._breakdown(ended, request.path, cancellation)
            error = failure(found.report, request.path, request.part.most) or emptiness(pcm, request.path)
            if error and len(found.report.order) <= 1:
                raise error
            return pcm.samples, found, error

    def _run(self, task: Task, sink: Callable[[bytes], None], cancellation: Cancellation) -> Ended:
        with disk_faults():
            size = Path(task.path).stat().st_size
        limits = ReaderLimits(self._limits.timeout, self._limits.stall_timeout, memory_for(size))
        return self._readers.run(task, sink, cancellation, limits)

    def _breakdown(self, ended: Ended, path: Path, cancellation: Cancellation) -> Exception:
        """The error for a reader that ended without a word: whether it is this file's fault, a known clip tells."""
        if -ended.returncode in KILLED_FROM_OUTSIDE:
            name = signal.Signals(-ended.returncode).name
            return TransientError(ErrorCode.INTERRUPTED, f"the decoder was killed ({name}) while it decoded")
        listener = _Listener(None)
        witness = self._run(
            Task(str(speeches()[0].path), None, (), _WITNESS_SECONDS, None), listener.take, cancellation
        )
        if listener.found.peak < _SILENT_PEAK:
            said = witness.messages.strip().rsplit("\n", 1)[-1][:300]
            return NodeFaultError(
                f"no file can be decoded on this machine, not even a known one (exit code {witness.returncode}: {said})"
            )
        if ended.returncode < 0:
            name = signal.Signals(-ended.returncode).name
            return PermanentError(ErrorCode.MEDIA_UNREADABLE, f"the decoder crashed ({name}) on this file")
        return PermanentError(ErrorCode.MEDIA_UNREADABLE, explain(path, ended.messages))


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of every track of a file."""

    path: Path
    part: Part
    tags: tuple[str, ...]

    def task(self, track: int | None) -> Task:
        return Task(str(self.path), track, self.tags, self.part.stop, self.part.limit)


class _Listener:
    """Hears a reader out: mixes its sound, lays it and the silence between it down, keeps what it says.

    Args:
        pcm: Where the sound goes; None: nowhere.
    """

    def __init__(self, pcm: PcmWriter | None) -> None:
        self._pcm = pcm
        self._messages = MessageReader()
        self._mixer: Mixer | None = None
        self._turned_before = 0.0
        self.found = Findings()

    def take(self, chunk: bytes) -> None:
        """Takes the next bytes that the reader wrote."""
        for message in self._messages.feed(chunk):
            self._hear(message)

    def _hear(self, message: Message) -> None:
        match message.kind:
            case Kind.FORM:
                form = Form.parse(message.payload)
                self.found.forms.append(form)
                self._turned_before = self.found.turned_seconds
                self._mixer = Mixer(form.channels)
            case Kind.SOUND if self._mixer:
                mixed = self._mixer.mix(message.payload)
                self.found.peak = max(self.found.peak, self._mixer.peak)
                self.found.turned_seconds = self._turned_before + self._mixer.turned_seconds
                if self._pcm:
                    self._pcm.write_silence(message.position - self._pcm.decoded_samples)
                    self._pcm.write(mixed)
            case Kind.REPORT:
                self.found.report = Report.parse(message.payload)
            case _:
                raise NodeFaultError("the decoder's program is not of this version")


def _raise(error: JobFailedError | None) -> None:
    if error:
        raise error
