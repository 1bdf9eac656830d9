# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import itertools
import os
import shlex
import sys
import threading
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, PermanentError, TransientError
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE

SECONDS = 3.0
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Path]) -> Path:
    """A folder with the same three seconds (a tone that comes and goes) in many containers."""
    folder = tmp_path_factory.mktemp("media")
    time = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tone = 8000 * np.sin(2 * np.pi * 440 * time) * (np.floor(time * 2) % 2)
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    wav = str(folder / "tone.wav")
    for name in ("mp3", "m4a", "ogg", "opus", "flac", "webm", "wma", "aac", "mka", "aiff"):
        make(folder / f"tone.{name}", "-i", wav)
    video = ("-f", "lavfi", "-i", f"testsrc=duration={SECONDS}:size=64x64:rate=5")
    make(folder / "video.mp4", *video, "-i", wav, "-c:v", "mpeg4")
    make(folder / "late.mp4", *video, "-itsoffset", "1", "-i", wav, "-c:v", "mpeg4", "-map", "0:v", "-map", "1:a")
    make(folder / "mute.mp4", *video, "-c:v", "mpeg4")
    make(folder / "two.mka", "-i", wav, "-f", "lavfi", "-i", "anullsrc=d=9", "-map", "0:a", "-map", "1:a")
    make(folder / "hole.mka", "-i", wav, "-af", "aselect='lt(t,1)+gte(t,2)'")
    return folder


@pytest.mark.parametrize(
    "name",
    ["wav", "mp3", "m4a", "ogg", "opus", "flac", "webm", "wma", "aac", "mka", "aiff"],
)
def test_every_container_becomes_the_same_sound(bench: Any, media: Path, name: str) -> None:
    audio = bench.decode(media / f"tone.{name}")
    assert audio.seconds == pytest.approx(SECONDS, abs=0.15)
    assert (audio.start, audio.source_sha256, audio.media.title) == (0.0, "digest", "A talk")
    assert audio.path.stat().st_size == audio.samples * 2
    # The tone is where it was: silent in the first, loud in the second half second.
    sound = np.abs(np.fromfile(audio.path, dtype="<i2").astype(float))
    assert sound[2000:6000].mean() < 300
    assert sound[10000:14000].mean() > 3000
    assert [path.name for path in bench.folder.iterdir()] == ["audio.pcm"]


def test_pcm_comes_through_unchanged(bench: Any, media: Path) -> None:
    with wave.open(str(media / "tone.wav")) as file:
        expected = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert np.array_equal(bench.samples(media / "tone.wav"), expected)


def test_the_sound_of_a_video_is_enough(bench: Any, media: Path) -> None:
    assert bench.decode(media / "video.mp4").seconds == pytest.approx(SECONDS, abs=0.1)


def test_of_several_audio_streams_the_first_is_taken(bench: Any, media: Path) -> None:
    assert bench.decode(media / "two.mka").seconds == pytest.approx(SECONDS, abs=0.1)


def test_sound_that_begins_late_keeps_its_place(bench: Any, media: Path) -> None:
    sound = np.abs(bench.samples(media / "late.mp4").astype(float))
    assert len(sound) == pytest.approx((SECONDS + 1) * SAMPLE_RATE, abs=2000)
    assert sound[:SAMPLE_RATE].max() == 0
    assert sound[26000:30000].mean() > 3000


def test_a_hole_in_the_stream_is_silence(bench: Any, media: Path) -> None:
    sound = np.abs(bench.samples(media / "hole.mka").astype(float))
    assert len(sound) == pytest.approx(SECONDS * SAMPLE_RATE, abs=800)
    assert sound[17000:31000].max() < 300
    assert sound[42000:46000].mean() > 3000


@pytest.mark.parametrize("name", ["ogg", "opus", "mp3"])
def test_recordings_that_were_joined_lose_nothing(bench: Any, media: Path, tmp_path: Path, name: str) -> None:
    joined = tmp_path / f"joined.{name}"
    joined.write_bytes((media / f"tone.{name}").read_bytes() * 2)
    assert bench.decode(joined).seconds == pytest.approx(2 * SECONDS, abs=0.2)


@pytest.mark.parametrize("name", ["wav", "mp3", "m4a", "opus"])
@pytest.mark.parametrize(("start", "end"), [(1.25, 2.5), (None, 0.7), (2.0, None), (0.000_03, 99.0)])
def test_a_part_has_the_very_samples_of_the_whole(
    bench: Any, media: Path, name: str, start: float | None, end: float | None
) -> None:
    whole = bench.samples(media / f"tone.{name}")
    part = bench.decode(media / f"tone.{name}", start=start, end=end)
    assert part.start == (start or 0.0)
    first = round((start or 0) * SAMPLE_RATE)
    last = None if end is None else round(end * SAMPLE_RATE)
    assert np.array_equal(np.fromfile(part.path, dtype="<i2"), whole[first:last])


