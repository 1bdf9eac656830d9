# SPDX-License-Identifier: Apache-2.0
"""SQS and S3 on this machine, for the demo and for tests: moto's server in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqscribe.errors import NodeFaultError, SettingsError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

__all__ = ["EmbeddedAws", "EmbeddedQueue"]

REGION = "us-east-1"
#: The server takes any; these cannot be taken for anybody's.
CREDENTIALS = {"aws_access_key_id": "embedded", "aws_secret_access_key": "embedded"}


@dataclass(frozen=True, slots=True)
class EmbeddedQueue:
    """A queue and its redrive target."""

    url: str
    dead_letter_url: str


class EmbeddedAws:
    """The server: a context manager, or `start` and `stop`. It ends with the process that started it.

    Args:
        start_timeout: Seconds within which it has to listen.
    """

    def __init__(self, *, start_timeout: float = 60.0) -> None:
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The endpoint of both services.

        Raises:
            RuntimeError: The server does not run.
        """
        if self._url is None:
            raise RuntimeError("the embedded SQS and S3 do not run")
        return self._url

    @property
    def sqs(self) -> SQSClient:
        """A client of the embedded SQS, for setting things up."""
        client: SQSClient = self._clients["sqs"]
        return client

    @property
    def s3(self) -> S3Client:
        """A client of the embedded S3, for setting things up."""
        client: S3Client = self._clients["s3"]
        return client

    def start(self) -> None:
        """Starts the server and waits until it listens.

        Raises:
            RuntimeError: It runs already.
            SettingsError: moto is not installed.
            NodeFaultError: The process ended, or did not listen in time.
        """
        if self._process is not None:
            raise RuntimeError("the embedded SQS and S3 are already running")
        if importlib.util.find_spec("moto") is None:
            raise SettingsError("the embedded SQS and S3 need moto; install sqscribe[demo]")
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.embedded.server", "--port", "0"],
                # The server ends when this pipe closes, which it does however this process goes. A session of its own
                # keeps Ctrl-C from it: the worker still needs it to shut down in order.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=_without_aws(os.environ) | {"PYTHONPATH": _import_path()},
            )
            url = _first_line(self._process, self._start_timeout)
            if not url:
                self.stop()
                errors.seek(0)
                said = errors.read()[-2000:].decode(errors="replace").strip()
                raise NodeFaultError(f"the embedded SQS and S3 did not start within {self._start_timeout:g} s: {said}")
        self._url = url
        self._clients = _clients(url)

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the server, by force after `timeout` seconds. Repeating it is harmless."""
        for client in self._clients.values():
            client.close()
        process, self._process, self._url, self._clients = self._process, None, None, {}
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def env(self) -> dict[str, str]:
        """Environment variables that lead every AWS client here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Profiles, endpoints and roles of this machine's user stay out of it.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def child_env(self, environ: Mapping[str, str]) -> dict[str, str]:
        """An environment for a child process: `environ`, but whatever `AWS_*` says there gives way to `env()`."""
        return _without_aws(environ) | self.env()

    def make_queue(
        self, name: str, *, max_receives: int = 10, visibility_timeout: int = 300, fifo: bool = False
    ) -> EmbeddedQueue:
        """Makes a queue that redrives to a dead-letter queue beside it.

        Args:
            name: Without `.fifo`; the dead-letter queue is `<name>-dead`.
            max_receives: Of the redrive policy.
            visibility_timeout: The queue's default, in seconds.
            fifo: For both.
        """
        suffix = ".fifo" if fifo else ""
        kind: dict[Any, str] = {"FifoQueue": "true"} if fifo else {}
        dead_letter_url = self.sqs.create_queue(QueueName=f"{name}-dead{suffix}", Attributes=kind)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead_letter_url, AttributeNames=["QueueArn"])["Attributes"]
        redrive = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": max_receives}
        attributes = kind | {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": str(visibility_timeout)}
        url = self.sqs.create_queue(QueueName=f"{name}{suffix}", Attributes=attributes)["QueueUrl"]
        return EmbeddedQueue(url, dead_letter_url)

    def make_bucket(self, name: str) -> str:
        """Makes a bucket and gives its address, `s3://name`."""
        self.s3.create_bucket(Bucket=name)
        return f"s3://{name}"


def _clients(url: str) -> dict[str, Any]:
    import boto3  # noqa: PLC0415 - the command line names this class without paying for boto3
    import botocore.session  # noqa: PLC0415

    # No profile and no files: what this machine's user has set up must not matter.
    nothing: Any = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    session = boto3.session.Session(
        botocore_session=botocore.session.Session(session_vars=nothing), region_name=REGION, **CREDENTIALS
    )
    return {"sqs": session.client("sqs", endpoint_url=url), "s3": session.client("s3", endpoint_url=url)}


def _without_aws(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith("AWS_")}


def _import_path() -> str:
    """Lets the child find this package wherever it was imported from."""
    mine = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [mine, os.environ.get("PYTHONPATH")]))


def _first_line(process: subprocess.Popen[bytes], timeout: float) -> str:
    """The first line that the process prints; empty when it ended or took longer than `timeout` seconds."""
    if process.stdout is None:
        raise RuntimeError("the process has no pipe to read from")
    end = time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, end - time.monotonic())):
                return ""
            got = os.read(process.stdout.fileno(), 4096)
            if not got:
                return ""
            line += got
    return line.decode().strip()


if __name__ == "__main__":
    from worker.embedded.server import main

    main()
