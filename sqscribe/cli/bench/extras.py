# SPDX-License-Identifier: Apache-2.0
"""What the commands of `sqscribe bench` have in common."""

from __future__ import annotations

import importlib.util

from sqscribe.errors import SettingsError

__all__ = ["WIDE", "need_extras"]

#: Needed beside what the worker needs.
_EXTRAS = ("moto", "psutil", "matplotlib")
#: Off a terminal, tables are as wide as their text.
WIDE = 200


def need_extras() -> None:
    """Makes sure that the packages are there.

    Raises:
        SettingsError: One is missing.
    """
    missing = [name for name in _EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(f"the benchmark needs {', '.join(missing)}; install sqscribe[bench]")
