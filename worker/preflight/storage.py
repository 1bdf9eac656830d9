# SPDX-License-Identifier: Apache-2.0
"""The output: whether it may be written, read, listed and deleted from, and what its bucket does with new objects."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from sqscribe.formats import ARTIFACTS
from sqscribe.result import RESULT_NAME
from sqscribe.urls import ObjectUrl, split_s3
from worker.preflight.finding import Finding, Severity, ok, warning, wrong
from worker.preflight.refusals import Refused, refusal
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["PROBE", "check_storage"]

OUTPUT, BUCKETS = "SQSCRIBE_OUTPUT", "SQSCRIBE_ALLOWED_BUCKETS"
#: Name of what is written to see whether it may be; it is deleted again.
PROBE = ".sqscribe-preflight-"
_BODY = b"sqscribe"
#: Seconds by which clocks may differ. AWS refuses signatures from 15 minutes on.
_SKEW_SECONDS = 300.0
_FAILED_CONDITION = frozenset({"PreconditionFailed", "412"})
_UNKNOWN_CONDITION = frozenset({"NotImplemented", "501", "UnsupportedHeader", "UnsupportedOperation"})
#: Ends of what is written for a job.
_RESULTS = (RESULT_NAME, *(artifact.extension for artifact in ARTIFACTS.values()))
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def check_storage(settings: Settings, client: S3Client, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Writes an object below the output, on condition and again, reads, lists and deletes it."""
    yield from _names(settings)
    if not settings.output:
        return
    output = split_s3(settings.output)
    yield from _loops(settings, client, output)
    probe = ObjectUrl(output.bucket, f"{output.key}/{PROBE}{uuid.uuid4().hex}".lstrip("/"))
    findings = list(_writes(settings, client, probe, now))
    yield from findings
    if not any(each.severity not in {Severity.OK, Severity.WARNING} for each in findings):
        yield from _others(client, output, probe)
    yield from _allowed(settings, client, output.bucket)


def _writes(settings: Settings, client: S3Client, probe: ObjectUrl, now: Callable[[], float]) -> Iterator[Finding]:
    """Writes it; with a condition first, which no store that knows it lets pass twice."""
    request: Any = {"Bucket": probe.bucket, "Key": probe.key, "Body": _BODY, "ContentType": "text/plain"}
    condition: Any = {} if settings.conditional_writes == "off" else {"IfNoneMatch": "*"}
    try:
        try:
            answer = client.put_object(**request, **condition)
        except ClientError as error:
            if not condition or _code(error) not in _UNKNOWN_CONDITION:
                raise
            condition = {}
            answer = client.put_object(**request)
            yield _unconditional("its store does not know conditional writes")
    except Refused as error:
        yield refusal(OUTPUT, f"writing {probe}", error, "s3:PutObject")
        return
    yield ok(OUTPUT, f"s3://{probe.bucket} may be written to")
    yield from _clock(answer["ResponseMetadata"].get("HTTPHeaders", {}), now())
    if condition and (fault := _ignored(client, request, condition)):
        yield fault


def _ignored(client: S3Client, request: Mapping[str, Any], condition: Mapping[str, Any]) -> Finding | None:
    try:
        client.put_object(**request, **condition)
    except ClientError as error:
        if _code(error) in _FAILED_CONDITION:
            return None
        return refusal(OUTPUT, "writing on condition", error, "s3:PutObject")
    except Refused as error:
        return refusal(OUTPUT, "writing on condition", error, "s3:PutObject")
    return _unconditional("its store takes conditional writes and does not heed the condition")


def _unconditional(why: str) -> Finding:
    return warning(
        OUTPUT, f"{why}, so that of two workers on one job the last one wins", "set SQSCRIBE_CONDITIONAL_WRITES=off"
    )


