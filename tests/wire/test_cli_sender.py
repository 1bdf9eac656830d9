# SPDX-License-Identifier: Apache-2.0
"""`sqscribe enqueue` and `sqscribe fetch` against the embedded SQS and S3, over real connections."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqscribe.cli import main
from sqscribe.errors import ErrorCode, ExitCode, PermanentError
from sqscribe.job import Job, JobDefaults
from sqscribe.job_message import parse_job
from sqscribe.result import WorkerFacts
from sqscribe.transcript import Segment, Transcript
from stages.publish import JobFacts, Publisher
from worker.embedded.aws import EmbeddedQueue
from worker.stores.s3 import S3Store
from worker.testing.clock import FakeClock

if TYPE_CHECKING:
    from tests.wire.conftest import Aws

TALK = Transcript("hello", "en", 0.9, 2.5, (Segment(0, 0.5, 1.5, " hello", -0.1, 1.0, 0.0, 0.0),))
FACTS = JobFacts(origin="m-1", attempts=1)
SOURCE = "https://example.org/talk.mp3"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def sqscribe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command as the program does."""
    for name in ("SQSCRIBE_QUEUE_URL", "SQSCRIBE_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["sqscribe", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return run


def bodies(aws: Aws, queue: EmbeddedQueue) -> list[dict[str, Any]]:
    """The messages of a queue, which are taken out of it."""
    found: list[dict[str, Any]] = []
    while got := aws.server.sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get("Messages"):
        found += [json.loads(message["Body"]) for message in got]
    return sorted(found, key=lambda body: str(body["source"]))


# -- enqueue -----------------------------------------------------------------------------------------------------------


def test_sources_of_the_command_line_and_of_stdin_become_jobs(aws: Aws, sqscribe: Callable[..., Ran]) -> None:
    queue = aws.queue()
    read = [f"s3://recordings/{number:02}.mp3" for number in range(12)]
    ran = sqscribe("enqueue", "--queue-url", queue.url, SOURCE, "-", stdin="\n".join(["", *read, ""]))
    assert (ran.code, ran.err) == (ExitCode.DONE, "")
    sent = bodies(aws, queue)
    assert [body["source"] for body in sent] == [SOURCE, *read]
    # What is printed are the ids that the worker goes by, in the order of the sources
    derived = [parse_job({"source": source}, JobDefaults("s3://out")).job_id for source in (SOURCE, *read)]
    assert ran.out.split() == derived == [body["job_id"] for body in sent]


def test_every_option_reaches_the_message(
    aws: Aws, sqscribe: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = aws.queue()
    monkeypatch.setenv("SQSCRIBE_QUEUE_URL", queue.url)
    options: Sequence[object] = (
        *("--output", "s3://mine/out", "--format", "srt", "-f", "vtt", "--language", "de", "--task", "transcribe"),
        *("--word-timestamps", "--initial-prompt", "Dr. Ü", "--hotwords", "sqscribe", "--beam-size", 3, "--no-vad"),
        *("--level", "--max-window", 20, "--temperature", "0, 0.4", "--no-repeat-ngram-size", 3),
        *("--repetition-penalty", 1.2, "--suppress-numerals"),
        *("--start", 1.5, "--end", 20, "--metadata", '{"a": [1, null]}', "--force", "--json"),
    )
    ran = sqscribe("enqueue", *options, SOURCE)
    assert ran.err == ""
    (body,) = bodies(aws, queue)
    (record,) = ran.records
    assert record.keys() == {"job_id", "message_id"}
    assert body == {
        "job_id": record["job_id"],
        "source": SOURCE,
        "output": "s3://mine/out",
        "formats": ["srt", "vtt"],
        "language": "de",
        "task": "transcribe",
        "word_timestamps": True,
        "initial_prompt": "Dr. Ü",
        "hotwords": "sqscribe",
        "beam_size": 3,
        "vad": False,
        "max_window": 20.0,
        "temperature": [0.0, 0.4],
        "no_repeat_ngram_size": 3,
        "repetition_penalty": 1.2,
        "suppress_numerals": True,
        "start": 1.5,
        "end": 20.0,
        "metadata": {"a": [1, None]},
        "force": True,
    }


def test_silence_and_candidates_reach_the_message(aws: Aws, sqscribe: Callable[..., Ran]) -> None:
    queue = aws.queue()
    options: Sequence[object] = (
        *("--vad-threshold", 0.6, "--vad-min-silence", 2, "--vad-pad", 0.2, "--no-level"),
        *("--languages", "de, fr", "--temperature", 0),
    )
    sqscribe("enqueue", "--queue-url", queue.url, *options, SOURCE)
    (body,) = bodies(aws, queue)
    assert {name: value for name, value in body.items() if name not in {"job_id", "source"}} == {
        "vad": {"threshold": 0.6, "min_silence": 2.0, "pad": 0.2},
        "level": False,
        "languages": ["de", "fr"],
        "temperature": 0.0,
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--format", "docx"), "formats"),
        (("--language", "klingon"), "language"),
        (("--task", "summarise"), "task"),
        (("--beam-size", "11"), "--beam-size"),
        (("--output", "bucket/prefix"), "output"),
        (("--metadata", "{not json"), "--metadata"),
        (("--start", "5", "--end", "2"), "end"),
        (("--languages", "en,klingon"), "languages[1]"),
        (("--temperature", "0,2"), "temperature[1]"),
        (("--temperature", "warm"), "--temperature"),
        (("--vad-pad", "0.2", "--no-vad"), "--vad"),
        (("--max-window", "31"), "--max-window"),
        (("--colour", "red"), "--colour"),
        (("talk.mp3",), "source"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_what_cannot_be_a_job_is_wrong_usage_and_nothing_is_sent(
    aws: Aws, sqscribe: Callable[..., Ran], options: Sequence[str], names: str
) -> None:
    queue = aws.queue()
    ran = sqscribe("enqueue", "--queue-url", queue.url, *options, *[f"{SOURCE}?{number}" for number in range(11)])
    assert ran.code == ExitCode.USAGE
    assert names in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert bodies(aws, queue) == []


def test_a_queue_is_needed_and_must_exist(aws: Aws, sqscribe: Callable[..., Ran]) -> None:
    missing = sqscribe("enqueue", SOURCE)
    assert (missing.code, "--queue-url" in missing.err) == (ExitCode.USAGE, True)
    unknown = sqscribe("enqueue", "--queue-url", f"{aws.server.url}/123456789012/none", SOURCE)
    assert unknown.code == ExitCode.UNEXPECTED
    assert unknown.err.startswith("sqscribe: AWS: ")
    assert len(unknown.err.splitlines()) == 1


# -- fetch -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def output(aws: Aws) -> str:
    """Where one job is done and one has failed."""
    output = f"{aws.bucket()}/out"
    publisher = Publisher(S3Store(aws.server.s3), FakeClock(), WorkerFacts("0.1.0", "node-1"))
    done = Job(source="s3://recordings/a", job_id="done", output=output, formats=("json", "srt"))
    publisher.succeed(done, TALK, FACTS, lambda: None)
    failure = PermanentError(ErrorCode.MEDIA_UNREADABLE, "no media")
    publisher.fail(replace(done, job_id="failed").ref, failure, FACTS, lambda: None)
    return output


def test_a_job_that_is_done_lies_in_its_folder(output: str, sqscribe: Callable[..., Ran], tmp_path: Path) -> None:
    ran = sqscribe("fetch", "--output", output, "--to", tmp_path, "done")
    assert (ran.code, ran.err) == (ExitCode.DONE, "")
    names = ["result.json", "transcript.json", "transcript.srt"]
    assert ran.out == "done: " + ", ".join(str(tmp_path / "done" / name) for name in names) + "\n"
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == names


def test_jobs_that_failed_or_are_not_done_have_an_exit_code(
    output: str, sqscribe: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = sqscribe("fetch", "--output", output, "--to", tmp_path, "-", stdin="failed\nnever\n\ndone\n")
    assert ran.code == ExitCode.JOBS_FAILED
    failed, never, done = ran.out.splitlines()
    assert failed == "failed: failed, media_unreadable: no media"
    assert never == "never: not done"
    assert done.startswith("done: ")
    for only in ("failed", "never"):
        assert sqscribe("fetch", "--output", output, "--to", tmp_path, only).code == ExitCode.JOBS_FAILED


def test_records_are_for_machines(output: str, sqscribe: Callable[..., Ran], tmp_path: Path) -> None:
    ran = sqscribe("fetch", "--json", "--output", output, "--to", tmp_path, "-f", "vtt", "done", "failed", "never")
    assert ran.code == ExitCode.JOBS_FAILED
    done, failed, never = ran.records
    file = str(tmp_path / "done" / "result.json")
    assert done == {"job_id": "done", "status": "succeeded", "files": [file], "missing": ["vtt"], "error": None}
    assert (failed["status"], failed["error"]) == ("failed", {"code": "media_unreadable", "message": "no media"})
    assert (never["status"], never["files"], never["error"]) == ("not_done", [], None)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--format", "docx", "--output", "s3://results/out", "done"), "docx"),
        (("--output", "s3://results/out", "../up"), "../up"),
        (("--output", "results/out", "done"), "results/out"),
        (("done",), "--output"),
    ],
)
def test_wrong_usage_of_fetch_is_named(
    aws: Aws, sqscribe: Callable[..., Ran], tmp_path: Path, arguments: Sequence[str], names: str
) -> None:
    ran = sqscribe("fetch", "--to", tmp_path, *arguments)
    assert ran.code == ExitCode.USAGE
    assert names in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []
