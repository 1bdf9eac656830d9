# SPDX-License-Identifier: Apache-2.0
"""Sending jobs: what the queue fails is tried again, what it refuses is told, nothing is lost in silence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.job import JobDefaults, derived_job_id
from sqscribe.job_message import parse_job
from sqscribe.sender import SendError, Sent, send_jobs

QUEUE = "https://sqs.example.org/1/jobs"


class ScriptedQueue:
    """Answers `send_message_batch`; the script says what becomes of an entry, by source and try."""

    def __init__(self, script: dict[str, list[str]] | None = None) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self._script = script or {}
        self._tries: Counter[str] = Counter()

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's
        assert QueueUrl.startswith(QUEUE)
        self.calls.append(Entries)
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in Entries:
            source = json.loads(entry["MessageBody"])["source"]
            dispositions = self._script.get(source, [])
            disposition = dispositions[min(self._tries[source], len(dispositions) - 1)] if dispositions else "taken"
            self._tries[source] += 1
            if disposition == "taken":
                answer["Successful"].append({"Id": entry["Id"], "MessageId": f"m {source}"})
            elif disposition != "forgotten":
                answer["Failed"].append(
                    {"Id": entry["Id"], "SenderFault": disposition == "refused", "Code": "X", "Message": disposition}
                )
        return answer


def url(number: int) -> str:
    return f"https://example.org/{number}.mp3"


def send(queue: ScriptedQueue, messages: Any, **options: Any) -> list[Sent]:
    return list(send_jobs(queue, QUEUE, messages, retry_seconds=0.0, **options))  # type: ignore[arg-type]


def test_jobs_go_in_tens_and_in_order() -> None:
    queue = ScriptedQueue()

    sent = send(queue, ({"source": url(number)} for number in range(23)))

    assert [len(call) for call in queue.calls] == [10, 10, 3]
    assert sent == [Sent(derived_job_id(url(number)), f"m {url(number)}") for number in range(23)]
    assert all(len({entry["Id"] for entry in call}) == len(call) for call in queue.calls)


def test_any_number_of_jobs_may_come_and_only_ten_are_taken_ahead() -> None:
    taken = []

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            taken.append(number)
            yield {"source": url(number)}
            number += 1

    sending = send_jobs(ScriptedQueue(), QUEUE, endless())  # type: ignore[arg-type]
    next(sending)

    assert len(taken) == 11


def test_a_worker_with_other_settings_finds_the_same_id() -> None:
    queue = ScriptedQueue()

    [sent] = send(queue, [{"source": url(1), "beam_size": 5, "initial_prompt": "naïve"}])

    body = queue.calls[0][0]["MessageBody"]
    assert body.isascii()
    assert parse_job(json.loads(body), JobDefaults("s3://results/out", beam_size=9)).job_id == sent.job_id
    assert "output" not in json.loads(body)  # the worker's default applies


def test_large_messages_travel_in_smaller_batches() -> None:
    queue = ScriptedQueue()

    send(queue, ({"source": url(number), "initial_prompt": "ü" * 20_000} for number in range(5)))

    assert [len(call) for call in queue.calls] == [2, 2, 1]
    assert max(sum(len(entry["MessageBody"]) for entry in call) for call in queue.calls) <= 256 * 1024


def test_what_the_queue_failed_on_its_own_account_is_sent_again() -> None:
    queue = ScriptedQueue({url(1): ["throttled", "forgotten", "taken"]})

    sent = send(queue, [{"source": url(number)} for number in range(3)])

    assert [len(call) for call in queue.calls] == [3, 1, 1]
    assert [job.message_id for job in sent] == [f"m {url(0)}", f"m {url(2)}", f"m {url(1)}"]


@pytest.mark.parametrize(("disposition", "calls"), [("refused", 1), ("throttled", 5), ("forgotten", 5)])
def test_what_is_not_taken_in_the_end_is_told_with_what_was(disposition: str, calls: int) -> None:
    queue = ScriptedQueue({url(1): [disposition]})

    with pytest.raises(SendError, match=derived_job_id(url(1))) as caught:
        send(queue, [{"source": url(number)} for number in range(3)])

    assert len(queue.calls) == calls
    assert list(caught.value.refused) == [derived_job_id(url(1))]
    assert [job.job_id for job in caught.value.sent] == [derived_job_id(url(0)), derived_job_id(url(2))]


def test_a_bad_message_is_named_by_its_place_before_its_batch_is_sent() -> None:
    queue = ScriptedQueue()
    messages = [{"source": url(0)}] * 11 + [{"source": url(1), "beam_size": 0}]

    with pytest.raises(PermanentError, match="bad_message: message 11: beam_size"):
        send(queue, messages)

    assert [len(call) for call in queue.calls] == [10]


def test_a_message_that_sqs_would_not_take_is_not_sent() -> None:
    with pytest.raises(PermanentError) as caught:
        send(ScriptedQueue(), [{"source": url(0), "formats": ["json"] * 200_000}])

    assert caught.value.code is ErrorCode.BAD_MESSAGE
    assert "SQS takes" in caught.value.message


def test_on_a_fifo_queue_each_job_is_a_group_and_the_same_message_is_one() -> None:
    queue = ScriptedQueue()
    message = {"source": url(1)}

    list(send_jobs(queue, f"{QUEUE}.fifo", [message, message, message | {"force": True}]))  # type: ignore[arg-type]

    first, second, forced = queue.calls[0]
    assert first["MessageGroupId"] == derived_job_id(url(1))
    assert first["MessageDeduplicationId"] == second["MessageDeduplicationId"] != forced["MessageDeduplicationId"]


def test_a_group_may_be_named_on_any_queue() -> None:
    standard, fifo, plain = ScriptedQueue(), ScriptedQueue(), ScriptedQueue()
    send(standard, [{"source": url(1)}], group_id="tenant")
    list(send_jobs(fifo, f"{QUEUE}.fifo", [{"source": url(1)}], group_id="tenant"))  # type: ignore[arg-type]
    send(plain, [{"source": url(1)}])

    assert standard.calls[0][0]["MessageGroupId"] == fifo.calls[0][0]["MessageGroupId"] == "tenant"
    assert "MessageDeduplicationId" not in standard.calls[0][0]
    assert "MessageGroupId" not in plain.calls[0][0]
