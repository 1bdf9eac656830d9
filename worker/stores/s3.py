# SPDX-License-Identifier: Apache-2.0
"""Amazon S3, and what speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, SettingsFaultError, Witness
from sqscribe.urls import ObjectUrl, split_s3
from stages.ports import StoredObject
from stages.refusals import Call, Meaning, Named, Owner, owner_of, read, words

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["S3Store"]

log = structlog.get_logger()

#: The object tag of what is temporary, for a lifecycle rule: those match tags, but not the middle of a key.
_TEMPORARY_TAG = "sqscribe=temporary"
#: Another write to the same key is under way.
_CONFLICT_CODES = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})

_VERBS: Mapping[Call, str] = {Call.GET: "read", Call.PUT: "write", Call.DELETE: "delete", Call.LIST: "list"}
_WITNESSES: Mapping[Call, Witness] = {
    Call.GET: Witness.READ,
    Call.LIST: Witness.READ,
    Call.PUT: Witness.WRITE,
    Call.DELETE: Witness.WRITE,
}


class S3Store:
    """Implements `stages.ports.Store`. Thread-safe.

    A conditional write whose answer was lost is repeated by the client and then fails on its own object: False does not
    say that another one wrote it. What the store holds then decides, whoever wrote it.

    Temporary objects carry the tag `sqscribe=temporary`, unless the store refuses tags or the worker may not set them.

    A refusal is charged to whoever named the place: see `stages.refusals`.

    Args:
        client: Its retries are botocore's.
        own: The output that the worker's settings name; None: every address is a message's.
        conditional_writes: `auto`: used until the store says that it does not know them; `off`: look first, and the
            last writer wins.
        attempts: Of a conditional write that meets another one under way (409), in all.
        longest_wait: Most seconds between two of them.
    """

    def __init__(
        self,
        client: S3Client,
        *,
        own: str | None = None,
        conditional_writes: Literal["auto", "off"] = "auto",
        attempts: int = 5,
        longest_wait: float = 2.0,
    ) -> None:
        self._client = client
        self._own = own.rstrip("/") if own else None
        self._conditional = conditional_writes == "auto"  # this and the next are only ever turned off: no lock
        self._tags = True
        self._on_conflict = Retrying(
            retry=retry_if_exception(_is_conflict),
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=longest_wait / 16, max=longest_wait),
            reraise=True,
        )

    def get(self, url: str) -> StoredObject | None:
        """The object, or None when there is none."""
        bucket, key = _place(url)
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            return StoredObject(answer["Body"].read(), answer["ETag"])
        except (ClientError, BotoCoreError) as error:
            self._unless_answered(Call.GET, url, error)
            return None
        except OSError as error:  # the body broke off; botocore repeats requests only
            raise NodeFaultError(f"cannot read {url}: {words(error)}", witness=Witness.READ) from error

    def exists(self, url: str) -> bool:
        """Whether there is such an object."""
        return self._etag(url) is not None

    def put(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> None:
        """Writes the object, over another one if need be."""
        try:
            self._put(url, body, content_type, {}, temporary)
        except (ClientError, BotoCoreError) as error:
            self._fail(Call.PUT, url, error)

    def put_if_absent(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> bool:
        """Writes the object unless there is one; False when there is."""
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
        bucket, key = _place(url)
        try:
            self._client.delete_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            self._unless_answered(Call.DELETE, url, error)

    def keys(self, prefix: str) -> list[str]:
        """The addresses that begin with `prefix`, sorted."""
        bucket, key = _place(prefix)
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            return sorted(f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", []))
        except (ClientError, BotoCoreError) as error:
            self._fail(Call.LIST, prefix, error)

    def _put(self, url: str, body: bytes, content_type: str, condition: Mapping[str, str], temporary: bool) -> None:
        bucket, key = _place(url)
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": body, "ContentType": content_type, **condition}
        if not (temporary and self._tags):
            self._client.put_object(**request)
            return
        try:
            self._client.put_object(**request, Tagging=_TEMPORARY_TAG)
        except ClientError as error:
            if not _may_be_for_its_tag(error):
                raise
            # Refused with the tag and taken without it: then it was the tag.
            self._client.put_object(**request)
            self._tags = False
            log.warning(
                "object_tags_off",
                error=read(error).code,
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
                refusal = read(error)
                if refusal.meaning is not Meaning.UNKNOWN_TO_IT:
                    # A key that is gone does not have the ETag either: AWS says 404 to If-Match, others 412.
                    self._unless_answered(Call.PUT, url, error)
                    return False
                self._fall_back(refusal.code)
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
        bucket, key = _place(url)
        try:
            return self._client.head_object(Bucket=bucket, Key=key)["ETag"]
        except (ClientError, BotoCoreError) as error:
            # The answer to HEAD has no body, so a bucket that is missing looks like a key that is.
            self._unless_answered(Call.GET, url, error)
            return None

    def _unless_answered(self, call: Call, url: str, error: ClientError | BotoCoreError) -> None:
        """Returns where the answer only says what stands; raises what else it means."""
        if owner_of(call, read(error).meaning, Named.SETTINGS) is not Owner.ANSWER:
            self._fail(call, url, error)

    def _fail(self, call: Call, url: str, error: ClientError | BotoCoreError) -> NoReturn:
        refusal = read(error)
        text = f"cannot {_VERBS[call]} {url}: {refusal.advice}"
        named = self._named(url)
        # An object that is missing, where that is no answer: it is the place that is.
        meaning = Meaning.GONE if refusal.meaning is Meaning.ABSENT else refusal.meaning
        match owner_of(call, meaning, named, same_bucket=self._in_own_bucket(url)):
            case Owner.BUCKET | Owner.JOB:
                raise PermanentError(ErrorCode.OUTPUT_FORBIDDEN, text) from error
            case Owner.SETTINGS:
                whose = "SQSCRIBE_OUTPUT" if named is Named.SETTINGS else "the worker's settings"
                raise SettingsFaultError(
                    f"{whose}: {text}; the worker waits for it", witness=_WITNESSES[call]
                ) from error
            case _:
                raise NodeFaultError(text, witness=_WITNESSES[call]) from error

    def _named(self, url: str) -> Named:
        """Who named an address. A job may name the very output that the settings do: then it is theirs."""
        own = self._own is not None and f"{url}/".startswith(f"{self._own}/")
        return Named.SETTINGS if own else Named.MESSAGE

    def _in_own_bucket(self, url: str) -> bool:
        return self._own is not None and split_s3(url).bucket == split_s3(self._own).bucket


def _place(url: str) -> ObjectUrl:
    """Bucket and key.

    Raises:
        PermanentError: `output_forbidden`: there can be no such object.
    """
    try:
        return split_s3(url)
    except ValueError as error:
        raise PermanentError(ErrorCode.OUTPUT_FORBIDDEN, f"the address of a result {error}: {url[:200]}") from None


def _may_be_for_its_tag(error: ClientError) -> bool:
    """Whether a write may have been refused for its tag (by a store without tags, or for want of PutObjectTagging)."""
    meaning = read(error).meaning
    return meaning not in {
        Meaning.CONDITION,
        Meaning.ABSENT,
        Meaning.GONE,
        Meaning.BUSY,
        Meaning.CREDENTIALS,
        Meaning.CLOCK,
    }


def _is_conflict(error: BaseException) -> bool:
    return isinstance(error, ClientError) and read(error).code in _CONFLICT_CODES
