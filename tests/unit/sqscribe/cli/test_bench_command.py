# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench`: what is refused before anything is made or started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from sqscribe.cli.bench import app
from sqscribe.cli.bench.options import with_options
from sqscribe.errors import ExitCode, SettingsError

pytest.importorskip("matplotlib", reason="needs sqscribe[bench]")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--workload", "podcasts"), "podcasts"),
        (("--scale", "2"), "scale 2"),
        (("--contender", "whisperx"), "whisperx"),
        (("--set", "BATCH_SIZE"), "NAME=VALUE"),
        (("--device", "tpu"), "tpu"),
        (("--model", "random:enormous", "--device", "cpu", "-w", "clips"), "enormous"),
    ],
)
def test_what_cannot_be_is_refused_at_once(arguments: tuple[str, ...], word: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path)])

    assert isinstance(ran.exception, SettingsError)
    assert word in str(ran.exception)
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Drink:
    cups: Annotated[int, typer.Option(min=1, help="How many.")] = 2
    kinds: Annotated[list[str] | None, typer.Option("--kind", "-k")] = None
    hot: Annotated[bool, typer.Option("--hot/--cold")] = True


@pytest.mark.parametrize(
    ("arguments", "drink"),
    [
        ((), Drink()),
        (("--cups", "3", "-k", "tea", "--kind", "coffee", "--cold"), Drink(3, ["tea", "coffee"], hot=False)),
    ],
)
def test_options_come_to_a_command_as_one_object(arguments: tuple[str, ...], drink: Drink) -> None:
    # Given a command with an argument of its own besides
    served: list[tuple[str, Drink]] = []
    cafe = typer.Typer()

    @cafe.command()
    @with_options(Drink)
    def serve(guest: str, options: Drink) -> None:
        """Serves."""
        served.append((guest, options))

    # When it is run
    ran = CliRunner().invoke(cafe, ["Ada", *arguments])

    # Then it has both
    assert ran.exit_code == 0, ran.output
    assert served == [("Ada", drink)]


def test_an_option_out_of_range_is_refused() -> None:
    ran = CliRunner().invoke(app, ["busy", "--rounds", "0"])
    assert ran.exit_code == ExitCode.USAGE
    assert "--rounds" in ran.output
