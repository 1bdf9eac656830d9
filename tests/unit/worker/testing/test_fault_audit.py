# SPDX-License-Identifier: Apache-2.0
"""The audit finds every broken rule, and nothing in a log that breaks none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.testing.faults import Access, AccessLog, Audit, Entry, SentMessage, read_log

JOB = "results/v1/one"
MASTER = f"{JOB}/transcript.json"
RESULT = f"{JOB}/result.json"
BODY = '{"job_id": "one"}'
DEAD = "jobs-dead"


class Story:
    """A log, told call by call; each takes a second."""

    def __init__(self) -> None:
        self.log: list[Access] = []

    def add(self, operation: str, resource: str, caller: str = "w-1", **facts: Any) -> Story:
        now = float(len(self.log))
        facts = {"began": now, "ended": now, "status": 200, **facts}
        self.log.append(Access(len(self.log) + 1, caller=caller, operation=operation, resource=resource, **facts))
        return self

    def receive(self, message: str = "m", **facts: Any) -> Story:
        return self.add("ReceiveMessage", "jobs", entries=(Entry(message, seconds=8, count=1),), **facts)

    def put(self, key: str, body: str, condition: str | None = "If-None-Match: *", **facts: Any) -> Story:
        digest = hashlib.sha256(body.encode()).hexdigest()
        kept = body if key.endswith("/result.json") else None
        return self.add("PutObject", key, condition=condition, sha256=digest, body=kept, **facts)

    def succeed(self, text: str = "hello", **facts: Any) -> Story:
        return self.put(RESULT, succeeded(text), **facts)

    def send(self, queue: str, body: str, attributes: dict[str, str], message: str = "copy", **facts: Any) -> Story:
        return self.add("SendMessage", queue, body=body, attributes=attributes, entries=(Entry(message),), **facts)

    def delete(self, message: str = "m", *, stale: bool = False, **facts: Any) -> Story:
        return self.add("DeleteMessageBatch", "jobs", entries=(Entry(message, stale=stale),), **facts)

    def change(self, message: str = "m", seconds: int = 8, code: str | None = None, **facts: Any) -> Story:
        entry = Entry(message, code, seconds=seconds)
        return self.add("ChangeMessageVisibilityBatch", "jobs", entries=(entry,), **facts)

    def audit(self, **options: Any) -> Audit:
        sent = {"m": SentMessage((JOB,), {JOB: frozenset({BODY})})}
        audit = Audit(sent, [DEAD], **options)
        audit.run(self.log)
        return audit

    def rules(self, **options: Any) -> list[str]:
        return [violation.rule for violation in self.audit(**options).violations]


def succeeded(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    artifacts = [{"format": "json", "key": MASTER.partition("/")[2], "bytes": len(text), "sha256": digest}]
    return json.dumps({"status": "succeeded", "artifacts": artifacts})


def failed(code: str = "bad_message") -> str:
    return json.dumps({"status": "failed", "artifacts": [], "error": {"code": code}})


def test_a_job_that_goes_well_breaks_no_rule() -> None:
    story = Story().receive().change().put(MASTER, "hello").succeed().delete()

    audit = story.audit(ends={"w-1": 100.0})

    assert audit.violations == []
    assert audit.results.keys() == {JOB}
    assert audit.receives == {"m": 1}


def test_a_failure_that_is_recorded_and_dead_lettered_breaks_no_rule() -> None:
    story = Story().receive().put(RESULT, failed()).send(DEAD, BODY, {"error_code": "bad_message"}).delete()

    assert story.rules() == []


def test_a_failed_result_may_be_replaced() -> None:
    story = Story().put(RESULT, failed()).put(MASTER, "hello").succeed(condition='If-Match: "1"')

    assert story.rules() == []


def test_a_copy_may_take_a_message_s_place() -> None:
    copy = {"sqscribe_origin": "m", "sqscribe_generation": "1"}
    story = Story().receive().send("jobs", BODY, copy).delete()
    story.receive("copy").put(MASTER, "hello").succeed().delete("copy")

    audit = story.audit()

    assert audit.violations == []
    assert audit.copies == 1


def test_a_copy_of_one_of_several_jobs_stands_for_that_one_alone() -> None:
    other = "results/v1/two"
    sent = {"m": SentMessage((JOB, other))}
    copy = {"sqscribe_origin": "m", "sqscribe_generation": "1"}
    story = Story().receive().send("jobs", BODY, copy).delete()
    story.receive("copy").put(MASTER, "hello").succeed().delete("copy")

    audit = Audit(sent, [DEAD])
    audit.run(story.log)

    assert [violation.rule for violation in audit.violations] == ["deleted_before_result"]
    assert other in audit.violations[0].text


def broken() -> Iterator[tuple[str, Story]]:
    yield "deleted_before_result", Story().receive().delete()
    yield "deleted_before_result", Story().receive().put(MASTER, "hello").delete().succeed()
    yield "deleted_before_result", Story().receive().put(MASTER, "hello").succeed(status=503).delete()
    yield "deleted_before_dead_letter", Story().receive().put(RESULT, failed()).delete()
    late = Story().receive().send("jobs", BODY, {"sqscribe_origin": "m", "sqscribe_generation": "1"})
    yield "deleted_before_result", late.receive("copy").delete("copy")
    yield "unknown_message", Story().delete("somebody's")
    yield "unknown_message", Story().send("jobs", BODY, {})
    yield "incomplete", Story().succeed()
    yield "incomplete", Story().put(MASTER, "another").succeed()
    yield "incomplete", Story().put(RESULT, json.dumps({"status": "succeeded", "artifacts": []}))
    yield "unconditional", Story().put(MASTER, "hello").succeed(condition=None)
    yield "unconditional", Story().put(MASTER, "hello", condition=None)
    done = Story().put(MASTER, "hello").succeed
    yield "final_changed", done().put(RESULT, failed())
    yield "final_changed", Story().put(MASTER, "hello").succeed().put(MASTER, "another")
    yield "final_changed", Story().put(MASTER, "hello").succeed().add("DeleteObject", MASTER)
    yield "final_changed", Story().put(MASTER, "hello").succeed().add("DeleteObject", RESULT)
    refused = Story().receive().receive(caller="w-2").change(code="ReceiptHandleIsInvalid")
    yield "write_without_lease", refused.put(MASTER, "hello", began=50.0, ended=51.0)
    lapsed = Story().receive().change(code="MessageNotInflight")
    yield "write_without_lease", lapsed.put(MASTER, "hello", began=50.0, ended=51.0)


@pytest.mark.parametrize(("rule", "story"), list(broken()))
def test_a_broken_rule_is_found(rule: str, story: Story) -> None:
    assert rule in story.rules()


def test_what_had_no_effect_breaks_no_rule() -> None:
    story = Story().receive().delete(stale=True).delete(status=None).put(RESULT, succeeded("x"), status=412)

    audit = story.audit()

    assert audit.violations == []
    assert audit.stale_deletes == 1


def test_one_who_received_the_message_again_may_write() -> None:
    story = Story().receive().change(code="MessageNotInflight").receive()

    assert story.put(MASTER, "hello", began=50.0, ended=51.0).rules() == []


def test_one_whose_older_receipt_is_refused_may_write() -> None:
    story = Story().receive().receive().change(code="ReceiptHandleIsInvalid")

    assert story.put(MASTER, "hello", began=50.0, ended=51.0).rules() == []


def test_two_results_with_different_texts_are_counted() -> None:
    story = Story().put(MASTER, "hello").succeed().put(MASTER, "bye").succeed("bye")

    assert len(story.audit().masters[JOB]) == 2


@pytest.mark.parametrize(
    ("story", "held"),
    [
        (Story().receive(), True),
        (Story().receive().change(seconds=0), False),
        (Story().receive(answered=False, fault="reset"), False),
        (Story().receive().receive(caller="w-2"), False),
        (Story().receive().put(MASTER, "hello").succeed().delete(), False),
    ],
)
def test_a_worker_that_ends_holds_nothing(story: Story, held: bool) -> None:
    rules = story.rules(ends={"w-1": 4.0})

    assert rules == (["held_after_end"] if held else [])


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    # Given two calls that were written
    with AccessLog(tmp_path / "log") as log:
        log.write(
            began=1.0, ended=2.0, caller="w", operation="GetObject", resource="a/b", fault="reset", answered=False
        )
        log.write(
            began=1.0,
            ended=3.0,
            caller="w",
            operation="DeleteMessageBatch",
            resource="q",
            status=200,
            entries=(Entry("m", stale=True), Entry(None, "ReceiptHandleIsInvalid")),
        )
    # When the log is read
    first, second = read_log(tmp_path / "log")
    # Then nothing is missing
    assert (first.number, first.fault, first.answered, first.done) == (1, "reset", False, False)
    assert (second.number, second.done) == (2, True)
    assert second.entries == (Entry("m", stale=True), Entry(None, "ReceiptHandleIsInvalid"))


def test_a_call_that_is_being_written_is_not_read_yet(tmp_path: Path) -> None:
    # Given a call that was written, and the beginning of another
    path = tmp_path / "log"
    with AccessLog(path) as log:
        log.write(began=1.0, ended=2.0, caller="w", operation="GetObject", resource="a/b")
    with path.open("a") as file:
        file.write('{"number": 2, "beg')
    # Then the first one is read
    assert [access.number for access in read_log(path)] == [1]
