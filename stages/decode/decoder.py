# SPDX-License-Identifier: Apache-2.0
"""The stage: which way a file is decoded, and what it means when its reader ends."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from sqscribe.bundled import speeches
from sqscribe.errors import ErrorCode, JobFailedError, NodeFaultError, PermanentError, TransientError
from stages.decode.findings import Findings, emptiness, failure, no_such_track
from stages.decode.language_tags import tags_of
from stages.decode.parent import KILLED_FROM_OUTSIDE
from stages.decode.pcm import SAMPLE_BYTES, Part, too_long
from stages.decode.reader_limits import Ended, ReaderLimits, memory_for
from stages.decode.readers import Readers
from stages.decode.recorders import SILENT_PEAK, MixingRecorder, Recorder, Take
from stages.decode.track_read import TrackRead, told
from stages.decode.voice_files import MOST_VOICES, VoiceFiles, too_many
from stages.disk import disk_faults
from stages.media_kind import explain
from stages.ports import Cancellation, ScratchReserve
from stages.reader.wire import Form, Kind, Message, MessageReader, Report, Task
from stages.values import SAMPLE_RATE, Audio, Source
from stages.wav import PlainWav, find_plain_wav

__all__ = ["AudioDecoder", "DecodeLimits"]

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
        track: int | Literal["all"] | None = None,
        split: bool = False,
    ) -> Audio:
        """Decodes an audio track, or all of them, to `folder/audio.pcm`, complete or not there at all.

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
            track: Which audio track, from 0; `all`: each by itself; None: the default one, else one in the language,
                else the first, and of these the first that has sound.
            split: Whether each channel is kept by itself. Those without sound, and those that have the very sound of
                another, are left out.

        Returns:
            At least one sample of audio. Its voices are told apart where tracks or channels are.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk is full or broken, or no file can be decoded on this machine.
            PermanentError: `media_unreadable`; `media_no_audio` (no audio stream, not this one, or none of it in the
                part that is asked for); `media_too_long`; `source_too_large`, for this machine's scratch space;
                `unsupported_option`: more channels or tracks than are kept apart.
            TransientError: `interrupted`: somebody else killed the reader.
        """
        cancellation.check()
        if source.bytes == 0:
            raise PermanentError(ErrorCode.MEDIA_UNREADABLE, "the source is empty")
        part = Part(start, end, self._limits.max_seconds)
        held = 0 if source.path.is_symlink() else source.bytes
        with VoiceFiles(folder, part, held, reserve, cancellation, split=split) as files:
            wav = None if isinstance(track, int) and track > 0 else find_plain_wav(source.path)
            request = _Request(source.path, part, tags_of(language))
            if wav:  # to start a process costs more than all else that is done for a short clip
                parts = [TrackRead([self._copy(wav, part, files, cancellation)], Findings(), number=0)]
            elif track == "all":
                parts = self._read_all(request, files, cancellation)
            else:
                parts = [self._read_with_sound(request, track, files, cancellation)]
            takes = [(each.number if track == "all" else None, take) for each in parts for take in each.takes]
            if split and wav:
                takes = [(number, take._replace(channel=0)) for number, take in takes]
            path, voices = files.join(takes)
        return Audio(
            path=path,
            samples=max(voice.samples for voice in voices),
            start=part.begin,
            source_sha256=source.sha256,
            media=source.media,
            apart=voices if split or track == "all" else (),
            warnings=tuple(told(parts, track)),
        )

    def _copy(self, wav: PlainWav, part: Part, files: VoiceFiles, cancellation: Cancellation) -> Take:
        if part.limit is not None and wav.length > part.limit * SAMPLE_RATE * SAMPLE_BYTES:
            raise too_long(part.most)
        with files.writer() as pcm:
            wav.copy(pcm.write, cancellation, math.ceil(part.stop * SAMPLE_RATE) * SAMPLE_BYTES)
            _raise(emptiness(pcm, wav.path))
            return Take(pcm.path, pcm.samples, None)

    def _read_with_sound(
        self, request: _Request, track: int | None, files: VoiceFiles, cancellation: Cancellation
    ) -> TrackRead:
        """Reads the first track that has sound; where none has, the first."""
        first = read = self._read(request, track, files.recorder(), cancellation)
        if track is None and (first.error or first.found.peak < SILENT_PEAK):
            for other in first.order[1:_MOST_TRACKS]:
                read = self._read(request, other, files.recorder(), cancellation)
                if not read.error and read.found.peak >= SILENT_PEAK:
                    return read
            if first.order[1:]:
                read = self._read(request, first.number, files.recorder(), cancellation)
        _raise(read.error)
        return read

    def _read_all(self, request: _Request, files: VoiceFiles, cancellation: Cancellation) -> list[TrackRead]:
        """Reads every track; one that holds nothing that can be heard costs the others nothing."""
        reads = [self._read(request, None, files.recorder(), cancellation)]
        others = reads[0].order[1:]
        if len(others) >= MOST_VOICES:
            raise too_many("tracks")
        reads += [
            self._read(request, track, files.recorder(slot), cancellation) for slot, track in enumerate(others, 1)
        ]
        for read in reads:
            if read.error and not read.is_its_own_fault:
                raise read.error
        heard = [read for read in reads if not read.error]
        if not heard:
            _raise(reads[0].error)
        return sorted(heard, key=lambda read: read.number)

    def _read(self, request: _Request, track: int | None, recorder: Recorder, cancellation: Cancellation) -> TrackRead:
        """Reads one track; what is wrong with it is returned, what is wrong with more than it is raised."""
        with recorder:
            listener = _Listener(recorder)
            ended = self._run(request.task(track), listener.take, cancellation)
            found = listener.found
            report = found.report
            if report is None:
                raise self._breakdown(ended, request.path, cancellation)
            if track is not None and report.tracks and track >= len(report.tracks):
                raise no_such_track(report, track)
            error = failure(report, request.path, request.part.most) or emptiness(recorder, request.path)
            if error and len(report.order) <= 1:
                raise error
            number = track if report.track is None else report.track
            return TrackRead([] if error else recorder.takes, found, number or 0, report.order, error)

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
        listener = _Listener(MixingRecorder(None))
        witness = self._run(
            Task(str(speeches()[0].path), None, (), _WITNESS_SECONDS, None), listener.take, cancellation
        )
        if listener.found.peak < SILENT_PEAK:
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
    """Hears a reader out: gives its sound to a recorder, keeps what it says.

    Args:
        recorder: Takes the sound.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._messages = MessageReader()
        self.found = Findings()

    def take(self, chunk: bytes) -> None:
        """Takes the next bytes that the reader wrote."""
        for message in self._messages.feed(chunk):
            self._hear(message)

    def _hear(self, message: Message) -> None:
        found, recorder = self.found, self._recorder
        match message.kind:
            case Kind.FORM:
                form = Form.parse(message.payload)
                found.forms.append(form)
                recorder.begin(form)
            case Kind.SOUND if found.forms:
                recorder.lay(message.position, message.payload)
                found.peak, found.turned_seconds = recorder.peak, recorder.turned_seconds
            case Kind.REPORT:
                found.report = Report.parse(message.payload)
                found.alike = tuple(recorder.alike)
            case _:
                raise NodeFaultError("the decoder's program is not of this version")


def _raise(error: JobFailedError | None) -> None:
    if error:
        raise error
