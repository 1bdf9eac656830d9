# SPDX-License-Identifier: Apache-2.0
"""Keeps finished work: saves a job's finished windows while it goes on, and finds those of earlier attempts again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from sqscribe.errors import NodeFaultError, PermanentError
from sqscribe.job import Job
from stages.inference.protocol import EngineInfo
from stages.ports import Cancellation, Clock
from stages.values import Audio, Windows
from worker.jobs.checkpoint import Checkpoints, Increment, Manifest, Trace
from worker.jobs.handover import Handover, Limit
from worker.jobs.in_engine import Decoding
from worker.jobs.run import JobRun
from worker.node.faults import NodeFaults

__all__ = ["Keeper"]

log = structlog.get_logger()

#: Near the end of its time, a job that could not be handed over is tried again after so many seconds.
HURRY_SECONDS = 10.0


class Keeper:
    """The way between a job's results and its checkpoint. Used by all downloaders and uploaders at once.

    Args:
        checkpoints: In the store.
        handover: Copies messages.
        decoding: Has the results.
        faults: Outlasts a store that is away.
        clock: Time.
        cutter: Names the cut that a job's audio would get.
        interval: Seconds between two saves of a job; one that is through earlier is never saved.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        handover: Handover,
        decoding: Decoding,
        faults: NodeFaults,
        clock: Clock,
        cutter: Callable[[Job], str],
        *,
        interval: float,
    ) -> None:
        self._checkpoints = checkpoints
        self._handover = handover
        self._decoding = decoding
        self._faults = faults
        self._clock = clock
        self._cutter = cutter
        self._interval = interval

    # -- going on --------------------------------------------------------------------------------------------------

    def look(self, run: JobRun) -> Trace:
        """What earlier attempts left; asks the store only where there may have been some.

        Raises:
            Cancelled: The job was called off.
        """
        if not run.delivery.again:
            return Trace()
        trace = self._faults.outlast("look_up", partial(self._checkpoints.trace, run.job), run.cancellation)
        run.kept.stands = bool(trace.addresses)
        run.kept.advanced = trace.advanced(run.delivery.lineage)
        return trace

    def superseded(self, run: JobRun, trace: Trace) -> bool:
        """Whether a later copy of the message is known of; notes that this one is on its way, if it is a copy.

        Raises:
            Cancelled: The lease is lost, or the worker stops.
        """
        lineage, newest = run.delivery.lineage, trace.newest(run.delivery.lineage)
        if newest > lineage.generation:
            log.info("message_superseded", message=run.delivery.message.id, generation=newest)
            return True
        if newest < lineage.generation and lineage.generation > 0:
            run.kept.stands = True
            try:
                _fence(run, run.cancellation)
                self._checkpoints.mark(run.job, lineage)
            except (NodeFaultError, PermanentError) as error:
                log.warning("mark_failed", error=str(error))
        return False

    def hand_over(self, run: JobRun, cancellation: Cancellation) -> bool:
        """Lets the job go on in a copy of its message, where that is due; see `Handover.send`."""
        return self._handover.send(run, partial(_fence, run, cancellation))

    def resume(self, run: JobRun, trace: Trace, info: EngineInfo, audio: Audio) -> Windows | None:
        """Takes up what earlier attempts finished.

        Returns:
            The windows that they cut this audio into; None: it is to be cut anew.

        Raises:
            Cancelled: The job was called off.
        """
        cutter = self._cutter(run.job)
        folder = run.kept.folder = self._checkpoints.folder(run.job, audio, cutter, info)
        if not trace.stands(folder):
            return None

        def load() -> Windows | None:
            manifest = self._checkpoints.manifest(folder, audio.samples)
            if manifest is None:
                return None
            run.results = self._checkpoints.results(trace, folder, manifest)
            run.language, run.language_probability = manifest.language, manifest.language_probability
            run.kept.manifest, run.kept.windows = manifest, set(run.results)
            log.info("checkpoint_resumed", windows=len(manifest.windows), done=len(run.results))
            return Windows(audio, manifest.windows, manifest.speech, cutter)

        return self._faults.outlast("resume", load, run.cancellation)

    # -- saving ----------------------------------------------------------------------------------------------------

    def begin(self, run: JobRun) -> None:
        """The engine gets the job: its interval begins."""
        run.kept.due_at = self._clock.now() + self._interval

    def due(self, run: JobRun, unsaved: int) -> bool:
        """Whether a job is to be saved, or handed over, now."""
        now, kept = self._clock.now(), run.kept
        ending = self._handover.limit(run.delivery) is Limit.TIME
        if ending:
            kept.due_at = min(kept.due_at, kept.saved_at + HURRY_SECONDS)
        return now >= kept.due_at and (unsaved > 0 or (ending and kept.advanced))

    def save(self, run: JobRun, cancellation: Cancellation) -> bool:
        """Saves what is not saved yet, then hands the job over if its message runs out of receives or time.

        A store that fails costs nothing but the next interval's work.

        Returns:
            Whether the job now goes on in a copy of its message.

        Raises:
            TransientError: `interrupted`; see `Handover.send`.
            Cancelled: The lease is lost, or the work was called off.
        """
        try:
            self._write(run, cancellation)
        except (NodeFaultError, PermanentError) as error:
            log.warning("checkpoint_failed", error=str(error))
        return self.hand_over(run, cancellation)

    def end(self, run: JobRun) -> JobRun | None:
        """Ends a save; gives the job if its last result has come meanwhile."""
        now = run.kept.saved_at = self._clock.now()
        # In step with when it was due, or what a crash costs would be an interval and the time that a save takes.
        return self._decoding.end_save(run, max(run.kept.due_at + self._interval, now + self._interval / 2))

    def _write(self, run: JobRun, cancellation: Cancellation) -> None:
        kept, results = run.kept, self._decoding.unsaved(run)
        if not results:
            return
        kept.stands = True
        if kept.manifest is None:
            _fence(run, cancellation)
            kept.manifest = self._claim(run)
            if kept.manifest is None:
                return
        kept.increments += 1
        _fence(run, cancellation)
        increment = Increment(kept.manifest.cut, results)
        self._checkpoints.add(kept.folder, kept.increments, kept.attempt, increment)
        self._decoding.saved(run, results)
        log.info(
            "checkpoint_saved",
            windows=len(kept.manifest.windows),
            done=len(kept.windows),
            fresh=len(results),
            increment=kept.increments,
        )

    def _claim(self, run: JobRun) -> Manifest | None:
        """Puts the manifest; None if another worker's stands that differs, which the job goes on with."""
        if run.windows is None:
            raise RuntimeError("a job without windows has nothing to save")
        named = run.job.language is not None
        ours = Manifest(
            windows=run.windows.windows,
            speech=run.windows.speech,
            language=None if named else run.language,
            language_probability=None if named else run.language_probability,
        )
        samples = run.windows.audio.samples
        standing = self._checkpoints.claim(run.kept.folder, ours, samples)
        if standing.cut == ours.cut:
            return standing
        results = self._checkpoints.results(self._checkpoints.trace(run.job), run.kept.folder, standing)
        log.info("checkpoint_adopted", windows=len(standing.windows), done=len(results), given_up=len(run.results))
        self._decoding.adopt(run, standing, results)
        return None


def _fence(run: JobRun, cancellation: Cancellation) -> None:
    """Before each write: waits while the lease is in doubt, refuses once it is lost."""
    cancellation.check()
    run.delivery.lease.fence()
