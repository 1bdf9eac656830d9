# SPDX-License-Identifier: Apache-2.0
"""An opened media file: its tracks, its clock's zero, how long it says that it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream

from stages.reader.heads import mp3_knows_its_length, wav_length
from stages.reader.ogg import FileTail
from stages.reader.sizes import MendedFile, wrong_size
from stages.reader.wire import Track

__all__ = ["MediaFile", "preferred"]

#: Demuxers of files that hold media. What is missing is missing on purpose: playlists and scripts (hls, dash, concat,
#: ffmetadata) name other files, text and image formats take whatever comes, network ones need no file.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dss,dts,dtshd,dv,eac3,flac,flv,gsm,ivf,loas,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,rm,sox,spdif,tak,truehd,tta,voc,w64,wav,wtv,wv,xwma"
)
#: Those that store times. In the others a time is the sum of what was decoded before it.
_WITH_TIMES = frozenset(
    ["asf", "avi", "dv", "flv", "matroska", "mov", "mpeg", "mpegts", "mxf", "nut", "ogg", "rm", "wtv"]
)
#: Those without a head: their length is a guess from their size and the rate of their first frames.
_WITHOUT_LENGTH = frozenset(["aac", "ac3", "amrnb", "amrwb", "dts", "dtshd", "eac3", "gsm", "loas", "spdif", "truehd"])
_MICROSECONDS = 1_000_000


class MediaFile:
    """Opens a file. A context manager.

    Args:
        path: The file.
        offset: Bytes of it that are passed over.

    Raises:
        av.FFmpegError: It is no media, or is damaged.
    """

    def __init__(self, path: str, offset: int = 0) -> None:
        self._path = Path(path)
        self.size = self._path.stat().st_size
        self._wav = wav_length(self._path, self.size)
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        if self._wav and self._wav.goes_on:
            options["ignore_length"] = "1"
        self._size_field = wrong_size(self._path, self.size)
        self.container: InputContainer = av.open(self._place(offset), "r", options=options, metadata_errors="replace")
        self._names = frozenset(self.container.format.name.split(","))

    def _place(self, offset: int) -> str | FileTail | MendedFile:
        if offset:
            return FileTail(self._path, offset)
        return MendedFile(self._path, self._size_field) if self._size_field else f"file:{self._path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def has_times(self) -> bool:
        """Whether the container stores times."""
        return bool(self._names & _WITH_TIMES)

    @property
    def is_ogg(self) -> bool:
        """Whether it may be a chain of recordings."""
        return "ogg" in self._names

    @property
    def audio(self) -> list[Stream]:
        """Its audio tracks, those that no decoder knows among them."""
        return [stream for stream in self.container.streams if stream.type == "audio"]

    @property
    def tracks(self) -> list[Track]:
        """What is known of the audio tracks."""
        return [
            Track(
                codec=stream.codec_context.name if isinstance(stream, AudioStream) and stream.codec_context else None,
                language=stream.metadata.get("language"),
                default=bool(stream.disposition & Disposition.default),
            )
            for stream in self.audio
        ]

    @property
    def videos(self) -> list[Stream]:
        """Its moving pictures; no cover art."""
        return [
            stream
            for stream in self.container.streams
            if stream.type == "video" and not stream.disposition & Disposition.attached_pic
        ]

    @property
    def zero(self) -> float:
        """The stamp that a player shows as 0: where the first of sound and picture begins."""
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in [*self.audio, *self.videos]
            if stream.start_time is not None and stream.time_base
        ]
        return min(starts, default=0.0)

    def declared(self, stream: Stream) -> float | None:
        """Seconds until the end of a track as the file's head gives it; None where it would be a guess."""
        if self._names & _WITHOUT_LENGTH or ("mp3" in self._names and not mp3_knows_its_length(self._path, self.size)):
            return None
        if self._size_field:
            return None
        if self._wav:
            return self._wav.declared
        if stream.duration and stream.time_base:
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - self.zero
        return self.container.duration / _MICROSECONDS if self.container.duration else None


def preferred(tracks: Sequence[Track], languages: Sequence[str]) -> list[int]:
    """The tracks that can be decoded, in the order in which they are tried.

    The one that the file marks comes first, then those of a wanted language, then the others as they stand.
    """
    marked = [number for number, track in enumerate(tracks) if track.default]

    def rank(number: int) -> tuple[bool, bool, int]:
        track = tracks[number]
        return (marked != [number], (track.language or "").lower() not in languages, number)

    return sorted((number for number, track in enumerate(tracks) if track.codec), key=rank)
