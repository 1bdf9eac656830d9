# SPDX-License-Identifier: Apache-2.0
"""Windows that the inference process does not survive, and processes that end for reasons of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode
from stages.inference.client.client import EngineClient
from stages.inference.protocol import (
    ControlClip,
    DecodeTask,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineStats,
    JobRejected,
    WindowDone,
)
from worker.node.clock import SystemClock
from worker.testing.decoder import SIMULATED_SAMPLES, digest_text
from worker.testing.decoder import simulated_task as task
from worker.testing.listener import EngineListener

pytestmark = pytest.mark.process

Start = Callable[..., EngineClient]

#: Batches of the simulated device, and the most processes that one window among them may cost.
BATCH_SIZE = 4
MOST_LOST = 4


def kill(engine: EngineClient, number: signal.Signals = signal.SIGKILL) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, number)


def moved(each: DecodeTask, first: int) -> DecodeTask:
    """The job with audio of its own, from the given window of the file."""
    windows = (
        replace(
            window,
            pieces=tuple(
                replace(piece, file_start=piece.file_start + first * SIMULATED_SAMPLES) for piece in window.pieces
            ),
        )
        for window in each.windows
    )
    return replace(each, windows=tuple(windows))


def failures(listener: EngineListener) -> list[tuple[str, ErrorCode]]:
    return [(event.job_key, event.code) for event in listener.all(JobRejected)]


# -- crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 2])
def test_one_window_that_crashes_the_process_costs_its_own_job_alone(
    start: Start, listener: EngineListener, pcm: str, parallel: int
) -> None:
    # Given twenty jobs, in the middle of one of which is a window that no process survives
    tasks = {f"job {number}": moved(task(f"job {number}", pcm, 10), 10 * number) for number in range(20)}
    poison = digest_text(pcm, tasks["job 7"].windows[5])
    engine = start(f"parallel={parallel}&poison={poison}", batch_size=BATCH_SIZE)

    # When they are worked off
    with capture_logs() as logs:
        for each in tasks.values():
            engine.submit(each)
        others = tasks.keys() - {"job 7"}
        listener.until(lambda: listener.all(JobRejected) and all(len(listener.windows(job)) == 10 for job in others))
    engine.stop(5.0)
    listener.rest()

    # Then all others have every window once, and this one has failed for good, with the place and the reason
    assert failures(listener) == [("job 7", ErrorCode.INFERENCE_FAILED)]
    assert listener.all(JobRejected)[0].message.startswith("window 5, 0.8 s into the audio")
    assert "SIGSEGV" in listener.all(JobRejected)[0].message
    for job in others:
        assert sorted(listener.windows(job)) == list(range(10))
    assert len(listener.windows("job 7")) == len(set(listener.windows("job 7"))) < 10
    # And it has cost the halvings of the windows under way, the last two of them by itself
    lost = listener.all(EngineLost)
    assert {event.exit_code for event in lost} == {-signal.SIGSEGV}
    crashes = [entry["under_way"] for entry in logs if entry["event"] == "windows_suspected"]
    assert len(crashes) == len(lost) <= MOST_LOST + parallel - 1
    assert crashes[-2:] == [1, 1]
    assert listener.all(EngineFailed) == []
    # And it went behind all others: none had to wait for the search
    first = listener.events.index(lost[1])
    innocent = {event.job_key for event in listener.events[first:] if isinstance(event, WindowDone)} - {"job 7"}
    assert len(innocent) <= BATCH_SIZE * parallel


def test_a_job_of_one_poisonous_window_is_found_out_with_nobody_else_there(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    engine = start()
    engine.submit(task("bad", pcm, 1, hotwords="exit"))

    listener.until(lambda: listener.all(JobRejected))

    assert failures(listener) == [("bad", ErrorCode.INFERENCE_FAILED)]
    assert "exit code 1" in listener.all(JobRejected)[0].message
    assert [event.exit_code for event in listener.all(EngineLost)] == [1, 1, 1]


def test_a_poisonous_window_is_found_while_its_language_is_asked_for(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    engine = start()
    engine.submit(task("bad", pcm, 20, language=None, hotwords="crash@8"))
    engine.submit(task("good", pcm, 20, language=None))

    listener.until(lambda: listener.all(JobRejected) and len(listener.windows("good")) == 20)

    assert failures(listener) == [("bad", ErrorCode.INFERENCE_FAILED)]
    assert len(listener.all(EngineLost)) <= MOST_LOST


def test_a_job_that_is_poisonous_all_over_is_found_before_it_ends_the_engine(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given one job that crashes in every window, however many of them there are, beside one that has begun
    engine = start(max_failures=3)
    engine.submit(task("bad", pcm, 200, hotwords="crash"))
    engine.submit(task("good", pcm, 20))

    listener.until(lambda: listener.all(JobRejected) and len(listener.windows("good")) == 20)

    assert failures(listener) == [("bad", ErrorCode.INFERENCE_FAILED)]
    assert len(listener.all(EngineLost)) <= MOST_LOST + 2


def test_suspects_of_a_job_that_is_cancelled_are_forgotten(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start()
    engine.submit(task("bad", pcm, 4, hotwords="crash"))
    listener.first(EngineLost)

    engine.cancel("bad")
    engine.submit(task("good", pcm, 4))
    listener.until(lambda: len(listener.windows("good")) == 4)

    assert listener.all(JobRejected) == []


def test_a_device_that_fails_at_every_job_does_not_condemn_them_all(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    engine = start(max_guilty=3)
    for number in range(4):
        engine.submit(task(f"job {number}", pcm, 1, hotwords="raise"))

    failed = listener.first(EngineFailed)

    assert failed.message.startswith("3 jobs in a row")
    assert not failed.unfit
    assert len(listener.all(JobRejected)) == 2


# -- kills -------------------------------------------------------------------------------------------------------------


def test_kills_from_outside_never_count_against_a_window(start: Start, listener: EngineListener, pcm: str) -> None:
    # Given a job of one window at a time, each of which is under way for a while
    engine = start("batch_seconds=0.1", batch_size=1)
    engine.submit(task("job", pcm, 8))

    # When the process is killed again and again, always after a window
    for killed in range(1, 5):
        listener.until(lambda: len(listener.windows("job")) >= killed)  # noqa: B023 - called here alone
        kill(engine, signal.SIGKILL)
        listener.until(lambda: len(listener.all(EngineLost)) >= killed)  # noqa: B023

    # Then all windows are there
    listener.until(lambda: len(listener.windows("job")) == 8)
    assert failures(listener) == []
    assert listener.all(EngineFailed) == []


def test_a_window_that_gets_the_process_killed_each_time_ends_the_engine_and_not_the_job(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    start(max_failures=3).submit(task("hungry", pcm, 1, hotwords="die"))

    assert "lost 3 times in a row" in listener.first(EngineFailed).message
    assert failures(listener) == []


def test_a_kill_does_not_count_against_a_suspect(start: Start, listener: EngineListener, pcm: str) -> None:
    # Given a suspect: a window that hangs, as the process was told
    engine = start(max_failures=10)
    engine.submit(task("suspect", pcm, 1, hotwords="hang"))
    hung(engine)
    engine.replace()
    listener.first(EngineLost)

    # When the process that has it alone is killed from outside, twice
    for killed in range(2, 4):
        hung(engine)
        kill(engine)
        listener.until(lambda: len(listener.all(EngineLost)) >= killed)  # noqa: B023 - called here alone

    # Then it is guilty only after it has hung twice more
    for replaced in range(4, 6):
        assert failures(listener) == []
        hung(engine)
        engine.replace()
        listener.until(lambda: len(listener.all(EngineLost)) >= replaced)  # noqa: B023
    listener.until(lambda: listener.all(JobRejected))
    assert "the engine hung" in listener.all(JobRejected)[0].message


# -- hangs -------------------------------------------------------------------------------------------------------------


def hung(engine: EngineClient) -> None:
    """Waits until a batch has been under way for a while."""
    deadline, moment = time.monotonic() + 60.0, threading.Event()
    while SystemClock().now() - engine.last_progress < 0.3:
        assert time.monotonic() < deadline
        moment.wait(0.02)


def test_a_window_that_hangs_is_found_by_replacing_the_process(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given a daemon's watch over an engine with a job that hangs in one window
    engine = start(max_failures=3)
    engine.submit(task("bad", pcm, 6, hotwords="hang@2"))
    engine.submit(task("good", pcm, 6))
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            if SystemClock().now() - engine.last_progress > 0.5:
                engine.replace()

    watcher = threading.Thread(target=watch)
    watcher.start()

    # Then its job fails, and the other one is done
    try:
        listener.until(lambda: listener.all(JobRejected) and len(listener.windows("good")) == 6)
    finally:
        done.set()
        watcher.join()
    assert failures(listener) == [("bad", ErrorCode.INFERENCE_FAILED)]
    assert {event.exit_code for event in listener.all(EngineLost)} == {-signal.SIGKILL}
    assert len(listener.all(EngineLost)) <= MOST_LOST


# -- errors and devices ------------------------------------------------------------------------------------------------


@pytest.fixture
def control(tmp_path: Path) -> ControlClip:
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(32_000))
    return ControlClip(str(path), "hello there", max_error_rate=0.0)


def test_an_error_in_a_batch_costs_no_process(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start()
    engine.submit(task("bad", pcm, 10, hotwords="raise@4"))
    engine.submit(task("good", pcm, 10))

    listener.until(lambda: listener.all(JobRejected) and len(listener.windows("good")) == 10)

    assert failures(listener) == [("bad", ErrorCode.INFERENCE_FAILED)]
    assert listener.all(EngineLost) == []


def test_a_window_that_breaks_the_device_is_found_by_fresh_processes(
    start: Start, listener: EngineListener, pcm: str, control: ControlClip
) -> None:
    # Given a window after which the device fails at everything, until the process ends
    engine = start("text=Hello+there.", control=control)
    engine.submit(task("bad", pcm, 10, hotwords="break@4"))
    engine.submit(task("good", pcm, 10))

    listener.until(lambda: listener.all(JobRejected) and len(listener.windows("good")) == 10)

    assert failures(listener) == [("bad", ErrorCode.INFERENCE_FAILED)]
    assert {event.exit_code for event in listener.all(EngineLost)} == {4}
    assert len(listener.all(EngineLost)) <= MOST_LOST


def test_a_control_recording_that_is_misheard_again_and_again_is_the_end(
    start: Start, listener: EngineListener, control: ControlClip
) -> None:
    start("silent=true", control=control, max_failures=3)

    failed = listener.first(EngineFailed)

    assert not failed.unfit
    assert "misheard its control recording" in failed.message
    assert [event.exit_code for event in listener.all(EngineLost)] == [4, 4]
    assert listener.all(EngineReady) == []


def test_a_batch_size_that_does_not_fit_is_lowered_and_remembered_by_the_next_process(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given a device with room for three windows
    with capture_logs() as logs:
        engine = start("fits=3", batch_size=16)
        engine.submit(task("one", pcm, 40))
        listener.until(lambda: len(listener.windows("one")) == 40)

        # When the process is lost
        kill(engine)
        engine.submit(task("two", pcm, 40))
        listener.until(lambda: len(listener.windows("two")) == 40)

    # Then the limit was found once
    assert [entry["batch_size"] for entry in logs if entry["event"] == "batch_size_reduced"] == [12, 9, 6, 4, 3]
    assert [event.info.batch_size for event in listener.all(EngineReady)] == [16, 3]
    assert max(event.windows for event in listener.all(EngineStats)) == 3
    assert failures(listener) == []


# -- recycling ---------------------------------------------------------------------------------------------------------


def test_a_process_makes_way_after_so_many_windows_and_none_comes_twice(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given an engine that is replaced after 30 windows, and more than that to do
    with capture_logs() as logs:
        engine = start("parallel=2&window_seconds=0.02", recycle_windows=30, max_failures=1)
        engine.submit(task("long", pcm, 100, language=None))
        engine.submit(task("short", pcm, 3))
        listener.until(lambda: len(listener.windows("long")) == 100 and len(listener.windows("short")) == 3)
    engine.stop(5.0)
    listener.rest()

    # Then several have worked, one after the other, none of them lost, and every window came once
    recycled = [entry["windows"] for entry in logs if entry["event"] == "engine_recycled"]
    assert len(recycled) in (2, 3)
    assert all(30 <= windows < 30 + 3 * 2 * BATCH_SIZE for windows in recycled)
    assert listener.all(EngineLost) == []
    assert sorted(listener.windows("long")) == list(range(100))
    assert sorted(listener.windows("short")) == list(range(3))


def test_a_process_that_crashes_while_it_makes_way_is_lost(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start("batch_seconds=0.5", batch_size=1, recycle_windows=1)
    engine.submit(task("job", pcm, 3))
    listener.until(lambda: listener.windows("job"))
    process = psutil.Process(engine.pid)

    kill(engine, signal.SIGSEGV)

    listener.until(lambda: len(listener.windows("job")) == 3)
    assert not process.is_running()
    assert [event.exit_code for event in listener.all(EngineLost)] == [-signal.SIGSEGV]
