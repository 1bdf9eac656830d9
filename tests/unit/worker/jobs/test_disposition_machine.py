# SPDX-License-Identifier: Apache-2.0
"""What becomes of messages and their jobs, whatever happens to the workers that have them.

Two workers at a time live, die and stop around one queue and one store, in fake time and on the test's thread. All of
a worker is real but the ends: queue, store and engine are the fakes, and media are made of their names.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, assert_never

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, TransientError
from sqscribe.job import JobDefaults
from sqscribe.tuning import Tuning
from stages.fetch import FetchRequest
from stages.inference.protocol import EngineEvent
from stages.ports import Cancellation, ScratchReserve
from stages.values import Audio, Piece, Source, Window, Windows
from worker.build import build_worker
from worker.connect import Connections
from worker.jobs.checkpoint import CheckpointListing
from worker.leases import LeaseState
from worker.queues import BatchResult, Message, Outgoing, QueueFacts
from worker.receive.lineage import Lineage
from worker.receive.messages import MessageParser
from worker.settings import Settings
from worker.testing.clock import PassingClock
from worker.testing.decoder import digest_text
from worker.testing.engine import FakeEngine
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore

T = TypeVar("T")

OUTPUT = "s3://bucket/out"
VISIBILITY = 30
MAX_RECEIVES = 3
MOST_MESSAGES = 6
WINDOWS = 4
SAMPLES = 160
GRACE = 5.0
#: The states of a lease in which its message is surely its worker's.
CONFIRMED = {LeaseState.HELD, LeaseState.ENDING}

SETTINGS = Settings(
    _env_file=None,
    output=OUTPUT,
    http_port=0,
    visibility_timeout=VISIBILITY,
    checkpoint_seconds=1.0,
    shutdown_grace=GRACE,
    downloaders=1,
    scratch_bytes=1 << 24,
)
PARSER = MessageParser(JobDefaults(OUTPUT, ("json",)))


# -- the model: what a job is to come to -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a job may come to.

    Attributes:
        code: Of its failure; None: it never fails.
        source: Of its transcript; None: it never succeeds.
    """

    code: str | None
    source: str | None


KINDS = {
    "good": Expected(None, "good"),
    "missing": Expected("source_not_found", None),
    "corrupt": Expected("media_unreadable", None),
    "flaky": Expected("source_unreachable", "flaky"),
}


@cache
def expected(body: str, message_id: str) -> Mapping[str, Expected]:
    """What the jobs of a message may come to, by job id."""
    parsed = PARSER.parse(body, message_id)
    jobs = {}
    for job in parsed.jobs:
        kind = KINDS[job.source.rsplit("/", 1)[1].split("-")[0]]
        jobs[job.job_id] = Expected(kind.code, kind.source and job.source)
    return jobs | {each.job_id: Expected(str(each.error.code), None) for each in parsed.rejected}


def media_of(source: str) -> bytes:
    return random.Random(source).randbytes(2 * SAMPLES * WINDOWS)


def windows_of(count: int) -> tuple[Window, ...]:
    return tuple(Window(index, (Piece(0, index * SAMPLES, SAMPLES),), SAMPLES, SAMPLES) for index in range(count))


# -- the ends of a worker --------------------------------------------------------------------------------------------


class Sources:
    """In the place of fetcher, decoder and segmenter, which would start programs."""

    def __init__(self) -> None:
        self.reachable = True

    def fetch(self, request: FetchRequest, folder: Path, reserve: ScratchReserve, cancellation: Cancellation) -> Source:
        cancellation.check()
        if "missing" in request.source:
            raise PermanentError(ErrorCode.SOURCE_NOT_FOUND, "there is no such source")
        if "flaky" in request.source and not self.reachable:
            raise TransientError(ErrorCode.SOURCE_UNREACHABLE, "it does not answer")
        media, path = media_of(request.source), folder / Path(request.source).name
        path.write_bytes(media)
        return Source(path, len(media), sha256(media).hexdigest())

    def decode(
        self, source: Source, folder: Path, reserve: ScratchReserve, cancellation: Cancellation, **_: object
    ) -> Audio:
        cancellation.check()
        if "corrupt" in source.path.name:
            raise PermanentError(ErrorCode.MEDIA_UNREADABLE, "this is no media")
        path = folder / "audio.pcm"
        path.write_bytes(source.path.read_bytes())
        return Audio(path, WINDOWS * SAMPLES, 0.0, source.sha256)

    def close(self) -> None:
        """There is nothing to close."""

    def cutter(self, vad: bool, tuning: Tuning | None = None) -> str:
        return "machine"

    def segment(self, audio: Audio, vad: bool, cancellation: Cancellation, tuning: Tuning | None = None) -> Windows:
        return Windows(audio, windows_of(WINDOWS), audio.seconds, self.cutter(vad))


