# SPDX-License-Identifier: Apache-2.0
"""A file of JSON lines that grows while something is measured, so that what ends a run does not end its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["LineFile", "read_lines"]


class LineFile:
    """Writes a line at a time; each is in the file when `add` returns.

    Args:
        path: The file. What was in it is gone, and missing folders are made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self.path = path

    def add(self, what: Mapping[str, Any]) -> None:
        """Appends an object."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(what, allow_nan=False) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines: none where there is no file, and without a last one that was cut off."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
