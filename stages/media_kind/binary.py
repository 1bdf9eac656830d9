# SPDX-License-Identifier: Apache-2.0
"""Files that are no media at all, and some that are but cannot be decoded, by their first bytes."""

from __future__ import annotations

import zlib

from stages.media_kind.ends import Ends

__all__ = ["binary_kind"]

_NO_SOUND = "it holds no sound; send the recording"
_UNPACK = "unpack it, and send the recording that is in it"
_CONVERT = "convert it to MP3, M4A or WAV, and send that"
_POINTS = "it points to a file and is not the file; send the file itself"
_PROTECTED = "it is protected against copying (DRM) and cannot be decoded; send an unprotected copy"
_ENCRYPTED = "decrypt it first"
_PROJECT = "export its sound as MP3, M4A or WAV, and send that"

#: Where in the file, which bytes, what it is, what to do.
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xff\xd8\xff", "an image (JPEG)", _NO_SOUND),
    (0, b"\x89PNG\r\n\x1a\n", "an image (PNG)", _NO_SOUND),
    (0, b"GIF87a", "an image (GIF)", _NO_SOUND),
    (0, b"GIF89a", "an image (GIF)", _NO_SOUND),
    (8, b"WEBP", "an image (WebP)", _NO_SOUND),
    (0, b"II*\x00", "an image (TIFF)", _NO_SOUND),
    (0, b"MM\x00*", "an image (TIFF)", _NO_SOUND),
    (0, b"8BPS", "an image (Photoshop)", _NO_SOUND),
    (0, b"\x00\x00\x01\x00\x01", "an image (icon)", _NO_SOUND),
    (0, b"\x00\x00\x00\x0cjP  \r\n", "an image (JPEG 2000)", _NO_SOUND),
    (0, b"\x00\x00\x00\x0cJXL \r\n", "an image (JPEG XL)", _NO_SOUND),
    (0, b"\xff\x0a", "an image (JPEG XL)", _NO_SOUND),
    (128, b"DICM", "an image (DICOM)", _NO_SOUND),
    (0, b"%PDF-", "a PDF document", _NO_SOUND),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive", _UNPACK),
    (0, b"LZIP", "an lzip archive", _UNPACK),
    (0, b"\x1f\x9d", "a compress archive", _UNPACK),
    (2, b"-lh", "an LHA archive", _UNPACK),
    (0, b"\x60\xea", "an ARJ archive", _UNPACK),
    (0, b"MSCF", "a Windows cabinet", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document or installer", _NO_SOUND),
    (0, b"!<arch>\n", "a package or library archive", _NO_SOUND),
    (32769, b"CD001", "a disc image (ISO 9660)", _UNPACK),
    (0, b"MZ", "a Windows program", _NO_SOUND),
    (0, b"\x7fELF", "a Linux program", _NO_SOUND),
    (0, b"\xca\xfe\xba\xbe", "a program (Java or macOS)", _NO_SOUND),
    (0, b"\xcf\xfa\xed\xfe", "a macOS program", _NO_SOUND),
    (0, b"\xce\xfa\xed\xfe", "a macOS program", _NO_SOUND),
    (0, b"\x00asm", "a program (WebAssembly)", _NO_SOUND),
    (0, b"dex\n", "an Android program", _NO_SOUND),
    (0, b"\x4c\x00\x00\x00\x01\x14\x02\x00", "a Windows shortcut (.lnk)", _POINTS),
    (0, b"bplist00", "a property list (or .webloc shortcut)", _POINTS),
    (0, b"book\x00\x00\x00\x00mark", "a macOS alias", _POINTS),
    (
        0,
        b"\x00\x05\x16\x07",
        "macOS's side file (AppleDouble, `._name`)",
        "send the file whose name has no `._` before it",
    ),
    (0, b"\x00\x05\x16\x00", "a file of macOS in AppleSingle", "send the file itself"),
    (0, b"\x00\x00\x00\x01Bud1", "macOS's folder settings (.DS_Store)", _NO_SOUND),
    (68, b"AUDY", "an Audacity project", _PROJECT),
    (0, b"SQLite format 3\x00", "a database (SQLite)", _NO_SOUND),
    (0, b"MThd", "a MIDI file", "it holds notes and no sound; " + _PROJECT),
    (8, b"RMID", "a MIDI file", "it holds notes and no sound; " + _PROJECT),
    (8, b"CDDAfmt ", "a shortcut to a CD's track (.cda)", "copy the track itself from the CD"),
    (8, b"sfbk", "a SoundFont", _NO_SOUND),
    (0, b"FLhd", "an FL Studio project", _PROJECT),
    (0, b"Extended Module: ", "a tracker module", _PROJECT),
    (0, b"IMPM", "a tracker module", _PROJECT),
    (0, b"PSID", "a C64 tune", _PROJECT),
    (0, b"#!SILK", "a voice message in SILK (WeChat, QQ)", _CONVERT),
    (1, b"#!SILK", "a voice message in SILK (WeChat, QQ)", _CONVERT),
    (0, b"\x02dss", "a dictation in DSS", _CONVERT),
    (0, b"\x03dss", "a dictation in DSS", _CONVERT),
    (0, b"\x03ds2", "a dictation in DS2 (Olympus, Philips)", _CONVERT),
    (0, b"\x01ds2", "an encrypted dictation in DS2", "decrypt it with the recorder's program, and " + _CONVERT),
    (0, b"\x07ds2", "a dictation in DS2 (Olympus, Philips)", _CONVERT),
    (0, b"MS_VOICE", "a Sony voice recording (MSV, DVF)", _CONVERT),
    (0, b"NIST_1A", "a NIST SPHERE recording", _CONVERT),
    (4, b"\x57\x90\x75\x36", "an Audible book (AA)", _PROTECTED),
    (4, b"ftypaax", "an Audible book (AAX)", _PROTECTED),
    (4, b"ftypM4P", "a protected iTunes track", _PROTECTED),
    (0, b"CTENFDAM", "a protected NetEase track (NCM)", _PROTECTED),
    (0, b"Salted__", "an encrypted file (OpenSSL)", _ENCRYPTED),
    (0, b"age-encryption.org/", "an encrypted file (age)", _ENCRYPTED),
    (0, b"LUKS\xba\xbe", "an encrypted disk", _ENCRYPTED),
    (0, b"PGPWDE", "an encrypted disk", _ENCRYPTED),
    (0, b"\x00\x01\x00\x00\x00", "a font", _NO_SOUND),
    (0, b"OTTO", "a font", _NO_SOUND),
    (0, b"wOF", "a font", _NO_SOUND),
    (0, b"\xd4\xc3\xb2\xa1", "a capture of network packets", _NO_SOUND),
    (0, b"\xa1\xb2\xc3\xd4", "a capture of network packets", _NO_SOUND),
    (0, b"\x0a\x0d\x0d\x0a", "a capture of network packets", _NO_SOUND),
    (0, b"PAR1", "a table (Parquet)", _NO_SOUND),
    (0, b"\x89HDF", "a file of data (HDF5)", _NO_SOUND),
    (0, b"\x93NUMPY", "an array (NumPy)", "write its samples as WAV, and send that"),
    (0, b"\x80\x04\x95", "a Python pickle", _NO_SOUND),
    (0, b"\x80\x05\x95", "a Python pickle", _NO_SOUND),
)

