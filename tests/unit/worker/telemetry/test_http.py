# SPDX-License-Identifier: Apache-2.0
"""The status server over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sqscribe.errors import SettingsError
from worker.telemetry.health import Health
from worker.telemetry.http import Pages, StatusServer
from worker.telemetry.metrics import Metrics


@pytest.fixture
def health() -> Health:
    return Health()


@contextmanager
def serving(health: Health, status: Any = dict, request_timeout: float = 5.0) -> Iterator[StatusServer]:
    pages = Pages(health.startup, health.live, health.ready, status, Metrics().render)
    server = StatusServer(pages, 0, request_timeout=request_timeout)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask(
    server: StatusServer,
    path: str,
    method: str = "GET",
    host: str = "127.0.0.1",
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(host, server.port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_probes_answer_with_a_status_and_its_reasons(health: Health) -> None:
    health.starting("loading the model")
    with serving(health) as server:
        response, body = ask(server, "/startup")
        assert response.status == 503
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(body) == {"ok": False, "reasons": ["loading the model"]}
        assert ask(server, "/live")[0].status == 200
        assert ask(server, "/ready")[0].status == 503

        health.started()
        health.outage("queue", "no answer")

        assert ask(server, "/startup")[0].status == 200
        response, body = ask(server, "/ready?verbose")
        assert response.status == 503
        assert json.loads(body)["reasons"] == ["queue: no answer"]
        assert json.loads(ask(server, "/live")[1]) == {"ok": True, "reasons": []}

        health.component("engine", stuck_after=1).dead("device lost")
        assert ask(server, "/live")[0].status == 503


def test_status_and_metrics(health: Health) -> None:
    with serving(health, status=lambda: {"jobs": [{"id": "a"}]}) as server:
        assert json.loads(ask(server, "/status")[1]) == {"jobs": [{"id": "a"}]}
        response, body = ask(server, "/metrics")

    assert response.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE sqscribe_jobs_total counter" in body


def test_head_sends_the_headers_alone(health: Health) -> None:
    with serving(health) as server:
        response, body = ask(server, "/live", "HEAD")

    assert response.status == 200
    assert int(response.headers["Content-Length"]) > 0
    assert body == b""


def test_it_only_reads(health: Health) -> None:
    with serving(health) as server:
        response, body = ask(server, "/live", "POST")

    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert json.loads(body) == {"ok": False, "reasons": ["only GET and HEAD"]}


def test_an_unknown_page_names_those_there_are(health: Health) -> None:
    with serving(health) as server:
        response, body = ask(server, "/healthz")

    assert response.status == 404
    assert "/live" in json.loads(body)["reasons"][0]


def test_nonsense_gets_json_as_well(health: Health) -> None:
    with serving(health) as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"NONSENSE\r\n\r\n")
        answer = client.makefile("rb").read()

    assert json.loads(answer.rpartition(b"\r\n\r\n")[2] or answer)["reasons"] == ["HTTP status 400"]


def test_a_page_that_fails_says_so_and_the_next_one_is_answered(
    health: Health,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("of no use")

    with serving(health, status=broken) as server:
        response, body = ask(server, "/status")
        assert response.status == 500
        assert json.loads(body)["reasons"] == ["/status failed; the log says why"]
        assert ask(server, "/live")[0].status == 200
    assert "status_page_failed" in capsys.readouterr().out


def test_a_silent_client_is_hung_up_on(health: Health) -> None:
    with (
        serving(health, request_timeout=0.05) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as client,
    ):
        assert client.recv(1) == b""


def test_a_silent_client_holds_nobody_up(health: Health) -> None:
    with serving(health) as server, socket.create_connection(("127.0.0.1", server.port), timeout=5):
        assert ask(server, "/live")[0].status == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="this host has no IPv6")
def test_both_families_are_served(health: Health) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    with serving(health) as server:
        assert ask(server, "/live", host="::1")[0].status == 200
        assert ask(server, "/live", host="127.0.0.1")[0].status == 200


def test_a_host_without_ipv6_is_served_over_ipv4(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_ipv6", False)
    with serving(health) as server:
        assert ask(server, "/live")[0].status == 200


def test_a_port_that_is_taken_is_a_matter_of_settings(health: Health) -> None:
    with serving(health) as server:
        other = StatusServer(server._pages, server.port)
        with pytest.raises(SettingsError, match=f"SQSCRIBE_HTTP_PORT: .*port {server.port} .*another port"):
            other.start()
        with pytest.raises(RuntimeError, match="not running"):
            _ = other.port


def test_it_starts_once_and_stops_for_good(health: Health) -> None:
    with serving(health) as server:
        port = server.port
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
    server.stop()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_it_may_start_again(health: Health) -> None:
    with serving(health) as server:
        server.stop()
        server.start()
        assert ask(server, "/live")[0].status == 200
