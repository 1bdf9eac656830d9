# SPDX-License-Identifier: Apache-2.0
"""Bodies of all forms become jobs; what cannot is rejected alone and never raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.errors import ErrorCode
from sqscribe.job import JobDefaults, derived_job_id
from sqscribe.job_message import parse_job
from worker.receive.messages import MessageParser, Parsed, Rejected

DEFAULTS = JobDefaults("s3://results/out")
URL = "https://example.org/talk.mp3?token=s3cr3t"


def parse(body: object, **options: Any) -> Parsed:
    text = body if isinstance(body, str) else json.dumps(body)
    return MessageParser(DEFAULTS, **options).parse(text, "m-1")


def only_rejected(body: object, **options: Any) -> Rejected:
    parsed = parse(body, **options)
    assert parsed.jobs == ()
    [rejected] = parsed.rejected
    return rejected


def record(
    key: str = "a.wav",
    *,
    bucket: str = "recordings",
    name: str = "ObjectCreated:Put",
    source: str = "aws:s3",
    **item: Any,
) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventName": name,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 9, "eTag": "e7a9", **item}},
    }


def bridge(key: str = "a.wav", kind: str = "Object Created", **item: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": kind,
        "detail": {"bucket": {"name": "recordings"}, "object": {"key": key, "size": 9, "etag": "e7a9", **item}},
    }


def event(*records: Any) -> dict[str, Any]:
    return {"Records": list(records)}


# -- jobs ----------------------------------------------------------------------------------------------------------


def test_a_json_job() -> None:
    message = {"source": URL, "language": "en", "formats": ["srt"]}

    assert parse(message) == Parsed(jobs=(parse_job(message, DEFAULTS),))


@pytest.mark.parametrize("body", [URL, f"\ufeff {URL}\r\n", "s3://recordings/a b.wav", "HTTP://example.org/a"])
def test_a_bare_url(body: str) -> None:
    [job] = parse(body).jobs

    assert job == parse_job({"source": body.strip("\ufeff \r\n")}, DEFAULTS)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", ErrorCode.BAD_MESSAGE),
        ("hello", ErrorCode.BAD_MESSAGE),
        ("hello: world", ErrorCode.BAD_MESSAGE),
        ("{", ErrorCode.BAD_MESSAGE),
        ("[]", ErrorCode.BAD_MESSAGE),
        ("null", ErrorCode.BAD_MESSAGE),
        ('"https://example.org/a"', ErrorCode.BAD_MESSAGE),
        ("{}", ErrorCode.BAD_MESSAGE),
        ('{"source": "https://example.org/a", "start": NaN}', ErrorCode.BAD_MESSAGE),
        ('{"source": "https://example.org/a", "start": 1e999}', ErrorCode.BAD_MESSAGE),
        ('{"source": "https://example.org/a", "start": 1' + "0" * 5000 + "}", ErrorCode.BAD_MESSAGE),
        ("[" * 100_000, ErrorCode.BAD_MESSAGE),
        ('{"Records": []}', ErrorCode.BAD_MESSAGE),
        ("file:///etc/passwd", ErrorCode.SOURCE_BLOCKED),
        ("data:audio/wav;base64,!", ErrorCode.BAD_MESSAGE),
    ],
)
def test_what_cannot_be_a_job_is_rejected_with_its_body(body: str, code: ErrorCode) -> None:
    rejected = only_rejected(body)

    assert (rejected.error.code, rejected.body) == (code, body)
    assert rejected.ref.output == "s3://results/out"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f'{{"source": "{URL}", "language": "en", "source": "{URL}"}}', "the message has the field 'source' twice"),
        (f"{URL}\n{URL}", "the message holds several URLs; send each as a message of its own"),
        (f'{{"source": "{URL}",}}', "the message is no JSON (line 1, column 56: a comma is before '}'; leave it out)"),
        (
            {"Type": "Notification", "Message": f'{{"source": "{URL}"'},
            "the message is an SNS envelope, and its Message is no JSON (line 1, column 55: the text ends",
        ),
        ({"Type": "SubscriptionConfirmation", "SubscribeURL": URL}, "the message asks to confirm an SNS subscription"),
        (event(record(source="aws:sqs")), "the S3 event cannot be read: its eventSource 'aws:sqs' is not S3's"),
        (event(record() | {"eventVersion": "3.0"}), "the S3 event cannot be read: its eventVersion '3.0' is not 2"),
        (event({"eventSource": "aws:s3"}), "the S3 event cannot be read: it lacks the field 'eventName'"),
        (event(record(versionId=["x"])), "the S3 event cannot be read: a field of it has a wrong type"),
        (event(7), "the S3 event cannot be read: it is no object"),
    ],
)
def test_the_reason_says_what_it_is_and_where(body: object, why: str) -> None:
    assert only_rejected(body).error.message.startswith(why)


def test_of_several_records_the_bad_one_is_counted() -> None:
    [rejected] = parse(event(record(), 7)).rejected

    assert rejected.error.message == "record 1 of the S3 event cannot be read: it is no object"


def test_what_an_event_has_twice_does_not_matter() -> None:
    body = json.dumps(event(record())).replace('"eventVersion"', '"eventVersion": "2.0", "eventVersion"')

    assert len(parse(body).jobs) == 1


def test_without_a_readable_id_it_is_recorded_under_the_messages() -> None:
    assert only_rejected({"source": URL, "beam_size": 0}).job_id == "message-m-1"
    assert only_rejected({"source": URL, "job_id": "no/way"}).job_id == "message-m-1"


def test_a_readable_id_is_kept_with_all_that_is_valid() -> None:
    ref = only_rejected({"source": URL, "job_id": "talk", "output": "s3://mine/p/", "metadata": 7, "beam_size": 0}).ref

    assert (ref.job_id, ref.output, ref.source, ref.metadata) == ("talk", "s3://mine/p", URL, 7)


def test_an_unsupported_job_has_the_id_that_it_will_have_once_it_is_supported() -> None:
    assert only_rejected({"source": URL, "progress": True}).job_id == derived_job_id(URL)


# -- S3 events -----------------------------------------------------------------------------------------------------


def sources(parsed: Parsed) -> list[str]:
    assert parsed.rejected == ()
    return [job.source for job in parsed.jobs]


def test_a_direct_event_becomes_a_job_that_knows_its_object() -> None:
    [job] = parse(event(record("talks/a+b%2Bc+%C3%BC.wav", versionId="v1", sequencer="0A"))).jobs

    assert job.source == "s3://recordings/talks/a b+c ü.wav"
    assert (job.object_version, job.object_etag) == ("v1", "e7a9")
    assert job.job_id == derived_job_id("s3://recordings/talks/a b+c ü.wav", object_identity="v1")


def test_without_a_version_the_etag_tells_objects_apart() -> None:
    [job] = parse(event(record(versionId="null"))).jobs

    assert (job.object_version, job.object_etag) == (None, "e7a9")
    assert job.job_id == derived_job_id("s3://recordings/a.wav", object_identity="e7a9")


def test_event_bridge_keys_are_not_decoded() -> None:
    [job] = parse(bridge("a+b%2Bc ü.wav", **{"version-id": "v1"})).jobs

    assert job.source == "s3://recordings/a+b%2Bc ü.wav"
    assert (job.object_version, job.object_etag) == ("v1", "e7a9")


@pytest.mark.parametrize("inner", [event(record()), bridge(), {"source": "s3://recordings/a.wav"}])
def test_an_sns_envelope_is_unwrapped(inner: dict[str, Any]) -> None:
    envelope = {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(inner), "Signature": "x"}

    assert sources(parse(envelope)) == ["s3://recordings/a.wav"]


def test_envelopes_are_unwrapped_once() -> None:
    inner = json.dumps({"Type": "Notification", "Message": json.dumps(event(record()))})

    assert only_rejected({"Type": "Notification", "Message": inner}).error.code is ErrorCode.BAD_MESSAGE


def test_look_alikes_prefix_the_event_name_and_encode_slashes() -> None:
    body = {"EventName": "s3:ObjectCreated:Put", "Key": "recordings/a/b.wav"} | event(
        record("a%2Fb.wav", source="minio:s3", name="s3:ObjectCreated:Put", versionId="")
    )

    assert sources(parse(body)) == ["s3://recordings/a/b.wav"]


@pytest.mark.parametrize(
    "body",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "recordings"},
        {"Type": "Notification", "Message": json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})},
        event(record("folder/")),
        event(record(size=0)),
        event(record(name="ObjectRemoved:Delete")),
        event(record(name="s3:ObjectRestore:Completed")),
        event(record("out/x/transcript.json", bucket="results")),
        bridge(kind="Object Deleted"),
        bridge("folder/"),
        bridge(size=0),
    ],
)
def test_what_is_no_recording_is_skipped(body: dict[str, Any]) -> None:
    assert parse(body) == Parsed(skipped=1)


def test_only_what_lies_below_the_output_is_ours() -> None:
    body = event(record("outside.wav", bucket="results"), record("out/a.wav", bucket="results"), record("out/a.wav"))

    assert sources(parse(body)) == ["s3://results/outside.wav", "s3://recordings/out/a.wav"]


def test_each_record_is_a_job_of_its_own() -> None:
    bad = record("%FF.wav")
    parsed = parse(event(record("a.wav"), bad, record("b.wav"), record("c/")))

    assert [job.source for job in parsed.jobs] == ["s3://recordings/a.wav", "s3://recordings/b.wav"]
    assert parsed.skipped == 1
    [rejected] = parsed.rejected
    assert rejected.error.code is ErrorCode.BAD_MESSAGE
    assert rejected.job_id == "message-m-1-1"
    assert json.loads(rejected.body) == event(bad)


def test_a_record_that_is_rejected_is_a_json_job_of_its_own() -> None:
    parsed = parse(event(record("a.wav"), record("b.wav", bucket="secrets")), allowed_buckets=["recordings"])

    assert [job.source for job in parsed.jobs] == ["s3://recordings/a.wav"]
    [rejected] = parsed.rejected
    assert rejected.error.code is ErrorCode.SOURCE_BLOCKED
    [again] = parse(rejected.body).jobs
    assert (again.source, again.job_id) == ("s3://secrets/b.wav", rejected.job_id)


def test_of_one_object_written_twice_the_later_event_counts() -> None:
    late, early = record(eTag="new", sequencer="0055AED6DCD90281E6"), record(eTag="old", sequencer="0055AED6DCD90281E5")
    for records in ((late, early), (early, late)):
        parsed = parse(event(*records))
        assert [job.object_etag for job in parsed.jobs] == ["new"]
        assert parsed.skipped == 1


def test_a_shorter_sequencer_counts_as_if_zeros_followed() -> None:
    parsed = parse(event(record(eTag="new", sequencer="0b"), record(eTag="old", sequencer="0AFF")))

    assert [job.object_etag for job in parsed.jobs] == ["new"]


def test_each_version_of_an_object_is_a_job() -> None:
    parsed = parse(
        event(record(versionId="1", sequencer="1"), record(versionId="2", sequencer="2"), record(versionId="1"))
    )

    assert [job.object_version for job in parsed.jobs] == ["1", "2"]
    assert parsed.skipped == 1


@pytest.mark.parametrize(
    "broken",
    [
        None,
        7,
        {},
        record() | {"eventSource": "aws:sqs"},
        record() | {"eventSource": None},
        record() | {"eventVersion": "3.0"},
        record() | {"eventName": ["x"]},
        record() | {"s3": {}},
        record(bucket="x y"),
        record(key=""),
        record(key="%00"),
        record() | {"s3": {"bucket": {"name": "recordings"}, "object": {"key": 5}}},
        record(versionId=["x"]),
        record(eTag={"x": 1}),
        record(sequencer=7),
        bridge() | {"detail": None},
    ],
)
def test_a_broken_record_is_rejected(broken: Any) -> None:
    assert only_rejected(event(broken)).error.code is ErrorCode.BAD_MESSAGE


# -- buckets -------------------------------------------------------------------------------------------------------


def test_only_allowed_buckets_are_read_and_written() -> None:
    allowed = {"allowed_buckets": ["recordings", "mine"]}

    assert parse({"source": "s3://recordings/a", "output": "s3://mine/x"}, **allowed).jobs
    assert parse({"source": URL, "output": "s3://results/out"}, **allowed).jobs  # the worker's own output
    forbidden = only_rejected({"source": URL, "output": "s3://theirs/x"}, **allowed)
    assert forbidden.error.code is ErrorCode.OUTPUT_FORBIDDEN
    assert forbidden.ref.output == "s3://results/out"
    assert "theirs" in forbidden.error.message
    blocked = only_rejected({"source": "s3://theirs/x", "output": "s3://mine/x"}, **allowed)
    assert blocked.error.code is ErrorCode.SOURCE_BLOCKED
    assert blocked.ref.output == "s3://mine/x"


def test_a_parser_needs_an_output() -> None:
    with pytest.raises(ValueError, match="output"):
        MessageParser(JobDefaults(None))


# -- properties ----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text() | json_values.map(json.dumps))
def test_no_text_makes_it_raise(body: str) -> None:
    parsed = parse(body)

    assert parsed.jobs or parsed.rejected or parsed.skipped


@given(st.sampled_from([record(), bridge()]), st.data())
def test_no_event_makes_it_raise(whole: dict[str, Any], data: st.DataObject) -> None:
    broken = json.loads(json.dumps(whole))
    place = broken
    while True:
        name = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or data.draw(st.booleans()):
            place[name] = data.draw(json_values)
            break
        place = place[name]

    parsed = parse(event(broken))

    assert len(parsed.jobs) + len(parsed.rejected) + parsed.skipped == 1


def test_no_secret_is_in_an_error() -> None:
    for body in (URL + " x", {"source": URL, "beam_size": 99}, {"source": URL, "progress": True}, URL[:-1] + "\0"):
        assert "s3cr3t" not in only_rejected(body).error.message
        assert "s3cr3t" not in repr(only_rejected(body).ref)
