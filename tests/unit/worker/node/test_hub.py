# SPDX-License-Identifier: Apache-2.0
"""A named model is brought from the hub: what is missing there is told from a hub that is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from faster_whisper import available_models

from sqscribe.errors import Cancelled, CancelReason, NodeFaultError, SettingsError
from stages.inference.whisper.known_models import SHORT_NAMES
from stages.ports import Cancellation
from worker.embedded.environment import free_port
from worker.node.hub import bring_named_model, named_model
from worker.settings import Settings


class Hub(BaseHTTPRequestHandler):
    """Knows no model, unless it has one; answers nothing once it is told to be silent."""

    silent = threading.Event()
    asked = threading.Event()
    over = threading.Event()
    has = threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        if self.has.is_set():
            body = json.dumps(
                {"id": "owner/name", "sha": "a" * 40, "siblings": [{"rfilename": "config.json"}]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        if self.silent.is_set():
            self.over.wait(60)
            return
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    for event in (Hub.silent, Hub.asked, Hub.over, Hub.has):
        event.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield Hub
        Hub.over.set()
        server.shutdown()


def settings(model: str) -> Settings:
    return Settings(_env_file=None, model=model)


def test_the_short_names_are_those_of_faster_whisper() -> None:
    assert sorted(SHORT_NAMES) == sorted(available_models())


@pytest.mark.parametrize("model", ["demo", "simulated:", "s3://bucket/model", "/models/mine", "./mine"])
def test_what_is_no_name_is_not_looked_for_on_the_hub(model: str) -> None:
    assert not named_model(settings(model))
    assert named_model(settings("tiny.en"))
    assert named_model(settings("owner/name"))


def test_a_model_that_the_hub_does_not_have_is_a_matter_of_settings(hub: type[Hub]) -> None:
    with pytest.raises(SettingsError, match=r"^SQSCRIBE_MODEL: .*owner/nothing.*RepositoryNotFoundError"):
        bring_named_model(settings("owner/nothing"), Cancellation())
    assert hub.asked.is_set()


def test_a_hub_that_is_away_is_the_nodes_trouble(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")

    with pytest.raises(NodeFaultError, match="refused"):
        bring_named_model(settings("tiny.en"), Cancellation())


def test_a_hub_that_may_not_be_asked_is_a_matter_of_settings(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(SettingsError, match="HF_HUB_OFFLINE"):
        bring_named_model(settings("tiny.en"), Cancellation())
    assert not hub.asked.is_set()


def test_a_download_that_hangs_is_called_off(hub: type[Hub]) -> None:
    # Given a hub that does not answer
    hub.silent.set()
    cancellation = Cancellation()

    def call_off() -> None:
        hub.asked.wait(60)
        cancellation.cancel(CancelReason.SHUTDOWN)

    thread = threading.Thread(target=call_off)
    thread.start()
    # When the download is called off, then it ends, long before any time-out of the hub's client
    with pytest.raises(Cancelled):
        bring_named_model(settings("tiny.en"), cancellation)
    thread.join()
    assert hub.asked.is_set()


def test_a_cache_that_cannot_be_is_a_matter_of_settings(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given a hub that has the model, and a file where the cache should be
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file" / "cache"))
    hub.has.set()

    with pytest.raises(SettingsError, match=r"NotADirectoryError.*HF_HOME"):
        bring_named_model(settings("owner/name"), Cancellation())
