# SPDX-License-Identifier: Apache-2.0
"""Addresses: S3 URLs are taken literally, secrets never get out."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.urls import ObjectUrl, redact, split_s3, storable, without_presigned


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b", "bucket", "a/b"),
        ("S3://bucket//a", "bucket", "/a"),
        ("s3://bucket/a b?c=d#e%20+", "bucket", "a b?c=d#e%20+"),
    ],
)
def test_an_s3_address_is_taken_as_it_is(url: str, bucket: str, key: str) -> None:
    assert split_s3(url) == ObjectUrl(bucket, key)


@pytest.mark.parametrize(
    "url", ["", "s3:/b/k", "https://bucket/k", "s3:///k", "s3://b u/k", "s3://bucket/\0", "s3://x"]
)
def test_what_is_no_s3_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|NUL"):
        split_s3(url)


def test_an_object_url_reads_like_its_address() -> None:
    assert str(split_s3("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert str(split_s3("s3://bucket")) == "s3://bucket"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host:8443/a?token=x#f", "https://host:8443/a"),
        ("https://user:p@ss@host/a@b", "https://host/a@b"),
        ("https://host?x=y@z", "https://host"),
        ("https://host#frag", "https://host"),
        ("http://user@host", "http://host"),
        ("s3://bucket/a?b@c", "s3://bucket/a?b@c"),
        ("data:audio/wav;base64,AAAA", "data:…"),
        ("DATA:text/plain,see https://user:pass@host/", "data:…"),
        ("mailto:user@host", "mailto:…"),
        ("nothing?secret", "nothing"),
        ("/talks/what: a?b#c.mp3", "/talks/what: a?b#c.mp3"),
        ("", ""),
    ],
)
def test_redact_drops_user_query_and_fragment(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text())
def test_redact_never_raises(text: str) -> None:
    redact(text)
    storable(text)
    assert "SECRET" not in redact(f"https://{text.replace('SECRET', '')}?SECRET")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://h/a", "https://h/a"),
        ("https://h/a?", "https://h/a?"),
        ("https://h/a?b=c&d", "https://h/a?b=c&d"),
        ("https://h/a?X-Amz-Algorithm=A&X-Amz-Credential=B%2F&X-Amz-Signature=C&x-id=GetObject", "https://h/a"),
        ("https://h/a?versionId=7&x-amz-signature=C&response-content-type=x", None),
        ("https://h/watch?v=1&x-id=2", "https://h/watch?v=1&x-id=2"),
        ("https://h/a?AWSAccessKeyId=A&Signature=B&Expires=1", "https://h/a"),
        ("https://h/a?Expires=1&Signature=B&Key-Pair-Id=K&Policy=P&k=v", "https://h/a?k=v"),
        ("https://h/a?Expires=1&page=2", "https://h/a?Expires=1&page=2"),
        ("https://h/a?GoogleAccessId=A&Expires=1&Signature=B", "https://h/a"),
        ("https://h/a?X-Goog-Signature=B&X-Goog-Date=1&alt=media", "https://h/a?alt=media"),
        ("https://h/a?sv=2024&st=1&se=2&sr=b&sp=r&sig=x%3D&snapshot=1", "https://h/a?snapshot=1"),
        ("https://h/a?sp=r&st=2", "https://h/a?sp=r&st=2"),
        ("https://h/a?X-Amz-Signature=C#t=10", "https://h/a#t=10"),
        ("s3://bucket/a?X-Amz-Signature=C", "s3://bucket/a?X-Amz-Signature=C"),
    ],
)
def test_what_signs_a_url_is_left_out_of_its_name(url: str, kept: str | None) -> None:
    assert without_presigned(url) == (kept or "https://h/a?versionId=7&response-content-type=x")


def test_a_record_keeps_what_names_the_source_and_no_secret() -> None:
    assert storable("https://me:pw@h/watch?v=1&X-Amz-Signature=C") == "https://h/watch?v=1"
    assert storable("s3://bucket/a@b?c") == "s3://bucket/a@b?c"
    assert storable("/talks/a?b.mp3") == "/talks/a?b.mp3"
    digest = hashlib.sha256(b"\0\0\0").hexdigest()
    assert storable("data:audio/wav;base64,AAAA") == f"data:audio/wav;sha256={digest},…"
    assert storable("data:audio/wav,%00%00%00") == f"data:audio/wav;sha256={digest},…"
    broken = storable("DATA:see https://user:secret@host/")
    assert broken.startswith("data:;sha256=")
    assert "secret" not in broken
