# SPDX-License-Identifier: Apache-2.0
"""The sender's side against the embedded SQS and S3, over real connections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.formats import ARTIFACTS
from sqscribe.job import Job
from sqscribe.result import RESULT_NAME, WorkerFacts
from sqscribe.sender import fetch_results, send_jobs
from sqscribe.sender.fetch import FetchError
from sqscribe.transcript import Segment, Transcript
from stages.publish import JobFacts, Publisher
from worker.embedded.aws import EmbeddedAws
from worker.stores.s3 import S3Store
from worker.testing.clock import FakeClock

pytestmark = pytest.mark.wire

TALK = Transcript("hello", "en", 0.9, 2.5, (Segment(0, 0.5, 1.5, " hello", -0.1, 1.0, 0.0, 0.0),))
FACTS = JobFacts(origin="m-1", attempts=1)


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as running:
        yield running


@pytest.fixture
def output(aws: EmbeddedAws, request: pytest.FixtureRequest) -> str:
    return f"{aws.make_bucket(request.node.name.replace('_', '-')[:60].rstrip('-'))}/out"


def no_fence() -> None:
    """The lease is held."""


def published(aws: EmbeddedAws, job: Job) -> None:
    """Publishes the talk under the job's id, as a worker does."""
    publisher = Publisher(S3Store(aws.s3), FakeClock(), WorkerFacts("0.1.0", "node-1"))
    publisher.succeed(job, TALK, FACTS, no_fence)


def test_jobs_arrive(aws: EmbeddedAws) -> None:
    queue = aws.make_queue("sender-fifo", fifo=True)

    sent = list(send_jobs(aws.sqs, queue.url, [{"source": f"https://example.org/{n}?ü"} for n in range(12)]))

    arrived: dict[str, str] = {}
    while messages := aws.sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get("Messages"):
        arrived |= {message["MessageId"]: json.loads(message["Body"])["job_id"] for message in messages}
    assert arrived == {job.message_id: job.job_id for job in sent}
    assert len(arrived) == 12


def test_results_come_as_they_stand(aws: EmbeddedAws, output: str, tmp_path: Path) -> None:
    formats = ("json", "srt", "vtt")
    published(aws, Job(source="s3://recordings/a", job_id="done", output=output, formats=formats))

    [fetched] = fetch_results(aws.s3, f"{output}/", ["done"], tmp_path)

    assert fetched.result is not None
    assert fetched.result.succeeded
    names = [RESULT_NAME, *(ARTIFACTS[name].name for name in formats)]
    assert [path.relative_to(tmp_path).as_posix() for path in fetched.files] == [f"done/{name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == sorted(names)
    assert (tmp_path / "done/transcript.srt").read_text(encoding="utf-8").endswith("hello\n")


def test_only_the_formats_asked_for_come_and_those_that_lack_are_told(
    aws: EmbeddedAws, output: str, tmp_path: Path
) -> None:
    job = Job(source="s3://recordings/a", job_id="done", output=output, formats=("json", "srt"))
    published(aws, job)
    S3Store(aws.s3).put(job.url("transcript.txt"), b"hello\n", "text/plain")  # asked for later: no result names it

    [fetched] = fetch_results(aws.s3, output, ["done"], tmp_path, formats=["txt", "vtt"])

    assert [path.name for path in fetched.files] == [RESULT_NAME, "transcript.txt"]
    assert fetched.missing == ("vtt",)


def test_jobs_that_failed_or_are_not_done_are_told_in_the_order_asked(
    aws: EmbeddedAws, output: str, tmp_path: Path
) -> None:
    done = Job(source="s3://recordings/a", job_id="done", output=output)
    failed = replace(done, job_id="failed")
    published(aws, done)
    publisher = Publisher(S3Store(aws.s3), FakeClock(), WorkerFacts("0.1.0", "node-1"))
    publisher.fail(failed.ref, PermanentError(ErrorCode.MEDIA_UNREADABLE, "no media"), FACTS, no_fence)

    fetched = list(fetch_results(aws.s3, output, ["never", "failed", "done"], tmp_path))

    assert [item.job_id for item in fetched] == ["never", "failed", "done"]
    assert (fetched[0].result, fetched[0].files) == (None, ())
    assert fetched[1].result is not None
    assert fetched[1].result.error is not None
    assert fetched[1].result.error.code == "media_unreadable"
    assert [path.name for path in fetched[1].files] == [RESULT_NAME]


def test_an_artifact_that_is_not_what_the_result_names_is_an_error(
    aws: EmbeddedAws, output: str, tmp_path: Path
) -> None:
    job = Job(source="s3://recordings/a", job_id="done", output=output)
    published(aws, job)
    S3Store(aws.s3).put(job.url("transcript.json"), b"{}", "application/json")

    with pytest.raises(FetchError, match=r"transcript\.json is not what"):
        list(fetch_results(aws.s3, output, ["done"], tmp_path))


@pytest.mark.parametrize("job_id", ["../up", "a/b", "", "/etc"])
def test_no_job_id_leads_out_of_the_folder(aws: EmbeddedAws, tmp_path: Path, job_id: str) -> None:
    with pytest.raises(ValueError, match="is no job id"):
        list(fetch_results(aws.s3, "s3://results/out", [job_id], tmp_path))


def test_a_job_is_published_with_real_conditional_writes(aws: EmbeddedAws, output: str) -> None:
    job = Job(source="s3://recordings/a", job_id="talk", output=output, formats=("json", "srt"))
    store = S3Store(aws.s3)
    publisher = Publisher(store, FakeClock(), WorkerFacts("0.1.0", "node-1"))
    publisher.fail(job.ref, PermanentError(ErrorCode.MEDIA_UNREADABLE, "no media"), FACTS, no_fence)

    publisher.succeed(job, TALK, replace(FACTS, origin="m-2"), no_fence)
    publisher.fail(job.ref, PermanentError(ErrorCode.MEDIA_UNREADABLE, "no media"), FACTS, no_fence)
    other = replace(TALK, text="other")
    publisher.succeed(job, other, replace(FACTS, origin="m-3"), no_fence)

    standing = publisher.existing(job)
    assert (standing.succeeded, standing.origin) == (True, "m-2")
    publisher.succeed(replace(job, force=True), other, replace(FACTS, origin="m-4"), no_fence)
    assert publisher.existing(job).origin == "m-4"
    stored = store.get(job.url("transcript.json"))
    assert stored is not None
    assert b"other" in stored.body
