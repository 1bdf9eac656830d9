# SPDX-License-Identifier: Apache-2.0
"""What one message may ask for has a bound: past it the whole message is refused at once, with one record."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from sqscribe.errors import ErrorCode
from sqscribe.job import JobDefaults
from worker.receive.messages import MOST_RECORDS, MOST_REFUSED, MessageParser, Parsed

URL = "https://example.org/talk.mp3"
#: The largest body that SQS takes.
BODY_BYTES = 1_048_576
#: What a body may cost while it is read: some copies of itself.
MEMORY_BYTES = 64_000_000


def parse(body: object, **options: Any) -> Parsed:
    text = body if isinstance(body, str) else json.dumps(body)
    return MessageParser(JobDefaults("s3://results/out"), **options).parse(text, "m-1")


def record(number: int, key: str = "talk.wav") -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "recordings"}, "object": {"key": f"{number}/{key}", "size": 9, "eTag": "e7a9"}},
    }


@pytest.mark.parametrize(
    "records",
    [[1] * (MOST_RECORDS + 1), [1] * 250_000, [record(number) for number in range(MOST_RECORDS + 1)]],
    ids=["rubbish", "half a megabyte of rubbish", "valid"],
)
def test_too_many_records_are_one_rejection(records: list[Any]) -> None:
    body = json.dumps({"Records": records})

    parsed = parse(body)

    assert (parsed.jobs, parsed.skipped) == ((), 0)
    [rejected] = parsed.rejected
    assert (rejected.error.code, rejected.job_id, rejected.body) == (ErrorCode.BAD_MESSAGE, "message-m-1", body)
    assert rejected.error.message == (
        f"the message has {len(records)} records; at most {MOST_RECORDS} are taken: send several messages"
    )


def test_as_many_records_as_are_allowed_are_jobs() -> None:
    assert len(parse({"Records": [record(number) for number in range(MOST_RECORDS)]}).jobs) == MOST_RECORDS


def test_some_refused_records_are_refused_one_by_one() -> None:
    parsed = parse({"Records": [record(0)] + [7] * MOST_REFUSED})

    assert len(parsed.jobs) == 1
    assert [rejected.job_id for rejected in parsed.rejected] == [
        f"message-m-1-{number}" for number in range(1, MOST_REFUSED + 1)
    ]


def test_more_are_refused_together_and_the_good_ones_are_jobs_all_the_same() -> None:
    bad = [{"number": number} for number in range(MOST_REFUSED)]
    foreign = record(99) | {"s3": {"bucket": {"name": "secrets"}, "object": {"key": "a.wav", "size": 9}}}

    parsed = parse({"Records": [*bad, record(1), foreign, record(2)]}, allowed_buckets=["recordings"])

    assert [job.source for job in parsed.jobs] == ["s3://recordings/1/talk.wav", "s3://recordings/2/talk.wav"]
    [rejected] = parsed.rejected
    assert (rejected.job_id, rejected.error.code) == ("message-m-1", ErrorCode.BAD_MESSAGE)
    assert rejected.error.message.startswith(f"{MOST_REFUSED + 1} of {MOST_REFUSED + 3} records are refused")
    assert json.loads(rejected.body) == {"Records": [*bad, foreign]}


def test_a_message_of_nothing_but_refused_records_is_refused_as_it_is() -> None:
    body = json.dumps({"Records": [record(n) for n in range(MOST_REFUSED + 1)], "x": 1})

    parsed = parse(body, allowed_buckets=["others"])

    assert [(rejected.job_id, rejected.body) for rejected in parsed.rejected] == [("message-m-1", body)]
    assert parsed.rejected[0].error.code is ErrorCode.SOURCE_BLOCKED


def repeated(unit: str) -> str:
    return unit * (BODY_BYTES // len(unit) - 100)


def object_of(**fields: Any) -> str:
    return json.dumps({"source": URL} | fields)


HUGE = {
    "records": lambda: '{"Records":[1' + repeated(",1") + "]}",
    "valid records": lambda: json.dumps({"Records": [record(number) for number in range(5500)]}),
    "allowed rubbish": lambda: json.dumps({"Records": ["x" * 1000] * MOST_RECORDS}),
    "fields": lambda: object_of(**{f"f{number}": 1 for number in range(70_000)}),
    "members of vad": lambda: object_of(vad={f"f{number}": 1 for number in range(70_000)}),
    "members of object": lambda: object_of(object={f"f{number}": 1 for number in range(70_000)}),
    "formats": lambda: object_of(formats=["x"] * 200_000),
    "good formats": lambda: object_of(formats=["srt"] * 140_000, beam_size=0),
    "languages": lambda: object_of(languages=["xx"] * 170_000),
    "temperatures": lambda: object_of(temperature=[5] * 300_000),
    "metadata": lambda: object_of(metadata=[[1]] * 150_000),
    "the name of a field": lambda: object_of(**{repeated("sourc"): 1}),
    "language": lambda: object_of(language=repeated("german ")),
    "job id": lambda: object_of(job_id=repeated("a")),
    "output": lambda: object_of(output="s3://bucket/" + repeated("a/")),
    "source": lambda: json.dumps({"source": "https://" + repeated("a?&=")}),
    "bare URL": lambda: "https://" + repeated("a?x=1&"),
    "letters": lambda: repeated("a"),
    "dots": lambda: repeated("a."),
    "blanks": lambda: repeated(" "),
    "lines": lambda: repeated("\n") + "{x",
    "quotes": lambda: repeated('"'),
    "backslashes": lambda: '{"a":"' + repeated("\\\\") + '",NaN}',
    "Base64": lambda: repeated("eyJh"),
    "depth": lambda: repeated("["),
    "depth of objects": lambda: repeated('{"a":'),
    "a number behind much": lambda: '{"source":"' + repeated("a") + '","x":NaN}',
    "twice the same": lambda: "{" + ",".join(f'"f{number}":1' for number in range(70_000)) + ',"f9":1}',
    "an envelope": lambda: json.dumps({"Type": "Notification", "Message": repeated("[")}),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_body_as_large_as_the_queue_allows_is_read_at_once_and_in_flat_memory(name: str) -> None:
    body = HUGE[name]()
    assert BODY_BYTES / 2 < len(body) <= BODY_BYTES * 1.1

    tracemalloc.start()
    began = time.process_time()
    parsed = parse(body)
    seconds, memory = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert parsed.jobs == ()
    assert len(parsed.rejected) == 1
    assert len(parsed.rejected[0].error.message) < 1024
    assert seconds < 5  # tracing costs most of it; without, each is read in a quarter of a second
    assert memory < MEMORY_BYTES
