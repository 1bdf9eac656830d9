# SPDX-License-Identifier: Apache-2.0
"""`sqscribe worker` as people run it: a program, against SQS and S3 over real connections, with the bundled model."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sqscribe.bundled import demo_clips, model_path
from sqscribe.errors import ExitCode
from sqscribe.job import JobDefaults
from sqscribe.job_message import parse_job
from sqscribe.wer import count_words, word_errors
from worker.embedded.aws import EmbeddedAws, EmbeddedQueue
from worker.embedded.environment import free_port
from worker.embedded.program import WorkerProgram, worker_environment
from worker.testing.media_server import MediaServer
from worker.testing.recordings import looped
from worker.testing.refusing_aws import RefusingAws
from worker.testing.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.wire]

CLIPS = {clip.name: clip for clip in demo_clips()}
#: Real seconds that anything but a shutdown may take on a busy machine.
PATIENCE = 120.0
STAGES = ("fetch", "decode", "segment", "wait", "inference", "publish")


@dataclass(frozen=True)
class Place:
    """A queue and a bucket of a test's own, and clips to transcribe."""

    aws: EmbeddedAws
    queue: EmbeddedQueue
    output: str
    media: str

    def send(self, body: object) -> str:
        text = body if isinstance(body, str) else json.dumps(body)
        return self.aws.sqs.send_message(QueueUrl=self.queue.url, MessageBody=text)["MessageId"]

    def count(self) -> tuple[int, int]:
        """Messages that are visible, and hidden."""
        return self.aws.count(self.queue.url)

    def keys(self) -> list[str]:
        """What stands below the output, without its prefix."""
        bucket, _, prefix = self.output.removeprefix("s3://").partition("/")
        answer = self.aws.s3.list_objects_v2(Bucket=bucket)
        return [item["Key"].removeprefix(f"{prefix}/") for item in answer.get("Contents", [])]

    def read(self, key: str) -> bytes:
        bucket, _, prefix = self.output.removeprefix("s3://").partition("/")
        return self.aws.s3.get_object(Bucket=bucket, Key=f"{prefix}/{key}")["Body"].read()

    def result(self, job: str) -> dict[str, Any]:
        return dict(json.loads(self.read(f"{job}/result.json")))

    def dead_letters(self) -> list[Any]:
        return list(self.aws.dead_letters(self.queue))


