# SPDX-License-Identifier: Apache-2.0
"""The script that everybody writes: one message, one download, faster-whisper, one upload, one delete, and again.

Started as a process with what to do as a JSON object; it says `ready` when its model is warm.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from faster_whisper import BatchedInferencePipeline, WhisperModel

from sqscribe.urls import split_s3

_POLL_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Order:
    """What the benchmark asks for.

    Attributes:
        queue_url: Where the messages are; empty for a sweep.
        output: Where results go.
        warm_up: Address of the recording that is transcribed before anything counts.
        threads: Of the engine on a CPU.
        batch_size: Windows of a batch; None for one after another.
        sweep: Batch sizes to be tried on the files of `sample`, instead of any work.
    """

    folder: str
    device: str
    compute_type: str
    threads: int
    beam_size: int
    patience: float
    language: str
    queue_url: str = ""
    output: str = ""
    warm_up: str = ""
    batch_size: int | None = None
    sweep: Sequence[int] = ()
    sample: Sequence[str] = ()


class CountedModel(WhisperModel):  # type: ignore[misc]  # faster-whisper ships no types
    """Counts what it decodes."""

    windows = 0
    tokens = 0

    def encode(self, features: Any) -> Any:
        """As before."""
        self.windows += 1 if features.ndim == 2 else len(features)
        return super().encode(features)

    def generate_with_fallback(self, *arguments: Any) -> Any:
        """As before."""
        result = super().generate_with_fallback(*arguments)
        self.tokens += len(result[0].sequences_ids[0])
        return result


class CountedPipeline(BatchedInferencePipeline):  # type: ignore[misc]  # faster-whisper ships no types
    """Counts what it decodes."""

    def generate_segment_batched(self, *arguments: Any) -> Any:
        """As before."""
        encoded, outputs = super().generate_segment_batched(*arguments)
        self.model.tokens += sum(len(output["tokens"]) for output in outputs)
        return encoded, outputs


class Transcriber:
    """faster-whisper, set up as the order says."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.model = CountedModel(
            order.folder, device=order.device, compute_type=order.compute_type, cpu_threads=order.threads
        )
        self._pipeline = CountedPipeline(self.model)

    def transcribe(self, audio: Any, *, words: bool, batch_size: int | None) -> dict[str, Any]:
        """A transcript, with what it took."""
        windows, tokens = self.model.windows, self.model.tokens
        shared = {
            "language": self._order.language,
            "beam_size": self._order.beam_size,
            "patience": self._order.patience,
            "temperature": 0.0,
            "vad_filter": True,
            "word_timestamps": words,
        }
        if batch_size is None:
            # Conditioned on what was said before, the bundled model loses its way, and prompts get longer for all.
            segments, info = self.model.transcribe(audio, **shared, condition_on_previous_text=False)
        else:
            segments, info = self._pipeline.transcribe(audio, batch_size=batch_size, **shared)
        said = [_segment(segment) for segment in segments]
        return {
            "text": "".join(segment["text"] for segment in said).strip(),
            "language": info.language,
            "duration": info.duration,
            "segments": said,
            "windows": self.model.windows - windows,
            "tokens": self.model.tokens - tokens,
        }


def _segment(segment: Any) -> dict[str, Any]:
    words = [
        {"word": word.word, "start": word.start, "end": word.end, "probability": float(word.probability)}
        for word in segment.words or ()
    ]
    return {"start": segment.start, "end": segment.end, "text": segment.text, "words": words}


def main() -> None:
    """Works until it is ended."""
    order = Order(**json.loads(sys.argv[1]))
    transcriber = Transcriber(order)
    if order.sweep:
        _say(json.dumps(_swept(transcriber, order)))
        return
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    _work(transcriber, order, s3, {"source": order.warm_up, "job_id": f"warm-up-{os.getpid()}"})
    _say("ready")
    while True:
        answer = sqs.receive_message(QueueUrl=order.queue_url, MaxNumberOfMessages=1, WaitTimeSeconds=_POLL_SECONDS)
        for message in answer.get("Messages", ()):
            _work(transcriber, order, s3, json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=order.queue_url, ReceiptHandle=message["ReceiptHandle"])


def _work(transcriber: Transcriber, order: Order, s3: Any, job: dict[str, Any]) -> None:
    place = split_s3(job["source"])
    media = io.BytesIO(s3.get_object(Bucket=place.bucket, Key=place.key)["Body"].read())
    transcript = transcriber.transcribe(media, words=job.get("word_timestamps", False), batch_size=order.batch_size)
    target = split_s3(f"{order.output}/{job['job_id']}/transcript.json")
    s3.put_object(Bucket=target.bucket, Key=target.key, Body=json.dumps(transcript).encode())


def _swept(transcriber: Transcriber, order: Order) -> dict[int, float]:
    """Seconds that the sample takes at each batch size."""
    media = [Path(path).read_bytes() for path in order.sample]
    took = {}
    for size in (order.sweep[0], *order.sweep):  # the first one twice: once to warm up
        begun = time.perf_counter()
        for each in media:
            transcriber.transcribe(io.BytesIO(each), words=False, batch_size=size)
        took[size] = time.perf_counter() - begun
    return took


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
