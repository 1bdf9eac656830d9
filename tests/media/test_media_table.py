# SPDX-License-Identifier: Apache-2.0
"""Every row of the media table is right, on the ffmpeg of the wheel and on the image's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sqscribe_bench.media.builds import BUILDS, CannotBeHadError, build_folder
from sqscribe_bench.media.table import ROWS

pytestmark = pytest.mark.slow

#: Most bytes of memory of any program that decodes.
MOST_MEMORY = 300_000_000
#: Seconds for the whole table. A quiet machine needs a fraction.
PATIENCE = 600

#: Rows that are not right yet, and why.
AWAITED: dict[str, str] = {}
#: Likewise, on the image's build alone.
AWAITED_ON_DEBIAN: dict[str, str] = {}

Table = Callable[[str], dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def table() -> Table:
    """The verdicts on a build, by the rows' names; that on the whole has none."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}

    def get(build: str) -> dict[str, dict[str, Any]]:
        try:
            build_folder(build)
        except CannotBeHadError as error:
            pytest.skip(str(error))
        if build not in tables:
            command = [sys.executable, "-m", "sqscribe_bench.media", "--build", build, "--json"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode in {0, 1}, done.stderr
            tables[build] = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
        return tables[build]

    return get


def cases() -> list[Any]:
    found = []
    for build in BUILDS:
        awaited = AWAITED | (AWAITED_ON_DEBIAN if build == "debian" else {})
        for row in ROWS:
            reason = awaited.get(row.name)
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            found.append(pytest.param(build, row.name, marks=marks, id=f"{build}-{row.name}"))
    return found


@pytest.mark.parametrize(("build", "name"), cases())
def test_the_right_sound_is_heard_or_the_right_code_given(table: Table, build: str, name: str) -> None:
    verdict = table(build)[name]
    if "skipped" in verdict:
        pytest.skip(f"no such file can be made here: {verdict['skipped']}")

    assert verdict["wrong"] == ""


@pytest.mark.parametrize("build", BUILDS)
def test_no_file_takes_much_memory(table: Table, build: str) -> None:
    assert 0 < table(build)[""]["peak"] < MOST_MEMORY


def test_there_are_enough_rows_each_of_its_own_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 140
