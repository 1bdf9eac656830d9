# SPDX-License-Identifier: Apache-2.0
"""S3 event notifications: which objects they say were created.

The forms: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html (direct),
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html (EventBridge). Look-alikes (MinIO, Ceph) send
the direct form under an `eventSource` of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from urllib.parse import unquote_plus

from sqscribe.urls import ObjectUrl, split_s3

__all__ = ["CreatedObject", "created_object", "is_s3_event", "is_test_event", "newest", "records_of"]

_WORD = re.compile(r"[A-Za-z0-9.:_-]{1,40}")


@dataclass(frozen=True, slots=True)
class CreatedObject:
    """An object that an event says was created.

    Attributes:
        size: In bytes; None where the store does not say.
        version: Version id; empty in a bucket without versions.
        etag: Without quotes; empty where the store gives none.
        sequencer: Hex digits that order the events of one key; empty where the store gives none.
    """

    address: ObjectUrl
    size: int | None
    version: str
    etag: str
    sequencer: str

    def message(self) -> dict[str, Any]:
        """The job message that means the same as the event."""
        identity = {"version_id": self.version, "etag": self.etag}
        present = {name: value for name, value in identity.items() if value}
        return {"source": str(self.address)} | ({"object": present} if present else {})


def is_test_event(body: Mapping[str, Any]) -> bool:
    """Whether it is what S3 sends when notifications are set up."""
    return body.get("Event") == "s3:TestEvent"


def is_s3_event(body: Mapping[str, Any]) -> bool:
    """Whether it is a notification, direct or from EventBridge."""
    return isinstance(body.get("Records"), list) or _from_event_bridge(body)


def records_of(body: Mapping[str, Any]) -> list[Any]:
    """The notification's records; EventBridge sends one at a time."""
    return [body] if _from_event_bridge(body) else list(body["Records"])


def created_object(record: Any) -> CreatedObject | None:
    """The object that the record announces, or None when it tells of something else (a deletion, a restore).

    Raises:
        ValueError: The record cannot be read; the message says why.
    """
    if not isinstance(record, Mapping):
        raise ValueError("it is no object")  # noqa: TRY004 - a stranger's value, not a caller's mistake
    try:
        if _from_event_bridge(record):
            return _event_bridge(record)
        return _direct(record)
    except KeyError as error:
        raise ValueError(f"it lacks the field {error}") from None
    except (TypeError, AttributeError):
        raise ValueError("a field of it has a wrong type") from None


def newest(objects: Mapping[int, CreatedObject]) -> dict[int, CreatedObject]:
    """The objects, by their place in the event, without those that a later record overwrote.

    Records may come in any order. An object with a version id can still be read after it was overwritten, so each
    version stays.
    """
    latest: dict[tuple[ObjectUrl, str], int] = {}
    for index, item in objects.items():
        before = latest.get((item.address, item.version))
        if before is None or not _is_earlier(item.sequencer, objects[before].sequencer):
            latest[item.address, item.version] = index
    return {index: objects[index] for index in sorted(latest.values())}


def _from_event_bridge(body: Mapping[str, Any]) -> bool:
    return body.get("source") == "aws.s3" and "detail-type" in body


def _event_bridge(record: Mapping[str, Any]) -> CreatedObject | None:
    if record["detail-type"] != "Object Created":
        return None
    detail = record["detail"]
    item = detail["object"]
    # EventBridge gives the key as it is: decoding it would break keys with `+` and `%`.
    return _created(detail["bucket"]["name"], item["key"], item, version=item.get("version-id"), etag=item.get("etag"))


def _direct(record: Mapping[str, Any]) -> CreatedObject | None:
    source = record["eventSource"]
    if not source.endswith(":s3"):
        raise ValueError(f"its eventSource{_plain(source)} is not S3's")
    if str(record.get("eventVersion", "2")).partition(".")[0] != "2":
        raise ValueError(f"its eventVersion{_plain(record['eventVersion'])} is not 2")
    # Look-alikes put the prefix there that AWS has only in the bucket's configuration.
    if not record["eventName"].removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    item = record["s3"]["object"]
    try:
        key = unquote_plus(item["key"], errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the object's key is not UTF-8") from None
    return _created(record["s3"]["bucket"]["name"], key, item, version=item.get("versionId"), etag=item.get("eTag"))


def _created(bucket: Any, key: Any, item: Mapping[str, Any], *, version: Any, etag: Any) -> CreatedObject:
    try:
        address = split_s3(f"s3://{_text(bucket)}/{_text(key)}")
    except ValueError as error:
        raise ValueError(f"the object's address {error}") from None
    if not address.key:
        raise ValueError("the object's key is empty")
    # "null" is the one version of a bucket whose versioning is suspended; it is overwritten like any object.
    version_id = _text(version or "")
    return CreatedObject(
        address=address,
        size=item.get("size"),
        version="" if version_id == "null" else version_id,
        etag=_text(etag or "").strip('"'),
        sequencer=_text(item.get("sequencer") or ""),
    )


def _plain(value: object) -> str:
    """A stranger's value where it is a short word; anything else may be a secret."""
    return f" {value!r}" if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")
    return value


def _is_earlier(one: str, other: str) -> bool:
    """Sequencers have unequal lengths: the shorter one counts as if zeros followed."""
    for a, b in zip_longest(one.upper(), other.upper(), fillvalue="0"):
        if a != b:
            return a < b
    return False