class Program:
    """A worker as a process of its own, in a session of its own as under a shell or a container's init."""

    def __init__(self, place: Place | None, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        folder.mkdir(exist_ok=True)
        values: dict[str, object] = {
            "model": "demo",
            "device": "cpu",
            "visibility_timeout": 30,
            "allow_private_sources": "true",  # the embedded S3 listens on loopback
            "http_port": free_port(),
            "log_format": "json",
            "scratch_dir": self.scratch,
            "shutdown_grace": 10,  # a poll takes a third of it
        }
        if place:
            values |= {"queue_url": place.queue.url, "output": place.output}
        values |= settings
        given = {name: value for name, value in values.items() if value is not None}
        endpoint = given.pop("endpoint", None)  # of AWS, where it is not the place's own
        more = {} if endpoint is None else {"AWS_ENDPOINT_URL": str(endpoint)}
        env = worker_environment(place.aws if place else None, given, **more)
        self.worker = WorkerProgram(env, folder / "err", output=folder / "out", own_session=True)
        self.process = self.worker.process

    @property
    def said(self) -> str:
        return (self.folder / "err").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Every line that it wrote so far, as JSON."""
        return [json.loads(line) for name in ("out", "err") for line in (self.folder / name).read_text().splitlines()]

    def get(self, path: str) -> tuple[int, bytes]:
        page = self.worker.get(path)
        return page.status, page.body

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/status")[1]))

    def metrics(self) -> dict[str, float]:
        """Every sample by name and labels, as `sqscribe_jobs_total{outcome=failed}`."""
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1].decode()):
            for name, labels, value, *_ in family.samples:
                shown = ",".join(f"{key}={labels[key]}" for key in sorted(labels))
                samples[f"{name}{{{shown}}}" if shown else name] = value
        return samples

    def probes(self) -> tuple[int, int, int]:
        """Statuses of /startup, /live and /ready."""
        startup, live, ready = (self.get(f"/{name}")[0] for name in ("startup", "live", "ready"))
        return startup, live, ready

    def answers(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            self.get("/live")
        except OSError:
            return False
        return True

    def wait_ready(self) -> None:
        eventually(self.answers)
        eventually(lambda: self.answers() and self.get("/ready")[0] == 200)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def engine(self) -> psutil.Process:
        """The inference process; the other child is Python's own resource tracker."""
        return next(child for child in self.children() if "spawn_main" in " ".join(child.cmdline()))

    def in_stage(self, stage: str) -> int:
        return int(self.status()["stages"][stage]["jobs"])

    def end(self, number: signal.Signals, seconds: float = 30.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def clean_up(self) -> None:
        """Ends it and whatever it left, however the test went."""
        if self.process.poll() is None:
            left = [*self.children(), psutil.Process(self.process.pid)]
            for process in left:
                process.kill()
            self.process.wait()
            psutil.wait_procs(left, timeout=10)


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as running:
        running.make_bucket("media")
        for clip in CLIPS.values():
            running.s3.upload_file(str(clip.path), "media", clip.name)
        yield running


def make_place(aws: EmbeddedAws) -> Place:
    name = f"t-{uuid.uuid4().hex[:12]}"
    queue = aws.make_queue(name, max_receives=4, visibility_timeout=30)
    return Place(aws, queue, f"{aws.make_bucket(name)}/out/v1", "s3://media")


@pytest.fixture
def place(aws: EmbeddedAws) -> Place:
    return make_place(aws)


@pytest.fixture
def start(place: Place, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts workers on the test's place; ends what is left of them."""
    programs: list[Program] = []

    def started(**settings: object) -> Program:
        programs.append(Program(place, tmp_path / f"worker-{len(programs)}", **settings))
        return programs[-1]

    yield started
    for program in programs:
        program.clean_up()


def repeat(aws: EmbeddedAws, clip: str, times: int, folder: Path) -> str:
    """Uploads a recording in which a clip is heard several times."""
    path = looped(clip, times, folder)
    aws.s3.upload_file(str(path), "media", path.name)
    return f"s3://media/{path.name}"


@pytest.fixture(scope="module")
def long_recording(aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    """5 minutes: enough to be met in the engine."""
    return repeat(aws, "lecture.mp3", 2, tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="module")
def longer_recording(aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An hour, which with a wide beam no machine has done within the share of a grace that is for finishing."""
    return repeat(aws, "lecture.mp3", 24, tmp_path_factory.mktemp("longer"))


@pytest.fixture
def endless() -> Iterator[str]:
    """A source that sends its headers and then nothing."""
    with MediaServer() as server:
        yield server.endless


# -- one worker and messages of every form -----------------------------------------------------------------------------


def s3_event(etags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": {"name": "media"},
                    "object": {"key": key, "size": 1000, "eTag": etag, "sequencer": "0A"},
                },
            }
            for key, etag in etags.items()
        ]
    }


@dataclass(frozen=True)
class Worked:
    """A worker that has had messages of every form, and what it said when it was through.

    Attributes:
        clips: Job id to the clip that it was about.
        unreadable: Id of the message that was no job.
        first_probes: Before the model was loaded.
    """

    program: Program
    place: Place
    clips: Mapping[str, str]
    broken: str
    unreadable: str
    first_probes: tuple[int, int, int]
    probes: tuple[int, int, int]
    metrics: Mapping[str, float]
    status: Mapping[str, Any]
    letters: tuple[Any, ...]

    @property
    def jobs(self) -> list[str]:
        return [*self.clips, self.broken, f"message-{self.unreadable}"]


@pytest.fixture(scope="module")
def worked(aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    place = make_place(aws)
    there: Any = {"Bucket": "media", "Key": "numbers.mp3"}
    bare = aws.s3.generate_presigned_url("get_object", Params=there)
    etags = {
        name: aws.s3.head_object(Bucket="media", Key=name)["ETag"].strip('"') for name in ("calendar.m4a", "broken.mp3")
    }
    calendar, broken = (
        parse_job({"source": f"s3://media/{name}", "object": {"etag": etag}}, JobDefaults(place.output)).job_id
        for name, etag in etags.items()
    )
    place.send({"source": "s3://media/hello.wav", "job_id": "json", "formats": ["srt", "txt"], "metadata": {"n": [1]}})
    place.send({"source": "s3://media/silence.m4a", "job_id": "silent"})
    place.send({"source": "s3://media/briefing.m4a", "job_id": "words", "word_timestamps": True, "formats": ["vtt"]})
    place.send(bare)
    place.send(s3_event(etags))
    place.send({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "media"})
    unreadable = place.send("{this is no JSON")
    program = Program(place, tmp_path_factory.mktemp("worked"))
    try:
        eventually(program.answers)
        first_probes = program.probes()
        program.wait_ready()
        eventually(lambda: place.count() == (0, 0))
        eventually(lambda: program.status()["leases"] == 0)
        yield Worked(
            program=program,
            place=place,
            clips={
                "json": "hello.wav",
                "silent": "silence.m4a",
                "words": "briefing.m4a",
                parse_job({"source": bare}, JobDefaults(place.output)).job_id: "numbers.mp3",
                calendar: "calendar.m4a",
            },
            broken=broken,
            unreadable=unreadable,
            first_probes=first_probes,
            probes=program.probes(),
            metrics=program.metrics(),
            status=program.status(),
            letters=tuple(place.dead_letters()),
        )
    finally:
        program.clean_up()


def test_every_form_of_message_becomes_the_right_transcript(worked: Worked) -> None:
    said = errors = 0
    for job, name in worked.clips.items():
        result = worked.place.result(job)
        assert (result["status"], result["error"]) == ("succeeded", None), job
        heard = json.loads(worked.place.read(f"{job}/transcript.json"))["text"]
        said += count_words(CLIPS[name].text)
        errors += word_errors(CLIPS[name].text, heard)
        assert abs(result["duration"] - CLIPS[name].seconds) < 0.2
    assert said > 100
    assert errors <= 0.05 * said
    assert json.loads(worked.place.read("silent/transcript.json"))["text"] == ""


def test_results_say_what_was_asked_and_who_did_it(worked: Worked) -> None:
    result = worked.place.result("json")
    assert [artifact["format"] for artifact in result["artifacts"]] == ["json", "srt", "txt"]
    assert result["metadata"] == {"n": [1]}
    assert result["attempts"] == 1
    assert (result["model"]["name"], result["language"]) == ("demo", "en")
    assert all(result["timings"][stage] is not None for stage in ("fetch", "decode", "segment", "inference"))
    silent = worked.place.result("silent")
    assert (silent["language"], silent["speech_duration"]) == (None, 0.0)
    # And nothing stands but what results name
    standing = {f"{job}/result.json" for job in worked.jobs}
    for job in worked.clips:
        standing |= {artifact["key"].split("/v1/")[1] for artifact in worked.place.result(job)["artifacts"]}
    assert set(worked.place.keys()) == standing


def test_words_come_with_times_that_are_those_of_the_file(worked: Worked) -> None:
    words = [
        word for cue in json.loads(worked.place.read("words/transcript.json"))["segments"] for word in cue["words"]
    ]
    truth = {(word.word, round(word.start)) for word in CLIPS["briefing.m4a"].words}
    near = [
        word
        for word in words
        if any((word["word"].strip().lower(), round(word["start"]) + d) in truth for d in (-1, 0, 1))
    ]
    assert len(near) >= 0.9 * len(CLIPS["briefing.m4a"].words)


def test_what_can_never_be_done_is_recorded_and_dead_lettered_alone(worked: Worked) -> None:
    failed = worked.place.result(worked.broken)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "media_unreadable")
    assert worked.place.result(f"message-{worked.unreadable}")["error"]["code"] == "bad_message"
    letters = {letter["MessageAttributes"]["error_code"]["StringValue"]: letter for letter in worked.letters}
    assert len(worked.letters) == len(letters) == 2
    assert letters["bad_message"]["Body"] == "{this is no JSON"
    # Of the event's two records the broken one alone, as a job that may be sent again as it is
    alone = json.loads(letters["media_unreadable"]["Body"])
    assert (alone["source"], alone["job_id"]) == ("s3://media/broken.mp3", worked.broken)
    assert parse_job(alone, JobDefaults(worked.place.output)).job_id == worked.broken
    assert all(letter["MessageAttributes"]["error_message"]["StringValue"] for letter in worked.letters)


def test_probes_tell_loading_from_ready(worked: Worked) -> None:
    assert worked.first_probes == (503, 200, 503)
    assert worked.probes == (200, 200, 200)
    status, body = worked.program.get("/ready")
    assert (status, json.loads(body)) == (200, {"ok": True, "reasons": []})
    assert worked.program.get("/nothing")[0] == 404


def test_status_tells_of_a_worker_that_is_through(worked: Worked) -> None:
    page = worked.status
    assert (page["phase"], page["leases"], page["waiting"], page["trouble"]) == ("running", 0, 0, [])
    assert (page["engine"]["name"], page["engine"]["device"]) == ("demo", "cpu")
    assert {stage: page["stages"][stage]["jobs"] for stage in page["stages"]} == dict.fromkeys(STAGES, 0)
    assert page["totals"]["jobs"] == {"succeeded": 5, "failed": 2}
    assert page["scratch"]["used"] == 0
    assert {part["state"] for part in page["parts"]} <= {"idle", "busy"}


def test_metrics_agree_with_what_was_done(worked: Worked) -> None:
    metrics, totals = worked.metrics, worked.status["totals"]
    outcomes = {
        name.partition("outcome=")[2].rstrip("}"): value
        for name, value in metrics.items()
        if name.startswith("sqscribe_jobs_total{")
    }
    assert {name: value for name, value in outcomes.items() if value} == {"succeeded": 5.0, "failed": 2.0}
    errors = {name: value for name, value in metrics.items() if name.startswith("sqscribe_job_errors_total") and value}
    assert errors == {
        "sqscribe_job_errors_total{code=bad_message}": 1.0,
        "sqscribe_job_errors_total{code=media_unreadable}": 1.0,
    }
    seconds = sum(CLIPS[name].seconds for name in worked.clips.values())
    assert metrics["sqscribe_audio_seconds_total"] == pytest.approx(seconds, abs=1.0)
    # Six jobs were begun (one message was none), of which one broke off in the decoder and one had no speech
    counts = {stage: metrics[f"sqscribe_stage_seconds_count{{stage={stage}}}"] for stage in STAGES}
    assert counts == {"fetch": 6, "decode": 6, "segment": 5, "wait": 4, "inference": 4, "publish": 6}
    assert all(metrics[f"sqscribe_stage_jobs{{stage={stage}}}"] == 0 for stage in STAGES)
    assert metrics["sqscribe_batch_windows_sum"] >= totals["windows"] >= 4
    assert metrics["sqscribe_batch_windows_count"] == totals["batches"]
    assert 0 < metrics["sqscribe_inference_busy_seconds_total"] < worked.status["uptime"] + 1
    assert metrics["sqscribe_buffered_audio_seconds"] == pytest.approx(0, abs=0.001)
    assert metrics["sqscribe_leases"] == metrics["sqscribe_leases_lost_total"] == 0
    assert metrics["sqscribe_engine_restarts_total"] == 0
    assert metrics["sqscribe_queue_calls_total{operation=ReceiveMessage}"] >= 1
    assert 1 <= metrics["sqscribe_queue_calls_total{operation=DeleteMessageBatch}"] <= 7
    assert metrics["sqscribe_queue_calls_total{operation=SendMessage}"] == 2
    puts = metrics["sqscribe_store_calls_total{operation=PutObject}"]
    assert puts == len(worked.place.keys())


def test_every_line_of_the_log_is_json_and_those_of_a_job_name_it(worked: Worked) -> None:
    lines = worked.program.lines()
    assert all(line["severity"] in {"info", "warning", "error"} and line["event"] for line in lines)
    about = {job: [line for line in lines if line.get("job") == job] for job in worked.jobs}
    assert all("stage" in line for some in about.values() for line in some)
    assert all(some[-1]["event"] == "job_ended" for some in about.values())
    assert {line["outcome"] for line in lines if line["event"] == "job_ended"} == {"succeeded", "failed"}
    events = {line["event"] for line in lines}
    assert {"worker_started", "engine_started", "engine_ready", "message_received", "job_failed"} <= events
    assert not [line for line in lines if "exception" in line]


def test_an_engine_that_is_killed_in_the_middle_costs_no_job_anything(worked: Worked, long_recording: str) -> None:
    # Given jobs of which the engine has done a part
    place, program = worked.place, worked.program
    before = program.metrics()
    windows = program.status()["totals"]["windows"]
    jobs = ("killed-1", "killed-2")
    for job in jobs:
        place.send({"source": long_recording, "job_id": job})
    eventually(lambda: program.status()["totals"]["windows"] > windows + 2)
    # When its process is killed
    engine = program.engine()
    assert program.in_stage("inference") >= 1
    engine.kill()
    # Then another one takes over, and each job is done once, in its first receive
    eventually(lambda: place.count() == (0, 0))
    after = program.metrics()
    assert after["sqscribe_engine_restarts_total"] - before["sqscribe_engine_restarts_total"] == 1
    done = "sqscribe_jobs_total{outcome=succeeded}"
    assert after[done] - before[done] == 2
    assert [place.result(job)["attempts"] for job in jobs] == [1, 1]
    assert program.engine().pid != engine.pid
    assert program.probes() == (200, 200, 200)
    said = " ".join([CLIPS["lecture.mp3"].text] * 2)
    for job in jobs:
        heard = json.loads(place.read(f"{job}/transcript.json"))["text"]
        assert word_errors(said, heard) <= 0.08 * count_words(said)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_stop_gives_everything_back_at_once(
    place: Place, start: Callable[..., Program], longer_recording: str, endless: str
) -> None:
    # Given a job in the engine, two in a fetch that hangs, and some that wait for a downloader
    program = start(shutdown_grace=8, downloaders=2, visibility_timeout=300)
    place.send({"source": longer_recording, "job_id": "long", "beam_size": 10})
    program.wait_ready()
    eventually(lambda: program.in_stage("inference") == 1)
    for number in range(5):
        place.send({"source": endless, "job_id": f"endless-{number}"})
    eventually(lambda: program.in_stage("fetch") == 2)
    assert program.in_stage("inference") == 1
    children = program.children()
    # When it is told to stop
    begun = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    # Then it says that it takes nothing more, and lives
    eventually(lambda: program.get("/ready")[0] == 503, seconds=3)
    assert program.get("/live")[0] == 200
    # And it ends in order within the grace, and every message is visible again at once
    assert program.process.wait(30) == ExitCode.DONE
    assert time.monotonic() - begun < 8
    assert place.count() == (6, 0)
    # And nothing stands but what the engine had finished
    standing = place.keys()
    assert [key for key in standing if "/checkpoint/" not in key] == []
    # And no process, no file is left behind
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert list(program.scratch.iterdir()) == []
    lines = program.lines()
    assert lines[-1]["event"] == "worker_stopped"
    assert not [line for line in lines if line["severity"] == "error"]


def test_a_second_signal_ends_it_at_once(place: Place, start: Callable[..., Program], longer_recording: str) -> None:
    # Given a worker that lets its engine finish
    program = start(shutdown_grace=120)
    place.send({"source": longer_recording, "job_id": "long", "beam_size": 10})
    program.wait_ready()
    eventually(lambda: program.in_stage("inference") == 1)
    children = program.children()
    program.process.send_signal(signal.SIGTERM)
    eventually(lambda: program.status()["phase"] == "draining")
    # When it is told again, then it does not wait; its engine ends by itself
    begun = time.monotonic()
    assert program.end(signal.SIGTERM) == ExitCode.UNEXPECTED
    assert time.monotonic() - begun < 3
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_ctrl_c_ends_in_order_and_idleness_when_asked_for(place: Place, start: Callable[..., Program]) -> None:
    # Given two workers, of which one ends when it is idle
    waits, ends = start(), start(exit_when_idle=1)
    place.send({"source": "s3://media/hello.wav", "job_id": "one"})
    waits.wait_ready()
    assert ends.process.wait(PATIENCE) == ExitCode.DONE
    eventually(lambda: place.count() == (0, 0))
    assert place.result("one")["status"] == "succeeded"
    # When a Ctrl-C at the terminal reaches all processes of the other
    children = waits.children()
    os.killpg(waits.process.pid, signal.SIGINT)
    # Then it ends in order, too
    assert waits.process.wait(30) == ExitCode.DONE
    assert waits.lines()[-1]["event"] == "worker_stopped"
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert list(waits.scratch.iterdir()) == []


def test_what_a_killed_worker_held_is_done_by_the_next(
    place: Place, start: Callable[..., Program], long_recording: str, tmp_path: Path
) -> None:
    # Given a worker that is killed in the middle of a job
    scratch = tmp_path / "scratch"
    first = start(visibility_timeout=4, scratch_dir=scratch)
    place.send({"source": long_recording, "job_id": "long"})
    first.wait_ready()
    eventually(lambda: first.in_stage("inference") == 1)
    children = first.children()
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    # Then its engine does not outlive it, its audio lies there, and its message is hidden until the lease runs out
    assert psutil.wait_procs(children, timeout=10)[1] == []
    left = {path.name for path in scratch.iterdir()}
    assert list(scratch.rglob("audio.pcm"))
    assert place.keys() == []
    # When another worker is started on the same machine
    second = start(visibility_timeout=4, scratch_dir=scratch)
    # Then it sweeps what the dead one left and does the job
    second.wait_ready()
    assert left.isdisjoint(path.name for path in scratch.iterdir())
    eventually(lambda: place.count() == (0, 0))
    result = place.result("long")
    assert result["status"] == "succeeded"
    # The dead one's long poll, which nobody reads any more, may have burnt a receive
    assert result["attempts"] in (2, 3)
    assert second.end(signal.SIGTERM) == ExitCode.DONE
    assert list(scratch.iterdir()) == []


# -- what cannot work --------------------------------------------------------------------------------------------------


def refusal(place: Place | None, folder: Path, **settings: object) -> tuple[int, str]:
    """The exit code, and the one line that it says."""
    program = Program(place, folder, **settings)
    try:
        code = program.process.wait(PATIENCE)
    finally:
        program.clean_up()
    (told,) = program.lines()
    assert (told["severity"], told["event"], told["exit_code"]) == ("critical", "fatal", code)
    assert not program.scratch.exists() or list(program.scratch.iterdir()) == []
    return code, str(told["reason"])


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"queue_url": None}, "SQSCRIBE_QUEUE_URL"),
        ({"output": None}, "SQSCRIBE_OUTPUT"),
        ({"output": "bucket/prefix"}, "SQSCRIBE_OUTPUT"),
        ({"beam_size": 11}, "SQSCRIBE_BEAM_SIZE"),
        ({"queue_url": "http://127.0.0.1:1/000000000000/none"}, "/none"),
        ({"model": "/no/such/folder"}, "SQSCRIBE_MODEL"),
        ({"model": "s3://media/no-model"}, "SQSCRIBE_MODEL"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_settings_end_it_with_one_line_that_names_them(
    place: Place, tmp_path: Path, settings: Mapping[str, object], names: str
) -> None:
    code, line = refusal(place, tmp_path / "worker", **settings)
    assert code == ExitCode.USAGE
    assert names in line


def test_a_port_that_is_taken_is_a_wrong_setting(place: Place, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        code, line = refusal(place, tmp_path / "worker", http_port=taken.getsockname()[1])
    assert code == ExitCode.USAGE
    assert "SQSCRIBE_HTTP_PORT" in line


def test_probes_answer_while_a_model_is_downloaded_and_a_signal_ends_that_at_once(place: Place, tmp_path: Path) -> None:
    # Given a model in a store that takes minutes to send it
    for path in model_path().iterdir():
        place.aws.s3.upload_file(str(path), "media", f"model/{path.name}")
    place.send({"source": "s3://media/hello.wav", "job_id": "one"})
    with RefusingAws(place.aws.url) as slow:
        slow.slow_down(1 << 20, seconds=0.5)
        program = Program(place, tmp_path / "worker", model="s3://media/model", endpoint=slow.url)
        try:
            # When a worker brings it
            eventually(lambda: program.answers() and b"downloading" in program.get("/startup")[1])
            # Then it lives, has not started, and is not ready; its page says what it is about
            assert program.probes() == (503, 200, 503)
            assert program.status()["phase"] == "starting"
            assert program.get("/metrics")[0] == 200
            # When it is told to end
            began = time.monotonic()
            assert program.end(signal.SIGTERM) == ExitCode.DONE
            # Then it does, takes what it has of the model with it, and has touched no message
            assert time.monotonic() - began < 10
            assert list(program.scratch.iterdir()) == []
            assert place.count() == (1, 0)
        finally:
            program.clean_up()


def test_a_store_that_is_away_at_the_start_is_waited_for(place: Place, start: Callable[..., Program]) -> None:
    place.send({"source": "s3://media/hello.wav", "job_id": "one"})
    with RefusingAws(place.aws.url) as front:
        # Given a store that is overloaded
        front.refuse("PutObject", "SlowDown", status=503)
        # When a worker is started
        program = start(endpoint=front.url)
        eventually(lambda: program.answers() and b"SlowDown" in program.get("/startup")[1])
        # Then it lives, says what it waits for, and receives nothing
        assert program.probes() == (503, 200, 503)
        assert b"SQSCRIBE_OUTPUT" in program.get("/startup")[1]
        assert place.count() == (1, 0)
        # When the store has recovered, then the job is done
        front.mend()
        eventually(lambda: place.count() == (0, 0))
        assert place.result("one")["status"] == "succeeded"
        assert program.probes() == (200, 200, 200)
        # And one that waits hears that it should end
        front.refuse("PutObject", "SlowDown", status=503)
        other = start(endpoint=front.url)
        eventually(lambda: other.answers() and b"SlowDown" in other.get("/startup")[1])
        assert other.end(signal.SIGTERM) == ExitCode.DONE
        assert program.end(signal.SIGTERM) == ExitCode.DONE


def test_at_a_terminal_it_is_one_plain_line(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = worker_environment(None, {"model": "demo", "http_port": 0})
    worker = subprocess.Popen([sys.executable, "-P", "-m", "sqscribe", "worker"], env=env, cwd=tmp_path, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    assert worker.wait(PATIENCE) == ExitCode.USAGE
    (line,) = said.decode().splitlines()
    assert line.startswith("sqscribe: SQSCRIBE_QUEUE_URL: not set")


def test_arguments_that_it_does_not_know_are_a_line_of_the_log_too(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "sqscribe", "worker", "--no-such-flag"],
        env=worker_environment(None, {}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == ExitCode.USAGE
    told = json.loads(ended.stderr)
    assert (told["severity"], told["event"]) == ("critical", "fatal")
    assert "--no-such-flag" in told["reason"]


def test_a_node_without_the_gpu_that_is_demanded_is_unfit(place: Place, start: Callable[..., Program]) -> None:
    place.send({"source": "s3://media/hello.wav", "job_id": "one"})
    program = start(device="cuda")
    assert program.process.wait(PATIENCE) == ExitCode.UNFIT_NODE
    assert any(line["event"] == "engine_failed" and line["unfit"] for line in program.lines())
    # And it has not touched a message
    assert place.count() == (1, 0)
    assert list(program.scratch.iterdir()) == []
