# SPDX-License-Identifier: Apache-2.0
"""Amazon S3, and what speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.urls import split_s3
from stages.ports import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["S3Store"]

log = structlog.get_logger()

_ABSENT_CODES = frozenset({"NoSuchKey", "NotFound", "404"})
#: The place is wrong for this job alone. Credentials that S3 does not know are not among these: they are the node's.
_FORBIDDEN_CODES = frozenset(
    {
        "403",
        "AccessDenied",
        "AllAccessDisabled",
        "Forbidden",
        "InvalidBucketName",
        "KeyTooLongError",
        "MethodNotAllowed",
        "NoSuchBucket",
        "ObjectLockConfigurationNotFoundError",
    }
)
_CONDITION_FAILED_CODES = frozenset({"PreconditionFailed", "412"})
_CONFLICT_CODES = frozenset({"ConditionalRequestConflict", "OperationAborted", "409"})
#: What stores say that do not know If-None-Match or If-Match on a write.
_NOT_IMPLEMENTED_CODES = frozenset({"NotImplemented", "501", "UnsupportedHeader", "UnsupportedOperation"})
#: The object tag of what is temporary, for a lifecycle rule: those match tags, but not the middle of a key.
_TEMPORARY_TAG = "sqscribe=temporary"


class S3Store:
    """Implements `stages.ports.Store`. Thread-safe.

    A conditional write whose answer was lost is repeated by the client and then fails on its own object: False does not
    say that another one wrote it. What stands decides, whoever wrote it.

    Temporary objects carry the tag `sqscribe=temporary`, unless the store refuses tags or the worker may not set them.

    Args:
        client: Its retries are botocore's.
        conditional_writes: `auto`: used until the store says that it does not know them; `off`: look first, and the
            last writer wins.
        attempts: Of a conditional write that meets another one under way (409), in all.
        longest_wait: Most seconds between two of them.
    """

    def __init__(
        self,
        client: S3Client,
        *,
        conditional_writes: Literal["auto", "off"] = "auto",
        attempts: int = 5,
        longest_wait: float = 2.0,
    ) -> None:
        self._client = client
        self._conditional = conditional_writes == "auto"  # this and the next are only ever turned off: no lock
        self._tags = True
        self._on_conflict = Retrying(
            retry=retry_if_exception(lambda error: _code(error) in _CONFLICT_CODES),
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=longest_wait / 16, max=longest_wait),
            reraise=True,
        )

    def get(self, url: str) -> StoredObject | None:
        """The object, or None when there is none."""
        bucket, key = split_s3(url)
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            return StoredObject(answer["Body"].read(), answer["ETag"])
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _ABSENT_CODES:
                return None
            self._fail("read", url, error)

    def exists(self, url: str) -> bool:
        """Whether the object stands."""
        return self._etag(url) is not None

    def put(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> None:
        """Writes the object whatever stands."""
        try:
            self._put(url, body, content_type, {}, temporary)
        except (ClientError, BotoCoreError) as error:
            self._fail("write", url, error)

    def put_if_absent(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> bool:
        """Writes the object unless one stands; False when one does."""
        condition = {"IfNoneMatch": "*"}
        return self._put_on_condition(
            url, body, content_type, condition, temporary, holds=lambda existing: existing is None
        )

    def replace(self, url: str, body: bytes, content_type: str, etag: str, *, temporary: bool = False) -> bool:
        """Writes the object if the existing one still has this ETag; False otherwise."""
        condition = {"IfMatch": etag}
        return self._put_on_condition(
            url, body, content_type, condition, temporary, holds=lambda existing: existing == etag
        )

    def delete(self, url: str) -> None:
        """Removes the object; it is no error when there is none."""
        bucket, key = split_s3(url)
        try:
            self._client.delete_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            if _code(error) not in _ABSENT_CODES:
                self._fail("delete", url, error)

    def keys(self, prefix: str) -> list[str]:
        """The addresses that begin with `prefix`, sorted."""
        bucket, key = split_s3(prefix)
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            return sorted(f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", []))
        except (ClientError, BotoCoreError) as error:
            self._fail("list", prefix, error)

    def _put(self, url: str, body: bytes, content_type: str, condition: Mapping[str, str], temporary: bool) -> None:
        bucket, key = split_s3(url)
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": body, "ContentType": content_type, **condition}
        if not (temporary and self._tags):
            self._client.put_object(**request)
            return
        try:
            self._client.put_object(**request, Tagging=_TEMPORARY_TAG)
        except ClientError as error:
            if not _may_be_the_tag(error):
                raise
            # Refused with the tag and taken without it: then it was the tag.
            self._client.put_object(**request)
            self._tags = False
            log.warning(
                "object_tags_off",
                error=_code(error),
                consequence="no lifecycle rule can find checkpoints that are left over",
            )

    def _put_on_condition(
        self,
        url: str,
        body: bytes,
        content_type: str,
        condition: Mapping[str, str],
        temporary: bool,
        *,
        holds: Callable[[str | None], bool],
    ) -> bool:
        """Writes if the condition holds.

        Args:
            url: Where.
            body: What.
            content_type: Of the body.
            condition: For the store to check.
            temporary: As `put` has it.
            holds: The same, asked of the existing object's ETag, where the store cannot.
        """
        if self._conditional:
            try:
                self._on_conflict(self._put, url, body, content_type, condition, temporary)
            except (ClientError, BotoCoreError) as error:
                code = _code(error)
                # A key that is gone does not have the ETag either: AWS says 404 to If-Match, others 412.
                if code in _CONDITION_FAILED_CODES or code == "NoSuchKey":
                    return False
                if code not in _NOT_IMPLEMENTED_CODES:
                    self._fail("write", url, error)
                self._fall_back(code)
            else:
                return True
        if not holds(self._etag(url)):
            return False
        self.put(url, body, content_type, temporary=temporary)
        return True

    def _fall_back(self, code: str) -> None:
        if self._conditional:
            self._conditional = False
            log.warning(
                "conditional_writes_off",
                error=code,
                consequence="the last writer wins; set SQSCRIBE_CONDITIONAL_WRITES=off to say that this is known",
            )

    def _etag(self, url: str) -> str | None:
        bucket, key = split_s3(url)
        try:
            return self._client.head_object(Bucket=bucket, Key=key)["ETag"]
        except (ClientError, BotoCoreError) as error:
            # The answer to HEAD has no body, so a bucket that is missing looks like a key that is.
            if _code(error) in _ABSENT_CODES:
                return None
            self._fail("look for", url, error)

    def _fail(self, verb: str, url: str, error: ClientError | BotoCoreError) -> NoReturn:
        code = _code(error)
        text = f"cannot {verb} {url}: {error}"
        if code in _FORBIDDEN_CODES:
            hint = "check that the bucket exists and that the worker may use it"
            raise PermanentError(ErrorCode.OUTPUT_FORBIDDEN, f"{text}; {hint}") from error
        raise NodeFaultError(text) from error


def _may_be_the_tag(error: ClientError) -> bool:
    """Whether a write may have been refused for its tag (by a store without tags, or for want of PutObjectTagging)."""
    code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _CONDITION_FAILED_CODES | _CONFLICT_CODES:
        return False
    return code in _NOT_IMPLEMENTED_CODES or 400 <= status < 500


def _code(error: BaseException) -> str:
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""
