# SPDX-License-Identifier: Apache-2.0
"""Each module of the command line that has an `app` is a command that `--help` lists."""

from __future__ import annotations

import ast
from pathlib import Path

from typer.testing import CliRunner

from sqscribe import cli


def test_every_command_is_in_the_one_list() -> None:
    package = Path(cli.__path__[0])
    modules = {
        path.parent.name if path.stem == "__init__" else path.stem: path
        for path in [*package.glob("[!_]*.py"), *package.glob("*/__init__.py")]
    }

    commands = {
        name
        for name, path in modules.items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.ImportFrom)
        and "app"
        in {each.id for each in getattr(node, "targets", ()) if isinstance(each, ast.Name)}
        | {each.name for each in getattr(node, "names", ())}
    }

    assert commands == set(cli.COMMANDS)


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"])

    assert shown.exit_code == 0
    assert [name for name in cli.COMMANDS if f" {name} " not in shown.output] == []
