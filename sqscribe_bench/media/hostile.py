# SPDX-License-Identifier: Apache-2.0
"""Rows for files that are made to do harm: they name other files, or ask for all memory."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from sqscribe.errors import ErrorCode
from sqscribe_bench.media.row import Row, Workshop

__all__ = ["HOSTILE", "absurd_index"]

_UNREADABLE = frozenset({ErrorCode.MEDIA_UNREADABLE})
_NO_USE = frozenset({ErrorCode.MEDIA_UNREADABLE, ErrorCode.MEDIA_NO_AUDIO})


def _text(name: str, write: Callable[[Path], str], target: str = "target.aac") -> Callable[[Workshop], object]:
    """A text that names a file which could be decoded."""

    def make(shop: Workshop) -> object:
        return (shop.folder / name).write_text(write(shop.encode(shop.folder / target)), "utf-8")

    return make


def _box(kind: bytes, *inside: bytes) -> bytes:
    content = b"".join(inside)
    return struct.pack(">I", len(content) + 8) + kind + content


def _full(kind: bytes, *inside: bytes) -> bytes:
    return _box(kind, bytes(4), *inside)


def _movie(samples: int, size: int, reference: bytes, codec: bytes, special: bytes = b"") -> bytes:
    """A QuickTime film of one track.

    Args:
        samples: That its index says it has.
        size: Bytes of each.
        reference: Box that says in which file they are.
        codec: Four letters.
        special: Boxes that the codec needs.
    """
    entry = _box(codec, bytes(6), b"\0\1", bytes(8), struct.pack(">HHHHI", 1, 16, 0, 0, 16000 << 16), special)
    table = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), entry),
        _full(b"stts", struct.pack(">III", 1, samples, 1 if codec == b"sowt" else 1024)),
        _full(b"stsc", struct.pack(">IIII", 1, 1, samples, 1)),
        _full(b"stsz", struct.pack(">II", size, samples)),
        _full(b"stco", struct.pack(">II", 1, 4000)),
    )
    media = _box(
        b"mdia",
        _full(b"mdhd", struct.pack(">IIIIHH", 0, 0, 16000, min(samples, 2**31), 0x55C4, 0)),
        _full(b"hdlr", b"mhlrsoun", bytes(13)),
        _box(b"minf", _full(b"smhd", bytes(4)), _box(b"dinf", _full(b"dref", struct.pack(">I", 1), reference)), table),
    )
    track = _box(b"trak", _full(b"tkhd", struct.pack(">IIIIII", 7, 0, 0, 1, 0, 16000), bytes(60)), media)
    head = _full(b"mvhd", struct.pack(">IIIIIH", 0, 0, 1000, 1000, 0x10000, 0x100), bytes(70), struct.pack(">I", 2))
    return _box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + _box(b"moov", head, track)


def absurd_index(samples: int) -> bytes:
    """A few kilobytes that say they hold millions of packets of AAC, of a byte each."""
    stream = _full(b"esds", bytes.fromhex("0319000100041140150000000000000000000000000005021408060102"))
    own = _box(b"url ", struct.pack(">I", 1))
    return _movie(samples, 1, own, b"mp4a", stream) + _box(b"mdat", bytes(5000))


def _elsewhere(kind: bytes) -> Callable[[Workshop], object]:
    """A film whose sound is said to be in the sentence's file."""

    def make(shop: Workshop) -> object:
        target = str(shop.wav).encode()
        reference = (
            _full(b"url ", b"file:" + target + b"\0")
            if kind == b"url "
            else _full(b"alis", bytes(150), struct.pack(">hH", 2, len(target)), target, struct.pack(">h", -1))
        )
        film = _movie(len(shop.sentence), 2, reference, b"sowt")
        return (shop.folder / f"elsewhere-{kind.decode().strip()}.mov").write_bytes(film)

    return make


