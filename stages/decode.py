# SPDX-License-Identifier: Apache-2.0
"""DECODE: from a media file to raw mono PCM on disk."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import ffmpeg

from sqscribe.errors import ErrorCode, JobFailedError, PermanentError, TransientError
from stages.disk import disk_faults
from stages.ffmpeg import Ended, find_ffmpeg, memory_for, run
from stages.media_kind import describe, explain
from stages.ports import Cancellation, ScratchReserve
from stages.values import SAMPLE_RATE, Audio, Source
from stages.wav import find_plain_wav

__all__ = ["AudioDecoder", "DecodeLimits"]

_SAMPLE_BYTES = 2
#: Scratch bytes that are reserved at a time: nearly nine minutes of PCM.
_STEP = 16 * 2**20
#: The largest single piece of memory that ffmpeg may ask for; the index of a day-long video has some tens of MiB.
_MAX_ALLOC = 512 * 2**20

#: Samples that ffmpeg writes at a time.
_PIECE = 65_536

#: Demuxers of files that hold media. What is missing is missing on purpose: playlists and scripts (hls, dash, concat,
#: ffmetadata) name other files, text and image formats take whatever comes, network ones need no file.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,gsm,ivf,loas,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,sox,spdif,tak,truehd,tta,voc,w64,wav,wtv,wv,xwma"
)

#: Where a stream begins late or has a hole (a muted call, a discontinuous transmission) silence is laid in, so that
#: times stay those of the file. Timestamps are first made to run forwards only: `aresample` answers a step back, as
#: where two recordings were joined, by dropping sound. Down-mixing comes first, so that a long hole is cheap to fill.
#: Sound leaves in pieces of a few seconds and not of a few milliseconds: to hand on each costs more than to decode it.
_FILTERS = (
    f"aformat=sample_rates={SAMPLE_RATE}:channel_layouts=mono:sample_fmts=s16,"
    "asetpts='st(1,max(PTS,ld(0)));st(0,ld(1)+NB_SAMPLES/SR/TB);ld(1)',"
    "aresample=async=1:first_pts=0,"
    f"asetnsamples=n={_PIECE}:p=0"
)

_KILLED_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits of one decode; durations in seconds.

    Attributes:
        max_seconds: Longest audio that is taken (of the part that is asked for).
        timeout: What ffmpeg may take in all.
        stall_timeout: What it may take between two pieces of output.
        threads: Of ffmpeg's decoders; audio decoders gain next to nothing from more than one.
    """

    max_seconds: float
    timeout: float = 3600.0
    stall_timeout: float = 120.0
    threads: int = 1


