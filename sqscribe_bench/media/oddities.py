# SPDX-License-Identifier: Apache-2.0
"""Rows for what happens to recordings: tracks, offsets, holes, joins, cuts, wrong names, none of the sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sqscribe.errors import ErrorCode
from sqscribe_bench.media.row import Pcm, Row, Workshop, write_wav
from stages.values import SAMPLE_RATE

__all__ = ["ODDITIES"]

_UNREADABLE = frozenset({ErrorCode.MEDIA_UNREADABLE})
_NO_AUDIO = frozenset({ErrorCode.MEDIA_NO_AUDIO})
_NO_USE = _UNREADABLE | _NO_AUDIO

_PICTURES = ("-f", "lavfi", "-i", "testsrc=duration=14:size=64x48:rate=25")
_SILENCE = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=9")


def _late(seconds: float) -> Callable[[Pcm], Pcm]:
    """The sentence behind so much silence."""
    return lambda sentence: np.concatenate([np.zeros(round(seconds * SAMPLE_RATE), np.int16), sentence])


def _twice(sentence: Pcm) -> Pcm:
    return np.concatenate([sentence, sentence])


def _first(share: float) -> Callable[[Pcm], Pcm]:
    return lambda sentence: sentence[: round(len(sentence) * share)]


def _silent(seconds: float) -> Callable[[Pcm], Pcm]:
    return lambda _sentence: np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def _with_hole(sentence: Pcm) -> Pcm:
    """Two seconds out of the middle."""
    cut = sentence.copy()
    cut[4 * SAMPLE_RATE : 6 * SAMPLE_RATE] = 0
    return cut


def _cut(name: str, share: float, *arguments: str) -> Callable[[Workshop], object]:
    """The sentence as a file, of which only so much is left."""

    def make(shop: Workshop) -> object:
        path = shop.encode(shop.folder / name, *arguments)
        whole = path.read_bytes()
        return path.write_bytes(whole[: round(len(whole) * share)])

    return make


def _joined(name: str, *parts: tuple[str, ...]) -> Callable[[Workshop], object]:
    """The sentence as several files, one behind the other in one."""

    def make(shop: Workshop) -> object:
        content = b"".join(shop.encode(shop.folder / name, *part).read_bytes() for part in parts)
        return (shop.folder / name).write_bytes(content)

    return make


def _opposite(shop: Workshop) -> object:
    return write_wav(shop.folder / "opposite.wav", np.stack([shop.sentence, -shop.sentence], axis=1))


def _wrapped(shop: Workshop) -> object:
    """A WAV whose size field says less than there is, as it does beyond 4 GiB."""
    path = write_wav(shop.folder / "wrapped.wav", np.stack([shop.sentence] * 2, axis=1))
    content = bytearray(path.read_bytes())
    content[40:44] = (100_000).to_bytes(4, "little")
    return path.write_bytes(content)


def _endless(shop: Workshop) -> object:
    """A WAV that was written into a pipe."""
    path = write_wav(shop.folder / "endless.wav", np.stack([shop.sentence] * 2, axis=1))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    return path.write_bytes(content)


def _named(name: str, wrong: str, *arguments: str) -> Callable[[Workshop], object]:
    return lambda shop: shop.encode(shop.folder / name, *arguments).rename(shop.folder / wrong)


def _made(name: str, *arguments: str) -> Callable[[Workshop], object]:
    """Arguments in which SENTENCE stands for the sentence's file."""
    return lambda shop: shop.make(
        shop.folder / name, *(str(shop.wav) if each == "SENTENCE" else each for each in arguments)
    )


