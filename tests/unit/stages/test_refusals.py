# SPDX-License-Identifier: Apache-2.0
"""The one table of what a refusal means: every code that is known, on every call, with real clients."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from sqscribe.errors import (
    ErrorCode,
    JobFailedError,
    MessageRefusedError,
    NodeFaultError,
    PermanentError,
    SettingsFaultError,
    TransientError,
)
from stages.refusals import (
    CODES,
    OWNERS,
    Call,
    Meaning,
    Named,
    Owner,
    broken_off,
    code_name,
    meaning_of,
    owner_of,
    source_error,
)
from worker.queues import Outgoing
from worker.queues.sqs import SqsQueue
from worker.stores.s3 import S3Store
from worker.testing.clock import FakeClock

#: Named by the notes on SQS and S3 that the project keeps, besides those of botocore's models.
NOTED = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "ConditionalRequestConflict",
    "InvalidParameterValue",
    "KMS.DisabledException",
    "KMS.ThrottlingException",
    "MessageTooLong",
    "MissingParameter",
    "NoSuchVersion",
    "PreconditionFailed",
    "RequestTimeout",
    "SlowDown",
    "UnsupportedHeader",
]
MODELLED = sorted(
    {
        error.metadata.get("error", {}).get("code") or error.name
        for service in ("sqs", "s3")
        for error in botocore.session.get_session().get_service_model(service).error_shapes
    }
)
LISTED = sorted(code for codes in CODES.values() for code in codes)
KNOWN = sorted({*LISTED, *MODELLED, *map(code_name, NOTED)})
OWN, OTHERS, NEIGHBOUR = "s3://own/out/job/result.json", "s3://theirs/out/job/result.json", "s3://own/else/result.json"
QUEUE, DEAD = "https://sqs.eu-west-1.amazonaws.com/1/jobs", "https://sqs.eu-west-1.amazonaws.com/1/dead"


def refusal(code: str, status: int = 400, sentence: str = "why not") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": sentence}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "Operation",
    )


class Bench:
    """Real clients, into whose mouth every answer is put."""

    def __init__(self) -> None:
        self.answer: ClientError = refusal("InternalError")
        options: dict[str, Any] = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
        config = Config(retries={"total_max_attempts": 1})
        s3 = boto3.client("s3", config=config, **options)
        sqs = boto3.client("sqs", config=config, **options)
        for events in (s3.meta.events, sqs.meta.events):
            events.register("before-call", self._fail)
        self.store = S3Store(s3, own="s3://own/out", attempts=1)
        self.queue = SqsQueue(QUEUE, sqs, sqs, FakeClock(), visibility_timeout=30)

    def _fail(self, **_: Any) -> None:
        raise self.answer

    def outcome(self, work: Callable[[], object]) -> Owner:
        """Whose the refusal turned out to be."""
        try:
            work()
        except PermanentError as error:
            return Owner.BUCKET if error.code is ErrorCode.OUTPUT_FORBIDDEN else Owner.NODE
        except SettingsFaultError:
            return Owner.SETTINGS
        except MessageRefusedError:
            return Owner.JOB
        except NodeFaultError:
            return Owner.SERVICE
        return Owner.ANSWER


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


STORE_CALLS: dict[str, tuple[Call, Callable[[S3Store, str], object]]] = {
    "get": (Call.GET, lambda store, url: store.get(url)),
    "exists": (Call.GET, lambda store, url: store.exists(url)),
    "put": (Call.PUT, lambda store, url: store.put_if_absent(url, b"", "text/plain")),
    "replace": (Call.PUT, lambda store, url: store.replace(url, b"", "text/plain", '"e"')),
    "delete": (Call.DELETE, lambda store, url: store.delete(url)),
    "list": (Call.LIST, lambda store, url: store.keys(url)),
}


def test_every_code_stands_once_and_every_call_has_an_owner() -> None:
    assert [code for code, count in Counter(LISTED).items() if count > 1] == []
    assert set(OWNERS) == set(CODES) == set(Meaning)
    assert all(set(row) == set(Call) for row in OWNERS.values())


def test_the_codes_of_the_service_models_and_of_the_notes_are_listed() -> None:
    assert sorted({*MODELLED, *map(code_name, NOTED)} - set(LISTED)) == []


@pytest.mark.parametrize("name", STORE_CALLS)
def test_no_code_on_the_workers_own_output_is_charged_to_a_job(bench: Bench, name: str) -> None:
    call, work = STORE_CALLS[name]
    for code in KNOWN:
        bench.answer = refusal(code)
        bench.store = S3Store(bench.store._client, own="s3://own/out", attempts=1)
        met = bench.outcome(lambda: work(bench.store, OWN))
        assert met in {Owner.ANSWER, Owner.SETTINGS, Owner.SERVICE}, code
        owner = owner_of(call, meaning_of(code), Named.SETTINGS)
        if owner in {Owner.ANSWER, Owner.SETTINGS}:
            assert met is owner, code


@pytest.mark.parametrize("name", STORE_CALLS)
def test_what_a_message_named_fails_its_job_alone(bench: Bench, name: str) -> None:
    call, work = STORE_CALLS[name]
    for code in KNOWN:
        bench.answer = refusal(code)
        bench.store = S3Store(bench.store._client, own="s3://own/out", attempts=1)
        owner = owner_of(call, meaning_of(code), Named.MESSAGE)
        expected = {Owner.NODE: Owner.SERVICE, Owner.JOB: Owner.BUCKET}.get(owner, owner)
        assert bench.outcome(lambda: work(bench.store, OTHERS)) is expected, code


def test_the_bucket_that_both_name_is_the_settings_but_another_prefix_in_it_is_not(bench: Bench) -> None:
    for code, owner in {
        "NoSuchBucket": Owner.SETTINGS,
        "KMS.DisabledException": Owner.SETTINGS,
        "AccessDenied": Owner.BUCKET,
        "InvalidRequest": Owner.BUCKET,
    }.items():
        bench.answer = refusal(code)
        assert bench.outcome(lambda: bench.store.put(NEIGHBOUR, b"", "text/plain")) is owner, code
    # And a prefix that only begins alike is another one
    bench.answer = refusal("AccessDenied", 403)
    assert bench.outcome(lambda: bench.store.put("s3://own/outer/x", b"", "text/plain")) is Owner.BUCKET
    assert bench.outcome(lambda: bench.store.keys("s3://own/out")) is Owner.SETTINGS


@pytest.mark.parametrize(
    ("status", "code", "own", "theirs"),
    [
        (418, "SomethingNew", Owner.SETTINGS, Owner.BUCKET),
        (400, "KMS.SomethingNewException", Owner.SETTINGS, Owner.BUCKET),
        (400, "KMS.SomeThrottlingException", Owner.SERVICE, Owner.SERVICE),
        (403, "SomethingNew", Owner.SETTINGS, Owner.BUCKET),
        (599, "SomethingNew", Owner.SERVICE, Owner.SERVICE),
        (301, "SomethingNew", Owner.SETTINGS, Owner.BUCKET),
        (429, "", Owner.SERVICE, Owner.SERVICE),
        (0, "", Owner.SERVICE, Owner.SERVICE),
    ],
)
def test_unlisted_codes_are_told_by_their_status(
    bench: Bench, status: int, code: str, own: Owner, theirs: Owner
) -> None:
    bench.answer = refusal(code, status)
    assert bench.outcome(lambda: bench.store.put(OWN, b"", "text/plain")) is own
    assert bench.outcome(lambda: bench.store.put(OTHERS, b"", "text/plain")) is theirs


@pytest.mark.parametrize("url", [DEAD, None])
def test_a_message_that_is_refused_is_told_from_a_queue_that_refuses(bench: Bench, url: str | None) -> None:
    call = Call.SEND_COPY if url is None else Call.SEND_DEAD_LETTER
    for code in KNOWN:
        bench.answer = refusal(code)
        owner = owner_of(call, meaning_of(code), Named.SETTINGS)
        expected = Owner.SERVICE if owner is Owner.NODE else owner
        assert bench.outcome(lambda: bench.queue.send(url, Outgoing("body"))) is expected, code
        assert expected is not Owner.BUCKET, code


def test_a_receive_blames_no_message(bench: Bench) -> None:
    for code in KNOWN:
        bench.answer = refusal(code)
        assert bench.outcome(lambda: bench.queue.receive(1, 0)) in {Owner.SETTINGS, Owner.SERVICE}, code


# -- sources ---------------------------------------------------------------------------------------------------------

SOURCE = "s3://media/talk.mp3"


def test_every_code_at_a_source_has_an_end_or_waits_for_the_service() -> None:
    for code in KNOWN:
        error = source_error(SOURCE, refusal(code), resumed=True)
        owner = owner_of(Call.SOURCE, meaning_of(code), Named.MESSAGE)
        kinds = {Owner.BUCKET: PermanentError, Owner.JOB: TransientError, Owner.SETTINGS: SettingsFaultError}
        assert isinstance(error, kinds.get(owner, NodeFaultError)), code
        assert str(error) != code, "a code is no reason"
        if owner is not Owner.JOB:
            assert "why not" in str(error), code


@pytest.mark.parametrize(
    ("code", "status", "sentence", "expected", "words"),
    [
        ("NoSuchKey", 404, "The specified key does not exist.", ErrorCode.SOURCE_NOT_FOUND, "does not exist"),
        ("NoSuchBucket", 404, "The specified bucket does not exist", ErrorCode.SOURCE_NOT_FOUND, "bucket"),
        ("NoSuchVersion", 404, "The specified version does not exist.", ErrorCode.SOURCE_NOT_FOUND, "version"),
        ("InvalidArgument", 400, "Invalid version id specified", ErrorCode.SOURCE_NOT_FOUND, "version id"),
        ("MethodNotAllowed", 405, "not allowed against this resource", ErrorCode.SOURCE_NOT_FOUND, "not allowed"),
        ("AccessDenied", 403, "User x is not authorized", ErrorCode.SOURCE_FORBIDDEN, "allow s3:GetObject"),
        ("InvalidObjectState", 403, "not valid for the object's storage class", ErrorCode.SOURCE_FORBIDDEN, "restore"),
        ("KMS.DisabledException", 400, "arn:x is disabled.", ErrorCode.SOURCE_FORBIDDEN, "arn:x is disabled"),
        ("KMS.NotFoundException", 400, "Key x does not exist", ErrorCode.SOURCE_FORBIDDEN, "KMS key is enabled"),
        (
            "InvalidRequest",
            400,
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided",
            ErrorCode.SOURCE_FORBIDDEN,
            "SSE-C",
        ),
        ("SomethingNew", 418, "I am a teapot", ErrorCode.SOURCE_FORBIDDEN, "I am a teapot"),
    ],
)
def test_a_source_that_refuses_says_why_in_the_stores_words(
    code: str, status: int, sentence: str, expected: ErrorCode, words: str
) -> None:
    error = source_error(SOURCE, refusal(code, status, sentence))
    assert isinstance(error, PermanentError)
    assert error.code is expected
    assert words in error.message
    assert SOURCE in error.message


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("KMS.ThrottlingException", 400),
        ("SlowDown", 503),
        ("RequestTimeout", 400),
        ("OperationAborted", 409),
        ("", 409),
        ("", 503),
        ("", 429),
    ],
)
def test_what_passes_at_a_source_is_waited_for(code: str, status: int) -> None:
    error = source_error(SOURCE, refusal(code, status))
    assert isinstance(error, NodeFaultError)
    assert not isinstance(error, SettingsFaultError)


def test_a_range_behind_the_end_is_a_change_only_for_what_had_begun() -> None:
    begun = source_error(SOURCE, refusal("InvalidRange", 416), resumed=True)
    assert isinstance(begun, JobFailedError)
    assert begun.code is ErrorCode.SOURCE_CHANGED
    empty = source_error(SOURCE, refusal("InvalidRange", 416))
    assert isinstance(empty, JobFailedError)
    assert empty.code is ErrorCode.SOURCE_NOT_FOUND


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="https://x.test/key?X-Amz-Signature=secret"),
        ReadTimeoutError(endpoint_url="https://x.test/key?X-Amz-Signature=secret"),
        EndpointConnectionError(endpoint_url="https://x.test"),
        ResponseStreamingError(error="('Connection broken', IncompleteRead(1))"),
        NoCredentialsError(),
    ],
)
def test_no_answer_is_said_in_words(error: Any) -> None:
    said = str(source_error(SOURCE, error))
    assert not re.search(r"\w+(Error|Exception)\b|secret", said), said
    assert "Error" not in str(broken_off(SOURCE, 5, "the connection broke off"))


# -- the documentation -----------------------------------------------------------------------------------------------

WHO = {
    Owner.ANSWER: "an answer",
    Owner.JOB: "the job",
    Owner.SETTINGS: "the settings",
    Owner.NODE: "the node",
    Owner.SERVICE: "the service",
    Owner.BUCKET: "the job",
}
COLUMNS = (Call.RECEIVE, Call.EXTEND, Call.DELETE_MESSAGE, Call.SEND_DEAD_LETTER)
STORE_COLUMNS = (Call.GET, Call.PUT, Call.DELETE, Call.LIST)


def table() -> list[str]:
    """The table as the documentation has it."""
    head = ["codes", "receive", "renew", "delete", "send", "get", "put", "delete object", "list", "source"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for meaning, codes in CODES.items():
        cells = [WHO[owner_of(call, meaning, Named.SETTINGS)] for call in COLUMNS]
        for call in STORE_COLUMNS:
            own = WHO[owner_of(call, meaning, Named.SETTINGS)]
            theirs = WHO[owner_of(call, meaning, Named.MESSAGE)]
            cells.append(own if own == theirs else "whose it is")
        cells.append(WHO[owner_of(Call.SOURCE, meaning, Named.MESSAGE)])
        lines.append(f"| {' '.join(f'`{code}`' for code in codes)} | {' | '.join(cells)} |")
    return lines


def test_a_copy_is_refused_as_a_dead_letter_is() -> None:
    assert all(row[Call.SEND_COPY] is row[Call.SEND_DEAD_LETTER] for row in OWNERS.values())


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "refusals.md").read_text(encoding="utf-8")
    lines = "\n".join(table())
    assert lines in page, lines