def _picture(width: int) -> bytes:
    """A PNG of one colour: a thousand times larger when it is unpacked."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    content = b"".join(packer.compress(row) for _ in range(width)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def _covered(name: str, codec: str) -> Callable[[Workshop], object]:
    """A recording with a cover that fills half a gigabyte."""

    def make(shop: Workshop) -> object:
        picture = shop.folder / "cover.png"
        picture.write_bytes(_picture(11_000))
        cover = ("-i", str(picture), "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")
        return shop.encode(shop.folder / name, *cover, "-c:a", codec)

    return make


def _absurd(name: str, samples: int) -> Callable[[Workshop], object]:
    return lambda shop: (shop.folder / name).write_bytes(absurd_index(samples))


def _subtitled_avi(shop: Workshop) -> object:
    """An AVI with a subtitle that is a playlist (GAB2); old versions of ffmpeg opened what it named."""
    film = shop.make(
        shop.folder / "gab2.avi", "-i", str(shop.wav), "-f", "lavfi", "-i", "testsrc=duration=11:size=64x48:rate=10",
        "-map", "0:a", "-map", "1:v", "-c:a", "pcm_s16le", "-c:v", "mpeg4",
    )  # fmt: skip
    playlist = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile://{shop.wav}\n#EXT-X-ENDLIST\n".encode()
    gab2 = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"x\0" + struct.pack("<HI", 4, len(playlist)) + playlist
    content = film.read_bytes()
    place = content.index(b"movi") + 4
    chunk = b"02tx" + struct.pack("<I", len(gab2)) + gab2 + bytes(len(gab2) % 2)
    return film.write_bytes(content[:place] + chunk + content[place:])


def _data(target: Path) -> str:
    return f"data:audio/aac;base64,{base64.b64encode(target.read_bytes()).decode()}"


_PLAYLISTS = (
    Row("local.m3u8", _text("local.m3u8", lambda target: "#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:11,\n"
                            f"file://{target}\n#EXT-X-ENDLIST\n"), codes=_UNREADABLE, words="an HLS playlist"),
    Row("local.mp3", _text("local.mp3", lambda target: "#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:11,\n"
                           f"{target.name}\n#EXT-X-ENDLIST\n"), codes=_UNREADABLE, words="an HLS playlist"),
    Row("data.m3u8", _text("data.m3u8", lambda target: "#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:11,\n"
                           f"{_data(target)}\n#EXT-X-ENDLIST\n"), codes=_UNREADABLE, words="an HLS playlist"),
    Row("local.m3u", _text("local.m3u", lambda target: f"#EXTM3U\n{target}\n"), codes=_UNREADABLE,
        words="an M3U playlist"),
    Row("concat.txt", _text("concat.txt", lambda target: f"ffconcat version 1.0\nfile '{target}'\n"), codes=_UNREADABLE,
        words="a script that joins files"),
    Row("concat.wav", _text("concat.wav", lambda target: f"ffconcat version 1.0\nfile {target.name}\n"),
        codes=_UNREADABLE, words="a script that joins files"),
    Row("concat.mp4", _text("concat.mp4", lambda target: f"file '{target}'\nfile '{target}'\n"), codes=_UNREADABLE,
        words="a script that joins files"),
    Row("live.sdp", _text("live.sdp", lambda _: "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
                          "m=audio 5004 RTP/AVP 0\n"), codes=_UNREADABLE, words="a session description"),
    Row("manifest.mpd", _text("manifest.mpd", lambda target: '<?xml version="1.0"?><MPD '
                              'xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation id="1">'
                              f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"),
        codes=_UNREADABLE, words="a DASH manifest"),
    Row("metadata.m4a", _text("metadata.m4a", lambda target: f";FFMETADATA1\ntitle={target}\n"), codes=_UNREADABLE,
        words="ffmpeg's metadata"),
    Row("data.mp3", _text("data.mp3", _data), codes=_NO_USE, words="a `data:` URL"),
    Row("image.svg", _text("image.svg", lambda target: f'<svg xmlns="http://www.w3.org/2000/svg"><image '
                           f'href="file://{target}"/></svg>'), codes=_UNREADABLE, words="an image (SVG)"),
)  # fmt: skip

#: In the order of the table.
HOSTILE: tuple[Row, ...] = (
    *_PLAYLISTS,
    Row("elsewhere-url.mov", _elsewhere(b"url "), codes=_NO_USE, words="in other files"),
    Row("elsewhere-alis.mov", _elsewhere(b"alis"), codes=_NO_USE, words="in other files"),
    Row("gab2.avi", _subtitled_avi),
    Row("picture.png", lambda shop: (shop.folder / "picture.png").write_bytes(_picture(11_000)), codes=_UNREADABLE,
        words="an image (PNG)"),
    Row("covered.mp3", _covered("covered.mp3", "libmp3lame")),
    Row("covered.m4a", _covered("covered.m4a", "aac")),
    Row("index-9M.mp4", _absurd("index-9M.mp4", 9_000_000), codes=_NO_USE),
    Row("index-20M.mp4", _absurd("index-20M.mp4", 20_000_000), codes=_NO_USE),
    Row("index-4G.mp4", _absurd("index-4G.mp4", 4_000_000_000), codes=_NO_USE),
)  # fmt: skip
