# SPDX-License-Identifier: Apache-2.0
"""What every command of `sqscribe bench` does before it measures."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sqscribe.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["begin", "find_device", "telling"]

#: Packages that measuring needs and the worker does not.
_EXTRAS = ("moto", "psutil", "matplotlib")
#: Columns of a table that goes to a file or a pipe.
_WIDE = 200


def begin() -> Console:
    """Makes sure that measuring is possible here, and that SIGTERM ends what it will start.

    Returns:
        Where to print.

    Raises:
        SettingsError: A package is missing.
    """
    missing = [name for name in _EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(f"the benchmark needs {', '.join(missing)}; install sqscribe[bench]")
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe_bench.lab.program import unwind_on_sigterm  # noqa: PLC0415

    unwind_on_sigterm()
    return Console(width=None if sys.stdout.isatty() else _WIDE)


def telling(console: Console) -> Callable[[str], None]:
    """A function that prints a line about what happens, dimmed and as it is."""
    return partial(console.print, style="dim", highlight=False, markup=False)


def find_device(device: str) -> str:
    """The device that was asked for; for `auto`, a GPU where there is one.

    Raises:
        SettingsError: There is no such device.
    """
    from sqscribe_bench.lab.machine import this_machine  # noqa: PLC0415

    if device == "auto":
        return "cuda" if this_machine().gpus else "cpu"
    if device not in ("cpu", "cuda"):
        raise SettingsError(f"device {device!r} is unknown; use cpu, cuda or auto")
    return device
