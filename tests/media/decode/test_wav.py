# SPDX-License-Identifier: Apache-2.0
"""WAV files that need no ffmpeg: which these are, and that their samples are those that ffmpeg would give."""

from __future__ import annotations

import os
import struct
import subprocess
import wave
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, PermanentError
from stages.decode import AudioDecoder, DecodeLimits
from stages.decode.readers import Readers
from stages.ffmpeg import find_ffmpeg
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE, Source
from stages.wav import PlainWav, find_plain_wav
from worker.testing.scratch import BoundlessReserve

PCM = np.random.default_rng(3).integers(-20_000, 20_000, 1000).astype("<i2").tobytes()
GUID = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
NEUTRAL = [b"LIST", b"fact", b"JUNK", b"PAD ", b"FLLR", b"PEAK", b"cue ", b"smpl", b"id3 "]


def chunk(name: bytes, payload: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(payload) if length is None else length) + payload + bytes(len(payload) % 2)


def form(tag: int = 1, channels: int = 1, rate: int = SAMPLE_RATE, bits: int = 16, extra: bytes = b"") -> bytes:
    width = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits) + extra)


def extensible(speakers: int = 4, bits: int = 16, tag: int = 1) -> bytes:
    return form(0xFFFE, extra=struct.pack("<HHIH", 22, bits, speakers, tag) + GUID)


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def written(folder: Path, content: bytes) -> Path:
    path = folder / "clip.wav"
    path.write_bytes(content)
    return path


def decoded(path: Path, start: float | None = None, end: float | None = None) -> bytes:
    with TemporaryDirectory() as folder:
        source = Source(path, path.stat().st_size, "digest")
        audio = AudioDecoder(DecodeLimits(3600)).decode(
            source, Path(folder), BoundlessReserve(), Cancellation(), start, end
        )
        return audio.path.read_bytes()


def by_ffmpeg(path: Path, start: float | None = None, end: float | None = None) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.decode.decoder.find_plain_wav", lambda _: None)
        return decoded(path, start, end)


DATA = chunk(b"data", PCM)
PLAIN = {
    "plain": riff(form(), DATA),
    "with the size of an extension": riff(form(extra=bytes(2)), DATA),
    "extensible": riff(extensible(), DATA),
    "extensible, no loudspeaker named": riff(extensible(speakers=0), DATA),
    "texts before": riff(chunk(b"JUNK", b"odd"), form(), chunk(b"LIST", b"INFOISFT\x04\x00\x00\x00Lavf"), DATA),
    "texts behind": riff(form(), DATA, chunk(b"LIST", b"INFOISFT\x04\x00\x00\x00Lavf"), chunk(b"id3 ", bytes(7))),
    "last padding left out": riff(form(), DATA, chunk(b"JUNK", b"odd"))[:-1],
    "RIFF size too small": riff(form(), DATA, length=4),
    "RIFF size too large": riff(form(), DATA, length=2**31),
    "one sample": riff(form(), chunk(b"data", PCM[:2])),
}
NOT_PLAIN = {
    "empty": b"",
    "no file of this kind": b"ID3\x04" + riff(form(), DATA),
    "RF64": b"RF64" + riff(form(), DATA)[4:],
    "big-endian": b"RIFX" + riff(form(), DATA)[4:],
    "AVI": riff(form(), DATA).replace(b"WAVE", b"AVI "),
    "header only": riff(form(), DATA)[:12],
    "cut in a header": riff(form(), DATA)[:40],
    "cut in the samples": riff(form(), DATA)[:-100],
    "a length not known when it was written": riff(form(), chunk(b"data", PCM, 0xFFFFFFFF), length=0xFFFFFFFF),
    "a length of 0": riff(form(), chunk(b"data", PCM, 0)),
    "a length of 0 and nothing behind": riff(form(), chunk(b"data", b"")),
    "half a sample at the end": riff(form(), chunk(b"data", PCM + b"\x01")),
    "no format": riff(DATA),
    "the format behind": riff(DATA, form()),
    "two formats": riff(form(), form(), DATA),
    "two lots of samples": riff(form(), DATA, DATA),
    "a format that is cut short": riff(chunk(b"fmt ", form()[8:22]), DATA),
    "an extension that is cut short": riff(chunk(b"fmt ", extensible()[8:-4]), DATA),
    "something behind": riff(form(), DATA) + b"garbage of some length",
    "bytes behind": riff(form(), DATA) + b"\0\0",
    "an unknown chunk": riff(form(), chunk(b"wxyz", b"what is this"), DATA),
    "too many chunks": riff(*[chunk(b"JUNK", b"")] * 40, form(), DATA),
    "stereo": riff(form(channels=2), DATA),
    "another rate": riff(form(rate=44_100), DATA),
    "8 bits": riff(form(bits=8), DATA),
    "24 bits": riff(form(bits=24), DATA),
    "floats": riff(form(tag=3), DATA),
    "another loudspeaker": riff(extensible(speakers=1), DATA),
    "12 bits in 16": riff(extensible(bits=12), DATA),
    "floats, extensible": riff(extensible(tag=3), DATA),
    "widths that contradict each other": riff(
        form().replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 4, 16)), DATA
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_file_is_read_without_ffmpeg_as_ffmpeg_reads_it(tmp_path: Path, name: str) -> None:
    # Given a file of 16-bit mono PCM at 16 kHz, well-formed
    path = written(tmp_path, PLAIN[name])
    # Then its samples are found, and they are those that ffmpeg gives
    found = find_plain_wav(path)
    assert found is not None
    assert decoded(path) == by_ffmpeg(path) == PCM[: found.length]


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_whatever_is_unusual_is_left_to_ffmpeg(tmp_path: Path, name: str) -> None:
    assert find_plain_wav(written(tmp_path, NOT_PLAIN[name])) is None


