# SPDX-License-Identifier: Apache-2.0
"""What a downloader thread does with a job: fetch, decode, segment, each outlasting faults of the node."""

from __future__ import annotations

from collections.abc import Callable

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.job import Job
from stages.decode import AudioDecoder
from stages.fetch import Fetcher, FetchRequest
from stages.ports import Clock
from stages.segment import Segmenter
from stages.values import Audio, Source, Windows
from worker.jobs.run import JobRun
from worker.node.faults import NodeFaults
from worker.node.scratch import JobScratch, ScratchSpace
from worker.node.source_outage import SourceOutage
from worker.outcomes import Stage
from worker.telemetry.metrics import Metrics

__all__ = ["Preparer"]


class Preparer:
    """Turns a job into windows on disk. Holds no state; used by all downloaders at once."""

    def __init__(
        self,
        fetcher: Fetcher,
        decoder: AudioDecoder,
        segmenter: Segmenter,
        scratch: ScratchSpace,
        outage: SourceOutage,
        faults: NodeFaults,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._fetcher = fetcher
        self._decoder = decoder
        self._segmenter = segmenter
        self._scratch = scratch
        self._outage = outage
        self._faults = faults
        self._metrics = metrics
        self._clock = clock

    def prepare(self, run: JobRun, adopt: Callable[[Audio], Windows | None]) -> Windows:
        """Fetches, decodes and segments; leaves the PCM in the job's scratch folder and nothing else.

        Args:
            run: The job.
            adopt: Gives the windows that the audio was cut into before, or None: then it is cut now.

        Raises:
            PermanentError: The source or the media can never be used.
            TransientError: The source failed for now.
            Cancelled: The job was called off.
        """
        # Besides fetch and decode, the disk itself may fail (no folder, PCM that lost its end): then all is begun anew.
        return self._faults.outlast("prepare", lambda: self._attempt(run, adopt), run.cancellation)

    def cutter(self, job: Job) -> str:
        """Names how `prepare` cuts a job's audio; see `Windows.cutter`."""
        return self._segmenter.cutter(job.vad, job.tuning)

    def _attempt(self, run: JobRun, adopt: Callable[[Audio], Windows | None]) -> Windows:
        try:
            return self._prepare(run, adopt)
        except NodeFaultError:
            run.scratch.close()
            raise

    def _prepare(self, run: JobRun, adopt: Callable[[Audio], Windows | None]) -> Windows:
        if run.stage is not Stage.FETCH:
            run.enter(Stage.FETCH, self._clock.now(), self._metrics)
        folder = run.scratch.enter_context(self._scratch.job(run.job.job_id))
        source = self._faults.outlast("fetch", lambda: self._fetch(run, folder), run.cancellation)
        run.media = source.media
        run.enter(Stage.DECODE, self._clock.now(), self._metrics)
        audio = self._faults.outlast("decode", lambda: self._decode(run, source, folder), run.cancellation)
        # The PCM is all that is needed from here on: give the source's bytes back while the job waits its turn.
        source.path.unlink(missing_ok=True)
        folder.reserve(audio.path.stat().st_size, run.cancellation)
        run.enter(Stage.SEGMENT, self._clock.now(), self._metrics)
        return adopt(audio) or self._segmenter.segment(audio, run.job.vad, run.cancellation, run.job.tuning)

    def _fetch(self, run: JobRun, folder: JobScratch) -> Source:
        job = run.job
        request = FetchRequest(job.source, job.object_version, job.object_etag)
        return self._outage.outlasting(lambda: self._fetcher.fetch(request, folder.path, folder, run.cancellation))

    def _decode(self, run: JobRun, source: Source, folder: JobScratch) -> Audio:
        job = run.job
        audio = self._decoder.decode(
            source,
            folder.path,
            folder,
            run.cancellation,
            start=job.start,
            end=job.end,
            language=job.language,
            track=job.track,
            split=job.channels == "split",
        )
        if audio.samples == 0:
            raise PermanentError(ErrorCode.MEDIA_NO_AUDIO, "the audio stream holds no samples")
        return audio
