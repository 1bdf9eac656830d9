# SPDX-License-Identifier: Apache-2.0
"""Publishing survives a crash between any two calls, races of any order, and never takes a success back."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, PermanentError, TransientError
from sqscribe.formats import ARTIFACTS, RenderOptions, master, render
from sqscribe.job import Job, JobRef
from sqscribe.result import Media, ModelFacts, Result, Timings, WorkerFacts
from sqscribe.transcript import JobWarning, Segment, Transcript, Word
from stages.publish import JobFacts, Publisher
from stages.results import ExistingResult
from worker.testing.clock import FakeClock
from worker.testing.store import MemoryStore

JOB = Job(
    source="https://me:pw@example.org/talk.mp3?X-Amz-Signature=s",
    job_id="talk",
    output="s3://results/out",
    formats=("json", "srt", "verbose_json"),
    metadata={"row": 7},
)
BASE = "s3://results/out/talk"
RESULT = f"{BASE}/result.json"
MODEL = ModelFacts("demo", "r1", "int8")
WRITES = {"put", "put_if_absent", "replace", "delete"}


def said(text: str, *, words: bool = True) -> Transcript:
    spoken = (Word(f" {text}", 0.5, 1.5, 0.9),) if words else None
    return Transcript(text, "en", 0.9, 2.5, (Segment(0, 0.5, 1.5, f" {text}", -0.1, 1.0, 0.0, 0.0, spoken),))


def facts(origin: str = "m-1", attempts: int = 1) -> JobFacts:
    return JobFacts(
        origin=origin,
        attempts=attempts,
        duration=2.5,
        speech_duration=1.0,
        model=MODEL,
        timings=Timings(fetch=0.25, inference=3.0),
        media=Media(title="Talk"),
    )


def no_fence() -> None:
    """The lease is held."""


def publisher(store: Any) -> Publisher:
    return Publisher(store, FakeClock(), WorkerFacts("0.1.0", "node-1"))


def result_in(store: MemoryStore) -> Result:
    return Result.from_json(store.objects[RESULT])


def assert_consistent(store: MemoryStore, formats: tuple[str, ...] = JOB.formats) -> Result:
    """All that the result names stands, byte for byte, and is rendered from the master that stands."""
    result = result_in(store)
    assert result.succeeded
    transcript = master.load(store.objects[f"{BASE}/transcript.json"])
    assert [artifact.format for artifact in result.artifacts] == list(formats)
    for artifact in result.artifacts:
        body = store.objects[f"s3://results/{artifact.key}"]
        assert body == render(artifact.format, transcript, RenderOptions())
        assert (artifact.bytes, artifact.sha256) == (len(body), hashlib.sha256(body).hexdigest())
        assert artifact.key == f"out/talk/{ARTIFACTS[artifact.format].name}"
    return result


class Tampered:
    """A store that lets a test act before each call, and lose its answer after."""

    def __init__(self, store: MemoryStore, before: Callable[[int], None], after: Callable[[int], None]) -> None:
        self._store = store
        self._numbers = count()
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._store, name)

        def tampered(*arguments: Any) -> Any:
            number = next(self._numbers)
            self._before(number)
            answer = call(*arguments)
            self._after(number)
            return answer

        return tampered


def crash_at(number: int) -> Callable[[int], None]:
    def crash(call: int) -> None:
        if call == number:
            raise NodeFaultError("the node died here")

    return crash


def nothing(_call: int) -> None:
    """Lets the call be."""


# -- the plain way -------------------------------------------------------------------------------------------------


def test_a_plain_job_takes_three_calls_and_the_result_comes_last() -> None:
    store = MemoryStore()
    job = replace(JOB, formats=("json",))

    assert publisher(store).existing(job) == ExistingResult()
    publisher(store).succeed(job, said("hello"), facts(), no_fence)

    assert [(call.operation, call.url) for call in store.calls] == [
        ("get", RESULT),
        ("put_if_absent", f"{BASE}/transcript.json"),
        ("put_if_absent", RESULT),
    ]
    assert_consistent(store, ("json",))


def test_the_result_tells_what_was_done() -> None:
    store, clock = MemoryStore(), FakeClock(epoch=1_750_000_000.25)
    slow = Tampered(store, lambda _call: clock.advance(0.5), nothing)

    returned = Publisher(slow, clock, WorkerFacts("0.1.0", "node-1")).succeed(JOB, said("hello"), facts(), no_fence)

    assert returned == result_in(store)
    record = json.loads(store.objects[RESULT])
    assert {name: record[name] for name in record if name != "artifacts"} == {
        "version": 1,
        "job_id": "talk",
        "status": "succeeded",
        "source": "https://example.org/talk.mp3",
        "output": "s3://results/out",
        "language": "en",
        "duration": 2.5,
        "speech_duration": 1.0,
        "model": {"name": "demo", "revision": "r1", "compute_type": "int8"},
        "attempts": 1,
        "origin": "m-1",
        "timings": {
            "fetch": 0.25,
            "decode": None,
            "segment": None,
            "wait": None,
            "inference": 3.0,
            "publish": 1.5,
        },
        "worker": {"version": "0.1.0", "node": "node-1"},
        "finished_at": "2025-06-15T15:06:41.750Z",
        "metadata": {"row": 7},
        "media": {
            "title": "Talk",
            "uploader": None,
            "upload_date": None,
            "duration": None,
            "chapters": [],
            "webpage_url": None,
        },
        "warnings": [],
        "error": None,
    }
    assert store.content_types[f"{BASE}/transcript.srt"] == ARTIFACTS["srt"].content_type
    assert store.content_types[RESULT] == "application/json"


def test_the_result_warns_of_the_source_and_of_the_transcript() -> None:
    # Given a source with a second track, and a transcript that leaves something out
    track = JobWarning("track_unused", "a second track was not transcribed")
    hole = JobWarning("speech_missing", "no words: 4.0-7.5 s")
    store = MemoryStore()

    # When the job succeeds
    publisher(store).succeed(
        JOB, replace(said("hello"), warnings=(hole,)), replace(facts(), warnings=(track,)), no_fence
    )

    # Then the result tells both, and the master its own
    assert result_in(store).warnings == (track, hole)
    assert master.load(store.objects[f"{BASE}/transcript.json"]).warnings == (hole,)


def test_the_warnings_are_those_of_the_master_that_stands() -> None:
    # Given a master with a warning, whose worker died before it wrote a result
    hole = JobWarning("speech_missing", "no words: 4.0-7.5 s")
    store = MemoryStore()
    publisher(store).succeed(JOB, replace(said("hello"), warnings=(hole,)), facts(), no_fence)
    del store.objects[RESULT]

    # When another worker comes with a text of its own that lacks nothing
    publisher(store).succeed(JOB, said("hello there"), facts(), no_fence)

    # Then the result warns of what stands
    assert assert_consistent(store).warnings == (hole,)


def test_the_fence_stands_before_every_write_and_stops_it() -> None:
    for allowed in range(4):  # master, srt, verbose_json, result
        store, passed = MemoryStore(), count()

        def fence(passed: Iterator[int] = passed, allowed: int = allowed) -> None:
            if next(passed) >= allowed:
                raise Cancelled(CancelReason.LEASE_LOST)

        with pytest.raises(Cancelled):
            publisher(store).succeed(JOB, said("hello"), facts(), fence)
        assert len(store.writes) == allowed
        assert RESULT not in store.objects


# -- crashes -------------------------------------------------------------------------------------------------------


def test_a_second_publisher_finishes_what_a_crash_left_at_any_call() -> None:
    for applied in (False, True):
        for number in range(5):
            store = MemoryStore()
            crash = crash_at(number)
            dying = Tampered(store, nothing if applied else crash, crash if applied else nothing)
            first = said("first")
            crashed = True
            try:
                publisher(dying).succeed(JOB, first, facts(), no_fence)
                crashed = False
            except NodeFaultError:
                pass
            assert crashed == (number < 4)  # four calls: master, srt, verbose_json, result

            publisher(store).succeed(JOB, said("second"), facts(attempts=2), no_fence)

            assert_consistent(store)
            began = number > 0 or applied
            assert master.load(store.objects[f"{BASE}/transcript.json"]).text == ("first" if began else "second")


def test_a_crash_at_any_call_of_a_forced_job_is_made_good_by_its_next_attempt() -> None:
    for applied in (False, True):
        for number in range(7):
            store = MemoryStore()
            publisher(store).succeed(JOB, said("old"), facts("m-0"), no_fence)
            crash = crash_at(number)
            dying = Tampered(store, nothing if applied else crash, crash if applied else nothing)
            forced = replace(JOB, force=True)
            crashed = True
            try:
                publisher(dying).succeed(forced, said("new"), facts(), no_fence)
                crashed = False
            except NodeFaultError:
                pass
            assert crashed == (number < 6)  # look, list, master, srt, verbose_json, result

            publisher(store).succeed(forced, said("newer"), facts(attempts=2), no_fence)

            result = assert_consistent(store)
            assert result.origin == "m-1"
            done = not crashed or (number == 5 and applied)
            assert master.load(store.objects[f"{BASE}/transcript.json"]).text == ("new" if done else "newer")


# -- races ---------------------------------------------------------------------------------------------------------


def test_a_publisher_that_comes_in_between_any_two_calls_changes_nothing_that_stands() -> None:
    for number in range(4):
        store = MemoryStore()

        def intrude(call: int, store: MemoryStore = store, number: int = number) -> None:
            if call == number:
                publisher(store).succeed(JOB, said("other"), facts("m-2"), no_fence)

        mine = publisher(Tampered(store, intrude, nothing)).succeed(JOB, said("mine"), facts("m-1"), no_fence)

        result = assert_consistent(store)
        assert mine == result
        assert result.origin == "m-2"
        assert master.load(store.objects[f"{BASE}/transcript.json"]).text == ("other" if number == 0 else "mine")


class Turns:
    """Lets two threads make their store calls in a given order."""

    def __init__(self, order: list[bool]) -> None:
        self._condition = threading.Condition()  # guards all below
        self._order = list(order)
        self._gone: set[bool] = set()

    def wait(self, who: bool) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: self._turn() in (who, None), timeout=30)
            if self._order and self._turn() is who:
                self._order.pop(0)
            self._condition.notify_all()

    def leave(self, who: bool) -> None:
        with self._condition:
            self._gone.add(who)
            self._condition.notify_all()

    def _turn(self) -> bool | None:
        while self._order and self._order[0] in self._gone:
            self._order.pop(0)
        return self._order[0] if self._order else None


@given(st.lists(st.booleans(), max_size=16), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_two_publishers_in_any_order_end_in_one_consistent_result(
    order: list[bool], stands: bool, first_forces: bool, second_forces: bool
) -> None:
    store, turns = MemoryStore(), Turns(order)
    if stands:
        publisher(store).succeed(JOB, said("before"), facts("m-0"), no_fence)

    def run(*, who: bool, force: bool) -> Result:
        gated = Tampered(store, lambda _call: turns.wait(who), nothing)
        try:
            return publisher(gated).succeed(replace(JOB, force=force), said(f"from {who}"), facts(f"m-{who}"), no_fence)
        finally:
            turns.leave(who)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(run, who=False, force=first_forces), pool.submit(run, who=True, force=second_forces)
        results = [first.result(timeout=60), second.result(timeout=60)]

    final = assert_consistent(store)
    assert final in results or stands
    if stands and (first_forces or second_forces):
        assert master.load(store.objects[f"{BASE}/transcript.json"]).text != "before"


# -- failures ------------------------------------------------------------------------------------------------------

NOT_FOUND = PermanentError(ErrorCode.SOURCE_NOT_FOUND, "it is gone")


def test_a_failure_is_recorded_with_one_call() -> None:
    store = MemoryStore()

    result = publisher(store).fail(JOB.ref, NOT_FOUND, JobFacts(origin="m-1", attempts=3), no_fence)

    assert [call.operation for call in store.calls] == ["put_if_absent"]
    assert result == result_in(store)
    record = json.loads(store.objects[RESULT])
    assert record["status"] == "failed"
    assert record["error"] == {"code": "source_not_found", "message": "it is gone"}
    assert (record["attempts"], record["origin"], record["artifacts"], record["model"]) == (3, "m-1", [], None)
    assert (record["source"], record["metadata"]) == ("https://example.org/talk.mp3", {"row": 7})


def test_a_message_that_is_no_job_is_recorded_too() -> None:
    store = MemoryStore()
    error = PermanentError(ErrorCode.BAD_MESSAGE, "source: is required")

    publisher(store).fail(JobRef("message-m-1", "s3://results/out"), error, facts(), no_fence)

    record = json.loads(store.objects["s3://results/out/message-m-1/result.json"])
    assert (record["job_id"], record["source"], record["metadata"]) == ("message-m-1", None, None)


def test_a_failure_recorded_again_for_the_same_message_is_left_as_it_is() -> None:
    store = MemoryStore()
    publisher(store).fail(JOB.ref, NOT_FOUND, facts(attempts=1), no_fence)
    before = store.objects

    result = publisher(store).fail(JOB.ref, NOT_FOUND, facts(attempts=2), no_fence)

    assert store.objects == before
    assert result.attempts == 1


def test_a_later_failure_replaces_an_earlier_one() -> None:
    store = MemoryStore()
    publisher(store).fail(JOB.ref, NOT_FOUND, facts("m-1"), no_fence)
    gone = TransientError(ErrorCode.SOURCE_UNREACHABLE, "no answer")

    publisher(store).fail(JOB.ref, gone, facts("m-2"), no_fence)

    existing = publisher(store).existing(JOB)
    assert (existing.failed, existing.succeeded, existing.origin) == (True, False, "m-2")
    assert (existing.error.code, existing.error.message) == (ErrorCode.SOURCE_UNREACHABLE, "no answer")


def test_a_success_replaces_a_failure() -> None:
    store = MemoryStore()
    publisher(store).fail(JOB.ref, NOT_FOUND, facts("m-1"), no_fence)

    publisher(store).succeed(JOB, said("hello"), facts("m-2"), no_fence)

    assert assert_consistent(store).origin == "m-2"


def test_a_failure_never_replaces_a_success() -> None:
    store = MemoryStore()
    publisher(store).succeed(JOB, said("hello"), facts("m-1"), no_fence)
    before = store.objects

    for job in (JOB, replace(JOB, force=True)):
        assert publisher(store).fail(job.ref, NOT_FOUND, facts("m-2"), no_fence).succeeded

    assert store.objects == before


def test_a_success_that_lands_while_a_failure_is_recorded_stands() -> None:
    for number in range(3):
        store = MemoryStore()
        publisher(store).fail(JOB.ref, NOT_FOUND, facts("m-0"), no_fence)

        def intrude(call: int, store: MemoryStore = store, number: int = number) -> None:
            if call == number:
                publisher(store).succeed(JOB, said("hello"), facts("m-2"), no_fence)

        failing = publisher(Tampered(store, intrude, nothing))
        assert failing.fail(JOB.ref, NOT_FOUND, facts("m-1"), no_fence).succeeded

        assert_consistent(store)


@pytest.mark.parametrize("body", [b"not ours", b'{"version": 2, "status": "succeeded"}'])
def test_something_else_in_the_results_place_is_not_touched_but_by_force(body: bytes) -> None:
    store = MemoryStore({RESULT: body})
    tries: list[Callable[[], object]] = [
        lambda: publisher(store).existing(JOB),
        lambda: publisher(store).fail(JOB.ref, NOT_FOUND, facts(), no_fence),
        lambda: publisher(store).succeed(JOB, said("hello"), facts(), no_fence),
    ]
    for attempt in tries:
        with pytest.raises(PermanentError, match=r"output_forbidden.*is no result"):
            attempt()
    assert store.objects[RESULT] == body

    forced = replace(JOB, force=True)
    existing = publisher(store).existing(forced)
    assert (existing.succeeded, existing.failed, existing.origin) == (False, False, None)
    with pytest.raises(ValueError, match="the job has not failed"):
        _ = existing.error
    publisher(store).succeed(forced, said("hello"), facts(), no_fence)
    assert_consistent(store)


def test_a_result_that_never_stops_changing_is_the_stores_fault() -> None:
    store = MemoryStore()
    numbers = count()

    def change(_call: int) -> None:
        publisher_error = PermanentError(ErrorCode.BAD_MESSAGE, f"change {next(numbers)}")
        publisher(store).fail(JOB.ref, publisher_error, facts("m-2"), no_fence)

    with pytest.raises(NodeFaultError, match="keeps changing"):
        publisher(Tampered(store, change, nothing)).fail(JOB.ref, NOT_FOUND, facts("m-1"), no_fence)


# -- formats asked for later ---------------------------------------------------------------------------------------


def test_formats_asked_for_later_are_rendered_from_the_master_that_stands() -> None:
    store = MemoryStore()
    result = publisher(store).succeed(JOB, said("hello"), facts(), no_fence)
    before = store.objects
    more = replace(JOB, formats=("json", "txt", "srt", "vtt"), word_timestamps=True)

    assert publisher(store).complete(more, result, no_fence) == result

    added = {url: body for url, body in store.objects.items() if url not in before}
    assert added == {
        f"{BASE}/transcript.txt": b"hello\n",
        f"{BASE}/transcript.vtt": render("vtt", said("hello"), RenderOptions(word_timestamps=True)),
    }
    assert {url: store.objects[url] for url in before} == before


def test_a_job_that_lacks_nothing_is_complete_without_a_call() -> None:
    store = MemoryStore()
    result = publisher(store).succeed(JOB, said("hello"), facts(), no_fence)
    calls = len(store.calls)

    publisher(store).complete(replace(JOB, formats=("json", "srt")), result, no_fence)

    assert len(store.calls) == calls


def test_completing_twice_looks_and_writes_nothing() -> None:
    store = MemoryStore()
    result = publisher(store).succeed(JOB, said("hello"), facts(), no_fence)
    more = replace(JOB, formats=("json", "txt"))
    publisher(store).complete(more, result, no_fence)
    writes = len(store.writes)

    publisher(store).complete(more, result, no_fence)

    assert len(store.writes) == writes


def test_completing_is_fenced() -> None:
    store = MemoryStore()
    result = publisher(store).succeed(JOB, said("hello"), facts(), no_fence)

    def fence() -> None:
        raise Cancelled(CancelReason.LEASE_LOST)

    with pytest.raises(Cancelled):
        publisher(store).complete(replace(JOB, formats=("json", "txt")), result, fence)
    assert f"{BASE}/transcript.txt" not in store.objects


def test_a_master_that_is_gone_cannot_be_completed() -> None:
    store = MemoryStore()
    result = publisher(store).succeed(JOB, said("hello"), facts(), no_fence)
    store.delete(f"{BASE}/transcript.json")

    with pytest.raises(PermanentError, match=r"output_forbidden.*send the job with force"):
        publisher(store).complete(replace(JOB, formats=("json", "txt")), result, no_fence)


@pytest.mark.parametrize("body", [b"not json", b"{}"])
def test_something_else_in_the_masters_place_is_not_touched_but_by_force(body: bytes) -> None:
    store = MemoryStore({f"{BASE}/transcript.json": body})

    with pytest.raises(PermanentError, match=r"output_forbidden.*is no transcript"):
        publisher(store).succeed(JOB, said("hello"), facts(), no_fence)
    assert store.objects == {f"{BASE}/transcript.json": body}

    publisher(store).succeed(replace(JOB, force=True), said("hello"), facts(), no_fence)
    assert_consistent(store)


def test_an_adopted_master_is_described_as_it_stands() -> None:
    # A later version's master has a key that this one does not know, so its own rendering would differ.
    later = json.dumps(json.loads(master.dump(said("later"))) | {"new": 1}).encode()
    store = MemoryStore({f"{BASE}/transcript.json": later})

    result = publisher(store).succeed(JOB, said("mine"), facts(), no_fence)

    assert (result.artifacts[0].bytes, result.artifacts[0].sha256) == (len(later), hashlib.sha256(later).hexdigest())
    assert store.objects[f"{BASE}/transcript.json"] == later
    assert b"later" in store.objects[f"{BASE}/transcript.srt"]


def test_words_cannot_be_made_from_a_master_without_them() -> None:
    store = MemoryStore({f"{BASE}/transcript.json": master.dump(said("old", words=False))})
    wanting = replace(JOB, word_timestamps=True)

    with pytest.raises(PermanentError, match="unsupported_option: word_timestamps"):
        publisher(store).succeed(wanting, said("new"), facts(), no_fence)
    assert list(store.objects) == [f"{BASE}/transcript.json"]


def test_silence_has_all_the_words_there_are() -> None:
    store = MemoryStore()
    silence = Transcript("", None, None, 2.5, ())

    result = publisher(store).succeed(replace(JOB, word_timestamps=True), silence, facts(), no_fence)

    assert (result.succeeded, result.language) == (True, None)


# -- force ---------------------------------------------------------------------------------------------------------


def test_force_replaces_all_that_stands_once_per_message() -> None:
    store = MemoryStore()
    publisher(store).succeed(JOB, said("old"), facts("m-0"), no_fence)
    forced = replace(JOB, force=True)

    publisher(store).succeed(forced, said("new"), facts("m-1"), no_fence)
    assert master.load(store.objects[f"{BASE}/transcript.json"]).text == "new"
    assert assert_consistent(store).origin == "m-1"

    publisher(store).succeed(forced, said("again"), facts("m-1", attempts=2), no_fence)
    assert master.load(store.objects[f"{BASE}/transcript.json"]).text == "new"
    assert assert_consistent(store).attempts == 1


def test_force_also_does_a_job_for_the_first_time() -> None:
    store = MemoryStore()

    publisher(store).succeed(replace(JOB, force=True), said("new"), facts(), no_fence)

    assert_consistent(store)


def test_force_leaves_no_format_of_the_old_master_behind() -> None:
    store = MemoryStore()
    result = publisher(store).succeed(JOB, said("old"), facts("m-0"), no_fence)
    publisher(store).complete(replace(JOB, formats=("json", "txt")), result, no_fence)

    publisher(store).succeed(replace(JOB, formats=("json",), force=True), said("new"), facts("m-1"), no_fence)

    assert_consistent(store, ("json", "verbose_json", "srt", "txt"))
    assert not any(b"old" in body for body in store.objects.values())