def _others(client: S3Client, output: ObjectUrl, probe: ObjectUrl) -> Iterator[Finding]:
    place: Any = {"Bucket": probe.bucket, "Key": probe.key}
    none = ObjectUrl(probe.bucket, f"{probe.key}-none")
    steps: tuple[tuple[str, str, Callable[[], Any]], ...] = (
        ("reading", "s3:GetObject", lambda: _read(client, probe)),
        (
            "listing",
            "s3:ListBucket (on the bucket)",
            lambda: client.list_objects_v2(Bucket=output.bucket, Prefix=probe.key, MaxKeys=1),
        ),
        # Without the permission to list, a store says "forbidden" of what is not there, and no job could begin.
        ("looking for what is not there beside", "s3:ListBucket (on the bucket)", lambda: _absent(client, none)),
        ("deleting", "s3:DeleteObject", lambda: client.delete_object(**place)),
    )
    for verb, permission, step in steps:
        try:
            answer = step()
        except Refused as error:
            yield refusal(OUTPUT, f"{verb} {probe}", error, permission)
        else:
            if verb == "reading" and answer != _BODY:
                yield wrong(
                    OUTPUT, f"{probe} reads otherwise than it was written", "check what stands before the store"
                )
            else:
                yield ok(OUTPUT, f"{verb} is permitted")


def _read(client: S3Client, url: ObjectUrl) -> bytes:
    return client.get_object(Bucket=url.bucket, Key=url.key)["Body"].read()


def _absent(client: S3Client, url: ObjectUrl) -> None:
    try:
        client.head_object(Bucket=url.bucket, Key=url.key)
    except ClientError as error:
        if _code(error) not in {"404", "NoSuchKey"}:
            raise


def _clock(headers: Mapping[str, str], now: float) -> Iterator[Finding]:
    try:
        skew = now - parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return
    if abs(skew) > _SKEW_SECONDS:
        yield warning(
            "clock",
            f"this machine's is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the store's",
            "set it (NTP): from 15 minutes on, AWS refuses every request",
        )
    else:
        yield ok("clock", f"agrees with the store's to {abs(skew):.0f} s")


def _names(settings: Settings) -> Iterator[Finding]:
    for bucket in settings.allowed_buckets or ():
        if not _BUCKET_NAME.fullmatch(bucket):
            yield wrong(
                BUCKETS,
                f"{bucket!r} is no name of a bucket, so that every job is refused",
                "name buckets alone: media,archive",
            )


def _allowed(settings: Settings, client: S3Client, own: str) -> Iterator[Finding]:
    for bucket in settings.allowed_buckets or ():
        if bucket == own or not _BUCKET_NAME.fullmatch(bucket):
            continue
        try:
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except Refused as error:
            found = refusal(BUCKETS, f"looking at s3://{bucket}", error, "s3:ListBucket (and s3:GetObject)")
            # A worker has other sources; what names this bucket fails with its reason.
            yield Finding(found.what, found.why, found.remedy, Severity.WARNING)
        else:
            yield ok(BUCKETS, f"s3://{bucket} is there")
    if settings.allowed_buckets and own not in settings.allowed_buckets:
        yield warning(
            BUCKETS,
            f"{own}, the output's, is not among them: a message that names it as its output or source is refused",
            f"add {own}, if messages name it",
        )


def _loops(settings: Settings, client: S3Client, output: ObjectUrl) -> Iterator[Finding]:
    """Whether the bucket tells our own queue of what is written to it."""
    try:
        told = client.get_bucket_notification_configuration(Bucket=output.bucket)
    except Refused:
        yield Finding(OUTPUT, "whether its bucket notifies the queue may not be seen", "", Severity.SKIPPED)
        return
    queue = (settings.queue_url or "").rstrip("/").rpartition("/")[2]
    below = f"{output.key}/" if output.key else ""
    for each in told.get("QueueConfigurations", []):
        creations = any(event.startswith("s3:ObjectCreated:") for event in each["Events"])
        if not creations or each["QueueArn"].rpartition(":")[2] != queue:
            continue
        rules: Any = each.get("Filter", {}).get("Key", {}).get("FilterRules", [])
        wanted = {rule["Name"].lower(): rule["Value"] for rule in rules}
        watched, suffix = wanted.get("prefix", ""), wanted.get("suffix", "")
        if watched.startswith(below):
            yield wrong(
                OUTPUT,
                f"its bucket notifies this queue of what comes below {watched!r}, all of which lies below the output:"
                " results would be jobs, and no source is taken from there",
                "write results to another prefix or bucket than the one that is watched",
            )
        elif below.startswith(watched) and any(name.endswith(suffix) for name in _RESULTS):
            yield warning(
                OUTPUT,
                f"its bucket notifies this queue of what comes below {watched!r}, results too: each costs a message"
                " that is skipped, and is a job for a worker with another output",
                "narrow the notification's prefix to the sources, or write results to another bucket",
            )


def _code(error: ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))