class AudioDecoder:
    """Decodes media files. Thread-safe: it holds nothing but its limits.

    Raises:
        UnfitNodeError: There is no ffmpeg on this machine.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._ffmpeg = find_ffmpeg()

    def decode(
        self,
        source: Source,
        folder: Path,
        reserve: ScratchReserve,
        cancellation: Cancellation,
        start: float | None = None,
        end: float | None = None,
    ) -> Audio:
        """Decodes the first audio stream to `folder/audio.pcm`, complete or not there at all.

        A WAV file that holds such PCM already is copied; all else goes through ffmpeg.

        A part is cut out of the decoded stream, not sought in the file: containers without an index give wrong times
        after a seek, and so the samples of a part are the very ones of the whole.

        Args:
            source: The media file; it stays.
            folder: The job's scratch folder.
            reserve: Asked for the source and the PCM together, before they grow.
            cancellation: Ends ffmpeg.
            start: Seconds of the file's own clock; `Audio.start` says so.
            end: Likewise.

        Returns:
            At least one sample of audio.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk is full or broken, or ffmpeg cannot be started.
            PermanentError: `media_unreadable`; `media_no_audio` (no audio stream, or none of it in the part that is
                asked for); `media_too_long`; `source_too_large`, for this machine's scratch space.
            TransientError: `interrupted`: somebody else killed ffmpeg.
        """
        cancellation.check()
        if source.bytes == 0:
            raise PermanentError(ErrorCode.MEDIA_UNREADABLE, "the source is empty")
        begin = start or 0.0
        held = 0 if source.path.is_symlink() else source.bytes
        partial = folder / "audio.pcm.part"
        with _PcmWriter(partial, begin, end, self._limits.max_seconds, held, reserve, cancellation) as pcm:
            # One second more than allowed, to tell a recording that is too long from one that just fits.
            stop = begin + self._limits.max_seconds + 1
            if end is not None:
                stop = min(stop, end)
            wav = find_plain_wav(source.path)
            if wav:  # to start ffmpeg costs more than all else that is done for a short clip
                wav.copy(pcm.write, cancellation, math.ceil(stop * SAMPLE_RATE) * _SAMPLE_BYTES)
                failure = _emptiness(pcm, source.path)
            else:
                failure = self._run_ffmpeg(source.path, stop, pcm, cancellation)
            if failure:
                raise failure
        path = partial.rename(folder / "audio.pcm")
        return Audio(path=path, samples=pcm.samples, start=begin, source_sha256=source.sha256, media=source.media)

    def _run_ffmpeg(
        self, path: Path, stop: float, pcm: _PcmWriter, cancellation: Cancellation
    ) -> JobFailedError | None:
        ended = run(
            self._command(path, stop),
            pcm.write,
            cancellation,
            timeout=self._limits.timeout,
            stall_timeout=self._limits.stall_timeout,
            memory=memory_for(path.stat().st_size),
        )
        return _failure(ended, pcm, path) or _emptiness(pcm, path)

    def _command(self, path: Path, stop: float) -> list[str]:
        media = ffmpeg.input(
            f"file:{path}",
            protocol_whitelist="file",
            format_whitelist=_CONTAINERS,
            threads=self._limits.threads,
        )
        output = ffmpeg.output(
            media["a:0"],
            "pipe:1",
            af=_FILTERS,
            t=stop,
            format="s16le",
            acodec="pcm_s16le",
            threads=1,
            max_error_rate=1,  # garbage behind good audio is no reason to lose the audio
            vn=None,
            sn=None,
            dn=None,
        )
        guards = output.global_args("-nostdin", "-hide_banner", "-loglevel", "error", "-max_alloc", str(_MAX_ALLOC))
        return [str(argument) for argument in guards.compile(cmd=self._ffmpeg)]


class _PcmWriter:
    """Writes the wanted part of a stream of PCM to a file. A context manager: after an error the file is gone."""

    def __init__(
        self,
        path: Path,
        begin: float,
        end: float | None,
        max_seconds: float,
        held: int,
        reserve: ScratchReserve,
        cancellation: Cancellation,
    ) -> None:
        self._path = path
        self._skip = round(begin * SAMPLE_RATE) * _SAMPLE_BYTES
        self._stop = None if end is None else round(end * SAMPLE_RATE) * _SAMPLE_BYTES
        self._max_seconds = max_seconds
        self._held = held
        self._reserve = reserve
        self._cancellation = cancellation
        self._reserved = 0
        self._read = 0
        self._written = 0
        with disk_faults():
            self._file = path.open("wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error:
            self._path.unlink()

    @property
    def samples(self) -> int:
        """How many samples are in the file."""
        return self._written // _SAMPLE_BYTES

    @property
    def decoded_seconds(self) -> float:
        """Length of all that was decoded, wanted or not."""
        return self._read / _SAMPLE_BYTES / SAMPLE_RATE

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes of the whole stream."""
        first = max(0, self._skip - self._read)
        last = len(chunk) if self._stop is None else max(0, self._stop - self._read)
        self._read += len(chunk)
        wanted = memoryview(chunk)[first:last]
        if not wanted:
            return
        total = self._written + len(wanted)
        if total > self._max_seconds * SAMPLE_RATE * _SAMPLE_BYTES:
            raise PermanentError(
                ErrorCode.MEDIA_TOO_LONG,
                f"there is more than {self._max_seconds:g} s of audio; raise SQSCRIBE_MAX_DURATION, or ask for parts "
                "with `start` and `end`",
            )
        if self._held + total > self._reserved:
            self._reserve.reserve(self._held + total + _STEP, self._cancellation)
            self._reserved = self._held + total + _STEP
        with disk_faults():
            while wanted:
                wanted = wanted[self._file.write(wanted) :]
        self._written = total


def _failure(ended: Ended, pcm: _PcmWriter, source: Path) -> JobFailedError | None:
    """The error that the end of ffmpeg means for the job; None if it went well."""
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        if -ended.returncode in _KILLED_FROM_OUTSIDE:
            return TransientError(ErrorCode.INTERRUPTED, f"ffmpeg was killed ({name}) while it decoded")
        return PermanentError(ErrorCode.MEDIA_UNREADABLE, f"ffmpeg crashed ({name}) while it decoded this file")
    if "matches no streams" in ended.messages:
        kind = describe(source)
        return PermanentError(
            ErrorCode.MEDIA_NO_AUDIO, f"the file is {kind}" if kind else "the file has no audio stream"
        )
    if ended.returncode > 0 or (ended.messages.strip() and not pcm.decoded_seconds):
        return PermanentError(ErrorCode.MEDIA_UNREADABLE, explain(source, ended.messages))
    return None


def _emptiness(pcm: _PcmWriter, source: Path) -> JobFailedError | None:
    """The error when no sample was written; None when some were."""
    if pcm.samples:
        return None
    kind = None if pcm.decoded_seconds else describe(source)
    if kind:
        return PermanentError(ErrorCode.MEDIA_NO_AUDIO, f"the file is {kind}")
    return PermanentError(
        ErrorCode.MEDIA_NO_AUDIO,
        f"there is no audio in the part that is asked for; the file has {pcm.decoded_seconds:.1f} s",
    )
