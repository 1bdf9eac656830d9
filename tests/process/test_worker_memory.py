# SPDX-License-Identifier: Apache-2.0
"""What a file of three hours costs the worker's own process, whatever the engine's costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import psutil
import pytest

from sqscribe.bundled import demo_clips
from sqscribe.errors import ExitCode
from worker.embedded.aws import EmbeddedAws

pytestmark = [pytest.mark.process, pytest.mark.wire, pytest.mark.slow]

HOURS = 3
MIB = 1 << 20

#: The worker as it is, around an engine process that takes no time: what is measured is on this side of it.
PROGRAM = """
from dataclasses import replace
from sqscribe.logs import configure
from stages.inference.client.client import EngineClient
from worker.build import build_worker
from worker.settings import read_settings
from worker.testing.decoder import SIMULATED

def simulated(settings, clock):
    return EngineClient(replace(settings, model="", control=None), clock, decoder=SIMULATED)

settings = read_settings()
configure(settings.log_format, settings.log_level)
raise SystemExit(build_worker(settings, make_engine=simulated).run())
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of speech and pauses, in a coding that is quick to make and to decode."""
    folder = tmp_path_factory.mktemp("recording")
    clip = next(clip for clip in demo_clips() if clip.name == "lecture.mp3")
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    once, path = folder / "once.wav", folder / "long.wav"
    subprocess.run([*ffmpeg, "-i", str(clip.path), "-ar", "16000", "-c:a", "adpcm_ima_wav", str(once)], check=True)
    rounds = str(int(HOURS * 3600 / clip.seconds))
    subprocess.run([*ffmpeg, "-stream_loop", rounds, "-i", str(once), "-c", "copy", str(path)], check=True)
    return path


class Watch:
    """Samples a process's resident memory, in bytes, until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.samples: list[int] = []
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.samples.append(self._process.memory_info().rss)

    def stop(self) -> list[int]:
        self._stop.set()
        self._thread.join()
        return self.samples


def eventually(condition: Callable[[], object], seconds: float) -> None:
    """Waits until something holds that no event tells of: it happens in other processes."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came about"
        pause.wait(0.1)


def test_a_file_of_three_hours_costs_the_worker_no_memory_and_leaves_nothing_behind(
    recording: Path, tmp_path: Path
) -> None:
    scratch, log = tmp_path / "scratch", tmp_path / "log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SQSCRIBE_")}
    with EmbeddedAws() as aws, log.open("wb") as lines:
        queue = aws.make_queue("jobs")
        media, output = aws.make_bucket("media"), aws.make_bucket("results")
        aws.s3.upload_file(str(recording), "media", "long.wav")
        aws.s3.put_object(Bucket="media", Key="broken.wav", Body=recording.read_bytes()[100_000:20_000_000])
        environ = aws.child_env(environ) | {
            "SQSCRIBE_QUEUE_URL": queue.url,
            "SQSCRIBE_OUTPUT": output,
            "SQSCRIBE_MODEL": "demo",
            "SQSCRIBE_HTTP_PORT": "0",
            "SQSCRIBE_SCRATCH_DIR": str(scratch),
            "SQSCRIBE_LOG_FORMAT": "json",
        }

        def ended(job: str) -> dict[str, Any] | None:
            assert worker.poll() is None, log.read_text()
            listed = aws.s3.list_objects_v2(Bucket="results", Prefix=f"{job}/result.json")
            if not listed.get("KeyCount"):
                return None
            return dict(json.loads(aws.s3.get_object(Bucket="results", Key=f"{job}/result.json")["Body"].read()))

        def work(job: str) -> dict[str, Any]:
            body = {"source": f"{media}/{job}.wav", "job_id": job, "formats": ["verbose_json", "srt"]}
            aws.sqs.send_message(QueueUrl=queue.url, MessageBody=json.dumps(body))
            eventually(lambda: ended(job), seconds=240)
            # Its folder goes before its message does, and both after its result
            eventually(lambda: not [path for path in scratch.glob("*/*") if path.is_dir()], seconds=10)
            return ended(job) or {}

        worker = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environ, cwd=tmp_path, stderr=lines)
        try:
            # Given a worker that has started
            eventually(lambda: "engine_ready" in log.read_text(), seconds=60)
            # When it does a job of three hours, and then one that fails
            watch = Watch(worker.pid)
            long = work("long")
            samples = watch.stop()
            broken = work("broken")
            worker.terminate()
            assert worker.wait(30) == ExitCode.DONE
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
    # Then it has done both
    assert long["duration"] > HOURS * 3600
    assert long["status"] == "succeeded"
    assert broken["error"]["code"] == "media_unreadable"
    # And never taken more memory, nor more and more of it
    third = len(samples) // 3
    middle, last = max(samples[third : 2 * third]), max(samples[2 * third :])
    figures = f"{max(samples) / MIB:.0f} MiB at most, {middle / MIB:.0f} in the middle, {last / MIB:.0f} in the end"
    print(figures)
    assert max(samples) < 300 * MIB, figures
    assert last < middle + max(10 * MIB, 0.05 * middle), figures
    # And nothing lies on the disk
    assert list(scratch.iterdir()) == []
