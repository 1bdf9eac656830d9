# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench`: what is refused before anything is made or started."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sqscribe.cli.bench.compare import app
from sqscribe.errors import SettingsError

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
