# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
from pathlib import Path

import pytest

import worker
from sqscribe.errors import SettingsError
from worker.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SQSCRIBE_{name.upper()}", raising=False)


def test_defaults_are_the_published_ones() -> None:
    settings = read_settings()
    assert settings.model == "large-v3-turbo"
    assert settings.formats == ("json",)
    assert settings.visibility_timeout == 300
    assert settings.downloaders == 3
    assert settings.batch_size is None
    assert not settings.allow_private_sources


def test_flag_wins_over_environment_which_wins_over_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SQSCRIBE_DOWNLOADERS=4\nSQSCRIBE_UPLOADERS=5\nSQSCRIBE_BEAM_SIZE=2\n")
    monkeypatch.setenv("SQSCRIBE_UPLOADERS", "6")
    monkeypatch.setenv("SQSCRIBE_BEAM_SIZE", "3")
    settings = read_settings(beam_size=4)
    assert (settings.downloaders, settings.uploaders, settings.beam_size) == (4, 6, 4)


def test_a_flag_that_was_not_given_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_MODEL", "demo")
    assert read_settings(model=None).model == "demo"


@pytest.mark.parametrize(("text", "value"), [("auto", None), ("AUTO", None), ("4", 4)])
def test_auto_means_chosen_by_the_engine(monkeypatch: pytest.MonkeyPatch, text: str, value: int | None) -> None:
    monkeypatch.setenv("SQSCRIBE_BATCH_SIZE", text)
    assert read_settings().batch_size == value


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_FORMATS", "srt, vtt")
    monkeypatch.setenv("SQSCRIBE_ALLOWED_BUCKETS", "a,b")
    settings = read_settings()
    assert settings.formats == ("srt", "vtt")
    assert settings.allowed_buckets == ("a", "b")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_DEAD_LETTER_QUEUE_URL", "")
    assert read_settings().dead_letter_queue_url is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("OUTPUT", "/tmp/out", "s3://bucket"),
        ("OUTPUT", "s3://b/out", "s3://bucket"),
        ("OUTPUT", "s3://my bucket/out", "s3://bucket"),
        ("BEAM_SIZE", "99", "less than or equal to 10"),
        ("FORMATS", "json,docx", "docx"),
        ("LOG_LEVEL", "loud", "debug"),
        ("VISIBILITY_TIMEOUT", "43201", "43200"),
        ("DOWNLOADERS", "many", "integer"),
    ],
)
def test_a_bad_value_names_the_variable_the_reason_and_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"SQSCRIBE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert f"SQSCRIBE_{name}" in str(caught.value)
    assert why in str(caught.value)


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_S3_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in repr(read_settings())


def test_output_loses_its_trailing_slash() -> None:
    assert read_settings(output="s3://bucket/prefix/").output == "s3://bucket/prefix"


def test_every_setting_is_read_somewhere() -> None:
    package = Path(worker.__path__[0])
    read = {
        node.attr
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("settings")
    }

    assert set(Settings.model_fields) - read == set()