def test_what_cannot_be_opened_is_left_to_ffmpeg(tmp_path: Path) -> None:
    assert find_plain_wav(tmp_path / "gone.wav") is None
    assert find_plain_wav(tmp_path) is None


def test_damaged_texts_do_not_cost_the_samples(tmp_path: Path) -> None:
    path = written(tmp_path, riff(form(), DATA, chunk(b"LIST", b"INF")))

    assert decoded(path) == PCM


@pytest.mark.parametrize("maker", ["python", "ffmpeg"])
def test_what_usual_programs_write_is_plain(tmp_path: Path, maker: str) -> None:
    path = tmp_path / "clip.wav"
    if maker == "python":
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes(PCM)
    else:
        raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0", "-metadata", "title=A talk")
        subprocess.run([find_ffmpeg(), "-loglevel", "error", *raw, str(path)], input=PCM, check=True)

    assert find_plain_wav(path) == PlainWav(path, path.stat().st_size - len(PCM), len(PCM))
    assert decoded(path) == PCM


def test_no_process_is_even_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a reader that fails whatever it is given
    broken = partial(Readers, ["/bin/sh", "-c", "echo broken >&2; exit 1"])
    monkeypatch.setattr("stages.decode.decoder.Readers", lambda _reader: broken())

    assert decoded(written(tmp_path, PLAIN["plain"])) == PCM
    with pytest.raises(NodeFaultError, match="broken"):
        decoded(written(tmp_path, NOT_PLAIN["stereo"]))


