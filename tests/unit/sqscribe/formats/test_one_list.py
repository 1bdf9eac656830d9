# SPDX-License-Identifier: Apache-2.0
"""A format is whole once it has an entry in the one list: message, settings, commands and publisher know it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sqscribe import formats
from sqscribe.cli import fetch, transcribe
from sqscribe.errors import PermanentError, SettingsError
from sqscribe.formats import ArtifactKind, RenderOptions, render
from sqscribe.job import Job, JobDefaults
from sqscribe.job_message import LATER_FORMATS, parse_job
from sqscribe.result import WorkerFacts
from sqscribe.transcript import Segment, Transcript
from stages.publish import JobFacts, Publisher
from worker.settings import read_settings
from worker.testing.clock import FakeClock
from worker.testing.store import MemoryStore

OUTPUT = "s3://results/out"
HELLO = Transcript(" Hello.", "en", None, 2.0, (Segment(0, 1.0, 2.0, " Hello.", -0.1, 1.0, 0.0, 0.0),))


def flags(transcript: Transcript, _options: RenderOptions) -> bytes:
    return "".join(f"[{segment.start:05.2f}]{segment.text}\n" for segment in transcript.segments).encode()


@pytest.fixture
def _semaphore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The whole addition of a format: one entry."""
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    monkeypatch.setitem(formats._FORMATS, "semaphore", ArtifactKind("transcript.semaphore", "text/plain", flags))


def job(*names: str) -> Job:
    return parse_job({"source": "https://x.test/a", "formats": list(names)}, JobDefaults(OUTPUT))


@pytest.mark.usefixtures("_semaphore")
def test_a_message_may_ask_for_it() -> None:
    assert job("semaphore").formats == ("json", "semaphore")


@pytest.mark.usefixtures("_semaphore")
def test_the_settings_may_make_it_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_FORMATS", "json,semaphore")
    assert read_settings().formats == ("json", "semaphore")


@pytest.mark.usefixtures("_semaphore")
def test_the_commands_take_it() -> None:
    (made,) = transcribe._jobs(["a.mp3"], {"formats": ["semaphore"]})
    assert made.formats == ("json", "semaphore")
    # The next argument of `fetch` is looked at only once the format is taken
    refused = CliRunner().invoke(fetch.app, ["job", "--output", "nowhere", "--format", "semaphore"])
    assert "--output" in str(refused.exception)


@pytest.mark.usefixtures("_semaphore")
def test_it_is_rendered_and_published() -> None:
    store = MemoryStore()
    publisher = Publisher(store, FakeClock(), WorkerFacts("1", "node"))
    asked = job("semaphore")

    result = publisher.succeed(asked, HELLO, JobFacts("message", 1), lambda: None)

    assert [artifact.format for artifact in result.artifacts] == ["json", "semaphore"]
    assert (
        store.objects[asked.url("transcript.semaphore")]
        == b"[01.00] Hello.\n"
        == render("semaphore", HELLO, RenderOptions())
    )


@pytest.mark.parametrize("name", ["semaphore", *LATER_FORMATS])
def test_without_an_entry_nothing_takes_it(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PermanentError, match=name):
        job(name)
    with pytest.raises(SettingsError, match=name):
        read_settings(formats=name)
    refused = CliRunner().invoke(fetch.app, ["job", "--output", OUTPUT, "--format", name])
    assert f"unknown {name}" in str(refused.exception)


@pytest.mark.parametrize("name", LATER_FORMATS)
def test_a_format_of_the_contract_is_supported_once_it_has_an_entry(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats._FORMATS, name, ArtifactKind(f"transcript.{name}", "text/plain", flags))
    assert job(name).formats == ("json", name)
