# SPDX-License-Identifier: Apache-2.0
"""From `SQSCRIBE_MODEL` to what the engine is built with."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from sqscribe.errors import SettingsError
from stages.inference.client.client import DEFAULT_DECODER
from stages.inference.protocol import RANDOM_MARK
from worker.node.models import REQUIRED_FILES, SIMULATED, decoder_of, engine_settings
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


def clip(path: Path, *, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * rate))
    return path


@pytest.mark.parametrize(
    ("model", "must_understand"),
    [
        ("demo", True),
        ("large-v3-turbo", True),
        ("Systran/faster-whisper-base", True),
        ("someone/whisper-large-v3-german", False),
        ("kotoba-tech/kotoba-whisper-v2.0-faster", False),
    ],
)
def test_a_published_model_must_understand_english_and_another_need_not(
    tmp_path: Path, model: str, must_understand: bool
) -> None:
    resolved = engine_settings(Settings(_env_file=None, model=model), lambda *_: None, tmp_path, "json")

    assert resolved.control is not None
    assert resolved.control.must_understand is must_understand


def test_a_control_clip_of_ones_own_must_be_understood_in_its_language(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.wav")
    settings = Settings(_env_file=None, model="demo", control_clip=path, control_text="Guten Tag")

    control = engine_settings(settings, lambda *_: None, tmp_path, "json").control

    assert control is not None
    assert (control.path, control.text, control.language, control.must_understand) == (
        str(path),
        "Guten Tag",
        None,
        True,
    )
    assert 0 < control.max_error_rate < 1


def test_a_control_clip_that_cannot_be_used_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    good, odd = clip(tmp_path / "good.wav"), clip(tmp_path / "odd.wav", rate=8_000)
    (tmp_path / "noise.wav").write_bytes(b"noise")
    for given, why in [
        ({"control_clip": good}, "go together"),
        ({"control_text": "Guten Tag"}, "go together"),
        ({"control_clip": good, "control_text": " "}, "go together"),
        ({"control_clip": odd, "control_text": "Guten Tag"}, "has 8000 Hz.*ffmpeg"),
        ({"control_clip": tmp_path / "noise.wav", "control_text": "Guten Tag"}, "cannot be used.*ffmpeg"),
        ({"control_clip": tmp_path / "none.wav", "control_text": "Guten Tag"}, "No such file"),
    ]:
        settings = Settings(_env_file=None, model="demo", **given)  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=why):
            engine_settings(settings, lambda *_: None, tmp_path, "json")
