# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the settings, told before anything is received: on a real SQS and S3, some of whose calls fail."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sqscribe.bundled import model_path
from sqscribe.errors import NodeFaultError, SettingsError, SqscribeError, UnfitNodeError
from worker.preflight import Finding, Severity, examine, fatal
from worker.preflight.storage import PROBE
from worker.settings import read_settings
from worker.startup import run_worker
from worker.testing.refusing_aws import RefusingAws

# `aws` is in conftest.py: a queue and a bucket of the test's own.


@dataclass(frozen=True)
class Site:
    """A queue, an output, and what stands before them."""

    aws: Any
    front: RefusingAws
    queue: Any
    output: str
    folder: Path

    def settings(self, **given: Any) -> Any:
        right = {
            "queue_url": self.queue.url,
            "output": f"{self.output}/transcripts",
            "model": "demo",
            "device": "cpu",
            "http_port": 0,
            "scratch_dir": self.folder / "scratch",
        }
        return read_settings(_env_file=None, **{name: value for name, value in (right | given).items() if value})

    def findings(self, **given: Any) -> list[Finding]:
        return examine(self.settings(**given))

    def error(self, **given: Any) -> SqscribeError:
        """What a worker with these settings ends with, before it would receive."""
        with pytest.raises(SqscribeError) as told:
            run_worker(self.settings(**given))
        return told.value

    def warnings(self, **given: Any) -> list[str]:
        return [each.line for each in self.findings(**given) if each.severity is Severity.WARNING]


@pytest.fixture
def site(aws: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    with RefusingAws(aws.server.url) as front:
        queue, bucket = aws.queue(), aws.bucket()
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield Site(aws, front, queue, bucket, tmp_path)


def messages(site: Site) -> list[int]:
    names: Any = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ]
    counts: list[int] = []
    for url in (site.queue.url, site.queue.dead_letter_url):
        told = site.aws.server.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        counts += [int(told[name]) for name in names]
    return counts


def test_what_is_right_passes_and_leaves_nothing_behind(site: Site) -> None:
    site.aws.server.sqs.send_message(QueueUrl=site.queue.url, MessageBody="s3://media/a.wav")
    # When all is looked at
    findings = site.findings()
    # Then nothing is wrong, no message was received or sent, and no object stands below the output
    assert {each.severity for each in findings} == {Severity.OK}, [each.line for each in findings]
    assert messages(site) == [1, 0, 0, 0, 0, 0]
    received = site.aws.server.sqs.receive_message(
        QueueUrl=site.queue.url, MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )["Messages"]
    assert received[0]["Attributes"]["ApproximateReceiveCount"] == "1"
    assert "Contents" not in site.aws.server.s3.list_objects_v2(Bucket=site.output.removeprefix("s3://"))


def test_a_fifo_queue_passes_too(site: Site) -> None:
    fifo = site.aws.server.make_queue(f"{site.aws.name}-f", fifo=True)

    assert fatal(site.findings(queue_url=fifo.url)) is None


# -- wrong settings ----------------------------------------------------------------------------------------------------

