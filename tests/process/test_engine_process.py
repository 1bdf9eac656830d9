# SPDX-License-Identifier: Apache-2.0
"""The inference process as the worker knows it, with a simulated device in place of a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode
from stages.inference.client.client import EngineClient
from stages.inference.protocol import (
    ControlClip,
    EngineFailed,
    EngineLost,
    EngineReady,
    EngineStats,
    JobLanguage,
    JobRejected,
    WindowDone,
)
from worker.node.clock import SystemClock
from worker.testing.decoder import digest_text
from worker.testing.decoder import simulated_task as task
from worker.testing.listener import EngineListener

pytestmark = pytest.mark.process

#: Longest wait for anything that should come; only a failing test gets there.
PATIENCE = 60.0
#: What is done at once is done in so many seconds, on a busy machine too.
QUICK = 10.0
Start = Callable[..., EngineClient]


def kill(engine: EngineClient) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


# -- work --------------------------------------------------------------------------------------------------------------


def test_windows_of_several_jobs_come_back_with_the_text_of_their_own_audio(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given two jobs, one sent before the process runs
    engine = start("parallel=2&spoken=de")
    tasks = {job: task(job, pcm, count, language=None) for job, count in (("long", 40), ("short", 2))}
    for each in tasks.values():
        engine.submit(each)

    # When all is done
    listener.until(lambda: len(listener.all(WindowDone)) == 42)
    engine.stop(5.0)
    listener.rest()

    # Then every window has come once, with what its pieces say
    for job, each in tasks.items():
        results = {event.result.index: event.result for event in listener.all(WindowDone) if event.job == job}
        assert sorted(listener.windows(job)) == sorted(results) == list(range(len(each.windows)))
        assert {index: result.segments[0].text.strip() for index, result in results.items()} == {
            window.index: digest_text(pcm, window) for window in each.windows
        }
        # And the language once, ahead of all windows
        events = [event for event in listener.events if getattr(event, "job", None) == job]
        assert events[0] == JobLanguage(job, "de", 0.75)
        assert all(isinstance(event, WindowDone) and event.result.language == "de" for event in events[1:])

    # And the first thing said was what runs
    assert isinstance(ready := listener.events[0], EngineReady)
    assert ready.info.batch_size == 4
    assert ready.info.startup_seconds >= 0
    stats = listener.all(EngineStats)
    assert sum(each.windows for each in stats if each.kind == "decode") == 42
    assert sum(each.windows for each in stats if each.kind == "probe") == 7


def test_retries_come_back_with_the_rest(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start()
    engine.submit(task("job", pcm, 10, hotwords="retry"))

    listener.until(lambda: len(listener.all(WindowDone)) == 10)

    assert {event.result.retries for event in listener.all(WindowDone)} == {("logprob",)}
    assert sum(dict(stats.retries).get("logprob", 0) for stats in listener.all(EngineStats)) == 10


def test_a_job_that_the_model_cannot_do_is_rejected_and_no_other_one(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    engine = start()
    engine.submit(task("bad", pcm, hotwords="reject"))
    engine.submit(task("good", pcm))

    listener.until(lambda: len(listener.windows("good")) == 3)

    assert [(event.job, event.code) for event in listener.all(JobRejected)] == [("bad", ErrorCode.UNSUPPORTED_OPTION)]
    engine.submit(task("bad", pcm))  # its key is free again
    listener.until(lambda: len(listener.windows("bad")) == 3)


def test_a_job_whose_audio_vanishes_costs_no_other_job_anything(
    start: Start, listener: EngineListener, pcm: str, tmp_path: Path
) -> None:
    # Given two jobs whose rows share batches, the audio of one of which is gone
    engine = start()
    engine.submit(task("gone", str(tmp_path / "gone.pcm"), 5))
    engine.submit(task("good", pcm, 5))

    # Then it is rejected, and the other one is done
    listener.until(lambda: len(listener.windows("good")) == 5)
    assert [(event.job, event.code) for event in listener.all(JobRejected)] == [("gone", ErrorCode.INTERRUPTED)]
    assert not listener.all(EngineFailed)
    assert not listener.all(EngineLost)


def test_nothing_of_a_cancelled_job_comes_after(start: Start, listener: EngineListener, pcm: str) -> None:
    # Given a long job under way
    engine = start("window_seconds=0.001")
    engine.submit(task("gone", pcm, 400))
    listener.until(lambda: listener.windows("gone"))

    # When it is cancelled and another one is done
    engine.cancel("gone")
    listener.rest()
    before = len(listener.windows("gone"))
    engine.submit(task("kept", pcm, 20))
    listener.until(lambda: len(listener.windows("kept")) == 20)

    # Then nothing of it has come but for one event that was being handled
    assert len(listener.windows("gone")) <= before + 1
    assert len(listener.windows("gone")) < 400


def test_a_job_is_submitted_once_and_with_windows(start: Start, pcm: str) -> None:
    engine = start("load=hang")
    engine.submit(task("job", pcm))

    with pytest.raises(ValueError, match="submitted before"):
        engine.submit(task("job", pcm))
    with pytest.raises(ValueError, match="no windows"):
        engine.submit(task("empty", pcm, 0))


# -- loss --------------------------------------------------------------------------------------------------------------


def test_a_killed_process_is_replaced_and_every_window_comes_once(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given a job under way, its language settled
    engine = start("parallel=2&window_seconds=0.001")
    engine.submit(task("job", pcm, 300, language=None))
    first = None
    for killed in (1, 2):
        listener.until(lambda: len(listener.windows("job")) >= 60 * killed)  # noqa: B023 - called here alone
        first = engine.pid if first is None else first

        # When it is killed, twice
        kill(engine)
        listener.until(lambda: len(listener.all(EngineLost)) == killed)  # noqa: B023

    # Then all windows come, none twice, and the language is not told again
    listener.until(lambda: len(listener.windows("job")) >= 300)
    assert engine.pid != first
    engine.stop(5.0)
    listener.rest()
    assert sorted(listener.windows("job")) == list(range(300))
    assert len(listener.all(JobLanguage)) == 1
    assert listener.all(EngineLost) == [EngineLost(-signal.SIGKILL, 1), EngineLost(-signal.SIGKILL, 2)]
    assert len(listener.all(EngineReady)) == 3


def test_a_process_that_is_lost_before_the_language_is_settled_settles_it_once(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    engine = start("batch_seconds=0.2", batch_size=1)
    listener.first(EngineReady)
    engine.submit(task("job", pcm, 5, language=None))
    kill(engine)

    listener.until(lambda: len(listener.windows("job")) == 5)

    assert listener.all(JobLanguage) == [JobLanguage("job", "en", 0.75)]


def test_what_is_submitted_while_no_process_runs_is_not_lost(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start(restart_delay=0.0)
    listener.first(EngineReady)
    kill(engine)
    for number in range(50):
        engine.submit(task(f"job {number}", pcm, 1))

    listener.until(lambda: len(listener.all(WindowDone)) == 50)


def test_a_process_that_dies_again_and_again_without_a_window_is_given_up(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    engine = start(max_failures=3)
    engine.submit(task("job", pcm, hotwords="die"))

    failed = listener.first(EngineFailed)

    assert not failed.unfit
    assert "3 times" in failed.message
    assert [lost.restarts for lost in listener.all(EngineLost)] == [1, 2]
    assert engine.pid is None


def test_a_finished_window_makes_the_count_begin_anew(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start(max_failures=2)
    for number in range(3):
        engine.submit(task(f"job {number}", pcm, 1))
        listener.until(lambda: listener.windows(f"job {number}"))  # noqa: B023 - called here alone
        kill(engine)
        listener.until(lambda: len(listener.all(EngineLost)) == number + 1)  # noqa: B023

    assert listener.all(EngineFailed) == []


# -- start -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "message"),
    [("unfit", "this simulated node has no device"), ("broken", "cannot be loaded on this node: RuntimeError")],
)
def test_a_model_that_cannot_be_loaded_makes_the_node_unfit(
    start: Start, listener: EngineListener, load: str, message: str
) -> None:
    start(f"load={load}")

    failed = listener.first(EngineFailed)

    assert failed.unfit
    assert message in failed.message
    assert listener.all(EngineReady) == []


def test_a_process_that_dies_while_it_starts_is_given_up_in_the_end(start: Start, listener: EngineListener) -> None:
    start("load=die", max_failures=2)

    assert not listener.first(EngineFailed).unfit
    assert listener.all(EngineLost) == [EngineLost(-signal.SIGKILL, 1)]


def test_a_start_that_takes_too_long_counts_as_a_loss(start: Start, listener: EngineListener) -> None:
    start("load=hang", start_timeout=0.1, max_failures=1)

    assert "lost 1 times" in listener.first(EngineFailed).message


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(32_000))
    return path


def test_an_engine_that_hears_its_control_clip_right_is_ready(
    start: Start, listener: EngineListener, clip: Path
) -> None:
    start("text=Hello+there.", control=ControlClip(str(clip), "hello there", max_error_rate=0.0))

    assert listener.first(EngineReady).info.name == "simulated"


def test_a_driver_that_answers_with_empty_text_is_found_out(start: Start, listener: EngineListener, clip: Path) -> None:
    start("silent=true", control=ControlClip(str(clip), "hello there", max_error_rate=0.5))

    failed = listener.first(EngineFailed)

    assert not failed.unfit
    assert "misheard its control recording" in failed.message


# -- hanging -----------------------------------------------------------------------------------------------------------


def test_progress_is_seen_while_idle_and_stands_still_when_a_batch_hangs(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given an idle engine with two batch threads
    engine = start("parallel=2")
    listener.first(EngineReady)
    idle = engine.last_progress
    moment = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while engine.last_progress == idle and time.monotonic() < deadline:
        moment.wait(0.05)
    assert engine.last_progress > idle  # it beats

    # When one batch hangs (its beam is its own, so that no other job shares the batch)
    engine.submit(task("hung", pcm, 1, hotwords="hang", beam_size=1))

    # Then progress stands where it began, although others come and go
    number = 0
    while SystemClock().now() - engine.last_progress < 0.5:
        assert time.monotonic() < deadline
        number += 1
        engine.submit(task(f"job {number}", pcm, 1))
        listener.until(lambda: listener.windows(f"job {number}"))  # noqa: B023 - called here alone
    stood_still = engine.last_progress
    assert number > 3

    # And a replaced engine goes on without the job that hangs
    engine.cancel("hung")
    engine.submit(task("after", pcm))
    engine.replace()
    listener.until(lambda: len(listener.windows("after")) == 3)
    assert engine.last_progress > stood_still + 0.3


def test_a_start_has_a_limit_of_its_own_and_is_not_taken_for_a_hang(start: Start) -> None:
    engine = start("load=hang")
    while engine.pid is None:
        threading.Event().wait(0.01)

    before = SystemClock().now()

    assert engine.last_progress >= before


# -- stopping ----------------------------------------------------------------------------------------------------------


def took(stop: Callable[[], None]) -> float:
    began = time.monotonic()
    stop()
    return time.monotonic() - began


def test_stopping_an_idle_engine_is_quick_and_leaves_nothing(start: Start, listener: EngineListener) -> None:
    engine = start("parallel=2")
    listener.first(EngineReady)
    process = psutil.Process(engine.pid)

    assert took(lambda: engine.stop(30.0)) < QUICK

    assert not process.is_running()  # reaped: a zombie would still be there
    assert engine.pid is None
    assert listener.rest() == listener.all(EngineReady)
    engine.stop(10.0)


def test_stopping_finishes_the_batch_in_hand_and_no_other(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start("batch_seconds=0.3", batch_size=2)
    engine.submit(task("job", pcm, 100))
    listener.until(lambda: len(listener.windows("job")) == 2)

    assert took(lambda: engine.stop(30.0)) < QUICK

    listener.rest()
    assert len(listener.windows("job")) in (4, 6)


def test_results_that_are_larger_than_the_pipe_do_not_hold_up_a_stop(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given windows of which each says more than a pipe holds
    engine = start(f"text={'x' * 200_000}", batch_size=1)
    engine.submit(task("job", pcm, 300))
    listener.until(lambda: listener.windows("job"))

    # When it is stopped in the middle, then it ends by itself, without a kill
    with capture_logs() as logs:
        assert took(lambda: engine.stop(60.0)) < QUICK
    assert [entry for entry in logs if entry["event"] == "engine_killed"] == []

    # And what came is whole
    listener.rest()
    texts = {segment.text for event in listener.all(WindowDone) for segment in event.result.segments}
    assert {len(text.strip()) for text in texts} == {200_000}
    assert len(listener.windows("job")) < 300


def test_stopping_while_it_starts_does_not_wait_for_the_start(start: Start) -> None:
    engine = start("load=hang")

    assert took(lambda: engine.stop(30.0)) < QUICK


def test_stopping_at_once_after_starting(start: Start) -> None:
    start().stop(0.0)


def test_a_batch_that_hangs_is_killed_in_time(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start()
    engine.submit(task("job", pcm, hotwords="hang"))
    listener.first(EngineReady)

    assert took(lambda: engine.stop(1.0)) < QUICK


def test_a_killed_process_leaves_no_thread_that_still_writes_to_it(
    start: Start, listener: EngineListener, pcm: str
) -> None:
    # Given a process that reads nothing, and more work than fits into its pipe
    engine = start("load=hang")
    for number in range(20):
        engine.submit(task(f"job {number}", pcm, 400))

    # Then stopping leaves no thread behind, which the fixture looks for
    assert took(lambda: engine.stop(1.0)) < QUICK


def test_an_engine_is_started_once(start: Start, listener: EngineListener) -> None:
    engine = start()

    with pytest.raises(RuntimeError, match="started before"):
        engine.start(listener)


def test_signals_to_the_whole_group_do_not_end_the_process(start: Start, listener: EngineListener, pcm: str) -> None:
    engine = start()
    while engine.pid is None:
        threading.Event().wait(0.001)

    # When a signal comes while it starts, and when it works
    os.kill(engine.pid, signal.SIGINT)
    os.kill(engine.pid, signal.SIGTERM)
    listener.first(EngineReady)
    os.kill(engine.pid, signal.SIGINT)
    os.kill(engine.pid, signal.SIGTERM)

    engine.submit(task("job", pcm))
    listener.until(lambda: len(listener.windows("job")) == 3)
    assert listener.all(EngineLost) == []


# -- programs ----------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys, threading
from stages.inference.client.client import EngineClient
from stages.inference.protocol import *
from stages.values import Piece, Window
from worker.node.clock import SystemClock
from worker.testing.decoder import SIMULATED

def main():
    ready = threading.Event()
    engine = EngineClient(EngineSettings(model="", name="simulated"), SystemClock(), SIMULATED)
    engine.start(lambda event: ready.set())
    hotwords = "hang" if "hang" in sys.argv else None
    options = DecodeOptions("en", "transcribe", None, hotwords, 5)
    engine.submit(DecodeTask("job", __file__, (Window(0, (Piece(0, 0, 9),), 9, 9),), options))
    ready.wait(60)
    print(engine.pid, *({"torch", "ctranslate2", "faster_whisper"} & set(sys.modules)), flush=True)
    if "wait" in sys.argv:
        threading.Event().wait(60)

if __name__ == "__main__":
    main()
"""


def program(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
    )


@pytest.mark.parametrize("state", ["idle", "hang"])
def test_the_process_ends_by_itself_when_its_parent_is_gone(tmp_path: Path, state: str) -> None:
    # Given a program with an engine, idle or in a batch that never ends
    parent = program(tmp_path, "wait", state)
    assert parent.stdout is not None
    answer = parent.stdout.readline().split()
    child = psutil.Process(int(answer[0]))

    # When the program is killed
    parent.kill()

    # Then its engine goes as well
    gone, _ = psutil.wait_procs([child], timeout=PATIENCE)
    assert gone == [child]
    # And the program had loaded nothing heavy
    assert answer[1:] == []
    parent.communicate()


def test_a_program_that_forgets_to_stop_its_engine_ends_all_the_same_and_logs_one_object_a_line(
    tmp_path: Path,
) -> None:
    ended = program(tmp_path)

    _, errors = ended.communicate(timeout=PATIENCE)

    assert ended.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    ready = next(line for line in lines if line["event"] == "engine_started")
    assert (ready["severity"], ready["stage"], ready["engine"]) == ("info", "inference", 1)
    assert Counter(line["event"] for line in lines)["engine_started"] == 1
    assert "Traceback" not in errors
