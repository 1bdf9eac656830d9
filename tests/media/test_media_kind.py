# SPDX-License-Identifier: Apache-2.0
"""What a file is that cannot be decoded, and that the job's reason says so."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from sqscribe.bundled import demo_clips
from sqscribe.errors import ErrorCode, PermanentError
from stages.decode import AudioDecoder, DecodeLimits
from stages.ffmpeg import find_ffmpeg
from stages.media_kind import describe, explain
from stages.ports import Cancellation
from stages.values import Media, Source
from worker.testing.scratch import BoundlessReserve

NOISE = random.Random(5).randbytes(40_000)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "some text that stands for something")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return file.getvalue()


def box(kind: bytes, *inside: bytes) -> bytes:
    content = b"".join(inside)
    return struct.pack(">I", len(content) + 8) + kind + content


def mp4(*boxes: bytes, brand: bytes = b"isom") -> bytes:
    return box(b"ftyp", brand, bytes(4), b"isom") + b"".join(boxes)


def wav(tag: int, channels: int = 1, rate: int = 8000, data: bytes = bytes(3000)) -> bytes:
    head = struct.pack("<HHIIHH", tag, channels, rate, rate, 1, 8)
    return b"RIFF" + struct.pack("<I", len(data) + 36) + b"WAVEfmt \x10\0\0\0" + head + b"data" + struct.pack(
        "<I", len(data)) + data  # fmt: skip


TONE = b"".join(struct.pack("<h", int(9000 * ((n % 80) / 40 - 1))) for n in range(8000))
OGG = b"OggS\0%c" + bytes(8) + b"\1\0\0\0\0\0\0\0\0\0\0\0\1\x1e"
TRACK = box(b"trak", b"soun", box(b"stsd", b"mp4a"))

#: What the file has, and words that must stand in what is said of it.
KINDS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "an empty file"),
    "zeros": (bytes(300_000), "zero bytes"),
    "zeros-last": (NOISE * 3 + bytes(90_000), "ends with zero bytes"),
    "few": (NOISE[:90], "90 bytes without a head"),
    "zeros-first": (bytes(70_000) + NOISE, "begins with zero bytes"),
    "hls": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\na.ts\n", "HLS playlist"),
    "hls-master": (b"\xef\xbb\xbf#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\nlow/index.m3u8\r\n", "HLS playlist"),
    "m3u": (b"#EXTM3U\n#EXTINF:3,A song\nhttp://example.com/a.mp3\n", "M3U playlist"),
    "list": (b"http://example.com/a.mp3\nhttp://example.com/b.mp3\n", "a playlist"),
    "pls": (b"[playlist]\nFile1=http://example.com/a.mp3\n", "PLS playlist"),
    "asx": (b'<asx version="3.0"><entry><ref href="x"/></entry></asx>', "ASX playlist"),
    "xspf": (b'<?xml version="1.0"?>\n<playlist version="1" xmlns="x"></playlist>', "XSPF playlist"),
    "smil": (b'<?wpl version="1.0"?><smil><body/></smil>', "SMIL or WPL"),
    "dash": (b'<?xml version="1.0"?>\n<!-- made -->\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', "DASH manifest"),
    "rss": (b'<?xml version="1.0"?><rss version="2.0"><channel/></rss>', "podcast's feed"),
    "srt": (b"1\n00:00:00,000 --> 00:00:02,000\nhello\n", "subtitle file (SRT)"),
    "srt-dos": (b"\xff\xfe" + "1\r\n00:00:00,000 --> 00:00:02,000\r\nhällo\r\n".encode("utf-16-le"), "(SRT)"),
    "vtt-wide": ("WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n".encode("utf-16-le"), "subtitle file (WebVTT)"),
    "vtt": (b"WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n", "subtitle file (WebVTT)"),
    "ass": (b"\xef\xbb\xbf[Script Info]\nTitle: x\n", "subtitle file (ASS)"),
    "sbv": (b"0:00:01.000,0:00:02.000\nhello\n", "subtitle file (SBV)"),
    "lrc": (b"[ar:Somebody]\n[00:12.00]Line\n", "lyrics file"),
    "ttml": (b'<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><body/></tt>', "subtitle file (TTML)"),
    "page": (b"<!DOCTYPE html><html><head><title>My talk &amp; more</title></head></html>", 'is "My talk & more"'),
    "sign-in": (b"\n<html><body><form><input type='password'></form></body></html>", "a page that asks to sign in"),
    "sign-in-title": (b"<html><head><title>Sign in - Google Accounts</title></head></html>", "asks to sign in"),
    "sign-in-to": (b"<!-- saved --><!DOCTYPE html><html><body>Sign in to continue</body></html>", "asks to sign in"),
    "403": (b"<h1>403 Forbidden</h1>", "an error page that was saved in place of the file"),
    "robots": (b"<html><head><title>Just a moment...</title></head></html>", "whether a person is there"),
    "drive": (b"<html><body>Google Drive can't scan this file for viruses.</body></html>", "Google Drive"),
    "404": (b"<html><head><title>404 Not Found</title></head></html>", "an error page"),
    "json": (b'{"segments": [], "text": "x"}', "JSON:"),
    "json-error": (b'{"error": {"code": 403, "message": "no"}}', "an error in JSON"),
    "s3-error": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "error of a store (AccessDenied)"),
    "xml": (b'<?xml version="1.0"?><anything/>', "XML:"),
    "text": ("These are the minutes of the meeting: größer.\n".encode() * 9, "plain text"),
    "text-latin": ("Die Besprechung war größer.\n".encode("latin-1") * 9, "plain text"),
    "base64": (b"UklGRiQAAABXQVZFZm10IBAAAAABAAEA" * 40, "base64 text"),
    "data-url": (b"data:audio/mp3;base64,SUQzBAA", "`data:` URL"),
    "form": (b'--xyz\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + NOISE, "web form"),
    "chunked": (b"1000;chunk-signature=aa\r\n" + NOISE, "aws-chunked"),
    "response": (b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n" + NOISE, "status 200"),
    "concat": (b"ffconcat version 1.0\nfile 'a.wav'\n", "script that joins files"),
    "concat-bare": (b"file 'a.wav'\nfile 'b.wav'\n", "script that joins files"),
    "ffmetadata": (b";FFMETADATA1\ntitle=x\n", "ffmpeg's metadata"),
    "sdp": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\n", "session description"),
    "cue": (b'PERFORMER "x"\nFILE "a.wav" WAVE\n  TRACK 01 AUDIO\n', "cue sheet"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "url": (b"[InternetShortcut]\r\nURL=https://example.com\r\n", "internet shortcut"),
    "webloc": (b'<?xml version="1.0"?><!DOCTYPE plist PUBLIC "x"><plist><dict/></plist>', ".webloc"),
    "lnk": (b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0" + bytes(99), "Windows shortcut"),
    "apple-double": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X" + bytes(99), "AppleDouble"),
    "torrent": (b"d8:announce20:http://example.com/a4:infod6:pieces20:" + NOISE, "a torrent"),
    "mail": (b"From: a@example.com\nSubject: x\n\nhello", "an e-mail"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF" + NOISE, "image (JPEG)"),
    "png": (b"\x89PNG\r\n\x1a\n" + NOISE, "image (PNG)"),
    "gif": (b"GIF89a" + NOISE, "image (GIF)"),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 " + NOISE, "image (WebP)"),
    "heic": (mp4(brand=b"heic") + NOISE, "HEIC"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image (SVG)"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + NOISE, "PDF document"),
    "zip": (zipped("talk.mp3"), "a ZIP archive"),
    "docx": (zipped("[Content_Types].xml", "word/document.xml"), "Word document"),
    "pptx": (zipped("[Content_Types].xml", "ppt/presentation.xml"), "PowerPoint"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "Excel"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "old Office document"),
    "rar": (b"Rar!\x1a\x07\x01\0" + NOISE, "RAR archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + NOISE, "7z archive"),
    "tar": (tarred(), "a tar archive:"),
    "tar.gz": (gzip.compress(tarred()), "a tar archive in gzip"),
    "gz": (gzip.compress(NOISE), "gzip archive"),
    "exe": (b"MZ\x90\0" + NOISE, "Windows program"),
    "elf": (b"\x7fELF\x02\x01" + NOISE, "Linux program"),
    "sqlite": (b"SQLite format 3\0" + bytes(90), "a database"),
    "audacity": (b"SQLite format 3\0" + bytes(52) + b"AUDY" + bytes(90), "Audacity project"),
    "midi": (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk", "MIDI"),
    "silk": (b"\x02#!SILK_V3" + NOISE, "SILK"),
    "ds2": (b"\x03ds2" + NOISE, "DS2"),
    "openssl": (b"Salted__" + NOISE, "encrypted file (OpenSSL)"),
    "noise": (NOISE, "bytes without order"),
    "pcm": (TONE, "raw samples (PCM)"),
    "aa": (b"\0\0\x10\0\x57\x90\x75\x36" + NOISE, "Audible book (AA)"),
    "aax": (mp4(box(b"mdat", NOISE), brand=b"aax "), "Audible book (AAX)"),
    "fairplay": (mp4(box(b"moov", box(b"trak", b"soun", box(b"stsd", b"drms"))), box(b"mdat", NOISE)), "FairPlay"),
    "cenc": (mp4(box(b"moov", box(b"trak", b"soun", box(b"stsd", b"enca"))), box(b"mdat", NOISE)), "CENC"),
    "wmdrm": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(40) + b"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0"
              b"\xc9\x55\xfc\x6e" + NOISE, "protected Windows Media"),
    "no-index": (mp4(box(b"free"), box(b"mdat", NOISE)), "whose index (moov) is missing: the recording was not closed"),
    "no-index-open": (mp4() + b"\0\0\0\0mdat" + NOISE, "whose index (moov) is missing"),
    "no-index-cut": (mp4() + struct.pack(">I", 99_000) + b"mdat" + NOISE, "58992 bytes or more are lacking"),
    "fragment": (box(b"styp", b"msdh") + box(b"moof", bytes(20)) + box(b"mdat", NOISE), "piece of a stream"),
    "head-only": (mp4(box(b"moov", TRACK)), "only the head is there"),
    "reference": (mp4(box(b"moov", TRACK, box(b"dref", b"alis\0\0\0\0", NOISE[:50]))), "reference movie"),
    "cut-index": (mp4() + struct.pack(">I", 9000) + b"moov" + bytes(50), "cut off within its index"),
    "cut": (mp4(box(b"moov", TRACK)) + struct.pack(">I", 99_000) + b"mdat" + NOISE, "an MP4 that is cut off"),
    "mute": (mp4(box(b"moov", box(b"trak", b"vide")), box(b"mdat", NOISE)), "a video without sound"),
    "ogg-middle": (OGG % 0 + NOISE, "without its first page"),
    "ogg-unknown": (OGG % 2 + b"whoknows" + NOISE, "whose codec is not known"),
    "ogg-head": (OGG % 2 + b"OpusHead\1\1" + bytes(12), "(Opus) of which only the head is there"),
    "truespeech": (wav(0x22), "DSP Group TrueSpeech"),
    "lernout": (wav(0x70), "a WAV whose sound is in Lernout & Hauspie CELP"),
    "wav-broken": (wav(1, channels=0), "says 0 channels"),
    "wav-head": (wav(1, data=b""), "a WAV of which only the head is there"),
    "id3-only": (b"ID3\4\0\0\0\0\x07\x76" + bytes(1014), "only the tag"),
    "scrambled": (b"".join(b"\x47\0\x64\xd0" + NOISE[n * 184 : (n + 1) * 184] for n in range(50)), "scrambled"),
}  # fmt: skip


@pytest.fixture
def decoder() -> AudioDecoder:
    return AudioDecoder(DecodeLimits(3600))


def reason(decoder: AudioDecoder, path: Path, folder: Path) -> PermanentError:
    folder.mkdir()
    source = Source(path, path.stat().st_size, "digest", Media())
    with pytest.raises(PermanentError) as caught:
        decoder.decode(source, folder, BoundlessReserve(), Cancellation())
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("name", KINDS)
def test_what_it_is_is_said_with_what_to_do(tmp_path: Path, name: str) -> None:
    content, words = KINDS[name]
    path = tmp_path / "source"
    path.write_bytes(content)

    said = describe(path)

    assert said is not None
    assert words in said
    what, _, to_do = said.partition(": ")
    assert what
    assert len(to_do) > 8
    assert len(said) < 400


#: Well formed as far as it goes, or nothing that ffmpeg would refuse: the decoder itself has the word.
DECODABLE = {"zeros-last", "pcm", "truespeech", "zeros", "zeros-first", "cut", "mute"}


@pytest.mark.parametrize("name", sorted(KINDS.keys() - DECODABLE))
@pytest.mark.parametrize("suffix", ["", ".mp3"])
def test_a_job_of_it_fails_with_these_words(tmp_path: Path, decoder: AudioDecoder, name: str, suffix: str) -> None:
    content, words = KINDS[name]
    path = tmp_path / f"source{suffix}"
    path.write_bytes(content)

    error = reason(decoder, path, tmp_path / "job")

    assert error.code in {ErrorCode.MEDIA_UNREADABLE, ErrorCode.MEDIA_NO_AUDIO}
    assert words in error.message or (name == "nothing" and "empty" in error.message)
    assert str(tmp_path) not in error.message
    assert "@ 0x" not in error.message


@pytest.mark.parametrize("clip", [each.path for each in demo_clips()], ids=lambda path: path.name)
def test_nothing_is_said_against_a_good_recording(clip: Path) -> None:
    good = clip.name != "broken.mp3"  # a text, as its name says

    assert (describe(clip) is None) == good


def pieces_of_a_browsers_recording(folder: Path) -> tuple[Path, Path]:
    """The head alone, and what follows the first cluster."""
    clip = next(each.path for each in demo_clips() if each.name == "interview.ogg")
    whole = folder / "whole.webm"
    command = [find_ffmpeg(), "-v", "error", "-i", str(clip), "-c:a", "libopus", "-f", "webm", "-live", "1", str(whole)]
    subprocess.run(command, check=True)
    content = whole.read_bytes()
    first = content.index(b"\x1f\x43\xb6\x75")
    head, rest = folder / "head.webm", folder / "rest.webm"
    head.write_bytes(content[:first])
    rest.write_bytes(content[first + 3000 :])
    return head, rest


def test_pieces_of_a_browsers_recording_are_told(tmp_path: Path, decoder: AudioDecoder) -> None:
    head, rest = pieces_of_a_browsers_recording(tmp_path)

    assert "only the head is there" in reason(decoder, head, tmp_path / "1").message
    assert "of which the head is missing" in reason(decoder, rest, tmp_path / "2").message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_recording_that_was_cut_before_its_index_is_told(tmp_path: Path, decoder: AudioDecoder, share: float) -> None:
    clip = next(each.path for each in demo_clips() if each.name == "briefing.m4a").read_bytes()
    path = tmp_path / "source"
    path.write_bytes(clip[: int(len(clip) * share)])

    said = reason(decoder, path, tmp_path / "job").message

    assert "(moov)" in said


def test_ffmpegs_words_come_last_and_are_clean(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(b"fLaC" + NOISE)
    messages = (
        f"[flac @ 0x55d3a2] Something else\n[in#0 @ 0x7f] Error opening input: Invalid data found in {path}\n"
        f"Error opening input file file:{path}.\nError opening input files: Invalid data found\n"
    )

    said = explain(path, messages)

    assert said.endswith("(ffmpeg: Error opening input: Invalid data found in the file)")
    assert said.startswith("the file cannot be decoded: it is damaged, cut off, or no media file: ")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("Decoder (codec none) not found for input stream #0:0", "a codec that is not known here"),
        ("Protocol 'http' not on whitelist 'file'!", "names other files"),
        ("Invalid argument", "damaged, cut off"),
        ("", "damaged, cut off"),
    ],
)
def test_what_ffmpeg_said_is_put_into_words(tmp_path: Path, messages: str, words: str) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(b"fLaC" + NOISE)

    said = explain(path, messages)

    assert words in said
    assert messages in said


def cases_folder() -> Path | None:
    """Small inputs that failed once, where they are handed out beside the repository."""
    named = os.environ.get("SQSCRIBE_CASES")
    near = (folder / "shared" / "cases" for folder in Path(__file__).resolve().parents)
    return Path(named) if named else next((folder for folder in near if folder.is_dir()), None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("header110.webm", "only the head is there"),
        ("nohead.webm", "of which the head is missing"),
        ("moov_missing.m4a", "index (moov) is missing: the recording was not closed"),
        ("list.m3u8", "an HLS playlist"),
        ("subs.srt", "a subtitle file"),
        ("gz.mp3", "a gzip archive"),
    ],
)
def test_the_cases_that_failed_once(tmp_path: Path, decoder: AudioDecoder, name: str, words: str) -> None:
    folder = cases_folder()
    if folder is None:
        pytest.skip("there is no folder shared/cases beside the repository, and SQSCRIBE_CASES names none")
    assert words in reason(decoder, folder / name, tmp_path / "job").message