#: By what is wrong: settings, calls that are refused (operation, code, part of the resource), and what the line names.
Refusals = tuple[tuple[str, str, str], ...]
WRONG: dict[str, tuple[dict[str, Any], Refusals, tuple[str, ...]]] = {
    "no queue": ({"queue_url": None}, (), ("SQSCRIBE_QUEUE_URL", "not set", "--queue-url")),
    "no output": ({"output": None}, (), ("SQSCRIBE_OUTPUT", "not set", "s3://bucket/prefix")),
    "a queue that is an ARN": ({"queue_url": "arn:aws:sqs:eu-west-1:1:jobs"}, (), ("SQSCRIBE_QUEUE_URL", "https://")),
    "a queue without a name": ({"queue_url": "https://sqs.eu-west-1.amazonaws.com"}, (), ("SQSCRIBE_QUEUE_URL",)),
    "a queue with a blank": ({"queue_url": "http://h/1/a b"}, (), ("SQSCRIBE_QUEUE_URL", "whole URL")),
    "a queue that is not there": (
        {"queue_url": "http://h/123456789012/none"},
        (),
        ("SQSCRIBE_QUEUE_URL", "none", "exist"),
    ),
    "a queue that is forbidden": (
        {},
        (("GetQueueAttributes", "AccessDenied", ""),),
        ("SQSCRIBE_QUEUE_URL", "sqs:GetQueueAttributes"),
    ),
    "receiving forbidden": (
        {},
        (("ReceiveMessage", "AccessDenied", ""),),
        ("SQSCRIBE_QUEUE_URL", "sqs:ReceiveMessage"),
    ),
    "a key of the queue": ({}, (("ReceiveMessage", "KmsAccessDenied", ""),), ("SQSCRIBE_QUEUE_URL", "kms:Decrypt")),
    "unknown credentials": (
        {},
        (("GetQueueAttributes", "InvalidClientTokenId", ""),),
        ("AWS credentials", "session token"),
    ),
    "a dead-letter queue that is not there": (
        {"dead_letter_queue_url": "http://h/123456789012/none"},
        (),
        ("SQSCRIBE_DEAD_LETTER_QUEUE_URL", "exist"),
    ),
    "a dead-letter queue that may not be sent to": (
        {},
        (("SendMessage", "AccessDenied", "-dead"),),
        ("SQSCRIBE_DEAD_LETTER_QUEUE_URL", "sqs:SendMessage"),
    ),
    "a dead-letter queue that is no URL": ({"dead_letter_queue_url": "dead"}, (), ("SQSCRIBE_DEAD_LETTER_QUEUE_URL",)),
    "an output that is not there": ({"output": "s3://nothing-there-at-all/x"}, (), ("SQSCRIBE_OUTPUT", "NoSuchBucket")),
    "an output that may not be written": (
        {},
        (("PutObject", "AccessDenied", ""),),
        ("SQSCRIBE_OUTPUT", "s3:PutObject"),
    ),
    "an output that may not be read": ({}, (("GetObject", "AccessDenied", ""),), ("SQSCRIBE_OUTPUT", "s3:GetObject")),
    "an output that may not be listed": (
        {},
        (("HeadObject", "AccessDenied", ""),),
        ("SQSCRIBE_OUTPUT", "s3:ListBucket"),
    ),
    "an output that may not be cleared": (
        {},
        (("DeleteObject", "AccessDenied", ""),),
        ("SQSCRIBE_OUTPUT", "s3:DeleteObject"),
    ),
    "an output whose key is disabled": (
        {},
        (("PutObject", "KMS.DisabledException", ""),),
        ("SQSCRIBE_OUTPUT", "KMS key"),
    ),
    "an output elsewhere": ({}, (("PutObject", "PermanentRedirect", ""),), ("SQSCRIBE_OUTPUT", "SQSCRIBE_S3_REGION")),
    "an output that is refused for a reason of its own": (
        {},
        (("PutObject", "QuotaExceededByPolicy", ""),),
        ("SQSCRIBE_OUTPUT", "QuotaExceededByPolicy"),
    ),
    "an output that is no address": ({"output": "bucket/prefix"}, (), ("SQSCRIBE_OUTPUT", "s3://bucket")),
    "buckets that are addresses": (
        {"allowed_buckets": "s3://media"},
        (),
        ("SQSCRIBE_ALLOWED_BUCKETS", "media,archive"),
    ),
    "a model without a meaning": ({"model": "large-v9"}, (), ("SQSCRIBE_MODEL", "did you mean large-v")),
    "a model's folder that is not there": ({"model": "/no/such/folder"}, (), ("SQSCRIBE_MODEL", "/no/such/folder")),
    "a model's folder without a model": ({"model": "/usr"}, (), ("SQSCRIBE_MODEL", "model.bin")),
    "a model in S3 that is not there": (
        {"model": "s3://nothing-there-at-all/m"},
        (),
        ("SQSCRIBE_MODEL", "NoSuchBucket"),
    ),
    "a model in S3 that is forbidden": (
        {"model": "s3://models/m"},
        (("ListObjectsV2", "AccessDenied", "models"),),
        ("SQSCRIBE_MODEL", "s3:ListBucket"),
    ),
    "an unknown compute type": ({"compute_type": "int4"}, (), ("SQSCRIBE_COMPUTE_TYPE", "int8")),
    "an unknown format": ({"formats": "json,docx"}, (), ("SQSCRIBE_FORMATS", "docx", "srt")),
    "an unknown device": ({"device": "tpu"}, (), ("SQSCRIBE_DEVICE", "cuda")),
    "a lease above 12 h": ({"visibility_timeout": "50000"}, (), ("SQSCRIBE_VISIBILITY_TIMEOUT", "43200")),
    "a number that is none": ({"downloaders": "three"}, (), ("SQSCRIBE_DOWNLOADERS", "three")),
    "a duration that is none": ({"checkpoint_seconds": "1m"}, (), ("SQSCRIBE_CHECKPOINT_SECONDS", "1m")),
    "an unknown log format": ({"log_format": "xml"}, (), ("SQSCRIBE_LOG_FORMAT", "xml")),
    "scratch that cannot be": ({"scratch_dir": "/proc/none"}, (), ("SQSCRIBE_SCRATCH_DIR", "/proc/none")),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_only_a_person_can_mend_is_told_in_one_line_before_anything_is_received(site: Site, name: str) -> None:
    given, refusals, names = WRONG[name]
    for operation, code, within in refusals:
        site.front.refuse(operation, code, within=within)
    site.aws.server.sqs.send_message(QueueUrl=site.queue.url, MessageBody="s3://media/a.wav")
    # When a worker is started
    error = site.error(**given)
    # Then it is a matter of settings, which the line names with what to do; no message was touched
    assert isinstance(error, SettingsError)
    assert [part for part in names if part not in str(error)] == [], str(error)
    assert "\n" not in str(error)
    assert messages(site) == [1, 0, 0, 0, 0, 0]


def test_a_dead_letter_queue_that_is_the_queue_or_of_another_kind_is_refused(site: Site) -> None:
    fifo = site.aws.server.make_queue(f"{site.aws.name}-f", fifo=True)

    itself = site.error(dead_letter_queue_url=site.queue.url)
    other = site.error(dead_letter_queue_url=fifo.dead_letter_url)

    assert "the queue itself" in str(itself)
    assert "FIFO" in str(other)


def test_a_port_that_is_taken_is_a_matter_of_settings(site: Site) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        error = site.error(http_port=taken.getsockname()[1])

    assert isinstance(error, SettingsError)
    assert str(error).startswith("SQSCRIBE_HTTP_PORT: ")


def test_that_no_file_can_be_decoded_is_a_matter_of_this_machine(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a PyAV whose libraries are missing
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text("raise ImportError('libavcodec.so.62: cannot open shared object')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "av"]:
        monkeypatch.delitem(sys.modules, name)
    # When a worker is started
    error = site.error()
    # Then it ends for this machine's sake, and says what is missing
    assert isinstance(error, UnfitNodeError)
    assert "no file can be decoded on this machine" in str(error)
    assert "libavcodec.so.62" in str(error)


def test_an_ffmpeg_that_cannot_run_is_told_and_no_more(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a program ffmpeg whose libraries are missing
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'error while loading shared libraries: libavcodec.so.61' >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    # When the machine is looked at
    findings = site.findings()
    # Then a worker may begin, since files are decoded without it
    assert fatal(findings) is None
    (found,) = [each for each in findings if each.what == "ffmpeg"]
    assert found.severity is Severity.WARNING
    assert "exit code 127" in found.line
    assert "libavcodec.so.61" in found.line


def test_what_a_person_has_to_mend_is_told_before_what_may_mend_itself(site: Site) -> None:
    site.front.refuse("GetQueueAttributes", "ServiceUnavailable", status=503)

    assert isinstance(fatal(site.findings()), NodeFaultError)
    assert isinstance(fatal(site.findings(model="large-v9")), SettingsError)


# -- what a worker runs with -------------------------------------------------------------------------------------------


def test_that_there_is_no_dead_letter_queue_is_a_warning(site: Site) -> None:
    plain = site.aws.server.sqs.create_queue(QueueName=f"{site.aws.name}-plain")["QueueUrl"]

    warned = site.warnings(queue_url=plain)

    assert [line for line in warned if "no dead-letter queue" in line]


def test_limits_of_the_queues_that_do_not_fit_are_warnings(site: Site) -> None:
    sqs = site.aws.server.sqs
    dead = sqs.create_queue(
        QueueName=f"{site.aws.name}-small",
        Attributes={"MaximumMessageSize": "1024", "MessageRetentionPeriod": "60"},
    )["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    queue = sqs.create_queue(
        QueueName=f"{site.aws.name}-hasty",
        Attributes={
            "MessageRetentionPeriod": "3600",
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1}),
        },
    )["QueueUrl"]

    warned = " ".join(site.warnings(queue_url=queue, max_receives=5))

    for words in ("1024 bytes", "for 60 s", "after 3600 s", "maxReceiveCount of 1", "SQSCRIBE_MAX_RECEIVES"):
        assert words in warned


def test_a_store_without_conditions_is_a_warning_unless_it_is_known(site: Site) -> None:
    site.front.refuse("PutObject", "NotImplemented", status=501, conditional=True)

    assert [line for line in site.warnings() if "SQSCRIBE_CONDITIONAL_WRITES=off" in line]
    assert site.warnings(conditional_writes="off") == []


def test_an_output_that_its_bucket_feeds_to_the_queue(site: Site) -> None:
    bucket = site.output.removeprefix("s3://")
    arn = site.aws.server.sqs.get_queue_attributes(QueueUrl=site.queue.url, AttributeNames=["QueueArn"])["Attributes"]

    def watch(prefix: str, suffix: str = "") -> None:
        given = {"prefix": prefix, "suffix": suffix}
        rules: Any = [{"Name": name, "Value": value} for name, value in given.items() if value]
        site.aws.server.s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": arn["QueueArn"],
                        "Events": ["s3:ObjectCreated:*"],
                        **({"Filter": {"Key": {"FilterRules": rules}}} if rules else {}),
                    }
                ]
            },
        )

    # Given a bucket that tells the queue of all that comes into it: results are skipped, and that is a warning
    watch("")
    assert [line for line in site.warnings() if "results too" in line]
    # Given one that tells of results alone: nothing would ever be done
    watch("transcripts/in")
    assert "results would be jobs" in str(fatal(site.findings()))
    # Given one that tells of something else
    for prefix, suffix in (("media/", ""), ("", ".mp3")):
        watch(prefix, suffix)
        assert site.warnings() == []


