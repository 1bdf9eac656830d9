# SPDX-License-Identifier: Apache-2.0
"""What ends a command, in one line: a plain one for people, a JSON object where a machine reads the log."""

from __future__ import annotations

import os
import sys
from itertools import pairwise

import typer

from sqscribe.errors import EngineBrokenError, ExitCode, SettingsError, SqscribeError, UnfitNodeError

__all__ = ["exit_code", "log_is_json", "tell_fatal"]

_FLAG, _VARIABLE = "--log-format", "SQSCRIBE_LOG_FORMAT"
#: Commands whose standard error is a log.
_DAEMONS = frozenset({"worker"})


def exit_code(error: SqscribeError) -> ExitCode:
    """The code that a command ends with for an error."""
    match error:
        case SettingsError():
            return ExitCode.USAGE
        case UnfitNodeError():
            return ExitCode.UNFIT_NODE
        case EngineBrokenError():
            return ExitCode.ENGINE_BROKEN
        case _:
            return ExitCode.UNEXPECTED


def tell_fatal(why: str, code: ExitCode) -> None:
    """Writes why the command ends to its standard error.

    Args:
        why: For people: what, why and what to do.
        code: The exit code, which a line for machines has too.
    """
    if not log_is_json():
        typer.echo(f"sqscribe: {why}", err=True)
        return
    # Only here, as most commands need no logs.
    import structlog  # noqa: PLC0415

    from sqscribe.logs import configure  # noqa: PLC0415

    configure("json")
    structlog.get_logger().critical("fatal", reason=why, exit_code=int(code), kind=code.name.lower())


def log_is_json() -> bool:
    """Whether this command's lines are read by a machine, as its flag or variable says, or the lack of a terminal.

    It cannot be asked of the settings: they may be what is wrong.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in _DAEMONS:
        return False
    flags = [later for flag, later in pairwise(arguments) if flag == _FLAG]
    flags += [each.partition("=")[2] for each in arguments if each.startswith(f"{_FLAG}=")]
    named = (flags[-1] if flags else os.environ.get(_VARIABLE, "")).strip().lower()
    return named == "json" or (named != "console" and not sys.stderr.isatty())
