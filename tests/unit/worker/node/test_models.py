# SPDX-License-Identifier: Apache-2.0
"""From `SQSCRIBE_MODEL` to what the engine is built with."""

from __future__ import annotations

from pathlib import Path

from stages.inference.client.client import DEFAULT_DECODER
from worker.node.models import RANDOM_MARK, REQUIRED_FILES, SIMULATED, decoder_of, engine_settings
from worker.settings import Settings
from worker.testing.decoder import Simulation


def test_a_simulated_model_is_a_query_string_and_hears_no_control_clip(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, model="simulated:window_seconds=0.5&parallel=2&log=%2Ftmp%2Fwindows")

    resolved = engine_settings(settings, lambda *_: None, tmp_path, "json")

    assert decoder_of(settings.model) == SIMULATED
    assert Simulation.parse(resolved.model) == Simulation(window_seconds=0.5, parallel=2, log="/tmp/windows")
    assert resolved.name == "simulated"
    assert resolved.control is None


def test_a_simulated_model_needs_no_wishes(tmp_path: Path) -> None:
    resolved = engine_settings(Settings(_env_file=None, model="simulated:"), lambda *_: None, tmp_path, "json")

    assert Simulation.parse(resolved.model) == Simulation()


def test_a_model_that_says_its_weights_are_random_is_not_checked_and_any_other_is(tmp_path: Path) -> None:
    for name in REQUIRED_FILES:
        (tmp_path / name).touch()
    settings = Settings(_env_file=None, model=str(tmp_path))

    assert engine_settings(settings, lambda *_: None, tmp_path, "json").control is not None
    (tmp_path / RANDOM_MARK).touch()
    assert engine_settings(settings, lambda *_: None, tmp_path, "json").control is None


def test_the_bundled_model_is_checked_on_the_control_clip(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, model="demo")

    resolved = engine_settings(settings, lambda *_: None, tmp_path, "json")

    assert decoder_of(settings.model) == DEFAULT_DECODER
    assert resolved.name == "demo"
    assert resolved.control is not None
