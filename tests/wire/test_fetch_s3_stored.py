# SPDX-License-Identifier: Apache-2.0
"""Objects as people store them: compressed, under odd keys, in buckets that have the requester pay."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest

from sqscribe.errors import ErrorCode
from sqscribe.job import JobDefaults
from worker.aws import AwsClients
from worker.receive.messages import MessageParser
from worker.testing.s3_gate import S3Gate, plain_client

if TYPE_CHECKING:
    from tests.wire.conftest import Aws, S3Case

BODY = os.urandom(300_000)
RAW = zlib.compressobj(wbits=-15)
RAW_DEFLATE = RAW.compress(BODY) + RAW.flush()


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY[:1000]) + gzip.compress(BODY[1000:])),
        ("aws-chunked,gzip", gzip.compress(BODY)),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
        ("deflate", zlib.compress(BODY)),
        ("deflate", RAW_DEFLATE),
        ("identity", BODY),
        ("aws-chunked", BODY),
        ("utf-8", BODY),
        ("gzip", BODY),
    ],
    ids=[
        "gzip",
        "capitals",
        "members",
        "chunked",
        "twice",
        "zlib",
        "deflate",
        "none",
        "aws",
        "nonsense",
        "mislabelled",
    ],
)
def test_what_is_stored_compressed_is_unpacked(case: S3Case, encoding: str, stored: bytes) -> None:
    case.put("packed.wav", stored, ContentEncoding=encoding)
    source = case.fetch("s3://media/packed.wav")
    assert source.path.read_bytes() == BODY
    assert source.bytes == len(BODY)


def test_what_is_unpacked_counts_against_the_largest_size(case: S3Case) -> None:
    case.put("bomb.wav", gzip.compress(bytes(2**24)), ContentEncoding="gzip")
    assert case.fails("s3://media/bomb.wav") == ErrorCode.SOURCE_TOO_LARGE
    assert max(case.held.totals) <= case.limits.max_bytes


@pytest.mark.parametrize("stored", [gzip.compress(BODY)[:-100_000], gzip.compress(BODY)[:100_000] + bytes(200_000)])
def test_a_compressed_object_that_is_damaged_is_unreadable(case: S3Case, stored: bytes) -> None:
    case.put("torn.wav", stored, ContentEncoding="gzip")
    error: Any = case.error("s3://media/torn.wav")
    assert error.code == ErrorCode.MEDIA_UNREADABLE
    assert "Content-Encoding" in error.message


def test_an_encoding_that_nobody_undoes_is_said(case: S3Case) -> None:
    case.put("brotli.wav", BODY, ContentEncoding="br")
    error: Any = case.error("s3://media/brotli.wav")
    assert error.code == ErrorCode.MEDIA_UNREADABLE
    assert "(Content-Encoding br)" in error.message


def test_a_compressed_body_that_drops_goes_on_where_it_stopped(case: S3Case, gate: S3Gate) -> None:
    case.put("dropped.wav", gzip.compress(BODY), ContentEncoding="gzip")
    gate.breaks = 2
    assert case.fetch("s3://media/dropped.wav", plain_client(gate.url)).path.read_bytes() == BODY
    assert [asked is None for asked in gate.ranges] == [True, False, False]


KEYS = [
    "a b+c%20d.wav",
    "100%.wav",
    "/leading.wav",
    "double//slash.wav",
    "trailing .wav ",
    " leading blank.wav",
    "ünï-日本語-💥.wav",
    "e\u0301-decomposed.wav",
    "..",
    "../up.wav",
    "a/../b.wav",
    "a/./b.wav",
    "?query=1&b=2#hash.wav",
    "quote'\"`.wav",
    "back\\slash.wav",
    "tab\there.wav",
    "s3:/x.wav",
    "%2F.wav",
    "{braces}[brackets]<angles>|^~.wav",
    "x" * 1000 + ".wav",
]


def event_of(key: str, encoded: str, etag: str, source: str) -> str:
    record = {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "media"}, "object": {"key": encoded, "size": len(key.encode()), "eTag": etag}},
    }
    return json.dumps({"Records": [record]})


@pytest.mark.parametrize("key", KEYS)
def test_an_object_under_an_odd_key_is_fetched_by_its_name_and_by_its_events(case: S3Case, key: str) -> None:
    etag = case.put(key, key.encode())["ETag"].strip('"')
    parser = MessageParser(JobDefaults("s3://media/out"))
    bridge = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "media"}, "object": {"key": key, "size": 9, "etag": etag}},
    }
    bodies = [
        json.dumps({"source": f"s3://media/{key}"}),
        event_of(key, quote_plus(key, safe="/"), etag, "aws:s3"),
        event_of(key, quote(key, safe=""), etag, "minio:s3"),
        json.dumps(bridge),
    ]
    for body in bodies:
        [job] = parser.parse(body, "m-1").jobs
        event: dict[str, Any] = {"etag": job.object_etag} if job.object_etag else {}
        path = case.fetch(job.source, **event).path
        assert path.read_bytes() == key.encode()
        path.unlink()


def test_the_requester_pays_for_every_kind_of_call_where_it_is_set(aws: Aws, gate: S3Gate) -> None:
    clients = AwsClients()
    for pays in (True, False):
        s3 = clients.s3(endpoint_url=gate.url, requester_pays=pays)
        gate.headers.clear()
        s3.put_object(Bucket="media", Key="paid.wav", Body=b"x")
        s3.list_objects_v2(Bucket="media")
        assert [headers.get("x-amz-request-payer") for headers in gate.headers] == 2 * ["requester" if pays else None]


@pytest.mark.parametrize("mode", ["when_supported", "when_required"])
def test_checksums_go_along_as_the_setting_says(aws: Aws, gate: S3Gate, mode: Any) -> None:
    AwsClients().s3(endpoint_url=gate.url, checksums=mode).put_object(Bucket="media", Key="sum.wav", Body=b"x")
    names = {name.lower() for name in gate.headers[0]}
    assert ("x-amz-checksum-crc32" in names or "x-amz-trailer" in names) is (mode == "when_supported")
