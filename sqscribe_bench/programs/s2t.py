# SPDX-License-Identifier: Apache-2.0
"""whisper-s2t over a queue: as many messages as there are, all their files in one call, and again.

It packs windows of different files into batches, but only of those that it was given together. Run by the Python of its
own environment, so it imports nothing of sqscribe. Started with what to do as a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

#: The library and the programs that it starts write to standard output, where the benchmark listens.
_SAID = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import boto3  # noqa: E402 - see above
from whisper_s2t.backends.ctranslate2.model import WhisperModelCT2  # noqa: E402

_POLL_SECONDS = 20
#: Messages that are worked on together, and those that SQS gives and deletes at once.
_AT_ONCE, _BATCH = 50, 10


def main() -> None:
    """Works until it is ended."""
    order = json.loads(sys.argv[1])
    model = WhisperModelCT2(
        order["folder"],
        n_mels=_mel_bands(order["folder"]),
        device=order["device"],
        compute_type=order["compute_type"],
        cpu_threads=order["threads"],
        # Its defaults, but for what the others have as well.
        asr_options={"beam_size": order["beam_size"], "patience": order["patience"], "repetition_penalty": 1},
    )
    if order.get("sweep"):
        _say(json.dumps(_swept(model, order)))
        return
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    _work(model, order, s3, [{"source": order["warm_up"], "job_id": f"warm-up-{os.getpid()}"}])
    _say("ready")
    while True:
        messages = _received(sqs, order["queue_url"])
        if messages:
            _work(model, order, s3, [json.loads(message["Body"]) for message in messages])
        for first in range(0, len(messages), _BATCH):
            entries: list[Any] = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages[first : first + _BATCH])
            ]
            sqs.delete_message_batch(QueueUrl=order["queue_url"], Entries=entries)


def _received(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    """Waits for the first message and takes the others that are there."""
    messages: list[dict[str, Any]] = []
    while len(messages) < _AT_ONCE:
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=0 if messages else _POLL_SECONDS
        )
        if not answer.get("Messages"):
            break
        messages += answer["Messages"]
    return messages


def _work(model: Any, order: dict[str, Any], s3: Any, jobs: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        paths = []
        for job in jobs:
            paths.append(str(Path(folder, f"{job['job_id']}.mp3")))
            s3.download_file(*_place(job["source"]), paths[-1])
        heard = _transcribed(model, order, paths, order["batch_size"])
    for job, segments in zip(jobs, heard, strict=True):
        transcript = {
            "text": " ".join(segment["text"] for segment in segments),
            "segments": [
                {"start": float(each["start_time"]), "end": float(each["end_time"]), "text": each["text"]}
                for each in segments
            ],
            "windows": len(segments),
            "tokens": None,
        }
        bucket, key = _place(f"{order['output']}/{job['job_id']}/transcript.json")
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(transcript).encode())


def _transcribed(model: Any, order: dict[str, Any], paths: list[str], batch_size: int) -> list[list[dict[str, Any]]]:
    count = len(paths)
    heard: list[list[dict[str, Any]]] = model.transcribe_with_vad(
        paths,
        lang_codes=[order["language"]] * count,
        tasks=["transcribe"] * count,
        initial_prompts=[None] * count,
        batch_size=batch_size,
    )
    return heard


def _swept(model: Any, order: dict[str, Any]) -> dict[int, float]:
    """Seconds that the sample takes at each batch size."""
    took = {}
    for size in (order["sweep"][0], *order["sweep"]):  # the first one twice: once to warm up
        begun = time.perf_counter()
        _transcribed(model, order, list(order["sample"]), size)
        took[size] = time.perf_counter() - begun
    return took


def _mel_bands(folder: str) -> int:
    path = Path(folder, "preprocessor_config.json")
    return int(json.loads(path.read_text("utf-8"))["feature_size"]) if path.exists() else 80


def _place(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _say(line: str) -> None:
    print(line, file=_SAID, flush=True)


if __name__ == "__main__":
    main()
