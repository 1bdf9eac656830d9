# SPDX-License-Identifier: Apache-2.0
"""Addresses: objects in S3, and what of a URL may be shown or stored."""

from __future__ import annotations

import re
from typing import NamedTuple

from sqscribe.data_urls import is_data, shortened

__all__ = ["ObjectUrl", "redact", "split_s3", "storable", "without_presigned"]

# Looser than today's rules for new buckets: old ones and those of look-alikes have capitals and underscores.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
#: Bytes of a key (an S3 limit).
_KEY_BYTES = 1024

_SIGV2_IDENTITIES = frozenset({"awsaccesskeyid", "googleaccessid", "key-pair-id"})
_SIGV2 = _SIGV2_IDENTITIES | {"signature", "expires", "policy", "hash-algorithm"}
# Shared access signatures: https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas
_AZURE = re.compile("sig|sv|ss|srt|sr|sp|st|se|sip|spr|si|sdd|sk(oid|tid|t|e|s|v)")


class ObjectUrl(NamedTuple):
    """An object's place in S3; the key is taken as it is, never percent-decoded."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"


def split_s3(url: str) -> ObjectUrl:
    """Bucket and key of `s3://bucket/key`; the key is empty for a bare bucket.

    Raises:
        ValueError: It is not such an address; the message says why and does not hold the address.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() != "s3":
        raise ValueError("must begin with s3://")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("must name a bucket: s3://bucket/key")
    if "\0" in key:
        raise ValueError("holds a NUL character")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    if size > _KEY_BYTES:
        raise ValueError(f"has a key of {size} bytes; S3 takes {_KEY_BYTES}")
    return ObjectUrl(bucket, key)


def redact(url: str) -> str:
    """The URL as logs and messages may show it: without user, password, query and fragment. Never raises."""
    if is_data(url):
        return "data:…"
    scheme, separator, rest = url.partition("://")
    if scheme.lower() == "s3" or url.startswith("/"):
        return url  # `?` and `@` are letters of a key, or of a path, here
    if not separator:
        head, colon, _ = url.partition(":")
        return f"{head}:…" if colon else _without_query(url)
    return f"{scheme}://{_without_user(_without_query(rest))}"


def storable(url: str) -> str:
    """The URL as `result.json` may keep it: what names the source stays, credentials and embedded content go."""
    if is_data(url):
        return shortened(url)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() == "s3" or url.startswith("/"):
        return redact(url)
    return without_presigned(f"{scheme}://{_without_user(rest)}")


def without_presigned(url: str) -> str:
    """The URL without the query parameters that sign and date it, so that each signing names the same source.

    Knows AWS (Signature Version 4 and 2, CloudFront), Google Cloud Storage and Azure SAS. All other text stays as
    it is, byte for byte.
    """
    head, question, tail = url.partition("?")
    if not question or head.lower().startswith("s3://"):
        return url
    query, hash_mark, fragment = tail.partition("#")
    pairs = query.split("&")
    names = {_name(pair) for pair in pairs}
    signing = {name for name in names if name.startswith(("x-amz-", "x-goog-"))}
    if "x-amz-signature" in names:
        signing.add("x-id")  # which call was signed; some AWS SDKs add it
    if "signature" in names and names & _SIGV2_IDENTITIES:
        signing |= _SIGV2
    if {"sig", "sv"} <= names:
        signing.update(filter(_AZURE.fullmatch, names))
    if not signing:
        return url
    kept = "&".join(pair for pair in pairs if _name(pair) not in signing)
    return f"{head}{'?' if kept else ''}{kept}{hash_mark}{fragment}"


def _name(pair: str) -> str:
    return pair.partition("=")[0].lower()


def _without_query(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


def _without_user(rest: str) -> str:
    """What follows `scheme://`, without `user:password@` (which ends at the last `@` before the path)."""
    end = min((rest.find(mark) for mark in "/?#\\" if mark in rest), default=len(rest))
    return rest[:end].rpartition("@")[2] + rest[end:]
