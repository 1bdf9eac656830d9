# SPDX-License-Identifier: Apache-2.0
"""Decoded frames to sound of one rate: joined into pieces, resampled, laid on the file's clock, and sent."""

from __future__ import annotations

import math

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler

from stages.reader.clock import FileClock
from stages.reader.wire import RATE, Form, MessageWriter

__all__ = ["SoundSender"]

#: Frames of 20 ms are joined to pieces of so many samples: to hand each one on costs more than to resample it.
_PIECE = 16_384
#: A frame that is stamped within this of the end of the one before follows it without a break.
_TOLERANCE = 0.04
#: A jump by more than this is believed when the frames behind it say the same.
_DOUBTFUL = 1.0
#: So many frames are looked at then.
_WITNESSES = 3


class SoundSender:
    """Takes the frames of one track in order.

    A change of format begins a new section with a resampler of its own: nothing is kept across it that ffmpeg's
    filters would lose. Stamps are looked at frame by frame.

    Args:
        clock: Says where the sound lies.
        out: Where it goes.
    """

    def __init__(self, clock: FileClock, out: MessageWriter) -> None:
        self._clock = clock
        self._out = out
        self._unit: float | None = None
        self._zero = 0.0
        self._fifo: AudioFifo | None = None
        self._layout: AudioLayout | None = None
        self._resampler = AudioResampler(format="s16", rate=RATE)
        self._width = 1
        self._second = 0.0
        self._waiting = 0
        self._expected = math.nan
        self._stamp: float | None = None
        self._doubtful: list[AudioFrame] = []

    def enter(self, unit: float | None, zero: float) -> None:
        """Says what the stamps of the frames that follow mean.

        Args:
            unit: Seconds of one; None: the stamps are made up, so only samples count.
            zero: The stamp that a player shows as 0, in seconds.
        """
        self._unit, self._zero, self._expected = unit, zero, math.nan

    def take(self, frame: AudioFrame) -> None:
        """Takes the next frame. Called for every 20 ms of audio: it does as little as it can."""
        if self._doubtful:
            self._weigh(frame)
            return
        if self._unit is not None:
            pts = frame.pts
            stamp = self._expected if pts is None else pts * self._unit - self._zero
            if not -_TOLERANCE < stamp - self._expected < _TOLERANCE and not math.isnan(stamp):
                if abs(stamp - self._expected) > _DOUBTFUL:
                    self._doubtful.append(frame)
                    return
                self._flush()
                self._stamp = stamp
            self._expected = stamp + frame.samples * (self._second or 1 / frame.sample_rate)
        self._lay(frame)

    def finish(self) -> None:
        """Sends what is left."""
        self._settle(believe=False)
        self._flush()
        self._drain()

    def _lay(self, frame: AudioFrame) -> None:
        frame.pts = None
        # PyAV's queue checks the format and the rate of what it is given, and not the channels:
        # https://github.com/PyAV-Org/PyAV/blob/main/av/audio/fifo.py
        if self._fifo is None or frame.layout != self._layout:
            self._begin(frame)
        else:
            try:
                self._fifo.write(frame)
            except ValueError:
                self._begin(frame)
        self._waiting += frame.samples
        if self._waiting >= _PIECE:
            self._flush()

    def _begin(self, frame: AudioFrame) -> None:
        """Begins a section of another format."""
        self._flush()
        self._drain()
        self._fifo = AudioFifo()
        self._layout = frame.layout
        self._fifo.write(frame)
        channels = tuple(channel.name for channel in frame.layout.channels)
        self._width = 2 * len(channels)
        self._second = 1 / frame.sample_rate
        self._out.form(Form(round(self._clock.seconds, 3), frame.sample_rate, frame.layout.name, channels))

    def _weigh(self, frame: AudioFrame) -> None:
        self._doubtful.append(frame)
        if len(self._doubtful) >= _WITNESSES:
            self._settle(believe=not self._returns())

    def _returns(self) -> bool:
        """Whether the frames behind a jump go on from before it: then one stamp was damaged."""
        due = self._expected
        for frame in self._doubtful:
            stamp = self._stamped(frame)
            if stamp is not None and abs(stamp - due) < _DOUBTFUL:
                return True
            due += frame.samples / frame.sample_rate
        return False

    def _stamped(self, frame: AudioFrame) -> float | None:
        return None if frame.pts is None or self._unit is None else frame.pts * self._unit - self._zero

    def _settle(self, *, believe: bool) -> None:
        frames, self._doubtful = self._doubtful, []
        if believe:
            self._flush()
            self._stamp = self._expected = self._stamped(frames[0]) or 0.0
        elif frames:
            frames[0].pts = None
        for frame in frames:
            self.take(frame)

    def _flush(self) -> None:
        """Sends the frames that wait."""
        self._waiting = 0
        frame = self._fifo.read(0, partial=True) if self._fifo else None
        if frame is None:
            return
        silence = self._clock.silence_before(self._stamp)
        if silence:
            self._drain()
            self._clock.advance(silence)
        self._stamp = None if math.isnan(self._expected) else self._expected
        frame.pts = None
        self._resample(frame)

    def _drain(self) -> None:
        """Sends what the resampler holds back, a millisecond at most; the next sound gets a new one."""
        self._resample(None)
        self._resampler = AudioResampler(format="s16", rate=RATE)

    def _resample(self, frame: AudioFrame | None) -> None:
        for piece in self._resampler.resample(frame):
            if piece is None or not piece.samples:
                continue
            samples = memoryview(piece.planes[0]).cast("B")[: piece.samples * self._width]
            self._out.sound(self._clock.position, samples)
            self._clock.advance(piece.samples)