#: What an archive in ZIP's format is, by names in it.
_IN_ZIP: tuple[tuple[bytes, str, str], ...] = (
    (b"word/", "a Word document", _NO_SOUND),
    (b"ppt/", "a PowerPoint presentation", "send the recording that is in it"),
    (b"xl/", "an Excel sheet", _NO_SOUND),
    (b"mimetypeapplication/epub", "an e-book (EPUB)", _NO_SOUND),
    (b"mimetypeapplication/vnd.oasis", "an OpenDocument document", _NO_SOUND),
    (b"AndroidManifest.xml", "an Android program", _NO_SOUND),
    (b"META-INF/MANIFEST.MF", "a Java program", _NO_SOUND),
    (b"Index/Document.iwa", "a document of Pages, Numbers or Keynote", _NO_SOUND),
)


def binary_kind(ends: Ends) -> str | None:
    """What a file is by its first bytes, and what to do; None where they are not known to be of no use."""
    head = ends.head
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip(ends)
    if head.startswith(b"\x1f\x8b"):
        return _gzip(head)
    if head.startswith(b"BM") and ends.size == int.from_bytes(head[2:6], "little"):
        return f"an image (BMP): {_NO_SOUND}"
    if ends.tail[-512:].startswith(b"koly"):
        return f"a macOS disk image (DMG): {_UNPACK}"
    known = (f"{what}: {to_do}" for place, magic, what, to_do in _MAGIC if head.startswith(magic, place))
    return next(known, None)


def _zip(ends: Ends) -> str:
    # The list of names is at the end, the first names are at the beginning.
    for name, what, to_do in _IN_ZIP:
        if name in ends.head[:4096] or name in ends.tail:
            return f"{what}: {to_do}"
    encrypted = len(ends.head) > 6 and ends.head[6] & 1
    return f"{'an encrypted' if encrypted else 'a'} ZIP archive: {_UNPACK}"


def _gzip(head: bytes) -> str:
    try:
        inside = zlib.decompressobj(wbits=31).decompress(head, 1024)
    except zlib.error:
        return f"a gzip archive that is damaged: {_UNPACK}"
    if inside.startswith(b"ustar", 257):
        return f"a tar archive in gzip: {_UNPACK}"
    if inside.startswith(b"<?xml") and b"<Ableton" in inside:
        return f"an Ableton project: {_PROJECT}"
    return f"a gzip archive (the file was compressed once more): {_UNPACK}"
