# SPDX-License-Identifier: Apache-2.0
"""A queue and a bucket behind a fault proxy, and workers on them: where a test plays out one case of chaos."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

import worker
from sqscribe_bench.chaos.workers import Worker
from worker.embedded.aws import EmbeddedAws
from worker.testing.faults import Access, Audit, FaultProxy, SentMessage, read_log

__all__ = ["Site"]

#: No case is about messages that run out of receives.
_MAX_RECEIVES = 1000
_PREFIX = "v1"


class Site:
    """A place of one case's own. Its queue and its bucket bear its name.

    Args:
        aws: The emulator.
        proxy: Before it.
        name: Unique within the emulator; letters, digits and hyphens.
        folder: For logs and scratch; must be there.
        settings: Of all its workers, by their names in lower case and without prefix.
    """

    def __init__(self, aws: EmbeddedAws, proxy: FaultProxy, name: str, folder: Path, **settings: object) -> None:
        self.name = name
        self.proxy = proxy
        self._aws = aws
        self._folder = folder
        self._settings = settings
        self._queue = aws.make_queue(name, max_receives=_MAX_RECEIVES)
        self._bucket = aws.make_bucket(name)
        self._messages: dict[str, SentMessage] = {}

    # -- what there is to do ---------------------------------------------------------------------------------------

    def upload(self, key: str, body: bytes) -> str:
        """Puts a source into the bucket and gives its address."""
        self._aws.s3.put_object(Bucket=self.name, Key=key, Body=body)
        return f"{self._bucket}/{key}"

    def send(self, job: str, source: str, **fields: object) -> str:
        """Sends a job; gives the id of its message."""
        body = json.dumps({"source": source, "job_id": job, "language": "en", **fields})
        message = self._aws.sqs.send_message(QueueUrl=self._queue.url, MessageBody=body)["MessageId"]
        self._messages[message] = SentMessage((f"{self.name}/{_PREFIX}/{job}",))
        return message

    def worker(self, name: str, simulation: Mapping[str, object], **settings: object) -> Worker:
        """A worker with a simulated engine, not started yet. It keeps its scratch and a list of windows for itself.

        Args:
            name: Unique within the emulator.
            simulation: See `worker.testing.decoder.Simulation`.
            settings: Over those of the site.
        """
        self.scratch(name).mkdir(parents=True)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SQSCRIBE_")}
        values: dict[str, object] = {
            "queue_url": self._queue.url.replace(self._aws.url, self.proxy.url),
            "output": f"{self._bucket}/{_PREFIX}",
            "model": "simulated:" + urlencode({**simulation, "log": self._windows(name)}),
            "scratch_dir": self.scratch(name),
            "allow_private_sources": "true",
            "http_port": 0,
            "log_format": "json",
            **self._settings,
            **settings,
        }
        env = self._aws.child_env(clean) | {
            "AWS_ENDPOINT_URL": self.proxy.url,
            "PYTHONPATH": str(Path(worker.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        }
        env |= {f"SQSCRIBE_{setting.upper()}": str(value) for setting, value in values.items()}
        return Worker(name, env, self._folder)

    # -- what there is to see --------------------------------------------------------------------------------------

    def count(self) -> tuple[int, int]:
        """Messages that are visible, and hidden."""
        asked: tuple[Any, ...] = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        answer = self._aws.sqs.get_queue_attributes(QueueUrl=self._queue.url, AttributeNames=asked)["Attributes"]
        return int(answer[asked[0]]), int(answer[asked[1]])

    def read(self, job: str) -> dict[str, bytes]:
        """What stands of a job, by the names of its objects."""
        prefix = f"{_PREFIX}/{job}/"
        listed = self._aws.s3.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return {
            entry["Key"].removeprefix(prefix): self._aws.s3.get_object(Bucket=self.name, Key=entry["Key"])[
                "Body"
            ].read()
            for entry in listed
        }

    def accesses(self, operation: str = "", caller: str = "") -> list[Access]:
        """Calls to the queue and to the bucket so far, in order: all, or those of an operation or a caller."""
        return [
            access for access in self._log() if operation in ("", access.operation) and caller in ("", access.caller)
        ]

    def writes(self, job: str, caller: str = "") -> list[Access]:
        """Writes of a job's objects that were asked for so far."""
        prefix = f"{self.name}/{_PREFIX}/{job}/"
        return [access for access in self.accesses("PutObject", caller) if access.resource.startswith(prefix)]

    def audit(self, ends: Mapping[str, float] | None = None) -> Audit:
        """Judges the calls so far; see `Audit`."""
        audit = Audit(self._messages, [f"{self.name}-dead"], ends)
        audit.run(self._log())
        return audit

    def events(self, one: Worker) -> list[dict[str, Any]]:
        """What a worker's log says so far."""
        text = one.log.read_text("utf-8") if one.log.exists() else ""
        return [
            json.loads(line) for line in text.splitlines(keepends=True) if line.startswith("{") and line[-1] == "\n"
        ]

    def decoded(self, name: str, job: str) -> int:
        """How many windows of a job a worker's engine has finished."""
        log = self._windows(name)
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        return sum(line.partition("\t")[0].partition("-")[2] == job for line in lines)

    def scratch(self, name: str) -> Path:
        """A worker's scratch folder."""
        return self._folder / "scratch" / name

    def kin(self, name: str) -> list[str]:
        """Command lines of all living processes that a worker has started, whoever is their parent now, and its own."""
        mine, lines = str(self.scratch(name)), []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it has just ended, or is somebody else's
                if process.environ().get("SQSCRIBE_SCRATCH_DIR") == mine:
                    lines.append(" ".join(process.cmdline()))
        return [line for line in lines if line]  # of one that has ended nothing but its code is left

    def _windows(self, name: str) -> Path:
        return self._folder / f"{name}.windows"

    def _log(self) -> Iterator[Access]:
        mine = {self.name, f"{self.name}-dead"}
        return (access for access in read_log(self.proxy.log) if access.resource.partition("/")[0] in mine)
