# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from worker.aws import AwsClients
from worker.stores.s3 import S3Store


def test_the_way_of_objects(aws: Any) -> None:
    calls: Counter[tuple[str, str]] = Counter()
    store = S3Store(AwsClients(on_call=lambda *call: calls.update([call])).s3())
    base = aws.bucket()
    url = f"{base}/out/a key+with all?sorts#of%20things ü/result.json"

    assert store.get(url) is None
    assert not store.exists(url)
    assert store.put_if_absent(url, b"one", "application/json")
    assert not store.put_if_absent(url, b"two", "application/json")
    standing = store.get(url)
    assert standing is not None
    assert standing.body == b"one"
    assert store.exists(url)

    assert not store.replace(url, b"two", "application/json", '"0123"')
    assert store.replace(url, b"two", "application/json", standing.etag)
    assert not store.replace(url, b"three", "application/json", standing.etag)
    assert not store.replace(f"{base}/never", b"three", "application/json", standing.etag)
    store.put(url, b"four", "text/plain")
    standing = store.get(url)
    assert standing is not None
    assert standing.body == b"four"

    store.put(f"{base}/out/b", b"", "text/plain")
    store.put(f"{base}/outer", b"", "text/plain")
    assert store.keys(f"{base}/out/") == [url, f"{base}/out/b"]
    assert store.keys(base) == [url, f"{base}/out/b", f"{base}/outer"]
    store.delete(url)
    store.delete(url)
    assert not store.exists(url)
    assert calls["s3", "HeadObject"] == 3
    assert calls["s3", "PutObject"] == 2 + 4 + 3


def test_the_content_type_stays(aws: Any) -> None:
    base = aws.bucket()
    S3Store(AwsClients().s3()).put(f"{base}/x.vtt", b"WEBVTT", "text/vtt; charset=utf-8")
    head = aws.server.s3.head_object(Bucket=aws.name, Key="x.vtt")
    assert head["ContentType"] == "text/vtt; charset=utf-8"


def test_more_keys_than_fit_on_a_page(aws: Any) -> None:
    base = aws.bucket()
    client = AwsClients().s3()
    store = S3Store(client)
    keys = sorted(f"{base}/k/{number}" for number in range(7))
    for key in keys:
        store.put(key, b"", "text/plain")
    client.meta.events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=3))
    assert store.keys(f"{base}/k/") == keys


def test_a_large_object(aws: Any) -> None:
    store = S3Store(AwsClients().s3())
    url, body = f"{aws.bucket()}/large", bytes(32 << 20)
    store.put(url, body, "application/octet-stream")
    standing = store.get(url)
    assert standing is not None
    assert standing.body == body


def test_of_many_at_once_one_puts_if_absent(aws: Any) -> None:
    store = S3Store(AwsClients().s3())
    url = f"{aws.bucket()}/once"
    barrier, won = threading.Barrier(6), []

    def write(number: int) -> None:
        barrier.wait(10)
        if store.put_if_absent(url, b"%d" % number, "text/plain"):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    standing = store.get(url)
    assert standing is not None
    assert [standing.body] == [b"%d" % number for number in won]


def test_a_bucket_that_does_not_exist(aws: Any) -> None:
    store = S3Store(AwsClients().s3())
    url = f"s3://{aws.name}-not/key"
    for call in (
        lambda: store.get(url),
        lambda: store.put(url, b"", "text/plain"),
        lambda: store.put_if_absent(url, b"", "text/plain"),
        lambda: store.keys(url),
    ):
        with pytest.raises(PermanentError, match="check that the bucket exists") as refused:
            call()
        assert refused.value.code is ErrorCode.OUTPUT_FORBIDDEN


def test_a_store_that_cannot_be_reached(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens on discard
    store = S3Store(AwsClients(attempts=1).s3())
    with pytest.raises(NodeFaultError, match="cannot read"):
        store.get("s3://bucket/key")


def test_own_credentials_reach_the_store(aws: Any) -> None:
    clients = AwsClients()
    store = S3Store(clients.s3(access_key_id="own", secret_access_key="own", region="us-east-1"))
    url = f"{aws.bucket()}/key"
    assert store.put_if_absent(url, b"x", "text/plain")


def test_what_is_temporary_carries_a_tag_that_a_rule_can_find(aws: Any) -> None:
    base = aws.bucket()
    store = S3Store(AwsClients().s3())
    store.put(f"{base}/result", b"", "text/plain")
    store.put(f"{base}/put", b"", "text/plain", temporary=True)
    assert store.put_if_absent(f"{base}/absent", b"", "text/plain", temporary=True)
    assert not store.put_if_absent(f"{base}/absent", b"", "text/plain", temporary=True)
    tags = {
        key: aws.server.s3.get_object_tagging(Bucket=aws.name, Key=key)["TagSet"] for key in ("result", "put", "absent")
    }
    temporary = [{"Key": "sqscribe", "Value": "temporary"}]
    assert tags == {"result": [], "put": temporary, "absent": temporary}
