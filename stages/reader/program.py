# SPDX-License-Identifier: Apache-2.0
"""The reader's main function: opens one file, sends the sound of one track, and says what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import av.logging
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

from stages.reader.clock import FileClock
from stages.reader.media_file import MediaFile, preferred
from stages.reader.ogg import has_end, next_link
from stages.reader.sound import SoundSender
from stages.reader.wire import RATE, Failure, MessageWriter, Report, Task

__all__ = ["read"]

#: Packets at the beginning whose errors mean nothing: a stream is often cut in the middle of a frame.
_UNSURE = 2


def read(text: str, pipe: int) -> None:
    """Reads one file.

    Args:
        text: The task, as `Task.text` gives it.
        pipe: Where the sound goes.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.restore_default_callback()  # messages go to the standard error, at once and uncounted
    out = MessageWriter(pipe)
    task = Task.parse(text)
    report = Report()
    try:
        with MediaFile(task.path) as media:
            _read(media, task, report, out)
    except av.FFmpegError as error:
        _fail(report, Failure.UNREADABLE, _words(error))
    out.report(report)


def _read(media: MediaFile, task: Task, report: Report, out: MessageWriter) -> None:
    report.tracks = media.tracks
    report.order = preferred(report.tracks, task.languages)
    if not report.tracks:
        _fail(report, Failure.NO_AUDIO, "")
        return
    wanted = report.order[:1] if task.track is None else [number for number in report.order if number == task.track]
    if not wanted:
        _fail(report, Failure.UNREADABLE, "no decoder is known for its sound")
        return
    report.track = wanted[0]
    stream = media.audio[report.track]
    report.declared = media.declared(stream)
    if task.limit is not None and (media.declared(stream) or 0) > task.limit and _lasts(task, stream, media):
        _fail(report, Failure.TOO_LONG, "")
        return
    if isinstance(stream, AudioStream):
        decoding = _Decoding(media, stream, report, out)
        decoding.run(task.stop)
        if report.broken and media.is_ogg:
            decoding.chained(task.path, task.stop)
        report.unended = media.is_ogg and not report.stopped and not has_end(Path(task.path))


def _lasts(task: Task, stream: Stream, media: MediaFile) -> bool:
    """Whether a file is really longer than the limit: a damaged head may say anything. Packets tell, undecoded."""
    unit = float(stream.time_base or 0)
    seconds = 0.0
    with MediaFile(task.path) as again:
        try:
            for packet in again.container.demux(again.container.streams[stream.index]):
                seconds += (packet.duration or 0) * unit
                if media.has_times and packet.pts is not None:
                    seconds = max(seconds, packet.pts * unit - media.zero)
                if seconds > (task.limit or 0):
                    return True
        except av.FFmpegError:
            return False  # decoding will say what there is
    return False


class _Decoding:
    """The decoding of one track, through all recordings of a chain."""

    def __init__(self, media: MediaFile, stream: AudioStream, report: Report, out: MessageWriter) -> None:
        self._report = report
        self._clock = FileClock(report.declared, media.size)
        self._sender = SoundSender(self._clock, out)
        self._packets = 0
        self._failed_last = 0
        self._place = 0
        self._enter(media, stream)

    def run(self, stop: float) -> None:
        """Decodes until the end of the file, or until no more is wanted."""
        report = self._report
        self._demux(round(stop * RATE))
        self._sender.finish()
        clock = self._clock
        report.decoded = round(clock.seconds, 3)
        report.seen = max(report.seen, report.decoded)
        report.errors -= min(report.errors, self._failed_last == self._packets)
        report.gaps, report.gap_seconds, report.leaps = clock.gaps, round(clock.gap_seconds, 3), clock.leaps

    def chained(self, path: str, stop: float) -> None:
        """Goes on behind the place where a chain of recordings could not be read any further."""
        report, offset = self._report, 0
        while report.broken and not report.stopped:
            link = next_link(Path(path), offset + self._place)
            if link is None:
                return
            offset, self._place = link, 0
            try:
                with MediaFile(path, offset) as media:
                    streams = [stream for stream in media.audio if isinstance(stream, AudioStream)]
                    if streams:
                        report.broken = None
                        self._enter(media, streams[min(report.track or 0, len(streams) - 1)])
                        self.run(stop)
            except av.FFmpegError as error:
                report.broken = _words(error)

    def _enter(self, media: MediaFile, stream: AudioStream) -> None:
        self._media, self._stream = media, stream
        stream.codec_context.thread_type = "NONE"
        self._sender.enter(float(stream.time_base) if media.has_times and stream.time_base else None, media.zero)

    def _demux(self, stop: int) -> None:
        report, chosen = self._report, self._stream.index
        # Where only the container says how long it is, pictures or other tracks may last longer than this sound.
        streams = [] if self._stream.duration else [*self._media.videos, *self._media.audio]
        others = [stream for stream in streams if stream.index != chosen]
        try:
            for packet in self._media.container.demux(self._stream, *others):
                if packet.stream_index == chosen:
                    self._place = packet.pos or self._place
                    self._decode(packet)
                    if self._clock.position >= stop:
                        report.stopped = True
                        return
                elif packet.pts is not None and packet.time_base:
                    report.seen = max(report.seen, float(packet.pts * packet.time_base) - self._media.zero)
        except av.FFmpegError as error:
            report.broken = _words(error)
            self._decode(None)

    def _decode(self, packet: Packet[Any] | None) -> None:
        """Decodes a packet, or what the decoder still holds."""
        if packet is not None and packet.size:
            self._packets += 1
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError:
            self._failed_last = self._packets
            self._report.errors += self._packets > _UNSURE
            return
        for frame in frames:
            self._sender.take(frame)


def _fail(report: Report, failure: str, said: str) -> None:
    report.failure, report.said = failure, said


def _words(error: av.FFmpegError) -> str:
    return str(error.strerror or error)
