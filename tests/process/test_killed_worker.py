# SPDX-License-Identifier: Apache-2.0
"""A worker that is killed in the middle of a long file, and the one that goes on: programs, real queue and store calls.

The engine's process is real, its device simulated: the text of a window is a digest of its audio.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.embedded.aws import EmbeddedAws
from worker.embedded.program import worker_environment
from worker.testing.recordings import looped

pytestmark = pytest.mark.process

#: Seconds.
WINDOW, INTERVAL, VISIBILITY = 0.2, 1.0, 4
#: The recording is a clip so many times over.
TILES = 120
#: Longest wait for anything that should come; only a failing test gets there.
PATIENCE = 120.0

PROGRAM = f"""
import sys
from dataclasses import replace
from sqscribe.logs import configure
from stages.inference.client.client import EngineClient
from worker.build import build_worker
from worker.settings import read_settings
from worker.node.models import SIMULATED

def engine(settings, clock):
    simulated = replace(settings, model="window_seconds={WINDOW}", control=None, batch_size=1)
    return EngineClient(simulated, clock, SIMULATED)

def report():
    print(daemon.status()["totals"]["windows"], flush=True)
    return False

configure("json", "warning")
daemon = build_worker(read_settings(), make_engine=engine)
code = daemon.run(report)
report()
sys.exit(code)
"""


class Program:
    """A worker, which says how many windows it has decoded."""

    def __init__(self, env: dict[str, str]) -> None:
        self.decoded = 0
        self._ended = False
        self._changed = threading.Condition()  # guards these two
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.decoded = int(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, windows: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.decoded >= windows or self._ended, PATIENCE)
            assert self.decoded >= windows

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def wait(self) -> int:
        code = self._process.wait(PATIENCE)
        self._end()
        return code

    def _end(self) -> None:
        self._process.wait()
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as server:
        yield server


@pytest.mark.slow
def test_the_next_worker_decodes_what_is_missing_and_one_interval_at_most(aws: EmbeddedAws, tmp_path: Path) -> None:
    # Given a long file and a worker that is killed in the middle of it
    queue, bucket = aws.make_queue("jobs", max_receives=5), aws.make_bucket("bucket")
    aws.s3.put_object(Bucket="bucket", Key="long.wav", Body=looped("hello.wav", TILES, tmp_path).read_bytes())
    settings = {
        "queue_url": queue.url,
        "output": f"{bucket}/out",
        "model": "demo",
        "visibility_timeout": VISIBILITY,
        "checkpoint_seconds": INTERVAL,
        "exit_when_idle": 3,
        "http_port": 0,
        "scratch_dir": tmp_path,
    }
    env = worker_environment(aws, settings)

    def send(job: str) -> None:
        body = json.dumps({"source": f"{bucket}/long.wav", "job_id": job})
        aws.sqs.send_message(QueueUrl=queue.url, MessageBody=body)

    def transcript(job: str) -> bytes:
        return aws.s3.get_object(Bucket="bucket", Key=f"out/{job}/transcript.json")["Body"].read()

    def kept() -> list[dict[str, object]]:
        listed = aws.s3.list_objects_v2(Bucket="bucket", Prefix="out/long/checkpoint/").get("Contents", [])
        bodies = [aws.s3.get_object(Bucket="bucket", Key=entry["Key"])["Body"].read() for entry in listed]
        return [json.loads(body) for body in bodies]

    send("long")
    first = Program(env)
    first.until(1)
    first.until(TILES * 6 // 28 // 2)
    first.kill()
    (manifest,) = (content for content in kept() if "windows" in content)
    windows = len(manifest["windows"])  # type: ignore[arg-type]
    saved = sum(len(content["results"]) for content in kept() if "results" in content)  # type: ignore[misc, arg-type]
    # When another one is started, and gets the same file as a new job besides
    send("again")
    second = Program(env)
    assert second.wait() == 0
    # Then of the first job it decodes the rest, of which no more than an interval's work was done before
    again = second.decoded - windows
    print(f"windows {windows}, first worker {first.decoded}, saved {saved}, second worker {again}")
    assert again == windows - saved
    assert first.decoded - saved <= (INTERVAL + 2.0) / WINDOW
    assert 0 < saved < windows
    # And the text is that of a job that nothing happened to
    assert transcript("long") == transcript("again")
    assert kept() == []
