# SPDX-License-Identifier: Apache-2.0
"""What S3's answers mean; its real client, with the answers put in its mouth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, SettingsFaultError
from worker.stores.s3 import S3Store

URL = "s3://bucket/a key/with+all?sorts#of%20things"
KEY = "a key/with+all?sorts#of%20things"
ABSENT: dict[str, Any] = {
    "Bucket": "bucket", "Key": KEY, "Body": b"x", "ContentType": "text/plain", "IfNoneMatch": "*"
}  # fmt: skip
MATCH: dict[str, Any] = {
    "Bucket": "bucket", "Key": KEY, "Body": b"x", "ContentType": "text/plain", "IfMatch": '"e"'
}  # fmt: skip
PLAIN: dict[str, Any] = {"Bucket": "bucket", "Key": KEY, "Body": b"x", "ContentType": "text/plain"}


class Bench:
    def __init__(self) -> None:
        self.client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        self.stub = Stubber(self.client)
        self.store = S3Store(self.client, attempts=3, longest_wait=0.001)

    def put(self, expected: dict[str, Any]) -> None:
        self.stub.add_response("put_object", {"ETag": '"new"'}, expected)

    def refuse(self, method: str, code: str, status: int = 400, expected: dict[str, Any] | None = None) -> None:
        self.stub.add_client_error(method, code, "why", status, expected_params=expected)

    def absent(self) -> bool:
        return self.store.put_if_absent(URL, b"x", "text/plain")

    def replace(self) -> bool:
        return self.store.replace(URL, b"x", "text/plain", '"e"')


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    with bench.stub:
        yield bench
    bench.stub.assert_no_pending_responses()


def test_put_if_absent_lets_the_store_decide(bench: Bench) -> None:
    bench.put(ABSENT)
    assert bench.absent()
    bench.refuse("put_object", "PreconditionFailed", 412, ABSENT)
    assert not bench.absent()


@pytest.mark.parametrize(("code", "status"), [("PreconditionFailed", 412), ("NoSuchKey", 404)])
def test_replace_fails_on_another_etag_and_on_a_key_that_is_gone(bench: Bench, code: str, status: int) -> None:
    bench.put(MATCH)
    assert bench.replace()
    bench.refuse("put_object", code, status, MATCH)
    assert not bench.replace()


def test_a_write_under_way_elsewhere_is_outwaited(bench: Bench) -> None:
    bench.refuse("put_object", "ConditionalRequestConflict", 409, ABSENT)
    bench.refuse("put_object", "ConditionalRequestConflict", 409, ABSENT)
    bench.refuse("put_object", "PreconditionFailed", 412, ABSENT)
    assert not bench.absent()


def test_but_not_for_ever(bench: Bench) -> None:
    for _ in range(3):
        bench.refuse("put_object", "ConditionalRequestConflict", 409, ABSENT)
    with pytest.raises(NodeFaultError, match="ConditionalRequestConflict"):
        bench.absent()


@pytest.mark.parametrize(("code", "status"), [("NotImplemented", 501), ("501", 501), ("UnsupportedHeader", 400)])
def test_a_store_without_conditional_writes_is_looked_at_first(bench: Bench, code: str, status: int) -> None:
    bench.refuse("put_object", code, status, ABSENT)
    bench.refuse("head_object", "404", 404)
    bench.put(PLAIN)
    with capture_logs() as logs:
        assert bench.absent()
        # From now on it is not asked again, nor warned of
        bench.stub.add_response("head_object", {"ETag": '"e"'})
        assert not bench.absent()
        bench.stub.add_response("head_object", {"ETag": '"e"'})
        bench.put(PLAIN)
        assert bench.replace()
        bench.stub.add_response("head_object", {"ETag": '"another"'})
        assert not bench.replace()
        bench.refuse("head_object", "404", 404)
        assert not bench.replace()
    assert [entry["event"] for entry in logs] == ["conditional_writes_off"]


def test_off_never_asks_for_a_condition(bench: Bench) -> None:
    bench.store = S3Store(bench.client, conditional_writes="off")
    bench.refuse("head_object", "404", 404)
    bench.put(PLAIN)
    assert bench.absent()


FORBIDDEN = [("AccessDenied", 403), ("NoSuchBucket", 404), ("AllAccessDisabled", 403), ("InvalidBucketName", 400)]
AT_FAULT = [
    ("SlowDown", 503),
    ("InternalError", 500),
    ("InvalidAccessKeyId", 403),
    ("SignatureDoesNotMatch", 403),
    ("ExpiredToken", 400),
    ("RequestTimeTooSkewed", 403),
]
CALLS = [
    ("get_object", lambda store: store.get(URL)),
    ("put_object", lambda store: store.put(URL, b"x", "text/plain")),
    ("put_object", lambda store: store.put_if_absent(URL, b"x", "text/plain")),
    ("put_object", lambda store: store.replace(URL, b"x", "text/plain", '"e"')),
    ("delete_object", lambda store: store.delete(URL)),
    ("list_objects_v2", lambda store: store.keys(URL)),
]


@pytest.mark.parametrize(("method", "call"), CALLS)
@pytest.mark.parametrize(("code", "status"), FORBIDDEN)
def test_a_place_that_refuses_fails_the_job(bench: Bench, method: str, call: Any, code: str, status: int) -> None:
    bench.refuse(method, code, status)
    with pytest.raises(PermanentError) as refused:
        call(bench.store)
    assert refused.value.code is ErrorCode.OUTPUT_FORBIDDEN
    assert URL in refused.value.message


@pytest.mark.parametrize(("method", "call"), CALLS)
@pytest.mark.parametrize(("code", "status"), AT_FAULT)
def test_a_store_or_node_at_fault_does_not(bench: Bench, method: str, call: Any, code: str, status: int) -> None:
    bench.refuse(method, code, status)
    with pytest.raises(NodeFaultError, match=code):
        call(bench.store)


def test_a_head_that_is_forbidden_fails_the_job(bench: Bench) -> None:
    bench.refuse("head_object", "403", 403)
    with pytest.raises(PermanentError):
        bench.store.exists(URL)


def test_what_is_not_there_is_none(bench: Bench) -> None:
    bench.refuse("get_object", "NoSuchKey", 404)
    assert bench.store.get(URL) is None
    bench.refuse("head_object", "404", 404)
    assert not bench.store.exists(URL)
    bench.refuse("delete_object", "NoSuchKey", 404)
    bench.store.delete(URL)


def test_keys_come_from_every_page(bench: Bench) -> None:
    first = {"IsTruncated": True, "NextContinuationToken": "t", "Contents": [{"Key": "a/2"}, {"Key": "a/1"}]}
    bench.stub.add_response("list_objects_v2", first, {"Bucket": "bucket", "Prefix": "a/"})
    bench.stub.add_response(
        "list_objects_v2",
        {"IsTruncated": False, "Contents": [{"Key": "a/0"}]},
        {"Bucket": "bucket", "Prefix": "a/", "ContinuationToken": ANY},
    )
    assert bench.store.keys("s3://bucket/a/") == ["s3://bucket/a/0", "s3://bucket/a/1", "s3://bucket/a/2"]


TAGGED: dict[str, Any] = {**PLAIN, "Tagging": "sqscribe=temporary"}


def test_what_is_temporary_carries_a_tag(bench: Bench) -> None:
    bench.put(TAGGED)
    bench.store.put(URL, b"x", "text/plain", temporary=True)
    bench.put({**ABSENT, "Tagging": "sqscribe=temporary"})
    assert bench.store.put_if_absent(URL, b"x", "text/plain", temporary=True)
    bench.put({**MATCH, "Tagging": "sqscribe=temporary"})
    assert bench.store.replace(URL, b"x", "text/plain", '"e"', temporary=True)
    bench.refuse("put_object", "PreconditionFailed", 412, {**ABSENT, "Tagging": "sqscribe=temporary"})
    assert not bench.store.put_if_absent(URL, b"x", "text/plain", temporary=True)


@pytest.mark.parametrize(("code", "status"), [("NotImplemented", 501), ("AccessDenied", 403), ("InvalidArgument", 400)])
def test_a_store_that_takes_no_tags_is_not_asked_to_again(bench: Bench, code: str, status: int) -> None:
    bench.refuse("put_object", code, status, TAGGED)
    bench.put(PLAIN)
    bench.put(PLAIN)
    bench.put(ABSENT)
    with capture_logs() as logs:
        for _ in range(2):
            bench.store.put(URL, b"x", "text/plain", temporary=True)
    assert bench.store.put_if_absent(URL, b"x", "text/plain", temporary=True)
    assert [log["event"] for log in logs] == ["object_tags_off"]


def test_a_refusal_that_was_not_for_the_tag_stays_one(bench: Bench) -> None:
    bench.refuse("put_object", "AccessDenied", 403, TAGGED)
    bench.refuse("put_object", "AccessDenied", 403, PLAIN)
    with pytest.raises(PermanentError):
        bench.store.put(URL, b"x", "text/plain", temporary=True)
    bench.refuse("put_object", "InternalError", 500, TAGGED)
    with pytest.raises(NodeFaultError):
        bench.store.put(URL, b"x", "text/plain", temporary=True)


def test_a_store_that_knows_neither_tags_nor_conditions(bench: Bench) -> None:
    bench.refuse("put_object", "NotImplemented", 501, {**ABSENT, "Tagging": "sqscribe=temporary"})
    bench.refuse("put_object", "NotImplemented", 501, ABSENT)
    bench.stub.add_client_error("head_object", "404", "", 404)
    bench.refuse("put_object", "NotImplemented", 501, TAGGED)
    bench.put(PLAIN)
    assert bench.store.put_if_absent(URL, b"x", "text/plain", temporary=True)


def test_an_address_that_can_be_no_object_fails_its_job(bench: Bench) -> None:
    for call in (bench.store.get, bench.store.delete, bench.store.keys, bench.store.exists):
        with pytest.raises(PermanentError, match="has a key of 1100 bytes; S3 takes 1024"):
            call(f"s3://bucket/{'k' * 1100}")


@pytest.mark.parametrize(("method", "call"), CALLS)
@pytest.mark.parametrize(("code", "status"), [*FORBIDDEN, ("KMS.DisabledException", 400), ("SomethingNew", 418)])
def test_the_workers_own_place_that_refuses_fails_no_job(
    bench: Bench, method: str, call: Any, code: str, status: int
) -> None:
    bench.store = S3Store(bench.client, own="s3://bucket/a key/")
    bench.refuse(method, code, status)
    with pytest.raises(SettingsFaultError, match=f"SQSCRIBE_OUTPUT: cannot .*{code}: why") as refused:
        call(bench.store)
    assert URL in str(refused.value)
