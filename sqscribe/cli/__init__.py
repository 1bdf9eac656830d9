# SPDX-License-Identifier: Apache-2.0
"""The command line. Each command is a module of its own, loaded when it is asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sqscribe import __version__
from sqscribe.cli.fatal import exit_code, log_is_json, tell_fatal
from sqscribe.errors import ExitCode, SqscribeError
from sqscribe.shadows import hidden_package
from sqscribe.unasked import turn_off

__all__ = ["COMMANDS", "app", "main"]

#: The one list of commands, in the order in which `--help` lists them. A module that is not asked for is not loaded: a
#: sender's machine need not wait for what only the worker needs.
COMMANDS = ("worker", "doctor", "transcribe", "demo", "enqueue", "fetch", "bench")


class _LazyGroup(TyperGroup):
    """A group that finds its commands in the modules of this package."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the group's interface
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the group's interface
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"sqscribe.cli.{cmd_name}").app)
        command.name = cmd_name  # a group of commands has none of its own
        return command


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sqscribe {__version__}")
        raise typer.Exit


@app.callback()
def _sqscribe(
    version: Annotated[  # acted on by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Bulk transcription: jobs from SQS, Whisper in batches across jobs, transcripts in S3.

    Exit codes: 0 done; 1 unexpected failure; 2 wrong usage or settings; 3 this node is unfit; 4 the engine keeps
    failing on good input; 5 some of the jobs asked for failed.
    """


def main() -> None:
    """Entry point of the `sqscribe` command."""
    # Python's own children, as the inference process, would search the current folder before anything else.
    os.environ["PYTHONSAFEPATH"] = "1"
    turn_off()
    try:
        ended = app(standalone_mode=not log_is_json())  # which would write wrong arguments as several lines
    except ImportError:
        hidden = hidden_package()
        if hidden is None:
            raise
        _end(hidden, ExitCode.USAGE)
    except SqscribeError as error:
        _end(str(error), exit_code(error))
    except Exception as error:
        # Wrong arguments. Newer versions of Typer have a click of their own, so that their class has no fixed name.
        if not hasattr(error, "format_message"):
            raise
        _end(error.format_message(), ExitCode.USAGE)
    sys.exit(ended if isinstance(ended, int) else ExitCode.DONE)


def _end(why: str, code: ExitCode) -> NoReturn:
    """Says in one line what ended the command, as a log line where the command's lines are read by machines."""
    tell_fatal(why, code)
    sys.exit(code)
