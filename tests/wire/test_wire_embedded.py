# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest

from sqscribe.errors import NodeFaultError
from worker.embedded.aws import EmbeddedAws


def test_it_ends_when_it_is_told_to() -> None:
    server = EmbeddedAws()
    with pytest.raises(RuntimeError, match="do not run"):
        _ = server.url
    server.start()
    url = server.url
    with pytest.raises(RuntimeError, match="already"):
        server.start()
    server.stop()
    server.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=2)  # noqa: S310 - its own address
    with pytest.raises(RuntimeError, match="do not run"):
        _ = server.url


def test_it_ends_with_its_parent_however_that_goes() -> None:
    program = (
        "import sys\n"
        "from worker.embedded.aws import EmbeddedAws\n"
        "server = EmbeddedAws()\n"
        "server.start()\n"
        "print(server._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        assert server.is_running()
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    _, alive = psutil.wait_procs([server], timeout=10)
    # Nobody may be left to collect it here: a zombie has ended as well.
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_nothing_of_the_users_own_aws_settings_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with EmbeddedAws() as server:
        queue = server.make_queue("jobs", max_receives=3)
        assert server.make_bucket("bucket") == "s3://bucket"
        assert queue.url.startswith(server.url)
        environ = server.child_env(os.environ)
        assert "AWS_PROFILE" not in environ
        assert "AWS_ENDPOINT_URL_S3" not in environ
        assert environ["AWS_ENDPOINT_URL"] == server.url
        assert environ["PATH"] == os.environ["PATH"]


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NodeFaultError, match="did not start"):
        EmbeddedAws(start_timeout=5).start()