def _leaping(shop: Workshop) -> object:
    """A RealMedia file whose stamps jump by four hours in its middle."""
    path = shop.encode(shop.folder / "leaping.rm", "-c:a", "ac3", "-ar", "44100")
    content = bytearray(path.read_bytes())
    packets, at = [], content.index(b"DATA") + 18
    while content[at : at + 2] == b"\0\0" and (length := int.from_bytes(content[at + 2 : at + 4])):
        packets.append(at)
        at += length
    for packet in packets[len(packets) // 2 :]:
        stamp = int.from_bytes(content[packet + 6 : packet + 10]) + 4 * 3_600_000
        content[packet + 6 : packet + 10] = stamp.to_bytes(4)
    return path.write_bytes(content)


def _covered(name: str) -> Callable[[Workshop], object]:
    """The sentence with a picture of its cover."""

    def make(shop: Workshop) -> object:
        picture = shop.make(shop.folder / "cover.png", *_PICTURES, "-frames:v", "1")
        cover = ("-i", str(picture), "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")
        return shop.encode(shop.folder / name, *cover)

    return make


_TRACKS = (
    Row("video-only.mp4", _made("video-only.mp4", *_PICTURES, "-c:v", "mpeg4"), codes=_NO_AUDIO),
    Row("cover.mp3", _covered("cover.mp3")),
    Row("cover.m4a", _covered("cover.m4a")),
    Row("cover.flac", _covered("cover.flac")),
    Row("two-tracks.mka", _made("two-tracks.mka", "-i", "SENTENCE", *_SILENCE, "-map", "0:a", "-map", "1:a",
                                "-c:a", "flac")),
    Row("silent-first.mka", _made("silent-first.mka", *_SILENCE, "-i", "SENTENCE", "-map", "0:a", "-map", "1:a",
                                  "-c:a", "flac", "-disposition:a:1", "0", "-default_mode", "infer_no_subs")),
    Row("subtitled.mkv", _made("subtitled.mkv", "-i", "SENTENCE", *_PICTURES, "-map", "0:a", "-map", "1:v", "-shortest",
                               "-c:v", "mpeg4", "-c:a", "libopus", "-metadata", "title=file:/etc/passwd")),
)  # fmt: skip

_TIMES = (
    Row("late.mkv", _made("late.mkv", *_PICTURES, "-itsoffset", "3", "-i", "SENTENCE", "-map", "0:v", "-map", "1:a",
                          "-c:v", "mpeg4", "-c:a", "libopus"), sound=_late(3), slack=0.2),
    Row("late.mp4", _made("late.mp4", *_PICTURES, "-itsoffset", "3", "-i", "SENTENCE", "-map", "0:v", "-map", "1:a",
                          "-c:v", "mpeg4", "-c:a", "aac"), sound=_late(3), slack=0.2),
    Row("late.ts", _made("late.ts", *_PICTURES, "-itsoffset", "3", "-i", "SENTENCE", "-map", "0:v", "-map", "1:a",
                         "-c:v", "mpeg2video", "-c:a", "mp2"), sound=_late(3), slack=0.3, lag=0.1),
    Row("hole.mka", _made("hole.mka", "-i", "SENTENCE", "-af", "aselect='lt(t,4)+gte(t,6)'", "-c:a", "pcm_s16le"),
        sound=_with_hole, lag=0.07),
    Row("joined.mp3", _joined("joined.mp3", ("-b:a", "64k"), ("-b:a", "64k")), sound=_twice, lag=0.16, slack=0.3),
    Row("joined-mono-stereo.mp3", _joined("joined-mono-stereo.mp3", ("-ac", "1", "-ar", "44100"),
                                          ("-ac", "2", "-ar", "44100")), sound=_twice, lag=0.16, slack=0.3),
    Row("joined-rates.aac", _joined("joined-rates.aac", ("-ar", "44100"), ("-ar", "24000", "-ac", "2")), sound=_twice,
        lag=0.16, slack=0.3),
    Row("chained.ogg", _joined("chained.ogg", ("-c:a", "libvorbis"), ("-c:a", "libvorbis")), sound=_twice, lag=0.05),
    Row("chained.opus", _joined("chained.opus", (), ()), sound=_twice, lag=0.05),
    Row("opposite.wav", _opposite),
    Row("wrapped.wav", _wrapped),
    Row("endless.wav", _endless),
    Row("leaping.rm", _leaping, lag=0.075, slack=0.2),
    Row("half-a-day.flac", _made("half-a-day.flac", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:d=43200"),
        sound=_silent(43_200)),
    Row("silence.opus", _made("silence.opus", *_SILENCE), sound=_silent(9)),
    Row("blink.wav", _made("blink.wav", "-i", "SENTENCE", "-t", "0.02", "-ar", "44100"), sound=_first(0.00182)),
)  # fmt: skip

_CUTS = (
    Row("cut.m4a", _cut("cut.m4a", 0.3), codes=_UNREADABLE, words="index (moov) is missing"),
    Row("cut-fast.m4a", _cut("cut-fast.m4a", 0.3, "-movflags", "+faststart"), sound=_first(0.28), slack=0.6),
    Row("cut.mp3", _cut("cut.mp3", 0.3), sound=_first(0.3), slack=0.4),
    Row("cut.flac", _cut("cut.flac", 0.3), sound=_first(0.24), slack=1.2),
    Row("cut.ogg", _cut("cut.ogg", 0.3, "-c:a", "libvorbis"), sound=_first(0.2), slack=2),
    Row("cut.webm", _cut("cut.webm", 0.3, "-c:a", "libopus"), sound=_first(0.25), slack=1.2),
    Row("cut.wav", _cut("cut.wav", 0.3, "-ar", "44100"), sound=_first(0.3)),
    Row("cut.ts", _cut("cut.ts", 0.3, "-c:a", "mp2"), sound=_first(0.3), slack=0.6, lag=0.1),
    Row("cut.wma", _cut("cut.wma", 0.3, "-c:a", "wmav2"), sound=_first(0.25), slack=1.2, lag=0.1),
    Row("head.webm", _cut("head.webm", 0.004, "-c:a", "libopus"), codes=_NO_USE, words="only the head is there"),
    Row("nothing.wav", lambda shop: write_wav(shop.folder / "nothing.wav", np.zeros((0, 2), np.int16)), codes=_NO_USE,
        words="only the head is there"),
    Row("empty.mp3", lambda shop: (shop.folder / "empty.mp3").touch(), codes=_UNREADABLE, words="empty"),
)  # fmt: skip

_NAMES = (
    Row("wrong.mp3", _named("made.m4a", "wrong.mp3")),
    Row("wrong.wav", _named("made.opus", "wrong.wav")),
    Row("wrong.txt", _named("made.flac", "wrong.txt")),
    Row("wrong.m3u8", _named("made.mp3", "wrong.m3u8")),
    Row("no-name", _named("made.ogg", "no-name", "-c:a", "libvorbis")),
)

#: In the order of the table.
ODDITIES: tuple[Row, ...] = (*_TRACKS, *_TIMES, *_CUTS, *_NAMES)
