# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an MP4 or QuickTime file: which of its boxes are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.disk import disk_faults
from stages.media_kind.ends import Ends

__all__ = ["mp4_kind"]

_CONVERT = "convert it to MP3, M4A or WAV, and send that"
_PROTECTED = "it is protected against copying (DRM) and cannot be decoded; send an unprotected copy"

#: A file begins with one of these.
_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx", b"emsg"})
_IMAGES = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"crx "})
#: Boxes that are looked at; a fragmented recording has thousands.
_MOST = 4096
#: Bytes of the index that are looked at for what it says of the sound.
_INDEX = 1 << 20


@dataclass(frozen=True, slots=True)
class _Box:
    """One box at the top of the file.

    Attributes:
        kind: Its four letters.
        start: Where it begins.
        end: Where it says that it ends; may lie behind the file's end.
    """

    kind: bytes
    start: int
    end: int


def mp4_kind(ends: Ends) -> str | None:
    """What is wrong with the file, and what to do; None where nothing is seen, or it is of another kind."""
    if len(ends.head) < 8 or ends.head[4:8] not in _FIRST:
        return None
    if ends.head[4:8] == b"ftyp" and ends.head[8:12] in _IMAGES:
        return "an image (HEIC, AVIF or a camera's raw): it holds no sound; send the recording"
    boxes = list(_boxes(ends))
    kinds = {box.kind for box in boxes}
    broken = boxes[-1].end > ends.size
    if b"moov" not in kinds:
        return _without_index(ends, boxes, kinds)
    index = next(box for box in boxes if box.kind == b"moov")
    if index.end > ends.size:
        return "an MP4 that is cut off within its index (moov): upload the whole recording"
    said = _read(ends, index)
    return _protected(said) or _elsewhere(said, kinds) or (_cut(ends, boxes[-1]) if broken else None)


def _without_index(ends: Ends, boxes: list[_Box], kinds: set[bytes]) -> str:
    if kinds & {b"moof", b"styp", b"sidx"} and b"ftyp" not in kinds:
        return (
            "a piece of a stream (fragmented MP4) of which the head is missing: put the stream's first piece before it"
        )
    if b"mdat" not in kinds and not kinds & {b"moof"}:
        return "an MP4 of which only the beginning is there: upload the whole recording"
    last = boxes[-1]
    lacking = f"; {last.end - ends.size} bytes or more are lacking at its end" if last.end > ends.size else ""
    return (
        "an MP4 whose index (moov) is missing: the recording was not closed, as when the recorder was switched off, or "
        f"the upload broke off{lacking}; upload it whole, or mend it with a good recording of the same device"
    )


def _protected(index: bytes) -> str | None:
    if b"aavd" in index:
        return f"an Audible book (AAX): {_PROTECTED}"
    if b"drms" in index:
        return f"a protected iTunes track (FairPlay): {_PROTECTED}"
    if b"enca" in index or (b"pssh" in index and b"sinf" in index):
        return f"an encrypted MP4 (CENC): {_PROTECTED}"
    return None


def _elsewhere(index: bytes, kinds: set[bytes]) -> str | None:
    if b"rmra" in index or (b"dref" in index and b"mdat" not in kinds and b"moof" not in kinds and _refers(index)):
        return "a QuickTime reference movie: its sound lies in other files; export it as a self-contained movie"
    if b"mdat" not in kinds and b"moof" not in kinds:
        return "an MP4 of which only the head is there: no sound follows it; upload the whole recording"
    if b"soun" not in index and b"trak" in index and len(index) < _INDEX:
        return "a video without sound: send a recording that has an audio track"
    if b"trak" not in index:
        return f"an MP4 without a track: {_CONVERT}"
    return None


def _refers(index: bytes) -> bool:
    """Whether a track's sound is in another file: the flag that says `in this one` is not set."""
    for kind in (b"alis", b"url ", b"urn "):
        place = index.find(kind)
        if place >= 0 and index[place + 7 : place + 8] != b"\x01":
            return True
    return False


def _cut(ends: Ends, last: _Box) -> str:
    missing = last.end - ends.size
    return f"an MP4 that is cut off ({missing} of {last.end} bytes are lacking): upload the whole recording"


def _boxes(ends: Ends) -> Iterator[_Box]:
    """The boxes at the top of the file, by their heads; ends at what is none."""
    with disk_faults(), ends.path.open("rb") as file:
        start = 0
        for _ in range(_MOST):
            file.seek(start)
            head = file.read(16)
            if len(head) < 8:
                return
            size = int.from_bytes(head[:4], "big")
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            elif size == 0:  # to the end of the file
                size = max(8, ends.size - start)
            if size < 8 or not all(0x20 <= letter < 0x7F or letter == 0xA9 for letter in head[4:8]):
                return
            yield _Box(head[4:8], start, start + size)
            start += size


def _read(ends: Ends, box: _Box) -> bytes:
    with disk_faults(), ends.path.open("rb") as file:
        file.seek(box.start)
        return file.read(min(box.end - box.start, _INDEX))