def test_a_part_behind_the_end_holds_no_audio(bench: Any, media: Path) -> None:
    assert bench.fails(media / "tone.mp3", start=60) == ErrorCode.MEDIA_NO_AUDIO


def test_a_video_without_sound_holds_no_audio(bench: Any, media: Path) -> None:
    assert bench.fails(media / "mute.mp4") == ErrorCode.MEDIA_NO_AUDIO


def test_what_is_too_long_is_cut_off_and_what_just_fits_is_taken(bench: Any, media: Path) -> None:
    assert bench.decode(media / "tone.wav", max_seconds=SECONDS).seconds == SECONDS
    bench.folder.joinpath("audio.pcm").unlink()
    assert bench.fails(media / "tone.wav", max_seconds=SECONDS - 0.01) == ErrorCode.MEDIA_TOO_LONG
    # The limit is for the part that is asked for.
    assert bench.decode(media / "tone.wav", max_seconds=1, start=1.5, end=2.5).seconds == 1.0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"These are the minutes of the meeting, not its recording.\n" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(2000),
        bytes(5000),
        bytes(itertools.islice(itertools.cycle(range(7, 256, 3)), 20000)),
        b"ftyp" * 1000,
    ],
    ids=["empty", "text", "image", "zeros", "noise", "ftyp"],
)
@pytest.mark.parametrize("name", ["source", "source.mp4", "source.txt"])
def test_what_is_no_media_is_unreadable(bench: Any, tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert bench.fails(path) == ErrorCode.MEDIA_UNREADABLE


@pytest.mark.parametrize("script", ["hls", "concat", "sdp", "ffmetadata"])
@pytest.mark.parametrize("name", ["source", "source.m3u8", "source.mp3", "source.wav"])
def test_a_playlist_that_poses_as_media_is_not_followed(
    bench: Any, media: Path, tmp_path: Path, script: str, name: str
) -> None:
    # Given a file that names another one, which could be decoded
    target = media / "tone.aac"
    path = tmp_path / name
    path.write_text(
        {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\nfile://{target}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{target}'\n",
            "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
            "ffmetadata": f";FFMETADATA1\ntitle={target}\n",
        }[script]
    )
    # Then nothing of it is heard
    assert bench.fails(path) == ErrorCode.MEDIA_UNREADABLE


def test_a_damaged_index_is_unreadable(bench: Any, media: Path, tmp_path: Path) -> None:
    whole = (media / "tone.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(whole[: len(whole) * 3 // 4])
    assert bench.fails(tmp_path / "cut.m4a") == ErrorCode.MEDIA_UNREADABLE


@pytest.mark.parametrize("name", ["mp3", "wav", "flac", "aac"])
def test_garbage_behind_good_audio_does_not_cost_the_audio(bench: Any, media: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"tail.{name}"
    path.write_bytes((media / f"tone.{name}").read_bytes() + b"\x00garbage\xff" * 2000)
    assert bench.decode(path).seconds >= SECONDS - 0.1


def test_room_is_reserved_for_source_and_sound_together_before_it_is_taken(bench: Any, media: Path) -> None:
    path = media / "tone.mp3"
    audio = bench.decode(path)
    assert bench.held.totals[0] > path.stat().st_size
    assert bench.held.totals[-1] >= path.stat().st_size + audio.path.stat().st_size


def test_a_linked_file_takes_no_scratch_of_its_own(bench: Any, media: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.wav"
    link.symlink_to(media / "tone.wav")
    bench.decode(link)
    assert bench.held.totals[0] < 2**25


def test_a_full_disk_is_the_nodes_fault(bench: Any, media: Path) -> None:
    (bench.folder / "audio.pcm.part").symlink_to("/dev/full")
    bench.fails(media / "tone.wav", NodeFaultError)


#: The reader as a program.
REAL = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from stages.reader.program import read; read(sys.argv[1], 1)"


def scripted(bench: Any, folder: Path, script: str, before: str = "") -> Path:
    """Puts a program of the test in the reader's place; returns the file in which it says its process id."""
    program, note = folder / "reader", folder / "pid"
    program.write_text(f"#!/bin/sh\n{before}ln -s $$ {note}\n{script}\n")
    program.chmod(0o755)
    bench.reader = [str(program)]
    return note


@pytest.fixture
def media_file(media: Path) -> Path:
    """One that goes through ffmpeg."""
    return media / "tone.flac"


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        # Whatever the reader does for want of a machine that works, it does with the known clip as well.
        ("kill -SEGV $$", NodeFaultError, "storage_unavailable"),
        ("exit 127", NodeFaultError, "storage_unavailable"),
        ("echo 'error while loading shared libraries'>&2; exit 127", NodeFaultError, "storage_unavailable"),
        ("exit 0", NodeFaultError, "storage_unavailable"),
        ("kill -KILL $$", TransientError, ErrorCode.INTERRUPTED),
        # Something that is wrong with the one file.
        ("{good} kill -SEGV $$", PermanentError, ErrorCode.MEDIA_UNREADABLE),
        ("{good} echo 'a bug'>&2; exit 1", PermanentError, ErrorCode.MEDIA_UNREADABLE),
    ],
)
def test_how_the_reader_may_end(
    bench: Any, media_file: Path, tmp_path: Path, script: str, kind: type[Exception], code: str
) -> None:
    real = shlex.join([sys.executable, "-B", "-c", REAL])
    good = f'case "$1" in *kennedy*) rm -f {tmp_path}/pid; exec {real} "$1";; esac;'
    scripted(bench, tmp_path, script.replace("{good}", good), before=f"rm -f {tmp_path}/pid;")
    assert bench.fails(media_file, kind) == code


def state(pid: int) -> str | None:
    """The letter that /proc has for a process; None when it is gone and reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def when_there(note: Path, act: Callable[[], None]) -> threading.Thread:
    """Acts, from another thread, once the program has said that it runs."""

    def wait() -> None:
        while not note.is_symlink():
            threading.Event().wait(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_cancelled_decode_leaves_no_process(bench: Any, media_file: Path, tmp_path: Path) -> None:
    # Given a reader that has started another program and heeds no signal but the last
    other = tmp_path / "other"
    note = scripted(
        bench,
        tmp_path,
        "while :; do head -c 9 /dev/zero | tr '\\0' '\\377'; done",
        before=f"trap '' TERM INT HUP\nsleep 60 & ln -s $! {other}\n",
    )
    thread = when_there(note, lambda: bench.cancellation.cancel(CancelReason.SHUTDOWN))
    bench.fails(media_file, Cancelled)
    thread.join()
    # Then both are gone (the second one's corpse is for init to remove)
    assert state(int(note.readlink().name)) is None
    pid = int(other.readlink().name)
    for _ in range(100):
        if state(pid) in (None, "Z"):
            return
        threading.Event().wait(0.02)
    pytest.fail("the process that the reader had started lives on")


def test_the_reader_works_in_batches(bench: Any, media_file: Path, tmp_path: Path) -> None:
    # Given a reader at work
    note = scripted(bench, tmp_path, "exec sleep 60")
    policies: list[int] = []

    def look() -> None:
        for _ in range(200):
            policies.append(os.sched_getscheduler(int(note.readlink().name)))
            if policies[-1] == os.SCHED_BATCH:
                break
            threading.Event().wait(0.02)
        bench.cancellation.cancel(CancelReason.SHUTDOWN)

    # When it is looked at
    thread = when_there(note, look)
    bench.fails(media_file, Cancelled)
    thread.join()
    # Then it was told to work in batches
    assert policies[-1] == os.SCHED_BATCH


@pytest.mark.parametrize("how", [{"timeout": 0.5}, {"stall_timeout": 0.5}])
def test_a_decode_that_does_not_come_to_an_end_is_ended(
    bench: Any, media_file: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    script = (
        "while :; do head -c 99 /dev/zero | tr '\\0' '\\377'; sleep 0.05; done" if "timeout" in how else "exec sleep 60"
    )
    note = scripted(bench, tmp_path, script)
    assert bench.fails(media_file, **how) == ErrorCode.MEDIA_UNREADABLE
    assert state(int(note.readlink().name)) is None


def test_time_in_which_the_job_waits_for_room_does_not_count(bench: Any, media_file: Path) -> None:
    grant = bench.held.reserve

    def slowly(total: int, cancellation: Cancellation) -> None:
        threading.Event().wait(0.6)
        grant(total, cancellation)

    bench.held.reserve = slowly
    assert bench.decode(media_file, timeout=20, stall_timeout=0.5).seconds == SECONDS


def test_endless_complaints_do_not_fill_the_memory(bench: Any, media_file: Path, tmp_path: Path) -> None:
    scripted(bench, tmp_path, "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the end >&2; exit 1")
    with pytest.raises(NodeFaultError, match=r"the end\)$"):
        bench.decode(media_file)


def test_memory_does_not_grow_with_the_length_of_a_file(bench: Any, tmp_path: Path, make: Callable[..., Path]) -> None:
    # Given ten minutes of silence
    path = make(tmp_path / "long.flac", "-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=600")
    tracemalloc.start()
    try:
        audio = bench.decode(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Then it is decoded whole, in a fraction of the memory that it has bytes
    assert audio.seconds == 600
    assert peak < audio.path.stat().st_size / 20


def test_the_same_file_gives_the_same_bytes(bench: Any, media: Path) -> None:
    first, second = (hashlib.sha256(bench.samples(media / "tone.mp3").tobytes()).digest() for _ in range(2))
    assert first == second
