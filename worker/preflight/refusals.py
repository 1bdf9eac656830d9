# SPDX-License-Identifier: Apache-2.0
"""What a service's refusal of a check says about the settings, in plain words."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from sqscribe.urls import redact
from stages.refusals import Meaning, code_name, meaning_of
from worker.preflight.finding import Finding, Severity, wrong

__all__ = ["Refused", "refusal"]

#: What botocore and the services raise when a call comes to nothing.
Refused = (ClientError, BotoCoreError, ValueError)

#: The region in an address of AWS.
_AWS_REGION = re.compile(r"(?:^|\.)(?:sqs|s3)(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com(?:\.cn)?$")


def refusal(what: str, tried: str, error: Exception, permission: str) -> Finding:
    """What a failed call means.

    Args:
        what: The setting that named its target.
        tried: The call and the target, for people: `reading s3://bucket/prefix`.
        error: What came of it.
        permission: That the call needs: `s3:GetObject`.
    """
    if isinstance(error, ClientError):
        return _of_service(what, tried, error, permission)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return wrong(
            "AWS credentials",
            f"{tried} needs them: {error}",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role",
        )
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return _of_network(what, tried, error)
    return wrong(what, f"{tried} is not possible: {error}", f"check {what} and the AWS settings")


def _of_service(what: str, tried: str, error: ClientError, permission: str) -> Finding:
    answer = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code, said = code_name(str(answer.get("Code", ""))), " ".join(str(answer.get("Message", "")).split())
    why = f"{tried} was refused with {code}" + (f" ({said})" if said and said != code else "")
    meaning = meaning_of(code, status, said)
    if meaning is Meaning.DENIED and "kms" in said.lower():
        meaning = Meaning.KEY  # S3 calls a key that may not be used an access that is denied
    match meaning:
        case Meaning.BUSY:
            return Finding(what, why, "it is tried again", Severity.UNREACHABLE)
        case Meaning.CLOCK:
            return Finding("clock", why, "set this machine's clock (NTP)", Severity.UNFIT)
        case Meaning.CREDENTIALS:
            remedy = "check the access key, its secret and its session token"
            return wrong("AWS credentials", f"{why}, asked for by {what}", remedy)
        case Meaning.KEY | Meaning.OWN_KEY:
            remedy = (
                "enable the KMS key, and let the worker use it (kms:Decrypt, kms:GenerateDataKey), also in its policy"
            )
        case Meaning.GONE | Meaning.ABSENT:
            remedy = f"it does not exist: check the name, the region and the account in {what}, or create it"
        case Meaning.DENIED:
            remedy = f"the worker needs the permission {permission} there"
        case Meaning.ELSEWHERE:
            remedy = f"it is in another region: set AWS_REGION, or SQSCRIBE_S3_REGION for storage, to the one of {what}"
        case _:
            remedy = f"check {what}"
    return wrong(what, why, remedy)


def _of_network(what: str, tried: str, error: BotoCoreError) -> Finding:
    host = urlsplit(str(error.kwargs.get("endpoint_url") or "")).hostname or ""
    found = _AWS_REGION.search(host)
    if found and found["region"] not in _regions():
        return wrong(
            what,
            f"{tried} is not possible: AWS has no region {found['region']} ({host} cannot be reached)",
            "correct the region in the URL or in AWS_REGION",
        )
    return Finding(
        what,
        f"{tried} is not possible: {redact_all(str(error))}",
        "check the network, proxies and AWS_ENDPOINT_URL; it is tried again",
        Severity.UNREACHABLE,
    )


def redact_all(text: str) -> str:
    """The text, with what is secret in its URLs left out."""
    return re.sub(r"[a-z0-9+.-]+://[^\s\"']+", lambda url: redact(url[0]), text)


def _regions() -> frozenset[str]:
    session = boto3.session.Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("sqs", partition_name=partition)
    )
