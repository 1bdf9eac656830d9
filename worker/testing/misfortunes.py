# SPDX-License-Identifier: Apache-2.0
"""One message of each kind of misfortune, and what has to become of it."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqscribe.bundled import demo_clips
from stages.ffmpeg import find_ffmpeg
from worker.embedded.environment import free_port
from worker.testing.bad_server import METADATA, BadServer

__all__ = ["BODY_LIMIT", "CASES", "Files", "Misfortune", "Places", "bad_bodies", "bad_files", "bad_jobs"]

#: Of the queue, in bytes.
BODY_LIMIT = 1 << 20
CLIPS = {clip.name: clip.path for clip in demo_clips()}
#: Small inputs that failed once, with the code that a job of theirs ends with; empty: it is transcribed.
CASES = {
    "joined.aac": "",
    "joined_mono_stereo.mp3": "",
    "inverted.m4a": "",
    "header110.webm": "media_unreadable",
    "nohead.webm": "media_unreadable",
    "moov_missing.m4a": "media_unreadable",
    "list.m3u8": "source_not_found",
    "subs.srt": "media_unreadable",
    "gz.mp3": "media_unreadable",
}
#: Makes a recording of 25 hours: two seconds, silence that takes no room, two seconds.
_HOLE = "asetpts='PTS+if(gte(T,2),90000/TB,0)'"

#: Bodies by name, with the types that a server gives them.
Files = dict[str, tuple[bytes, str]]


@dataclass(frozen=True, slots=True)
class Misfortune:
    """A message that costs nobody else anything.

    Attributes:
        name: Its job's id; of a message that is no job, a name for the test alone.
        body: The message's.
        code: With which its job ends, in its record and its dead letter; empty: it succeeds.
        slow: It takes minutes until it is given up, so it may be in the queue still.
        is_job: Whether the message has a job with an id.
    """

    name: str
    body: str
    code: str
    slow: bool = False
    is_job: bool = True


@dataclass(frozen=True, slots=True)
class Places:
    """Where the misfortunes lie.

    Attributes:
        server: Over HTTP.
        tls_port: Of a server on this machine whose certificate nobody trusts.
        media: A bucket with `hello.wav`, with `breaks`, whose body breaks off, and `forbidden`, which nobody may read.
        locked: An output whose key is disabled.
    """

    server: BadServer
    tls_port: int
    media: str
    locked: str


def bad_bodies() -> Iterator[Misfortune]:
    """Messages that are no jobs, or ask for far too much."""
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "media"}, "object": {"key": "hello.wav"}}}
    bodies = {
        "full": "x" * BODY_LIMIT,
        "records": json.dumps({"Records": [record] * 6000}),
        "ones": json.dumps({"Records": [1] * 150_000}, separators=(",", ":")),
        "broken-json": '{"source": "https://example.com/a.mp3", "language": }',
        "deep": "[" * 100_000,
        "deep-object": '{"a":' * 100_000,
        "empty-object": "{}",
        "number": "7",
        "nul": "\\u0000",
    }
    for name, body in bodies.items():
        yield Misfortune(name, body, "bad_message", is_job=False)


def bad_jobs(places: Places, files: Files) -> Iterator[Misfortune]:
    """Jobs of which each has something against it."""
    good = f"{places.media}/hello.wav"
    for name, source, code in [*_sources(places), *_hostile(places.server.port)]:
        yield _job(name, code, source=source, slow=name.startswith("drip"))
    for name in files:
        if name in FILE_CODES:
            yield _job(f"file-{name}", FILE_CODES[name], source=places.server.url(name))
    yield _job("own-output-missing", "output_forbidden", source=good, output="s3://there-is-no-such-bucket/out")
    yield _job("own-output-locked", "output_forbidden", source=good, output=places.locked)
    yield _job("language", "bad_message", source=good, language="klingon")
    yield _job("field", "bad_message", source=good, colour="red")
    yield _job("option", "bad_message", source=good, beam_size=99)
    yield _job("model-language", "unsupported_option", source=good, language="ja")
    yield _job("format", "unsupported_option", source=good, formats=["html"])
    yield _job("beyond-the-end", "media_no_audio", source=good, start=86_000)
    clip = base64.b64encode(CLIPS["hello.wav"].read_bytes()).decode()
    yield _job("data-good", "", source=f"data:audio/wav;base64,{clip}")
    yield _job("data-bad", "media_unreadable", source="data:audio/wav;base64,bm8gc291bmQ=")
    yield _job("data-text", "bad_message", source="data:text/html,hello")


def _job(name: str, code: str, *, slow: bool = False, **fields: object) -> Misfortune:
    return Misfortune(name, json.dumps({"job_id": name, **fields}), code, slow=slow)


def _sources(places: Places) -> Iterator[tuple[str, str, str]]:
    """Names, sources and codes of what servers do."""
    at = places.server.url
    for number in range(3):
        yield f"drip-{number}", at(f"drip/1000/{number}"), "source_unreachable"
    yield "s3-breaks", f"{places.media}/breaks", "source_unreachable"
    yield "s3-forbidden", f"{places.media}/forbidden", "source_forbidden"
    yield "s3-gone", f"{places.media}/gone", "source_not_found"
    yield "breaks", at("breaks"), "source_unreachable"
    yield "part", at("part"), "source_unreachable"
    yield "loop", at("loop"), "source_not_found"
    yield "redirect-inside", at("metadata"), "source_blocked"
    yield "gzip-cut", at("gzip-cut"), "source_unreachable"
    yield "bomb", at("bomb"), "source_too_large"
    yield "certificate", f"https://127.0.0.1:{places.tls_port}/a.mp3", "source_unreachable"
    yield "no-host", "https://there-is-no-such-host.invalid/a.mp3", "source_unreachable"
    yield "no-port", f"http://127.0.0.1:{free_port()}/a.mp3", "source_unreachable"
    for status, code in {
        404: "not_found",
        410: "not_found",
        403: "forbidden",
        429: "unreachable",
        503: "unreachable",
    }.items():
        yield f"status-{status}", at(f"status/{status}"), f"source_{code}"


def _hostile(port: int) -> Iterator[tuple[str, str, str]]:
    urls = [
        METADATA,
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/latest/",
        "http://0xa9.254.169.254/",
        f"http://127.0.0.1.:{port}/hello.wav",
        "http://127.0.0.1:6379/",
        "http://127.0.0.1:22/a.mp3",
    ]
    for number, url in enumerate(urls):
        yield f"hostile-{number}", url, "source_blocked"


#: Files that are served, with the codes of their jobs; empty: it succeeds.
FILE_CODES = {
    "list.m3u": "media_unreadable",
    "list.pls": "media_unreadable",
    "gone.m3u8": "source_not_found",
    "page.html": "media_unreadable",
    "noise.mp3": "media_unreadable",
    "concat.txt": "media_unreadable",
    "no-index.m4a": "media_unreadable",
    "subtitles.srt": "media_unreadable",
    "bundle.zip": "media_unreadable",
    "picture.png": "media_unreadable",
    "video.mp4": "media_no_audio",
    "silence.m4a": "",
    "day.m4a": "media_too_long",
    "nothing.mp3": "media_unreadable",
    **{f"case-{name}": code for name, code in CASES.items()},
}


def bad_files(folder: Path, server_clip: str, cases: Path | None) -> Files:
    """Makes them.

    Args:
        folder: For what ffmpeg writes.
        server_clip: Address of a recording, for what names one.
        cases: Where the small inputs lie that failed once; None: they are left out.
    """
    pieces = "#EXTINF:6,\ngone-piece.ts\n" * 3
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n{pieces}#EXT-X-ENDLIST\n"
    files: Files = {
        "list.m3u": (f"#EXTM3U\n{server_clip}\n".encode(), "audio/x-mpegurl"),
        "list.pls": (f"[playlist]\nNumberOfEntries=1\nFile1={server_clip}\n".encode(), "audio/x-scpls"),
        "gone.m3u8": (playlist.encode(), "application/vnd.apple.mpegurl"),
        "page.html": (
            b"<!doctype html><html><head><title>Hello</title></head><body>No sound</body></html>",
            "text/html",
        ),
        "noise.mp3": (b"this is no sound at all. " * 1000, "audio/mpeg"),
        "concat.txt": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "audio/mpeg"),
        "no-index.m4a": (CLIPS["calendar.m4a"].read_bytes().partition(b"moov")[0], "audio/mp4"),
        "subtitles.srt": (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 20, "audio/mpeg"),
        "bundle.zip": (_zip(), "audio/mpeg"),
        "picture.png": (_made(folder / "picture.png", "-i", "testsrc=s=64x64", "-frames:v", "1"), "audio/mpeg"),
        "video.mp4": (_made(folder / "video.mp4", "-i", "testsrc=d=2:s=64x64:r=5"), "video/mp4"),
        "silence.m4a": (CLIPS["silence.m4a"].read_bytes(), "audio/mp4"),
        "day.m4a": (_made(folder / "day.m4a", "-i", "sine=d=4:r=16000", "-af", _HOLE), "audio/mp4"),
        "nothing.mp3": (b"", "audio/mpeg"),
    }
    if cases is not None:
        files |= {f"case-{name}": ((cases / name).read_bytes(), "audio/mpeg") for name in CASES}
    return files


def _made(path: Path, *arguments: str) -> bytes:
    subprocess.run([find_ffmpeg(), "-v", "error", "-y", "-f", "lavfi", *arguments, str(path)], check=True)
    return path.read_bytes()


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("talk.txt", "hello " * 1000)
    return packed.getvalue()
