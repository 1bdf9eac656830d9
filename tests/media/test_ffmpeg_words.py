# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from stages.ffmpeg import last_words


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("", ""),
        ("[mov,mp4 @ 0x55f] moov atom not found\nError opening input files: Invalid data\n", "moov atom not found"),
        (
            "[in#0 @ 0x5] Error opening input: I/O error\nError opening input file file:/s/a.bin.\n",
            "Error opening input: I/O error",
        ),
        ("file:/s/a.bin: Invalid argument\n", "the file: Invalid argument"),
        ("Conversion failed!\n", "Conversion failed!"),
        ("x" * 999, "x" * 200),
        ("a\x1b[31mb\n", "a[31mb"),
    ],
)
def test_what_it_said_last_is_shown_without_addresses_and_paths(messages: str, words: str) -> None:
    assert last_words(messages, Path("/s/a.bin")) == words
