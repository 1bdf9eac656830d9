# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sqscribe.errors import (
    Cancelled,
    CancelReason,
    ErrorCode,
    NodeFaultError,
    PermanentError,
    SqscribeError,
    TransientError,
)
from worker.testing.s3_gate import S3Gate, plain_client

if TYPE_CHECKING:
    from tests.wire.conftest import S3Case

BODY = os.urandom(700_000)


@pytest.mark.parametrize("key", ["a/talk.mp3", "a b+c%20d.mp3", "ünïcode?query#hash.mp3"])
def test_an_object_comes_whole_with_its_digest(case: S3Case, key: str) -> None:
    case.put(key, BODY)
    source = case.fetch(f"s3://media/{key}")
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert set(case.held.totals) == {len(BODY)}


def test_the_version_of_the_event_is_fetched_though_a_newer_one_stands(case: S3Case) -> None:
    version = case.put("versions.wav", b"first")["VersionId"]
    case.put("versions.wav", b"second")
    assert case.fetch("s3://media/versions.wav", version_id=version).path.read_bytes() == b"first"


def test_an_object_that_is_no_longer_the_events_has_changed(case: S3Case) -> None:
    etag = case.put("changed.wav", b"first")["ETag"].strip('"')
    assert case.fetch("s3://media/changed.wav", etag=etag).path.read_bytes() == b"first"
    (case.folder / "source.wav").unlink()
    case.put("changed.wav", b"second")
    assert case.fails("s3://media/changed.wav", TransientError, etag=etag) == ErrorCode.SOURCE_CHANGED


@pytest.mark.parametrize("source", ["s3://media/not-there", "s3://no-such-bucket/key"])
def test_what_is_not_there(case: S3Case, source: str) -> None:
    assert case.fails(source) == ErrorCode.SOURCE_NOT_FOUND


def test_a_version_that_is_not_there(case: S3Case) -> None:
    case.put("gone.wav", BODY)
    assert case.fails("s3://media/gone.wav", version_id="no-such-version") == ErrorCode.SOURCE_NOT_FOUND


@pytest.mark.parametrize("source", ["s3://media", "s3://media/", "s3:///key", "s3://-/key"])
def test_what_is_no_object(case: S3Case, source: str) -> None:
    assert case.fails(source) == ErrorCode.BAD_MESSAGE


def test_only_allowed_buckets_are_read(case: S3Case) -> None:
    case.put("talk.mp3", BODY)
    case.allowed = frozenset({"other"})
    assert case.fails("s3://media/talk.mp3") == ErrorCode.SOURCE_BLOCKED
    case.allowed = frozenset({"other", "media"})
    assert case.fetch("s3://media/talk.mp3").bytes == len(BODY)


def test_too_large_is_said_before_a_byte_is_written(case: S3Case) -> None:
    case.put("large.mp3", bytes(2**20 + 1))
    assert case.fails("s3://media/large.mp3") == ErrorCode.SOURCE_TOO_LARGE
    assert case.held.totals == []


def test_a_dropped_body_goes_on_where_it_stopped(case: S3Case, gate: S3Gate) -> None:
    case.put("flaky.mp3", BODY)
    gate.breaks = 2
    source = case.fetch("s3://media/flaky.mp3", plain_client(gate.url))
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert gate.ranges[0] is None
    assert all(asked and asked.startswith("bytes=") for asked in gate.ranges[1:])


def test_an_object_that_is_overwritten_while_it_is_fetched_has_changed(case: S3Case, gate: S3Gate) -> None:
    case.put("racing.mp3", BODY)
    gate.breaks = 1
    gate.on_break = lambda: case.put("racing.mp3", BODY[::-1])
    code = case.fails("s3://media/racing.mp3", TransientError, s3=plain_client(gate.url))
    assert code == ErrorCode.SOURCE_CHANGED


def test_a_body_that_always_breaks_off_is_the_stores_fault(case: S3Case, gate: S3Gate) -> None:
    case.put("broken.mp3", BODY)
    gate.wall = 100_000
    case.fails("s3://media/broken.mp3", NodeFaultError, s3=plain_client(gate.url))
    assert gate.ranges == [None, *["bytes=100000-"] * case.limits.attempts]


def test_a_body_that_advances_with_each_connection_comes_whole(case: S3Case, gate: S3Gate) -> None:
    case.put("crawling.mp3", BODY)
    gate.breaks = 4 * case.limits.attempts
    assert case.fetch("s3://media/crawling.mp3", plain_client(gate.url)).path.read_bytes() == BODY
    assert len(gate.ranges) == gate.breaks + 1


def test_a_part_that_comes_in_place_of_the_whole_is_not_taken_for_it(case: S3Case, gate: S3Gate) -> None:
    case.put("third.mp3", BODY)
    gate.part = len(BODY) // 3
    assert case.fetch("s3://media/third.mp3", plain_client(gate.url)).path.read_bytes() == BODY
    assert gate.ranges == [None, f"bytes={gate.part}-"]


def test_a_body_that_hardly_advances_costs_a_bounded_number_of_requests(case: S3Case, gate: S3Gate) -> None:
    case.put("dripping.mp3", BODY)
    gate.breaks = 99
    case.limits = replace(case.limits, requests=7)
    assert (
        case.fails("s3://media/dripping.mp3", TransientError, s3=plain_client(gate.url)) == ErrorCode.SOURCE_UNREACHABLE
    )
    assert len(gate.ranges) == 7


def test_a_store_that_does_not_answer_is_not_the_jobs_fault(case: S3Case) -> None:
    case.fails("s3://media/talk.mp3", NodeFaultError, s3=plain_client("http://127.0.0.1:1"))


def test_a_cancellation_is_heard_while_the_store_is_silent(case: S3Case, gate: S3Gate) -> None:
    case.put("silent.mp3", BODY)
    gate.hold = True
    gate.on_break = lambda: case.cancellation.cancel(CancelReason.LEASE_LOST)
    began = time.monotonic()
    case.fails("s3://media/silent.mp3", Cancelled, s3=plain_client(gate.url))
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
    case: S3Case, status: int, code: str, kind: type[SqscribeError], expected: ErrorCode
) -> None:
    s3 = plain_client("http://127.0.0.1:1")

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
    case: S3Case, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
    bare = boto3.session.Session().client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:1")
    case.fails("s3://media/talk.mp3", NodeFaultError, s3=bare)
