# SPDX-License-Identifier: Apache-2.0
"""Every row of the media table is right."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sqscribe_bench.media.table import ROWS

pytestmark = pytest.mark.slow

#: Most bytes of memory of any program that decodes.
MOST_MEMORY = 300_000_000
#: Seconds for the whole table. A quiet machine needs a fraction.
PATIENCE = 600

Table = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def table() -> Table:
    """The verdicts, by the rows' names; that on the whole has none."""
    command = [sys.executable, "-m", "sqscribe_bench.media", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_the_right_sound_is_heard_or_the_right_code_given(table: Table, name: str) -> None:
    verdict = table[name]
    if "skipped" in verdict:
        pytest.skip(f"no such file can be made here: {verdict['skipped']}")

    assert verdict["wrong"] == ""


def test_no_file_takes_much_memory(table: Table) -> None:
    assert 0 < table[""]["peak"] < MOST_MEMORY


def test_there_are_enough_rows_each_of_its_own_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 140
