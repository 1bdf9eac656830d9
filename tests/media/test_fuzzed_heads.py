# SPDX-License-Identifier: Apache-2.0
"""Damaged heads end in sound or in a sentence; `python -m sqscribe_bench.media.fuzz` tries thousands."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from sqscribe_bench.media.fuzz import damaged

#: How many; a figure for the long way can be given.
COUNT = int(os.environ.get("SQSCRIBE_FUZZED_HEADS", "200"))


@pytest.mark.slow
def test_damaged_heads_do_no_harm() -> None:
    # Given files of all families whose heads were damaged in ways that heads are
    command = [sys.executable, "-m", "sqscribe_bench.media.fuzz", "--count", str(COUNT), "--seed", "7"]

    # When each is decoded
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 5 * COUNT, check=False)

    # Then nothing crashed or hung, was left or said without words, and no program took much memory
    report = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["peak"] < 300_000_000
    assert len(report["kinds"]) >= 15
    assert sum(report["outcomes"].values()) == COUNT
    # Some of the damage is heard through, some is not: else nothing was tried.
    assert report["outcomes"]["audio"] > COUNT / 10
    assert report["outcomes"]["media_unreadable"] > COUNT / 50


def test_the_same_seed_does_the_same_damage() -> None:
    whole = bytes(range(256)) * 20

    assert damaged(whole, random.Random("1-5")) == damaged(whole, random.Random("1-5")) != whole
    assert len({damaged(whole, random.Random(f"1-{number}")) for number in range(50)}) > 45
