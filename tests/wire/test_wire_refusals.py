# SPDX-License-Identifier: Apache-2.0
"""A whole worker on the embedded SQS and S3, some of whose calls are refused: who is charged, and who goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from structlog.testing import capture_logs

from sqscribe.bundled import demo_clips
from sqscribe.errors import ExitCode
from stages.fetch import FetchLimits
from worker.aws import AwsClients
from worker.build import build_worker
from worker.connect import connect_aws
from worker.embedded.aws import EmbeddedQueue
from worker.lifecycle import Intervals
from worker.node.clock import SystemClock
from worker.node.faults import NodeFaults
from worker.settings import Settings
from worker.testing.engine import FakeEngine
from worker.testing.faults.calls import Call
from worker.testing.refusing import Refused, RefusingProxy, over_size
from worker.testing.waiting import eventually

# `aws` is in conftest.py: a queue and a bucket of the test's own.

LIMIT = 1 << 20
CLIP = next(clip.path for clip in demo_clips() if clip.path.suffix == ".wav").read_bytes()
#: Seconds in which all good jobs are done, however many bad ones there are: under a minute on an idle machine.
GOOD_SECONDS = 240.0


class Rig:
    """A worker with a queue, a bucket for results, one for sources and one of somebody else's, and a proxy between."""

    def __init__(self, aws: Any, proxy: RefusingProxy, scratch: Path, max_receives: int) -> None:
        self.aws, self.proxy = aws, proxy
        self.queue: EmbeddedQueue = aws.queue(max_receives=max_receives, visibility_timeout=60)
        self.out, self.theirs = aws.bucket(), aws.server.make_bucket(f"{aws.name}-theirs")
        self.media = aws.server.make_bucket(f"{aws.name}-media")
        aws.server.s3.put_object(Bucket=f"{aws.name}-media", Key="good.wav", Body=CLIP)
        self.settings = Settings(
            _env_file=None,
            queue_url=self.queue.url,
            output=f"{self.out}/out",
            http_port=0,
            visibility_timeout=60,
            scratch_dir=scratch,
            shutdown_grace=3,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        engine = FakeEngine(SystemClock(), text=lambda *_: " hello")
        self.daemon = build_worker(self.settings, connect_aws, lambda *_: engine, Intervals(watch=0.02, poll=0.02))
        self.thread.start()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.daemon.stop(ExitCode.DONE, "the test is over")
            self.thread.join(60)

    def _run(self) -> None:
        self.daemon.run()

    def send(self, body: object, attributes: Any = None) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.aws.server.sqs.send_message(QueueUrl=self.queue.url, MessageBody=text, MessageAttributes=attributes or {})

    def good(self, job: str) -> None:
        self.send({"source": f"{self.media}/good.wav", "job_id": job})

    def result(self, job: str) -> dict[str, Any] | None:
        found = self.aws.server.s3.list_objects_v2(Bucket=self.aws.name, Prefix=f"out/{job}/result.json")
        if not found.get("KeyCount"):
            return None
        body = self.aws.server.s3.get_object(Bucket=self.aws.name, Key=f"out/{job}/result.json")["Body"].read()
        result: dict[str, Any] = json.loads(body)
        return result

    def done(self, jobs: list[str]) -> bool:
        """Whether all of them have succeeded."""
        listed = self.aws.server.s3.get_paginator("list_objects_v2").paginate(Bucket=self.aws.name, Prefix="out/")
        keys = {entry["Key"] for page in listed for entry in page.get("Contents", [])}
        missing = [job for job in jobs if f"out/{job}/result.json" not in keys]
        return not missing and all((self.result(job) or {})["status"] == "succeeded" for job in jobs)

    def left(self) -> int:
        total: int = self.aws.server.count(self.queue.url).total
        return total

    def letters(self) -> dict[str, dict[str, Any]]:
        """Dead letters by their error code and job id."""
        found = {}
        for letter in self.aws.server.dead_letters(self.queue):
            attributes = letter.get("MessageAttributes", {})
            try:
                name = json.loads(letter["Body"])["job_id"]
            except (ValueError, KeyError):
                name = letter["Body"][:40]
            found[name] = {"body": letter["Body"], "attributes": attributes}
        return found

    @property
    def reasons(self) -> tuple[str, ...]:
        answer = self.daemon._components.health.ready()
        return () if answer.ok else answer.reasons


@pytest.fixture
def rig(aws: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    monkeypatch.setattr("worker.build.FetchLimits", partial(FetchLimits, backoff=0.01))
    monkeypatch.setattr("worker.build.NodeFaults", partial(NodeFaults, first=0.05))
    monkeypatch.setattr("worker.connect.AwsClients", partial(AwsClients, attempts=1))
    monkeypatch.setattr("worker.outcomes.BACKOFF_SECONDS", 0.5)
    made: list[Rig] = []
    with RefusingProxy(aws.server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

        def make(max_receives: int = 2) -> Rig:
            made.append(Rig(aws, proxy, tmp_path / "scratch", max_receives))
            return made[-1]

        yield make
        proxy.rule = lambda _call: None
        for one in made:
            one.stop()


# -- one job's own ---------------------------------------------------------------------------------------------------

SSE_C = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided"
#: By the name of the object that they befall: what a GET of it is answered with, and the code that its job ends with.
SOURCES: dict[str, tuple[Refused, str]] = {
    "kms-disabled": (Refused(400, "KMS.DisabledException", "the key is disabled"), "source_forbidden"),
    "kms-throttled": (Refused(400, "KMS.ThrottlingException", "slow down"), "storage_unavailable"),
    "ssec": (Refused(400, "InvalidRequest", SSE_C), "source_forbidden"),
    "archived": (Refused(403, "InvalidObjectState", "not valid for its storage class"), "source_forbidden"),
    "denied": (Refused(403, "AccessDenied", "no"), "source_forbidden"),
    "slow": (Refused(503, "SlowDown", "Please reduce your request rate"), "storage_unavailable"),
    "teapot": (Refused(418, "SomethingNew", "I am a teapot"), "source_forbidden"),
    "elsewhere": (Refused(301, "PermanentRedirect", "use another endpoint"), "source_forbidden"),
    "broken": (Refused(cut=100_000), "source_unreachable"),
}
#: The same of the first letters of an output's prefix in somebody else's bucket.
OUTPUTS: dict[str, tuple[Refused, str]] = {
    "out-kms": (Refused(400, "KMS.DisabledException", "the key is disabled"), "output_forbidden"),
    "out-denied": (Refused(403, "AccessDenied", "no"), "output_forbidden"),
    "out-teapot": (Refused(418, "SomethingNew", "I am a teapot"), "output_forbidden"),
    "out-500": (Refused(500, "InternalError", "try again"), "storage_unavailable"),
}
OWN_KEY = "key-500"


def misfortunes(call: Call) -> Refused | None:
    bucket, _, key = call.resource.partition("/")
    if call.operation == "GetObject" and bucket.endswith("-media") and key in SOURCES:
        return SOURCES[key][0]
    if call.operation == "PutObject" and bucket.endswith("-theirs"):
        return OUTPUTS[key.partition("/")[0]][0]
    if call.operation == "PutObject" and f"/{OWN_KEY}/" in key:
        return Refused(500, "InternalError", "We encountered an internal error. Please try again.")
    return over_size(call, LIMIT)


TYPED: dict[str, Any] = {
    **{f"a{number}": {"DataType": "String", "StringValue": "v"} for number in range(4)},
    "number": {"DataType": "Number", "StringValue": "7"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    "custom": {"DataType": "String.trace", "StringValue": "abc"},
}


def send_all(rig: Rig) -> list[str]:
    """Sixty good jobs, and among them one of each bad kind."""
    for name in SOURCES:
        if name == "broken":
            rig.aws.server.s3.put_object(Bucket=f"{rig.aws.name}-media", Key=name, Body=bytes(300_000))
    bad: list[tuple[object, Any]] = [
        ("x" * LIMIT, None),
        ("x" * (LIMIT - 50), None),
        ("no job", TYPED),
        *(({"source": f"{rig.media}/{name}", "job_id": name}, None) for name in [*SOURCES, "missing"]),
        ({"source": f"s3://{rig.aws.name}-none/x", "job_id": "no-bucket"}, None),
        *(
            ({"source": f"{rig.media}/good.wav", "job_id": name, "output": f"{rig.theirs}/{name}"}, None)
            for name in OUTPUTS
        ),
        ({"source": f"{rig.media}/good.wav", "job_id": "out-none", "output": f"s3://{rig.aws.name}-none/x"}, None),
        ({"source": f"{rig.media}/good.wav", "job_id": OWN_KEY}, None),
    ]
    good = [f"good-{number}" for number in range(60)]
    for number, job in enumerate(good):
        if number < len(bad):
            rig.send(*bad[number])
        rig.good(job)
    return good


@pytest.mark.undisturbed
def test_sixty_good_jobs_are_done_with_one_of_each_bad_kind_among_them(rig: Callable[..., Rig]) -> None:
    one = rig()
    one.proxy.rule = misfortunes
    good = send_all(one)
    one.start()
    # Then every good one is done
    eventually(lambda: one.done(good), seconds=GOOD_SECONDS, pause=0.5)
    attempts = [(one.result(job) or {})["attempts"] for job in good]
    assert attempts == [1] * len(good)
    # And every bad one is out of the queue, with its reason, in the store's words
    eventually(lambda: one.left() == 0, seconds=GOOD_SECONDS, pause=0.5)
    letters = one.letters()
    expected = {name: code for table in (SOURCES, OUTPUTS) for name, (_, code) in table.items()}
    expected |= {"missing": "source_not_found", "no-bucket": "source_not_found", "out-none": "output_forbidden"}
    expected |= {OWN_KEY: "storage_unavailable"}
    told = {name: letters[name]["attributes"]["error_code"]["StringValue"] for name in expected}
    assert told == expected
    for name, (refused, _) in {**SOURCES, **OUTPUTS}.items():
        if refused.code:
            assert refused.sentence in letters[name]["attributes"]["error_message"]["StringValue"], name
    # And those that their own output refused have their record below the worker's
    for name, (_, code) in OUTPUTS.items():
        assert (one.result(name) or {})["error"]["code"] == code
    # And what is no job has a letter whatever its size, with the body beside its record
    assert letters["no job"]["attributes"].keys() == {*TYPED, "error_code", "error_message"}
    assert {name: letters["no job"]["attributes"][name] for name in TYPED} == TYPED
    large = [json.loads(letter["body"]) for name, letter in letters.items() if name.startswith("message-")]
    assert sorted(letter["bytes"] for letter in large) == [LIMIT - 50, LIMIT]
    for letter in large:
        bucket, _, key = letter["message"].removeprefix("s3://").partition("/")
        kept = one.aws.server.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert kept == b"x" * letter["bytes"]
        assert (one.result(letter["job_id"]) or {})["error"]["code"] == "bad_message"
    assert one.reasons == ()


def test_a_dead_letter_queue_with_a_smaller_limit_gets_its_letter(rig: Callable[..., Rig]) -> None:
    one = rig()
    sqs: Any = boto3.client("sqs", endpoint_url=one.aws.server.url)
    sqs.set_queue_attributes(QueueUrl=one.queue.dead_letter_url, Attributes={"MaximumMessageSize": "1024"})
    one.send("x" * 2000)
    one.good("good")
    one.start()
    eventually(lambda: one.left() == 0, pause=0.2)
    assert one.done(["good"])
    ((name, letter),) = one.letters().items()
    assert json.loads(letter["body"])["result"] == f"{one.out}/out/{name}/result.json"


# -- the settings' own, while the worker runs ------------------------------------------------------------------------


def wrong_output(call: Call, answer: Refused) -> Refused | None:
    return answer if call.operation == "PutObject" and "-theirs" not in call.resource else None


@pytest.mark.parametrize(
    "answer",
    [
        Refused(403, "AccessDenied", "not authorized to perform: s3:PutObject"),
        Refused(404, "NoSuchBucket", "The specified bucket does not exist"),
        Refused(400, "KMS.DisabledException", "the key is disabled"),
        Refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records"),
        Refused(418, "SomethingNew", "I am a teapot"),
        Refused(503, "SlowDown", "Please reduce your request rate"),
    ],
    ids=lambda answer: answer.code,
)
def test_an_output_that_refuses_stops_the_worker_and_no_message(rig: Callable[..., Rig], answer: Refused) -> None:
    # Given a worker whose own output refuses every write
    one = rig()
    one.proxy.rule = partial(wrong_output, answer=answer)
    jobs = [f"good-{number}" for number in range(12)]
    for job in jobs:
        one.good(job)
    with capture_logs() as logs:
        one.start()
        # Then it says so in one sentence, and goes on trying
        eventually(lambda: any(answer.sentence in reason for reason in one.reasons))
        eventually(lambda: sum(line["event"] == "node_fault" for line in logs) > 8)
        # And not one message was let go, or counted against its job
        assert one.left() == len(jobs)
        assert one.letters() == {}
        assert not [line for line in logs if line["event"] in {"job_failed", "publish_crashed", "job_ended"}]
        assert one.daemon._components.health.live().ok
        levels = {line["log_level"] for line in logs if line["event"] == "node_fault"}
        assert levels == ({"warning"} if answer.status == 503 else {"error"})
        # When it is mended
        one.proxy.rule = lambda _call: None
        # Then all is done, each in its first receive
        eventually(lambda: one.left() == 0, pause=0.2)
    assert one.done(jobs)
    assert [(one.result(job) or {})["attempts"] for job in jobs] == [1] * len(jobs)
    eventually(lambda: one.reasons == ())


def test_a_bucket_that_is_removed_is_waited_for(rig: Callable[..., Rig]) -> None:
    one = rig()
    one.good("before")
    one.start()
    eventually(lambda: one.left() == 0)
    # When the bucket is removed while the worker runs
    s3 = one.aws.server.s3
    for entry in s3.list_objects_v2(Bucket=one.aws.name)["Contents"]:
        s3.delete_object(Bucket=one.aws.name, Key=entry["Key"])
    s3.delete_bucket(Bucket=one.aws.name)
    jobs = [f"after-{number}" for number in range(6)]
    for job in jobs:
        one.good(job)
    eventually(lambda: any("SQSCRIBE_OUTPUT" in reason and "NoSuchBucket" in reason for reason in one.reasons))
    assert one.left() == len(jobs)
    # Then its return ends the pause, and nothing was lost
    s3.create_bucket(Bucket=one.aws.name)
    eventually(lambda: one.left() == 0, pause=0.2)
    assert one.done(jobs)
    assert one.letters() == {}


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("SendMessage", "AWS.SimpleQueueService.NonExistentQueue"),
        ("SendMessage", "AccessDenied"),
        ("SendMessage", "SomethingNew"),
        ("DeleteMessageBatch", "AccessDenied"),
        ("ReceiveMessage", "AccessDenied"),
        ("ReceiveMessage", "KMS.DisabledException"),
    ],
)
def test_a_queue_that_refuses_costs_no_message(rig: Callable[..., Rig], operation: str, code: str) -> None:
    # Given a job, one that fails for good, and a queue or dead-letter queue that refuses one kind of call
    one = rig()
    one.proxy.rule = lambda call: Refused(400, code, "not now") if call.operation == operation else None
    one.good("good")
    one.send("no job")
    with capture_logs() as logs:
        one.start()
        # Then the worker is not ready, and says why
        eventually(lambda: any("not now" in reason for reason in one.reasons))
        assert one.left() >= 1
        one.proxy.rule = lambda _call: None
        # When it is mended, all ends as it should
        eventually(lambda: one.left() == 0, pause=0.2)
    assert one.done(["good"])
    assert list(one.letters()) == ["no job"]
    eventually(lambda: one.reasons == ())
    assert not [line for line in logs if line["event"] in {"publish_crashed", "job_crashed"}]
    assert not [line for line in logs if line.get("outcome") in {"retried", "released"}]
