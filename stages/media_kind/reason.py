# SPDX-License-Identifier: Apache-2.0
"""The reason that a sender reads for a file that cannot be decoded."""

from __future__ import annotations

import itertools
import re
import zlib
from pathlib import Path

from stages.ffmpeg import last_words
from stages.media_kind.binary import binary_kind
from stages.media_kind.container import container_kind
from stages.media_kind.ends import Ends, read_ends
from stages.media_kind.text import text_kind

__all__ = ["describe", "explain"]

#: How little of their length bytes lose in compression that are as good as random.
_RANDOM = 0.995
#: The first bytes of containers and of codecs that need none.
_MEDIA_HEADS = (
    b"fLaC", b"FORM", b"OggS", b"ID3", b"#!AMR", b".snd", b"caff", b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FLV",
    b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba", b"\x0bw", b"\x7f\xfe\x80\x01", b"MAC ", b"wvpk",
    b"TTA", b".RMF", b".ra\xfd", b"MPCK", b"MP+", b"Creative Voice",
)  # fmt: skip
#: Below this many bytes nothing can be told from how random they are.
_ENOUGH = 1024

#: What ffmpeg says where the file itself looks like media, and what it means.
_CODEC = re.compile(
    r"Decoder not found|Unsupported codec|codec none|not currently supported|Decoder \(codec|not implemented|"
    r"Unknown decoder"
)
_REFUSED = re.compile(r"not on whitelist|not in whitelist")


def describe(path: Path) -> str | None:
    """What a file is, and what its sender can do, by its first and last bytes.

    Asked for files that could not be decoded: of a healthy recording it says nothing.

    Args:
        path: The file.

    Returns:
        Such as `a PDF document: it holds no sound; send the recording`; None if nothing is known against it.

    Raises:
        NodeFaultError: The file cannot be read for a fault of the disk.
    """
    ends = read_ends(path)
    if not ends.size:
        return "an empty file: upload it again"
    if ends.zeros:
        return "a file of nothing but zero bytes: its upload or copy failed; upload it again"
    return binary_kind(ends) or container_kind(ends) or text_kind(ends) or _shapeless(ends)


def explain(path: Path, messages: str) -> str:
    """The whole reason why a file cannot be decoded: what it is, what to do, and in brackets what ffmpeg said.

    Args:
        path: The file.
        messages: What ffmpeg wrote to its standard error; may be empty.

    Raises:
        NodeFaultError: The file cannot be read for a fault of the disk.
    """
    words = last_words(messages, path)
    said = f" (ffmpeg: {words})" if words else ""
    kind = describe(path)
    if kind:
        return f"the file is {kind}{said}"
    if _CODEC.search(messages):
        meaning = "its sound is in a codec that is not known here: convert it to MP3, M4A or WAV, and send that"
    elif _REFUSED.search(messages):
        meaning = "it names other files, or is of a kind that is not taken: send one MP3, M4A, MP4, WAV, FLAC or WebM"
    else:
        meaning = "it is damaged, cut off, or no media file: see whether a player plays it, and send it again"
    return f"the file cannot be decoded: {meaning}{said}"


def _shapeless(ends: Ends) -> str | None:
    """Bytes without any form that is known here."""
    sample = ends.head[: 32 * 1024]
    if not any(ends.head):
        return "a file that begins with zero bytes: its upload or copy failed; upload it again"
    if _has_media_head(ends.head):
        return None
    if ends.size < _ENOUGH:
        return f"{ends.size} bytes without a head that is known here: too few for a recording; upload the whole one"
    if not any(ends.tail):
        return "a file that ends with zero bytes: its download or copy was not finished; upload it again"
    return _disorder(sample)


def _disorder(sample: bytes) -> str | None:
    """What can be told of bytes by their order alone."""
    if len(zlib.compress(sample, 6)) >= _RANDOM * len(sample):
        return (
            "bytes without order: it is encrypted, compressed in a way that is not known here, or a piece out of the "
            "middle of a file; send the recording as it was made"
        )
    if _smooth(sample):
        return "perhaps raw samples (PCM) without a head: nothing says their rate and form; put a WAV head before them"
    return None


def _has_media_head(head: bytes) -> bool:
    """Whether the file begins as recordings do of which nothing was told before."""
    return (
        head.startswith(_MEDIA_HEADS)
        or head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"wide"}
        or (head[:1] == b"\x47" and head[188:189] in {b"\x47", b""})
        or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)
    )


def _smooth(sample: bytes) -> bool:
    """Whether the bytes, as samples of 16 bits, follow each other as those of a sound do."""
    samples = memoryview(sample[: len(sample) & ~1]).cast("h")
    loud = sum(abs(each) for each in samples)
    steps = sum(abs(each - before) for before, each in itertools.pairwise(samples))
    return 0 < steps < 0.7 * loud
