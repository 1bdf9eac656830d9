# SPDX-License-Identifier: Apache-2.0
"""The launcher of workers as programs: what it gives them, what it says of them, and how it ends them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sqscribe.errors import ExitCode
from worker.embedded import program
from worker.embedded.environment import clean_environment
from worker.embedded.program import ProgramError, WorkerProgram, worker_environment

pytestmark = pytest.mark.process

PATIENCE = 60.0


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    # Given settings without a queue
    with WorkerProgram(worker_environment(None, {"model": "demo"}), tmp_path / "lone.log") as worker:
        # When it is waited for
        with pytest.raises(ProgramError, match=r"lone ended with exit code 2: .*QUEUE_URL") as told:
            worker.wait_until_ready(PATIENCE)
        # Then nothing of it is left
        assert not worker.running
        assert worker.status() is None
        assert worker.stop() == ExitCode.USAGE
    assert "Traceback" not in str(told.value)


def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that has no ear for SIGTERM
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); sys.stdin.close()"
    forever = f"{deaf}; signal.pause()"
    monkeypatch.setattr(program, "_ARGUMENTS", ("-P", "-c", forever))
    worker = WorkerProgram(clean_environment(), tmp_path / "deaf.log", stop_seconds=0.2)
    with pytest.raises(ProgramError, match="not ready after"):
        worker.wait_until_ready(0.0)
    while not worker.log.read_text():
        assert worker.running
    # When it is told to stop
    code = worker.stop()
    # Then it is gone all the same, and telling it again is harmless
    assert code == -signal.SIGKILL
    assert worker.stop() == code


def test_settings_of_this_process_do_not_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_OUTPUT", "s3://theirs/v1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    environ = worker_environment(None, {"beam_size": 3}, OMP_NUM_THREADS="1")
    assert {name for name in environ if name.startswith(("SQSCRIBE_", "AWS_"))} == {"SQSCRIBE_BEAM_SIZE"}
    assert environ["SQSCRIBE_BEAM_SIZE"] == "3"
    assert environ["OMP_NUM_THREADS"] == "1"
    assert environ["PATH"] == os.environ["PATH"]
    assert environ["PYTHONPATH"].split(os.pathsep)[0] == str(Path(program.__file__).parents[2])
