# SPDX-License-Identifier: Apache-2.0
"""What services say against a check, in words that name the setting and what to do."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from worker.preflight.finding import Severity
from worker.preflight.refusals import refusal

WHAT, TRIED, PERMISSION = "SQSCRIBE_OUTPUT", "writing s3://b/k", "s3:PutObject"


def said(code: str, status: int = 403, message: str = "words of theirs") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    ("error", "severity", "words"),
    [
        (said("AccessDenied"), Severity.WRONG, PERMISSION),
        (said("AccessDenied", message="no kms:GenerateDataKey for you"), Severity.WRONG, "also in its policy"),
        (said("KMS.DisabledException", 400), Severity.WRONG, "enable the KMS key"),
        (said("NoSuchBucket", 404), Severity.WRONG, "does not exist"),
        (said("AWS.SimpleQueueService.NonExistentQueue", 400), Severity.WRONG, "does not exist"),
        (said("com.amazonaws.sqs#QueueDoesNotExist", 400), Severity.WRONG, "does not exist"),
        (said("InvalidAccessKeyId"), Severity.WRONG, "access key"),
        (said("ExpiredToken", 400), Severity.WRONG, "session token"),
        (said("PermanentRedirect", 301), Severity.WRONG, "region"),
        (said("AuthorizationHeaderMalformed", 400), Severity.WRONG, "region"),
        (said("SomethingNew", 400), Severity.WRONG, "SomethingNew"),
        (said("RequestTimeTooSkewed"), Severity.UNFIT, "clock"),
        (said("SlowDown", 503), Severity.UNREACHABLE, "SlowDown"),
        (said("KmsThrottled", 400), Severity.UNREACHABLE, "KmsThrottled"),
        (said("NeverSeen", 500), Severity.UNREACHABLE, "NeverSeen"),
        (NoCredentialsError(), Severity.WRONG, "AWS_ACCESS_KEY_ID"),
        (ParamValidationError(report="it is no URL"), Severity.WRONG, "it is no URL"),
        (ConnectTimeoutError(endpoint_url="https://s3.example.com/"), Severity.UNREACHABLE, "network"),
        (
            EndpointConnectionError(endpoint_url="https://sqs.eu-west-9.amazonaws.com/", error="unknown name"),
            Severity.WRONG,
            "no region eu-west-9",
        ),
        (
            EndpointConnectionError(endpoint_url="https://sqs.eu-west-1.amazonaws.com/", error="unknown name"),
            Severity.UNREACHABLE,
            "AWS_ENDPOINT_URL",
        ),
    ],
    ids=lambda value: value.response["Error"]["Code"] if isinstance(value, ClientError) else None,
)
def test_each_says_whose_matter_it_is_and_what_to_do(error: Exception, severity: Severity, words: str) -> None:
    found = refusal(WHAT, TRIED, error, PERMISSION)

    assert found.severity is severity
    assert words in found.line
    assert TRIED in found.line
    assert found.remedy


@pytest.mark.parametrize("service", ["s3", "sqs"])
def test_no_code_that_a_service_knows_is_without_a_remedy(service: str) -> None:
    model = botocore.session.get_session().get_service_model(service)
    codes = [shape.metadata.get("error", {}).get("code") or shape.name for shape in model.error_shapes]

    assert codes
    for code in codes:
        found = refusal(WHAT, TRIED, said(code, 400), PERMISSION)
        assert (found.remedy != "", found.severity) == (True, found.severity)
        assert found.severity in {Severity.WRONG, Severity.UNREACHABLE, Severity.UNFIT}, code


def test_what_is_secret_in_an_address_is_not_told() -> None:
    error = EndpointConnectionError(endpoint_url="https://user:hunter2@s3.example.com/?token=hunter2", error="-")

    assert "hunter2" not in refusal(WHAT, TRIED, error, PERMISSION).line


def test_a_line_is_one_line() -> None:
    assert "\n" not in refusal(WHAT, TRIED, said("AccessDenied", message="two\nlines"), PERMISSION).line
