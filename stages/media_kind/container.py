# SPDX-License-Identifier: Apache-2.0
"""Media files of which a part is missing, or whose sound nothing here can decode."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from stages.media_kind.ends import Ends
from stages.media_kind.mp4 import mp4_kind

__all__ = ["container_kind"]

_CONVERT = "convert it to MP3, M4A or WAV, and send that"
_WHOLE = "upload the whole recording"
_PROTECTED = "it is protected against copying (DRM) and cannot be decoded; send an unprotected copy"

_EBML, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75"
_ENCRYPTION = b"\x50\x35"
#: A cluster with its size, of which a time stamp is the first element.
_CLUSTER_HEAD = re.compile(rb"\x1f\x43\xb6\x75(?:\x01.{7}|[\x08-\xff].{0,4})\xe7[\x81-\x88]", re.DOTALL)
#: Blocks that must follow each other to be taken for those of a WebM.
_BLOCKS = 4

#: Codecs of a WAV that ffmpeg lacks or that are so rare that their name helps.
_WAV_CODECS = {
    0x0022: "DSP Group TrueSpeech", 0x0028: "LH CELP", 0x0033: "Antex ADPCME", 0x0070: "Lernout & Hauspie CELP",
    0x0075: "Voxware", 0x0083: "G.729", 0x0111: "Vivo G.723", 0x0130: "Sipro ACELP", 0x0155: "AAC", 0x0161: "WMA",
    0x0163: "WMA lossless", 0x0181: "Voxware", 0x0270: "ATRAC3", 0x1500: "Unisys NAP", 0x2000: "AC-3", 0x2001: "DTS",
    0x674F: "Vorbis", 0xA109: "Speex",
}  # fmt: skip

#: The first packets of Ogg streams.
_OGG_CODECS: tuple[tuple[bytes, str], ...] = (
    (b"\x01vorbis", "Vorbis"), (b"OpusHead", "Opus"), (b"Speex   ", "Speex"), (b"\x7fFLAC", "FLAC"), (b"fLaC", "FLAC"),
    (b"CELT    ", "CELT"), (b"PCM     ", "PCM"), (b"\x80theora", "Theora video"), (b"BBCD\x00", "Dirac video"),
    (b"fishead", "a skeleton"), (b"\x80kate", "subtitles (Kate)"), (b"CMML", "CMML"),
)  # fmt: skip
_ASF, _ASF_PROTECTED = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", (
    b"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e",
    b"\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c",
)  # fmt: skip
_TS_PACKET = 188
#: Bytes that hold no more than a head.
_TINY = 512


def container_kind(ends: Ends) -> str | None:
    """What is wrong with a media file, and what to do; None where nothing is seen, or it is of another kind."""
    head = ends.head
    for magics, look in _BY_HEAD:
        if head.startswith(magics):
            return look(ends)
    if _scrambled(head):
        return "a scrambled broadcast (MPEG-TS): it is encrypted; send an unscrambled recording"
    return mp4_kind(ends) or _headless(ends)


def _asf(ends: Ends) -> str | None:
    if any(mark in ends.head for mark in _ASF_PROTECTED):
        return f"a protected Windows Media file: {_PROTECTED}"
    return None


def _flac(ends: Ends) -> str | None:
    return f"a FLAC file of which only the head is there: {_WHOLE}" if ends.size < _TINY else None


def _flv(ends: Ends) -> str | None:
    return f"a Flash video of which only the head is there: {_WHOLE}" if ends.size < _TINY else None


def _matroska(ends: Ends) -> str | None:
    kind = "WebM recording" if b"webm" in ends.head[:64] else "Matroska recording"
    if _ENCRYPTION in ends.head and b"\x47\xe1" in ends.head:
        return f"an encrypted {kind}: {_PROTECTED}"
    if _CLUSTER in ends.head or _CLUSTER in ends.tail or not ends.whole:
        return None
    return f"a {kind} of which only the head is there: no sound follows it; {_WHOLE}"


def _ogg(ends: Ends) -> str | None:
    head = ends.head
    if len(head) < 28:
        return f"an Ogg file of which only the beginning is there: {_WHOLE}"
    if not head[5] & 2:
        return f"an Ogg file without its first page: its beginning is missing, or it is a piece of a stream; {_WHOLE}"
    packet = head[27 + head[26] :]
    known = [name for magic, name in _OGG_CODECS if packet.startswith(magic)]
    if not known:
        return f"an Ogg file whose codec is not known: {_CONVERT}"
    if ends.whole and head.count(b"OggS") <= 2 and ends.size < 16_384:
        return f"an Ogg file ({known[0]}) of which only the head is there: {_WHOLE}"
    return None


def _riff(ends: Ends) -> str | None:
    if ends.head[8:12] == b"WAVE":
        return _wav(ends)
    if ends.head[8:12] == b"AVI " and ends.whole and b"movi" not in ends.head:
        return f"an AVI of which only the head is there: {_WHOLE}"
    return None


def _wav(ends: Ends) -> str | None:
    head = ends.head
    place = head.find(b"fmt ")
    if place < 0 or place + 24 > len(head):
        return f"a WAV without a description of its sound: its head is damaged; {_WHOLE}"
    tag, channels, rate = struct.unpack_from("<HHI" if head[:4] != b"RIFX" else ">HHI", head, place + 8)
    data = head.find(b"data", place)
    if tag in _WAV_CODECS:
        return f"a WAV whose sound is in {_WAV_CODECS[tag]}: {_CONVERT}"
    if not channels or not rate:
        return f"a WAV whose head says {channels} channels at {rate} Hz: its head is damaged; {_WHOLE}"
    if ends.whole and (data < 0 or data + 8 >= ends.size):
        return f"a WAV of which only the head is there: {_WHOLE}"
    return None


def _tag(ends: Ends) -> str | None:
    size = sum((byte & 0x7F) << shift for byte, shift in zip(ends.head[6:10], (21, 14, 7, 0), strict=False))
    if size + 10 >= ends.size:
        return f"an MP3 of which only the tag (title, cover) is there: {_WHOLE}"
    return None


def _scrambled(head: bytes) -> bool:
    """Whether most packets of a transport stream say that they are scrambled."""
    for first in (0, 4):  # the second with a time stamp before each packet
        step = _TS_PACKET + first
        packets = [head[place : place + 4] for place in range(first, len(head) - 4, step)]
        if len(packets) >= 5 and all(packet[0] == 0x47 for packet in packets):
            return sum(packet[3] >> 6 != 0 for packet in packets) > len(packets) / 2
    return False


def _headless(ends: Ends) -> str | None:
    """Pieces out of the middle of a recording."""
    for part in (ends.head, ends.tail):
        if _CLUSTER_HEAD.search(part):
            break
    else:
        if not _has_blocks(ends.head):
            if ends.head.find(b"OggS", 1) > 0 and ends.head.count(b"OggS\x00") > 1:
                return f"a piece of an Ogg file of which the beginning is missing: {_WHOLE}"
            return None
    if _EBML in ends.head:
        return f"a WebM recording with something before its head: {_WHOLE}"
    return (
        "a WebM recording of which the head is missing: pieces of a browser's recording are of use only behind the "
        "first one; join them in order"
    )


def _has_blocks(head: bytes) -> bool:
    """Whether blocks of a WebM follow each other somewhere: id, size, track, time, flags, then the sound."""
    place = head.find(b"\xa3")
    while 0 <= place < len(head) // 2:
        at, blocks = place, 0
        while at + 8 < len(head) and head[at] == 0xA3:
            length, width = _size(head, at + 1)
            if length < 5 or not 0x81 <= head[at + 1 + width] <= 0x88:
                break
            blocks += 1
            if blocks >= _BLOCKS:
                return True
            at += 1 + width + length
        place = head.find(b"\xa3", place + 1)
    return False


def _size(data: bytes, place: int) -> tuple[int, int]:
    """A size of EBML and how many bytes it takes; the first byte's leading zeros say that."""
    first = data[place]
    width = 9 - first.bit_length() if first else 9
    if width > 4:
        return 0, 0
    value = int.from_bytes(data[place : place + width], "big") & ((1 << (7 * width)) - 1)
    return value, width


#: Who looks at what begins how.
_BY_HEAD: tuple[tuple[bytes | tuple[bytes, ...], Callable[[Ends], str | None]], ...] = (
    (_EBML, _matroska),
    (b"OggS", _ogg),
    ((b"RIFF", b"RIFX", b"RF64", b"BW64"), _riff),
    (_ASF, _asf),
    (b"ID3", _tag),
    (b"fLaC", _flac),
    (b"FLV", _flv),
)
