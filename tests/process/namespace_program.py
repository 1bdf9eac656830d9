# SPDX-License-Identifier: Apache-2.0
"""Runs inside a namespace (see `test_unasked.py`): a name server on its loopback, and what is listened to."""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

SIOCSIFFLAGS, UP_AND_RUNNING = 0x8914, 0x41
#: Within which onnxruntime's collector is looked up, where it is.
LISTEN_SECONDS = 14.0


class NameServer(threading.Thread):
    """Writes down every name that it is asked for, and knows none of them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.names: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))

    def run(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            self.names.add(_name(question[12:]))
            self._socket.sendto(question[:2] + b"\x81\x83" + question[4:], sender)  # NXDOMAIN


def _name(question: bytes) -> str:
    labels = []
    while question and question[0]:
        labels.append(question[1 : question[0] + 1].decode("latin-1"))
        question = question[question[0] + 1 :]
    return ".".join(labels)


def raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP_AND_RUNNING))


def use_name_server(folder: Path) -> None:
    """Puts a file of ours in the place of the system's, in this namespace alone."""
    ours = folder / "resolv.conf"
    ours.write_text("nameserver 127.0.0.1\n")
    mount = shutil.which("mount") or "/bin/mount"
    subprocess.run([mount, "--bind", str(ours), str(Path("/etc/resolv.conf").resolve())], check=True)


def onnxruntime(_folder: Path) -> None:
    program = "from stages.segment.vad import SileroVad; import sys; SileroVad(); sys.stdin.read()"
    listening = subprocess.Popen([sys.executable, "-P", "-c", program], stdin=subprocess.PIPE)
    with suppress(subprocess.TimeoutExpired):
        listening.wait(LISTEN_SECONDS)
    listening.communicate()


def worker(folder: Path) -> dict[str, Any]:
    from sqscribe.bundled import demo_clips  # noqa: PLC0415 - the network first
    from worker.embedded.aws import EmbeddedAws  # noqa: PLC0415
    from worker.embedded.program import WorkerProgram, worker_environment  # noqa: PLC0415

    clip = next(each for each in demo_clips() if each.name == "greetings.mp3")
    with EmbeddedAws() as aws:
        queue, bucket = aws.make_queue("jobs"), aws.make_bucket("results")
        aws.s3.upload_file(str(clip.path), "results", "media/a.mp3")
        aws.sqs.send_message(
            QueueUrl=queue.url, MessageBody=json.dumps({"source": f"{bucket}/media/a.mp3", "job_id": "a"})
        )
        settings = {
            "queue_url": queue.url,
            "output": f"{bucket}/out",
            "model": "demo",
            "device": "cpu",
            "http_port": 0,
            "scratch_dir": folder / "scratch",
            "exit_when_idle": LISTEN_SECONDS,
            "shutdown_grace": 6,
        }
        with WorkerProgram(worker_environment(aws, settings), folder / "log") as program:
            code = program.wait(120)
        result = json.loads(aws.s3.get_object(Bucket="results", Key="out/a/result.json")["Body"].read())
        return {"status": result["status"], "error": result["error"], "exit_code": code}


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    raise_loopback()
    use_name_server(folder)
    server = NameServer()
    server.start()
    with suppress(OSError):
        socket.getaddrinfo("control.test", 80)
    result = {"onnxruntime": onnxruntime, "worker": worker}[what](folder)
    sys.stdout.write(json.dumps({"names": sorted(server.names), "result": result}) + "\n")


if __name__ == "__main__":
    main()
