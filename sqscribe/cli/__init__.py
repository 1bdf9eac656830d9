# SPDX-License-Identifier: Apache-2.0
"""The command line. Each command is a module of its own, loaded when it is asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sqscribe import __version__
from sqscribe.errors import EngineBrokenError, ExitCode, SettingsError, SqscribeError, UnfitNodeError
from sqscribe.shadows import hidden_package

__all__ = ["COMMANDS", "app", "main"]

#: The one list of commands, in the order in which `--help` lists them. A module that is not asked for is not loaded: a
#: sender's machine need not wait for what only the worker needs.
COMMANDS = ("worker", "transcribe", "demo", "enqueue", "fetch", "bench")


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
    try:
        app()
    except ImportError:
        hidden = hidden_package()
        if hidden is None:
            raise
        typer.echo(f"sqscribe: {hidden}", err=True)
        sys.exit(ExitCode.USAGE)
    except SqscribeError as error:
        typer.echo(f"sqscribe: {error}", err=True)
        sys.exit(_exit_code(error))


def _exit_code(error: SqscribeError) -> ExitCode:
    match error:
        case SettingsError():
            return ExitCode.USAGE
        case UnfitNodeError():
            return ExitCode.UNFIT_NODE
        case EngineBrokenError():
            return ExitCode.ENGINE_BROKEN
        case _:
            return ExitCode.UNEXPECTED