class StepEngine(FakeEngine):
    """Tells its listener one thing at a time, on the test's thread."""

    def start(self, listener: Callable[[EngineEvent], None]) -> None:
        self._listener = listener

    def step(self) -> bool:
        """One event or window; False if there is none."""
        if not self._events:
            if not self._windows:
                return False
            self._decode()
        self._listener(self._events.popleft())
        return True


class AuditedQueue(FakeQueue):
    """Tells the machine what becomes of messages at the moment it does."""

    def __init__(self, world: DispositionMachine, **options: Any) -> None:
        super().__init__(world.clock, visibility_timeout=VISIBILITY, **options)
        self._world = world

    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        self._world.was_put(self, self._calls[-1].ids[0], outgoing)

    def _remove(self, message: Message, seconds: int, now: float) -> tuple[str, str] | None:
        stood = message.id in self._messages
        answer = super()._remove(message, seconds, now)
        if stood and message.id not in self._messages:
            self._world.was_deleted(message.id)
        return answer

    def _redrive(self, stored: Any) -> None:
        self._world.was_given_up(stored.id)
        super()._redrive(stored)


# -- a worker --------------------------------------------------------------------------------------------------------


class Mishap(StrEnum):
    """What happens to a call, or to its worker at it."""

    FAILS = "fails"
    ANSWER_LOST = "answer lost"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    STALL = "stall"  # past the lease; the other worker gets on meanwhile


class Crash(BaseException):
    """The worker is killed."""


class Line:
    """One worker's calls on their way out: after so many, one meets a mishap."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.after = math.inf
        self.mishap: Mishap | None = None
        self.quiet = True

    def carry(self, call: Callable[[], T]) -> T:
        self.after -= 1
        if self.after >= 0 or self.mishap is None:
            return call()
        mishap, self.mishap, self.quiet = self.mishap, None, False
        self._worker.world.disturb(self._worker)
        match mishap:
            case Mishap.CRASH_BEFORE:
                raise Crash
            case Mishap.STALL:
                self._worker.world.stall(self._worker)
                return call()
            case Mishap.FAILS:
                raise NodeFaultError("it failed")
            case Mishap.CRASH_AFTER:
                error: BaseException = Crash()
            case Mishap.ANSWER_LOST:
                error = NodeFaultError("its answer was lost")
            case _:
                assert_never(mishap)
        call()
        self._worker.world.disturb(self._worker)
        raise error


class LinedStore:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(url: str, *args: Any, **options: Any) -> Any:
            world = self._worker.world
            if name in {"put", "put_if_absent", "replace"}:
                world.may_write(self._worker, url)
            if world.clock.now() < world.store_is_back_at:
                raise NodeFaultError("the store is away")
            return self._worker.line.carry(lambda: getattr(world.store, name)(url, *args, **options))

        return call


class LinedQueue:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._queue = worker.world.queue

    def facts(self) -> QueueFacts:
        return self._queue.facts()

    def receive(self, limit: int, wait: float) -> list[Message]:
        def call() -> list[Message]:
            messages = self._queue.receive(limit, wait)
            self._worker.world.whole |= {(message.id, message.receive_count): self._worker for message in messages}
            return messages

        return self._worker.line.carry(call)

    def send(self, url: str | None, outgoing: Outgoing) -> None:
        self._worker.line.carry(lambda: self._queue.send(url, outgoing))

    def extend(self, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        return self._batch([message for message, _ in messages], lambda: self._queue.extend(messages))

    def release(self, messages: Sequence[Message], delay: int = 0) -> BatchResult:
        return self._batch(messages, lambda: self._queue.release(messages, delay))

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        return self._batch(messages, lambda: self._queue.delete(messages))

    def _batch(self, messages: Sequence[Message], call: Callable[[], BatchResult]) -> BatchResult:
        try:
            return self._worker.line.carry(call)
        except NodeFaultError as error:
            return BatchResult(failed={message.id: str(error) for message in messages})


class NoThread(threading.Thread):
    """In the place of the deleter's thread, whose work the test does."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def is_alive(self) -> bool:
        return True

    def join(self, timeout: float | None = None) -> None:
        self._work()


