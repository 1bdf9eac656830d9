# SPDX-License-Identifier: Apache-2.0
"""The fake engine behaves as the real one's client does; and the client against a pipe that breaks."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest

from sqscribe.errors import ErrorCode
from stages.inference.client.child import Child
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    Engine,
    EngineEvent,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineStats,
    Envelope,
    JobLanguage,
    JobRejected,
    Progress,
    WindowDone,
)
from stages.values import Piece, Window
from worker.node.clock import SystemClock
from worker.testing.decoder import digest_text
from worker.testing.engine import FakeEngine

Events = queue.SimpleQueue[EngineEvent]


@pytest.fixture
def pcm(tmp_path: Path) -> str:
    path = tmp_path / "audio.pcm"
    path.write_bytes(bytes(range(200)))
    return str(path)


@pytest.fixture
def events() -> Events:
    return queue.SimpleQueue()


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    engines: list[Engine] = []
    yield engines
    for engine in engines:
        engine.stop(10.0)


def task(job: str, pcm: str, count: int, language: str | None = "en") -> DecodeTask:
    windows = tuple(Window(index, (Piece(0, index * 10, 10),), 10, 10) for index in range(count))
    return DecodeTask(job, pcm, windows, DecodeOptions(language, "transcribe", None, None, 5))


def windows(events: Events, count: int) -> list[tuple[str, int, str]]:
    """The next windows; figures are skipped, anything else is not expected."""
    found: list[tuple[str, int, str]] = []
    while len(found) < count:
        event = events.get(timeout=10.0)
        if isinstance(event, WindowDone):
            text = "".join(segment.text for segment in event.result.segments).strip()
            found.append((event.job, event.result.index, text))
        else:
            assert isinstance(event, EngineStats)
    return found


def following(events: Events) -> EngineEvent:
    while isinstance(event := events.get(timeout=10.0), EngineStats):
        pass
    return event


def test_windows_say_what_their_audio_is(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock())
    engines.append(engine)
    engine.start(events.put)
    engine.submit(job := task("job", pcm, 3, language=None))

    assert isinstance(following(events), EngineReady)
    assert following(events) == JobLanguage("job", "en", 0.75)
    assert windows(events, 3) == [("job", window.index, digest_text(pcm, window)) for window in job.windows]
    assert len({text for _, _, text in [("", 0, digest_text(pcm, window)) for window in job.windows]}) == 3
    assert engine.submitted == [job]


def test_held_windows_come_when_they_are_let_go(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock(), held=True, text=lambda task, window: f"{task.job} {window.index}")
    engines.append(engine)
    engine.start(events.put)
    engine.submit(task("job", pcm, 5))
    assert isinstance(following(events), EngineReady)

    engine.release(2)
    assert windows(events, 2) == [("job", 0, "job 0"), ("job", 1, "job 1")]

    # A loss in between changes nothing but the order of things.
    engine.die()
    assert following(events) == EngineLost(-9, 1)
    assert isinstance(following(events), EngineReady)
    engine.release()
    assert [index for _, index, _ in windows(events, 3)] == [2, 3, 4]


def test_nothing_comes_from_an_engine_that_is_away(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock(), held=True)
    engines.append(engine)
    engine.start(events.put)
    engine.submit(task("job", pcm, 1))
    assert isinstance(following(events), EngineReady)
    engine.lose(exit_code=1)
    engine.release()
    assert following(events) == EngineLost(1, 1)
    with pytest.raises(queue.Empty):
        events.get(timeout=0.1)
    engine.come_back()
    assert isinstance(following(events), EngineReady)
    assert [job for job, _, _ in windows(events, 1)] == ["job"]


def test_a_cancelled_job_says_nothing_more(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock(), held=True)
    engines.append(engine)
    engine.submit(task("gone", pcm, 5, language=None))
    engine.submit(task("kept", pcm, 1))
    engine.cancel("gone")
    engine.release()
    engine.start(events.put)

    assert isinstance(following(events), EngineReady)
    assert [job for job, _, _ in windows(events, 1)] == ["kept"]
    engine.stop(10.0)
    assert isinstance(events.get(), EngineStats)
    assert events.empty()
    assert engine.cancelled == ["gone"]


def test_jobs_are_rejected_as_told(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock(), rejects=lambda task: ErrorCode.UNSUPPORTED_OPTION if task.job == "bad" else None)
    engines.append(engine)
    engine.start(events.put)
    assert isinstance(following(events), EngineReady)
    engine.submit(task("bad", pcm, 1))
    engine.submit(task("good", pcm, 1))

    assert isinstance(rejected := following(events), JobRejected)
    assert (rejected.job, rejected.code) == ("bad", ErrorCode.UNSUPPORTED_OPTION)
    assert [job for job, _, _ in windows(events, 1)] == ["good"]


def test_progress_stands_still_while_it_hangs(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock())
    engines.append(engine)
    engine.start(events.put)
    assert isinstance(following(events), EngineReady)

    engine.hang()
    still = engine.last_progress
    engine.submit(task("job", pcm, 1))
    assert engine.last_progress == still
    assert events.empty()

    engine.replace()
    assert isinstance(following(events), EngineLost)
    assert isinstance(following(events), EngineReady)
    assert [job for job, _, _ in windows(events, 1)] == ["job"]
    assert engine.last_progress > still


def test_nothing_comes_after_a_failure(engines: list[Engine], events: Events, pcm: str) -> None:
    engine = FakeEngine(SystemClock(), held=True)
    engines.append(engine)
    engine.start(events.put)
    engine.submit(task("job", pcm, 1))
    engine.fail("no GPU", unfit=True)
    engine.release()
    engine.submit(task("job", pcm, 1))

    assert isinstance(following(events), EngineReady)
    assert following(events) == EngineFailed("no GPU", unfit=True)
    engine.stop(10.0)
    assert events.empty()


# -- the real client's pipe --------------------------------------------------------------------------------------------


def child_on(*, frames: list[bytes], half: bytes = b"") -> Child:
    """A child whose process is gone and left these frames, and perhaps half of one."""
    ours, theirs = Pipe(duplex=False)
    for frame in frames:
        theirs.send_bytes(frame)
    if half:
        whole = len(half).to_bytes(4, "big") + half
        theirs._send(whole[:-3])  # type: ignore[attr-defined]
    theirs.close()
    child = Child.__new__(Child)
    child._generation = 1
    child.events = ours
    return child


def test_what_a_lost_process_wrote_in_full_is_read_and_half_an_event_is_the_end() -> None:
    beat = bytes(ForkingPickler.dumps(Envelope(1, Progress(0.0))))
    child = child_on(frames=[beat, beat], half=beat)

    assert [child.receive() for _ in range(3)] == [Progress(0.0), Progress(0.0), None]
    child.events.close()


def test_an_event_of_another_process_is_an_error() -> None:
    child = child_on(frames=[bytes(ForkingPickler.dumps(Envelope(2, Progress(0.0))))])

    with pytest.raises(RuntimeError, match="an event of process 2 reached 1"):
        child.receive()
    child.events.close()