#: Chunks behind or before others. What a LIST holds is well-formed, or ffmpeg refuses the file.
CHUNKS = st.lists(
    st.one_of(
        st.builds(chunk, st.sampled_from([*NEUTRAL[1:] * 8, b"bext", b"wxyz"]), st.binary(max_size=40)),
        st.builds(lambda text: chunk(b"LIST", b"adtl" + text), st.binary(max_size=40)),
        st.builds(lambda text: chunk(b"LIST", b"INFO" + chunk(b"INAM", text)), st.binary(max_size=40)),
    ),
    max_size=3,
).map(b"".join)
FORMATS = st.one_of(
    st.builds(form, extra=st.sampled_from([b"", bytes(2), b"\x04\x00abcd"])),
    st.builds(extensible, speakers=st.sampled_from([0, 1, 2, 4]), bits=st.sampled_from([12, 16])),
    st.builds(
        form, channels=st.integers(1, 2), rate=st.sampled_from([SAMPLE_RATE, 8000]), bits=st.sampled_from([8, 16])
    ),
)
PARTS = st.sampled_from([(None, None), (0.004, None), (None, 0.03), (0.011, 0.02003)])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=CHUNKS,
    described=FORMATS,
    between=CHUNKS,
    samples=st.integers(200, 1000),
    lie=st.sampled_from([0] * 15 + [2, -2, -1, -36, 1000]),
    behind=CHUNKS,
    tail=st.sampled_from([b""] * 10 + [b"\0", b"\0\0", b"tail of a file"]),
    length=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    part=PARTS,
)
def test_whatever_is_taken_for_plain_ffmpeg_reads_alike(
    before: bytes, described: bytes, between: bytes, samples: int, lie: int, behind: bytes, tail: bytes,
    length: int | None, part: tuple[float | None, float | None],
) -> None:  # fmt: skip
    # Given a file put together at random, whose sizes may lie
    data = chunk(b"data", PCM[: 2 * samples], 2 * samples + lie)
    content = riff(before, described, between, data, behind, tail, length=length)
    with TemporaryDirectory() as folder:
        path = written(Path(folder), content)
        # When it is taken for plain
        if find_plain_wav(path):
            # Then ffmpeg agrees to the last bit
            event("plain")
            assert decoded(path, *part) == by_ffmpeg(path, *part)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 60), st.binary(min_size=1, max_size=8))
def test_bytes_that_were_overwritten_never_lead_out_of_the_file(at: int, damage: bytes) -> None:
    content = bytearray(PLAIN["extensible"])
    content[at : at + len(damage)] = damage
    with TemporaryDirectory() as folder:
        found = find_plain_wav(written(Path(folder), bytes(content)))

    if found:
        assert found.offset + found.length <= len(content)
        assert found.length % 2 == 0 < found.length


def plain(folder: Path, seconds: float) -> PlainWav:
    content = riff(form(), chunk(b"data", bytes(2 * int(seconds * SAMPLE_RATE))))
    found = find_plain_wav(written(folder, content))
    assert found
    return found


def test_no_more_is_read_than_is_wanted(tmp_path: Path) -> None:
    pieces: list[bytes] = []

    plain(tmp_path, 60).copy(pieces.append, Cancellation(), 1_000_000)

    assert sum(map(len, pieces)) == 1_000_000
    assert max(map(len, pieces)) <= 2**18


def test_a_copy_stops_when_the_job_is_called_off(tmp_path: Path) -> None:
    # Given a job that is called off after the first piece
    cancellation = Cancellation()
    pieces: list[bytes] = []

    def sink(piece: bytes) -> None:
        pieces.append(piece)
        cancellation.cancel(CancelReason.LEASE_LOST)

    with pytest.raises(Cancelled):
        plain(tmp_path, 60).copy(sink, cancellation, 2**30)
    assert len(pieces) == 1


def test_a_file_that_becomes_shorter_is_unreadable(tmp_path: Path) -> None:
    found = plain(tmp_path, 1)
    os.truncate(found.path, 10_000)

    with pytest.raises(PermanentError) as caught:
        found.copy(lambda _: None, Cancellation(), 2**30)
    assert caught.value.code is ErrorCode.MEDIA_UNREADABLE


def test_a_file_that_vanishes_is_the_nodes_fault(tmp_path: Path) -> None:
    found = plain(tmp_path, 1)
    found.path.unlink()

    with pytest.raises(NodeFaultError, match="No such file"):
        found.copy(lambda _: None, Cancellation(), 2**30)
