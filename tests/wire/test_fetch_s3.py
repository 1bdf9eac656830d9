# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import http.client
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from sqscribe.errors import (
    Cancelled,
    CancelReason,
    ErrorCode,
    NodeFaultError,
    PermanentError,
    SqscribeError,
    TransientError,
)
from stages.fetch import Fetcher, FetchLimits, FetchRequest
from stages.ports import Cancellation
from stages.values import Source
from worker.embedded.aws import EmbeddedAws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BODY = os.urandom(700_000)


def client(url: str) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
    )


@pytest.fixture(scope="module")
def store(embedded_aws: EmbeddedAws) -> str:
    s3 = client(embedded_aws.url)
    s3.create_bucket(Bucket="media")
    s3.put_bucket_versioning(Bucket="media", VersioningConfiguration={"Status": "Enabled"})
    return embedded_aws.url


class Gate(socketserver.ThreadingTCPServer):
    """Stands between a client and the store: breaks bodies off, or holds them up."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, store: str) -> None:
        gate = self
        self.breaks = 0
        self.on_break: Callable[[], object] = lambda: None
        self.hold = False
        self.closing = threading.Event()
        self.ranges: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream = http.client.HTTPConnection(store.removeprefix("http://"))
                upstream.request("GET", self.path, headers=dict(self.headers))
                answer = upstream.getresponse()
                body = answer.read()
                upstream.close()
                gate.ranges.append(self.headers.get("Range"))
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                if len(gate.ranges) <= gate.breaks or gate.hold:
                    body = body[: len(body) // 2]
                    self.close_connection = True
                self.wfile.write(body)
                if len(gate.ranges) <= gate.breaks or gate.hold:
                    gate.on_break()
                if gate.hold:
                    gate.closing.wait(30)

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients break connections off on purpose here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def gate(store: str) -> Iterator[Gate]:
    gate = Gate(store)
    thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield gate
    gate.closing.set()
    gate.shutdown()
    gate.server_close()
    thread.join()


class Reserve:
    def __init__(self) -> None:
        self.totals: list[int] = []

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        cancellation.check()
        self.totals.append(total)


class Case:
    def __init__(self, store: str, folder: Path) -> None:
        self.s3 = client(store)
        self.folder = folder
        self.held = Reserve()
        self.cancellation = Cancellation()
        self.limits = FetchLimits(max_bytes=2**20, attempts=3, backoff=0.01)
        self.allowed: frozenset[str] | None = None

    def put(self, key: str, body: bytes = BODY) -> Any:
        return self.s3.put_object(Bucket="media", Key=key, Body=body)

    def fetch(self, source: str, s3: S3Client | None = None, **event: str) -> Source:
        fetcher = Fetcher(self.limits, lambda: s3 or self.s3, allowed_buckets=self.allowed)
        return fetcher.fetch(FetchRequest(source, **event), self.folder, self.held, self.cancellation)

    def fails(self, source: str, kind: type[SqscribeError] = PermanentError, **how: Any) -> Any:
        with pytest.raises(kind) as caught:
            self.fetch(source, **how)
        assert list(self.folder.iterdir()) == []
        return getattr(caught.value, "code", None)


@pytest.fixture
def case(store: str, tmp_path: Path) -> Case:
    return Case(store, tmp_path)


@pytest.mark.parametrize("key", ["a/talk.mp3", "a b+c%20d.mp3", "ünïcode?query#hash.mp3"])
def test_an_object_comes_whole_with_its_digest(case: Case, key: str) -> None:
    case.put(key)
    source = case.fetch(f"s3://media/{key}")
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert set(case.held.totals) == {len(BODY)}


def test_the_version_of_the_event_is_fetched_though_a_newer_one_stands(case: Case) -> None:
    version = case.put("versions.wav", b"first")["VersionId"]
    case.put("versions.wav", b"second")
    assert case.fetch("s3://media/versions.wav", version_id=version).path.read_bytes() == b"first"


def test_an_object_that_is_no_longer_the_events_has_changed(case: Case) -> None:
    etag = case.put("changed.wav", b"first")["ETag"].strip('"')
    assert case.fetch("s3://media/changed.wav", etag=etag).path.read_bytes() == b"first"
    (case.folder / "source.wav").unlink()
    case.put("changed.wav", b"second")
    assert case.fails("s3://media/changed.wav", TransientError, etag=etag) == ErrorCode.SOURCE_CHANGED


@pytest.mark.parametrize("source", ["s3://media/not-there", "s3://no-such-bucket/key"])
def test_what_is_not_there(case: Case, source: str) -> None:
    assert case.fails(source) == ErrorCode.SOURCE_NOT_FOUND


def test_a_version_that_is_not_there(case: Case) -> None:
    case.put("gone.wav")
    assert case.fails("s3://media/gone.wav", version_id="no-such-version") == ErrorCode.SOURCE_NOT_FOUND


@pytest.mark.parametrize("source", ["s3://media", "s3://media/", "s3:///key", "s3://-/key"])
def test_what_is_no_object(case: Case, source: str) -> None:
    assert case.fails(source) == ErrorCode.BAD_MESSAGE


def test_only_allowed_buckets_are_read(case: Case) -> None:
    case.put("talk.mp3")
    case.allowed = frozenset({"other"})
    assert case.fails("s3://media/talk.mp3") == ErrorCode.SOURCE_BLOCKED
    case.allowed = frozenset({"other", "media"})
    assert case.fetch("s3://media/talk.mp3").bytes == len(BODY)


def test_too_large_is_said_before_a_byte_is_written(case: Case) -> None:
    case.put("large.mp3", bytes(2**20 + 1))
    assert case.fails("s3://media/large.mp3") == ErrorCode.SOURCE_TOO_LARGE
    assert case.held.totals == []


def test_a_dropped_body_goes_on_where_it_stopped(case: Case, gate: Gate) -> None:
    case.put("flaky.mp3")
    gate.breaks = 2
    source = case.fetch("s3://media/flaky.mp3", client(gate.url))
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert gate.ranges[0] is None
    assert all(asked and asked.startswith("bytes=") for asked in gate.ranges[1:])


def test_an_object_that_is_overwritten_while_it_is_fetched_has_changed(case: Case, gate: Gate) -> None:
    case.put("racing.mp3")
    gate.breaks = 1
    gate.on_break = lambda: case.put("racing.mp3", BODY[::-1])
    code = case.fails("s3://media/racing.mp3", TransientError, s3=client(gate.url))
    assert code == ErrorCode.SOURCE_CHANGED


def test_a_body_that_always_breaks_off_is_the_stores_fault(case: Case, gate: Gate) -> None:
    case.put("broken.mp3")
    gate.breaks = 99
    case.fails("s3://media/broken.mp3", NodeFaultError, s3=client(gate.url))
    assert len(gate.ranges) == case.limits.attempts


def test_a_store_that_does_not_answer_is_not_the_jobs_fault(case: Case) -> None:
    case.fails("s3://media/talk.mp3", NodeFaultError, s3=client("http://127.0.0.1:1"))


def test_a_cancellation_is_heard_while_the_store_is_silent(case: Case, gate: Gate) -> None:
    case.put("silent.mp3")
    gate.hold = True
    gate.on_break = lambda: case.cancellation.cancel(CancelReason.LEASE_LOST)
    began = time.monotonic()
    case.fails("s3://media/silent.mp3", Cancelled, s3=client(gate.url))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("status", "code", "kind", "expected"),
    [
        (403, "AccessDenied", PermanentError, ErrorCode.SOURCE_FORBIDDEN),
        (403, "InvalidObjectState", PermanentError, ErrorCode.SOURCE_FORBIDDEN),
        (403, "SignatureDoesNotMatch", NodeFaultError, ErrorCode.STORAGE_UNAVAILABLE),
        (403, "RequestTimeTooSkewed", NodeFaultError, ErrorCode.STORAGE_UNAVAILABLE),
        (400, "ExpiredToken", NodeFaultError, ErrorCode.STORAGE_UNAVAILABLE),
        (405, "MethodNotAllowed", PermanentError, ErrorCode.SOURCE_NOT_FOUND),
        (503, "SlowDown", NodeFaultError, ErrorCode.STORAGE_UNAVAILABLE),
        (500, "InternalError", NodeFaultError, ErrorCode.STORAGE_UNAVAILABLE),
    ],
)
def test_what_a_refusal_means(
    case: Case, status: int, code: str, kind: type[SqscribeError], expected: ErrorCode
) -> None:
    s3 = client("http://127.0.0.1:1")

    class Raw:
        """An answer as botocore's HTTP session gives it."""

        status_code = status
        headers: dict[str, str] = {}  # noqa: RUF012
        content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        text = content.decode()
        raw = None

    answer: Any = lambda **_: Raw()  # noqa: E731 - the stubs do not know that hooks may answer
    s3.meta.events.register("before-send.s3.GetObject", answer)
    assert case.fails("s3://media/talk.mp3", kind, s3=s3) == expected


def test_keys_that_are_missing_are_the_workers_trouble(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
    bare = boto3.session.Session().client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:1")
    case.fails("s3://media/talk.mp3", NodeFaultError, s3=bare)