def test_a_check_that_fails_by_itself_keeps_no_worker_from_working(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_settings: object) -> Iterator[Finding]:
        yield Finding("something", "is right")
        raise RuntimeError("out of order")

    monkeypatch.setattr("worker.preflight.checks.check_times", broken)

    findings = site.findings()

    assert fatal(findings) is None
    assert [each.what for each in findings if each.severity is Severity.SKIPPED] == ["preflight"]
    assert Finding("something", "is right") in findings


def test_the_models_folder_and_one_in_s3_pass(site: Site) -> None:
    folder = model_path()
    bucket = site.output.removeprefix("s3://")
    for name in ("config.json", "model.bin", "tokenizer.json"):
        site.aws.server.s3.put_object(Bucket=bucket, Key=f"models/m/{name}", Body=b"{}")

    assert fatal(site.findings(model=str(folder))) is None
    assert fatal(site.findings(model=f"{site.output}/models/m")) is None
    assert "tokenizer.json" not in str(fatal(site.findings(model=f"{site.output}/models")))


def test_the_probe_goes_though_a_check_of_it_fails(site: Site) -> None:
    site.front.refuse("GetObject", "AccessDenied", within=PROBE)

    assert fatal(site.findings()) is not None
    assert "Contents" not in site.aws.server.s3.list_objects_v2(Bucket=site.output.removeprefix("s3://"))
