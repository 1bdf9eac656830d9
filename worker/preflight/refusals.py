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
from worker.preflight.finding import Finding, Severity, wrong
from worker.queues.sqs_errors import code_name

__all__ = ["Refused", "refusal"]

#: What botocore and the services raise when a call comes to nothing.
Refused = (ClientError, BotoCoreError, ValueError)

_ABSENT = frozenset({"404", "NoSuchBucket", "NonExistentQueue", "QueueDoesNotExist", "NoSuchKey", "InvalidAddress"})
_FORBIDDEN = frozenset(
    {"403", "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem", "Forbidden", "AuthFailure"}
)
_CREDENTIALS = frozenset(
    {
        "401",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "NotSignedUp",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnauthorizedAccess",
        "UnrecognizedClientException",
    }
)
_REGION = frozenset(
    {"301", "307", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
_BUSY = frozenset(
    {
        "429", "500", "502", "503", "504", "BandwidthLimitExceeded", "InternalError", "InternalFailure", "KmsThrottled",
        "OverLimit", "PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled", "RequestTimeout",
        "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException",
    }
)  # fmt: skip
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
    answer, status = error.response.get("Error", {}), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = code_name(str(answer.get("Code", "")))
    said = " ".join(str(answer.get("Message", "")).split())
    why = f"{tried} was refused with {code}" + (f" ({said})" if said and said != code else "")
    if code in _BUSY or (isinstance(status, int) and status >= 500):
        return Finding(what, why, "it is tried again", Severity.UNREACHABLE)
    if code in _CLOCK:
        return Finding("clock", why, "set this machine's clock (NTP)", Severity.UNFIT)
    # First of all, as an access that is denied for want of a key says so only in its sentence.
    if str(answer.get("Code", "")).lower().startswith("kms") or "kms" in said.lower():
        remedy = (
            "enable the KMS key, and let the worker use it: kms:Decrypt and kms:GenerateDataKey, in its key policy too"
        )
    elif code in _ABSENT:
        remedy = f"it does not exist: check the name, the region and the account in {what}, or create it"
    elif code in _FORBIDDEN:
        remedy = f"the worker needs the permission {permission} there"
    elif code in _CREDENTIALS:
        return wrong(
            "AWS credentials", f"{why}, asked for by {what}", "check the access key, its secret and its session token"
        )
    elif code in _REGION:
        remedy = f"it is in another region: set AWS_REGION, or SQSCRIBE_S3_REGION for storage, to the one of {what}"
    else:
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
