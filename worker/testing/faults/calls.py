# SPDX-License-Identifier: Apache-2.0
"""One HTTP request to SQS (JSON protocol) or S3 (REST, path style), understood as far as the proxy needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Call", "read_call"]

#: `Authorization: AWS4-HMAC-SHA256 Credential=<access key>/<date>/<region>/<service>/aws4_request, …`
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")

_OBJECT_OPERATIONS: Mapping[str, str] = {
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}
_MUTATIONS = frozenset(
    {
        "ReceiveMessage",  # hides what it brings
        "SendMessage",
        "ChangeMessageVisibilityBatch",
        "DeleteMessageBatch",
        "PutObject",
        "DeleteObject",
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request to SQS or S3.

    Attributes:
        operation: AWS's name for it.
        caller: The access key that signed it; empty for an unsigned one.
        resource: The queue's name, or `bucket/key`.
        condition: `If-None-Match: *` or `If-Match: <etag>`, where it is a conditional write.
        parameters: The parameters of an SQS call.
        body: The request's body as it came.
    """

    operation: str
    caller: str
    resource: str
    condition: str | None
    parameters: Mapping[str, Any]
    body: bytes

    @property
    def sqs(self) -> bool:
        """Whether it is for SQS; otherwise it is for S3."""
        return bool(self.parameters)

    @property
    def mutates(self) -> bool:
        """Whether it changes anything, so that its caller does not know the state when the answer is lost."""
        return self.operation in _MUTATIONS


def read_call(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Call:
    """Reads a request.

    Args:
        method: The HTTP method.
        path: The path with its query.
        headers: The headers by names in lower case.
        body: The whole body.
    """
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    credential = _CREDENTIAL.search(headers.get("authorization", ""))
    signed = query.get("X-Amz-Credential", [""])[0].partition("/")[0]
    caller = credential[1] if credential else signed
    target = headers.get("x-amz-target", "")
    if target.startswith("AmazonSQS."):
        parameters: dict[str, Any] = json.loads(body)
        queue = str(parameters.get("QueueUrl") or parameters.get("QueueName", "")).rpartition("/")[2]
        return Call(target.partition(".")[2], caller, queue, None, parameters, body)
    resource = unquote(parts.path).lstrip("/")
    condition = None
    if method == "PUT":
        condition = next(
            (f"{name}: {headers[name.lower()]}" for name in ("If-None-Match", "If-Match") if name.lower() in headers),
            None,
        )
    return Call(_s3_operation(method, resource, query), caller, resource, condition, {}, body)


def _s3_operation(method: str, resource: str, query: Mapping[str, list[str]]) -> str:
    if "/" not in resource.rstrip("/"):
        return "ListObjectsV2" if method == "GET" else f"{method} bucket"
    if {"uploads", "uploadId", "delete", "tagging", "acl"} & query.keys() or method not in _OBJECT_OPERATIONS:
        return f"{method} {'&'.join(sorted(query))}"
    return _OBJECT_OPERATIONS[method]
