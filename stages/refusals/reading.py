# SPDX-License-Identifier: Apache-2.0
"""Reads an answer of botocore's: its code, what it means, and the words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    TokenRetrievalError,
)

from stages.refusals.codes import Meaning, meaning_of

__all__ = ["Refusal", "code_name", "read", "words"]

#: Longest sentence of a service that is passed on.
_LONGEST_SENTENCE = 300

_NO_KEYS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
#: The first that fits. An error's own text may hold whole addresses, or nothing but its class's name.
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (FlexibleChecksumError, "its checksum is wrong"),
    (ConnectTimeoutError, "no connection came about in time"),
    (ReadTimeoutError, "no answer came in time"),
    (ResponseStreamingError, "the connection broke off"),
    (IncompleteReadError, "the connection broke off"),
    (EndpointConnectionError, "no connection comes about"),
    (ConnectionResetError, "the connection was reset"),
    (ConnectionError, "the connection broke off"),
    (TimeoutError, "no answer came in time"),
)
#: What to do about it.
_HINTS: Mapping[Meaning, str] = {
    Meaning.GONE: "check that the bucket exists and that the worker may use it",
    Meaning.DENIED: "check what the worker's credentials and the policies of the place permit (without s3:ListBucket,"
    " S3 says the same of objects that are missing)",
    Meaning.KEY: "check that its KMS key is enabled and that the worker may use it",
    Meaning.OWN_KEY: "it is encrypted with a key of its owner's (SSE-C), which the worker does not have; store it with"
    " another encryption",
    Meaning.ARCHIVED: "it is archived; restore it first",
    Meaning.ELSEWHERE: "it is in another region, or under another endpoint; check AWS_REGION and AWS_ENDPOINT_URL",
    Meaning.CREDENTIALS: "check the AWS credentials",
    Meaning.CLOCK: "set this machine's clock",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that says no, or none.

    Attributes:
        code: The service's, without prefixes; empty where there was no answer.
        text: For a person, the service's own sentence included.
    """

    meaning: Meaning
    code: str
    text: str

    @property
    def advice(self) -> str:
        """The text with what to do about it."""
        hint = _HINTS.get(self.meaning)
        return f"{self.text}; {hint}" if hint else self.text


def code_name(code: str) -> str:
    """An error code without the prefixes of the protocols.

    The same error arrives as `AWS.SimpleQueueService.MessageNotInflight` or `MessageNotInflight`, as
    `com.amazonaws.sqs#MessageNotInflight` from stores that speak JSON without the compatibility header. `KMS.` in front
    is no such prefix: the same words mean something else without it.
    """
    name = code.rsplit("#", 1)[-1]
    head, _, last = name.rpartition(".")
    if head.rpartition(".")[2].upper() == "KMS" and not last.startswith("Kms"):
        return f"KMS.{last}"
    return last


def read(error: ClientError | BotoCoreError) -> Refusal:
    """What an error of a client's says."""
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code, sentence = code_name(str(answer.get("Code") or "")), str(answer.get("Message") or "")
        sentence = sentence[:_LONGEST_SENTENCE].rstrip(". \n")
        named = code or f"HTTP status {status}"
        return Refusal(
            meaning_of(code, status, sentence),
            code,
            f"{named}: {sentence}" if sentence and sentence != code else named,
        )
    if isinstance(error, _NO_KEYS):
        return Refusal(Meaning.CREDENTIALS, "", f"there are no credentials ({error})")
    if isinstance(error, ParamValidationError):
        return Refusal(Meaning.UNFIT, "", f"no such request can be made ({str(error).splitlines()[-1].strip()})")
    return Refusal(Meaning.BUSY, "", f"{words(error)}; check the network and the endpoint")


def words(error: BaseException) -> str:
    """What went wrong on the way, without the name of a class."""
    for kind, text in _WORDS:
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "it failed without a reason"
