# SPDX-License-Identifier: Apache-2.0
"""A file is read to its end whatever its head says of its length; one that lost its end is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.values import Audio

Make = Callable[..., Path]
SECONDS = 11.0
W64_DATA = bytes.fromhex("64617461f3acd311")


def codes(audio: Audio) -> list[str]:
    return [warning.code for warning in audio.warnings]


@pytest.mark.parametrize("length", [0, 100_000])
@pytest.mark.parametrize(
    ("name", "mark", "ahead", "width", "order", "more"),
    [
        ("a.aiff", b"SSND", 4, 4, "big", ()),
        ("a.au", b".snd", 8, 4, "big", ()),
        ("a.caf", b"data", 4, 8, "big", ("-c:a", "pcm_s16be")),
        ("a.w64", W64_DATA, 16, 8, "little", ()),
        ("a.wav", b"ds64", 16, 8, "little", ("-rf64", "always")),
    ],
    ids=["aiff", "au", "caf", "w64", "rf64"],
)
def test_samples_are_read_to_the_files_end_whatever_their_size_field_says(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, name: str, mark: bytes, ahead: int, width: int,
    order: Any, more: tuple[str, ...], length: int,
) -> None:  # fmt: skip
    # Given a file whose size field wrapped, or was never written
    path = make(tmp_path / name, "-i", str(sentence), "-ac", "2", "-ar", "44100", *more)
    whole = bench.samples(path)
    content = bytearray(path.read_bytes())
    at = content.index(mark) + ahead
    content[at : at + width] = length.to_bytes(width, order)
    path.write_bytes(content)
    # When it is decoded
    audio = bench.decode(path)
    # Then all samples are there, and none else
    assert (whole == bench.samples(path)).all()
    assert audio.seconds == pytest.approx(SECONDS, abs=0.01)
    assert codes(audio) == []


@pytest.mark.parametrize("name", ["a.aiff", "a.caf"])
def test_what_stands_behind_the_samples_is_no_sound(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, name: str
) -> None:
    # Given a file with a chunk of text behind its samples
    path = make(tmp_path / name, "-i", str(sentence), "-ac", "2", "-ar", "44100", "-c:a", "pcm_s16be")
    size = 4 if name.endswith("aiff") else 8
    path.write_bytes(path.read_bytes() + b"ANNO" + (50_000).to_bytes(size, "big") + b"word " * 10_000)
    audio = bench.decode(path)

    assert audio.seconds == pytest.approx(SECONDS, abs=0.01)


@pytest.mark.parametrize(("name", "codec"), [("a.ogg", "libvorbis"), ("a.opus", "libopus"), ("b.ogg", "flac")])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_ogg_file_that_lost_its_end_is_told(
    bench: Any, make: Make, tmp_path: Path, sentence: Path, name: str, codec: str, share: float
) -> None:
    # Given a recording that does not say how long it is
    path = make(tmp_path / name, "-i", str(sentence), "-c:a", codec)
    assert codes(bench.decode(path)) == []
    whole = path.read_bytes()
    # When its end is lost
    path.write_bytes(whole[: round(len(whole) * share)])
    # Then what is left is decoded, and the loss told
    audio = bench.decode(path)
    assert 1 < audio.seconds < SECONDS - 0.3
    assert "truncated" in codes(audio)


def test_a_chain_that_lost_the_end_of_its_last_link_is_told(
    bench: Any, make: Make, tmp_path: Path, sentence: Path
) -> None:
    whole = make(tmp_path / "a.ogg", "-i", str(sentence), "-c:a", "libvorbis").read_bytes()
    path = tmp_path / "chained.ogg"
    path.write_bytes(whole + whole)
    assert "truncated" not in codes(bench.decode(path))
    path.write_bytes(whole + whole[: len(whole) // 2])

    assert "truncated" in codes(bench.decode(path))