class Worker:
    """One life of a worker; what its threads would do are methods.

    Attributes:
        who: 0 or 1.
        acting: Whether the test's thread is at work in it.
        stalled: Whether nothing of it moves, the heartbeat included.
        beating: Whether a request of its heartbeat is under way.
        stopping: Whether engine and uploaders get on while it shuts down.
    """

    def __init__(self, world: DispositionMachine, who: int) -> None:
        self.world = world
        self.who = who
        self.acting = self.stalled = self.beating = self.stopping = False
        self.line = Line(self)
        self.engine = StepEngine(world.clock)
        connections: Any = Connections(
            LinedQueue(self),
            LinedStore(self),
            lambda message: PARSER.parse(message.body, message.id),
        )
        self.daemon = build_worker(world.settings, lambda *_: connections, lambda *_: self.engine)
        self.components = self.daemon._components
        self.pipeline, self.leases = self.components.pipeline, self.components.leases
        self.leases._schedule._rng = random.Random(0)  # hypothesis repeats what it found, to the letter
        self.components.deleter._thread = NoThread(self.components.deleter._run)
        self.engine.start(self.pipeline.on_event)
        self.engine.step()

    def receive(self) -> None:
        """What a downloader does in one round."""
        task = self.components.intake.next(0)
        if task is not None:
            self.pipeline.prepare(task, lambda: None)

    def decode(self) -> None:
        """The engine gets on by a window."""
        decoded = self.pipeline.totals().windows
        while self.pipeline.totals().windows == decoded and self.engine.step():
            pass

    def decode_all(self) -> None:
        while self.engine.step():
            pass

    def look(self) -> None:
        """What the daemon does now and then."""
        self.world.pass_time(1.0)
        self.pipeline.sweep()
        self.pipeline.save()

    def upload(self) -> None:
        self.pipeline.upload_next(0.0, lambda: None)

    def delete(self) -> None:
        """One round of the deleter."""
        deleter: Any = self.components.deleter
        if deleter._pending:
            batches = iter([deleter._gather(), []])
            deleter._gather = lambda: next(batches)
            deleter._run()
            del deleter._gather

    def beat(self) -> None:
        if self.stalled or self.beating:
            return
        self.beating = True
        try:
            self.components.heartbeat._beat()
        finally:
            self.beating = False
        if self.stopping:
            self.stopping = False  # not while it does this
            self.decode()
            self.upload()
            self.stopping = True


ACTS = [Worker.receive, Worker.decode, Worker.decode_all, Worker.look, Worker.upload, Worker.delete]
BEGINNING = [Worker.receive, Worker.decode, Worker.look, Worker.upload, Worker.delete]
ROUND = [Worker.receive, Worker.receive, Worker.decode_all, Worker.look, Worker.upload, Worker.upload, Worker.delete]


# -- the machine -----------------------------------------------------------------------------------------------------


class DispositionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = PassingClock()
        self.clock.meanwhile = self.meanwhile
        self.sources = Sources()
        self.open = ExitStack()
        self.open.enter_context(capture_logs())
        scratch = self.open.enter_context(tempfile.TemporaryDirectory())
        patch = self.open.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("worker.build.SystemClock", lambda: self.clock)
        for stage in ("Fetcher", "AudioDecoder", "Segmenter"):
            patch.setattr(f"worker.build.{stage}", lambda *_, **__: self.sources)
        self.settings = SETTINGS.model_copy(update={"scratch_dir": Path(scratch)})
        self.dead_letters = AuditedQueue(self, url="https://sqs.test/1/dead")
        self.queue = AuditedQueue(self, max_receives=MAX_RECEIVES, dead_letters=self.dead_letters)
        self.store = MemoryStore()
        self.store_is_back_at = -math.inf
        self.workers: dict[int, Worker] = {}
        # The model.
        self.sent: dict[str, Outgoing] = {}  # every message that ever was, by id
        self.jobs: dict[str, Expected] = {}
        self.letters: set[tuple[str, str]] = set()  # message and job of each dead letter
        self.given_up: set[str] = set()  # messages that the queue dead-lettered by itself
        self.whole: dict[tuple[str, int], Worker] = {}  # receives that nothing has disturbed
        self.final: dict[str, bytes] = {}  # succeeded results and what they name

    # -- jobs come -----------------------------------------------------------------------------------------------------

    @initialize(kinds=st.lists(st.sampled_from(["good", "good", "flaky"]), min_size=1, max_size=2))
    def begin(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.a_job_is_sent(kind)

    def send(self, body: str) -> None:
        self.queue._put(Outgoing(body))

    def name(self, kind: str) -> str:
        return f"{kind}-{len(self.sent)}"

    @precondition(lambda self: len(self.sent) < MOST_MESSAGES)
    @rule(kind=st.sampled_from([*KINDS, "nonsense"]))
    def a_job_is_sent(self, kind: str) -> None:
        name = self.name(kind)
        job = {"source": f"https://x.test/{name}", "job_id": name, "formats": ["srt"]}
        self.send("{not JSON" if kind == "nonsense" else json.dumps(job))

    @precondition(lambda self: len(self.sent) < MOST_MESSAGES)
    @rule(data=st.data(), formats=st.sampled_from([["srt"], ["vtt"]]))
    def a_job_is_sent_again(self, data: st.DataObject, formats: list[str]) -> None:
        earlier = sorted(message for message, outgoing in self.sent.items() if '"job_id"' in outgoing.body)
        if earlier:
            body = json.loads(self.sent[data.draw(st.sampled_from(earlier))].body)
            self.send(json.dumps({**body, "formats": formats}))

    @precondition(lambda self: len(self.sent) < MOST_MESSAGES)
    @rule(kinds=st.lists(st.sampled_from([*KINDS, "unreadable"]), min_size=2, max_size=3))
    def an_event_is_sent(self, kinds: list[str]) -> None:
        self.send(json.dumps({"Records": [self.record(kind, place) for place, kind in enumerate(kinds)]}))

    def record(self, kind: str, place: int) -> dict[str, Any]:
        item = {"key": f"{self.name(kind)}-{place}", "size": 1, "eTag": "e"}
        return {
            "eventSource": "aws:sqs" if kind == "unreadable" else "aws:s3",
            "eventVersion": "2.1",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "media"}, "object": item},
        }

    # -- workers -------------------------------------------------------------------------------------------------------

    WHO = st.integers(0, 1)

    def worker(self, who: int) -> Worker:
        if who not in self.workers:
            self.workers[who] = Worker(self, who)
        return self.workers[who]

    def one_of_the_living(self, who: int) -> Worker:
        return self.workers.get(who) or next(iter(self.workers.values()))

    @rule(who=WHO, acts=st.lists(st.sampled_from(ACTS), min_size=1, max_size=8))
    def a_worker_works(self, who: int, acts: list[Callable[[Worker], None]]) -> None:
        self.act(self.worker(who), lambda worker: [act(worker) for act in acts])

    @rule(who=WHO, acts=st.sampled_from([BEGINNING, ROUND]))
    def a_worker_gets_on(self, who: int, acts: list[Callable[[Worker], None]]) -> None:
        self.act(self.worker(who), lambda worker: [act(worker) for act in acts])

    @rule(who=WHO, after=st.integers(0, 11), mishap=st.sampled_from(Mishap), acts=st.sampled_from([BEGINNING, ROUND]))
    def a_worker_meets_a_mishap(
        self, who: int, after: int, mishap: Mishap, acts: list[Callable[[Worker], None]]
    ) -> None:
        worker = self.worker(who)
        worker.line.after, worker.line.mishap = after, mishap
        self.act(worker, lambda worker: [act(worker) for act in acts])

    def act(self, worker: Worker, what: Callable[[Worker], object]) -> None:
        if worker.acting or worker.stalled:
            return
        worker.acting = True
        try:
            what(worker)
        except Crash:
            self.bury(worker)
        finally:
            worker.acting = False

    @precondition(lambda self: self.workers)
    @rule(who=WHO, lapse=st.booleans())
    def a_worker_is_killed(self, who: int, lapse: bool) -> None:
        self.bury(self.one_of_the_living(who))
        self.pass_time((VISIBILITY + 1) * lapse)

    def bury(self, worker: Worker) -> None:
        self.disturb(worker)
        worker.components.scratch.close()
        self.workers = {who: each for who, each in self.workers.items() if each is not worker}

    @precondition(lambda self: self.workers)
    @rule(who=WHO, busy=st.booleans())
    def a_worker_is_told_to_stop(self, who: int, busy: bool) -> None:
        worker, began = self.one_of_the_living(who), self.clock.now()
        held = list(worker.leases._leases.values())
        calm = worker.line.mishap is None and began >= max(self.store_is_back_at, self.queue._outage_until)
        self.disturb(worker)
        worker.stopping = busy
        self.act(worker, lambda worker: worker.daemon._shut_down())
        self.bury(worker)
        if calm:
            assert self.clock.now() - began <= GRACE
            ended = {message for call in self.queue.calls if call.at >= began for message in self._ended(call)}
            assert all(lease.message.id in ended or lease.state is LeaseState.LOST for lease in held)

    @staticmethod
    def _ended(call: Any) -> tuple[str, ...]:
        return tuple(call.ids) if call.operation in {"release", "delete"} else ()

    def stall(self, worker: Worker) -> None:
        """Nothing of the worker moves until its leases have run out, and the other one has had its turn."""
        worker.stalled = True
        self.pass_time(VISIBILITY + 1)
        self.act(self.worker(1 - worker.who), lambda other: [act(other) for act in ROUND * 2])
        worker.stalled = False

    def disturb(self, worker: Worker) -> None:
        self.whole = {receive: owner for receive, owner in self.whole.items() if owner is not worker}

    # -- time and the world --------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.clock.wait(threading.Event(), seconds)

    def meanwhile(self) -> float:
        """What the heartbeats, and those who stop, do while somebody waits."""
        for worker in list(self.workers.values()):
            try:
                worker.beat()
            except Crash:
                if worker.acting:
                    raise
                self.bury(worker)
        beating = [worker for worker in self.workers.values() if not worker.stalled]
        return max(0.1, min((worker.leases.seconds_until_due() for worker in beating), default=math.inf))

    @rule(seconds=st.sampled_from([1.0, VISIBILITY + 1.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([3.0, 60.0]), queue=st.booleans())
    def something_is_away(self, seconds: float, queue: bool) -> None:
        if queue:
            for worker in self.workers.values():
                self.disturb(worker)
            self.queue.outage(seconds)
        else:
            self.store_is_back_at = self.clock.now() + seconds

    @rule()
    def flaky_sources_come_and_go(self) -> None:
        self.sources.reachable = not self.sources.reachable

    # -- what the queue tells ------------------------------------------------------------------------------------------

    def was_put(self, queue: FakeQueue, message_id: str, outgoing: Outgoing) -> None:
        if queue is self.queue:
            self.sent[message_id] = outgoing
            self.jobs.update(expected(outgoing.body, message_id))
        elif "error_code" in outgoing.attributes:
            self.was_dead_lettered(outgoing)

    def was_dead_lettered(self, letter: Outgoing) -> None:
        """A worker only dead-letters a job that fails for good, with its reason and as a message of its own."""
        (origin,) = (
            (message, job)
            for message, outgoing in self.sent.items()
            for job in expected(outgoing.body, message)
            if letter.deduplication_id == sha256(f"{message}/{job}".encode()).hexdigest()
        )
        self.letters.add(origin)
        assert letter.attributes["error_code"] == self.jobs[origin[1]].code
        assert len(expected(letter.body, origin[0])) == 1

    def was_deleted(self, message_id: str) -> None:
        for job in expected(self.sent[message_id].body, message_id):
            assert self.is_settled(message_id, job), f"{message_id} was deleted, and {job} is not done"

    def was_given_up(self, message_id: str) -> None:
        """The queue dead-letters only what no worker could deal with undisturbed."""
        self.given_up.add(message_id)
        jobs = expected(self.sent[message_id].body, message_id)
        unsettled = [job for job in jobs if not self.is_settled(message_id, job)]
        assert not unsettled or (message_id, MAX_RECEIVES) not in self.whole
        advanced = [job for job in unsettled if self.jobs[job].code is None and self.has_advanced(message_id, job)]
        assert not advanced or (message_id, MAX_RECEIVES - 1) not in self.whole, "it should go on in a copy"

    def is_settled(self, message_id: str, job: str) -> bool:
        """Whether the message is not needed any more for this job."""
        result, line = self.result(job), self.lineage(message_id)
        if result and (result["status"] == "succeeded" or (message_id, job) in self.letters):
            return True
        later = (message for message in self.sent if self.lineage(message).generation > line.generation)
        return any(
            self.lineage(message).origin == line.origin and job in expected(self.sent[message].body, message)
            for message in later
        )

    def lineage(self, message_id: str) -> Lineage:
        outgoing = self.sent[message_id]
        return Lineage.of(Message(message_id, "", outgoing.body, 1, 0.0, outgoing.attributes))

    def has_advanced(self, message_id: str, job: str) -> bool:
        below = f"{OUTPUT}/{job}/checkpoint/"
        stood = (call.url for call in self.store.calls if call.operation == "put" and call.url.startswith(below))
        return CheckpointListing(tuple(stood)).advanced(self.lineage(message_id))

    def result(self, job: str) -> dict[str, Any] | None:
        body = self.store.objects.get(f"{OUTPUT}/{job}/result.json")
        return json.loads(body) if body else None

    def may_write(self, worker: Worker, url: str) -> None:
        """No write is started for a job whose lease is lost or in doubt."""
        job = url.removeprefix(f"{OUTPUT}/").split("/")[0]
        leases = [lease for lease in worker.leases._leases.values() if lease.state in CONFIRMED]
        assert any(job in expected(lease.message.body, lease.message.id) for lease in leases), f"{url} without a lease"

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def what_is_final_stands(self) -> None:
        objects = self.store.objects
        for url, body in self.final.items():
            assert objects.get(url) == body, f"{url} has changed"
        for job, disposition in self.jobs.items():
            url = f"{OUTPUT}/{job}/result.json"
            if url not in objects or url in self.final:
                continue
            result = json.loads(objects[url])
            if result["status"] == "failed":
                assert result["error"]["code"] == disposition.code
                continue
            self.final[url] = objects[url]
            for artifact in result["artifacts"]:
                body = objects[f"s3://bucket/{artifact['key']}"]
                assert (len(body), sha256(body).hexdigest()) == (artifact["bytes"], artifact["sha256"])
                self.final[f"s3://bucket/{artifact['key']}"] = body
            assert self.transcript(job) == self.spoken(disposition.source)

    def transcript(self, job: str) -> list[str]:
        master = json.loads(self.store.objects[f"{OUTPUT}/{job}/transcript.json"])
        return [segment["text"].strip() for segment in master["segments"]]

    def spoken(self, source: str | None) -> list[str]:
        """The digest of each window of the source."""
        assert source is not None, "it cannot have succeeded"
        with tempfile.NamedTemporaryFile() as pcm:
            pcm.write(media_of(source))
            pcm.flush()
            return [digest_text(pcm.name, window) for window in windows_of(WINDOWS)]

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.everything_ends()
        finally:
            for worker in list(self.workers.values()):
                self.bury(worker)
            self.open.close()

    def everything_ends(self) -> None:
        """Once nothing goes wrong any more, one worker brings every message to its end."""
        for worker in list(self.workers.values()):
            self.bury(worker)
        self.sources.reachable = True
        self.store_is_back_at = self.queue._outage_until = -math.inf
        worker = self.worker(0)
        for _ in range(100):
            if not len(self.queue):
                break
            self.act(worker, lambda worker: [act(worker) for act in ROUND])
            self.pass_time(20)
        assert not len(self.queue)
        self.what_is_final_stands()
        for message, outgoing in self.sent.items():
            for job in expected(outgoing.body, message):
                assert self.is_settled(message, job) or message in self.given_up
        # And nothing of them is left in the worker.
        assert worker.leases.count == 0
        assert worker.pipeline.jobs.idle
        assert worker.components.buffer.seconds == 0
        assert worker.components.scratch.used == 0


TestDispositions = DispositionMachine.TestCase
TestDispositions.settings = settings(
    max_examples=200,
    stateful_step_count=25,
    deadline=None,  # how long an example takes says something about the machine's load
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
