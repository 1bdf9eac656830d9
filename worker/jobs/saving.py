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
from worker.jobs.checkpoint import CheckpointListing, Checkpoints, Increment, Manifest
from worker.jobs.handover import Handover, Limit
from worker.jobs.in_engine import Decoding
from worker.jobs.run import JobRun
from worker.node.faults import NodeFaults

__all__ = ["CheckpointSaver"]

log = structlog.get_logger()

#: Near the end of its time, a job that could not be handed over is tried again after so many seconds.
HURRY_SECONDS = 10.0


class CheckpointSaver:
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

    def look(self, run: JobRun) -> CheckpointListing:
        """What earlier attempts left; asks the store only where there may have been some.

        Raises:
            Cancelled: The job was called off.
        """
        if not run.delivery.redelivered:
            return CheckpointListing()
        listing = self._faults.outlast("look_up", partial(self._checkpoints.listing, run.job), run.cancellation)
        run.checkpoint.exists = bool(listing.addresses)
        run.checkpoint.advanced = listing.advanced(run.delivery.lineage)
        return listing

    def superseded(self, run: JobRun, listing: CheckpointListing) -> bool:
        """Whether a later copy of the message is known of; notes that this one is on its way, if it is a copy.

        Raises:
            Cancelled: The lease is lost, or the worker stops.
        """
        lineage, newest = run.delivery.lineage, listing.newest(run.delivery.lineage)
        if newest > lineage.generation:
            log.info("message_superseded", message=run.delivery.message.id, generation=newest)
            return True
        if newest < lineage.generation and lineage.generation > 0:
            run.checkpoint.exists = True
            try:
                _fence(run, run.cancellation)
                self._checkpoints.mark(run.job, lineage)
            except (NodeFaultError, PermanentError) as error:
                log.warning("mark_failed", error=str(error))
        return False

    def hand_over(self, run: JobRun, cancellation: Cancellation) -> bool:
        """Lets the job go on in a copy of its message, where that is due; see `Handover.send`."""
        return self._handover.send(run, partial(_fence, run, cancellation))

    def resume(self, run: JobRun, listing: CheckpointListing, info: EngineInfo, audio: Audio) -> Windows | None:
        """Takes up what earlier attempts finished.

        Returns:
            The windows that they cut this audio into; None: it is to be cut anew.

        Raises:
            Cancelled: The job was called off.
        """
        cutter = self._cutter(run.job)
        folder = run.checkpoint.folder = self._checkpoints.folder(run.job, audio, cutter, info)
        if not listing.exists(folder):
            return None

        def load() -> Windows | None:
            manifest = self._checkpoints.manifest(folder, audio.samples)
            if manifest is None:
                return None
            run.results = self._checkpoints.results(listing, folder, manifest)
            run.language, run.language_probability = manifest.language, manifest.language_probability
            run.checkpoint.manifest, run.checkpoint.windows = manifest, set(run.results)
            log.info("checkpoint_resumed", windows=len(manifest.windows), done=len(run.results))
            return Windows(audio, manifest.windows, manifest.speech, cutter)

        return self._faults.outlast("resume", load, run.cancellation)

    # -- saving ----------------------------------------------------------------------------------------------------

    def begin(self, run: JobRun) -> None:
        """The engine gets the job: its interval begins."""
        run.checkpoint.due_at = self._clock.now() + self._interval

    def due(self, run: JobRun, unsaved: int) -> bool:
        """Whether a job is to be saved, or handed over, now."""
        now, checkpoint = self._clock.now(), run.checkpoint
        ending = self._handover.limit(run.delivery) is Limit.TIME
        if ending:
            checkpoint.due_at = min(checkpoint.due_at, checkpoint.saved_at + HURRY_SECONDS)
        return now >= checkpoint.due_at and (unsaved > 0 or (ending and checkpoint.advanced))

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
        now = run.checkpoint.saved_at = self._clock.now()
        # In step with when it was due, or what a crash costs would be an interval and the time that a save takes.
        return self._decoding.end_save(run, max(run.checkpoint.due_at + self._interval, now + self._interval / 2))

    def _write(self, run: JobRun, cancellation: Cancellation) -> None:
        checkpoint, results = run.checkpoint, self._decoding.unsaved(run)
        if not results:
            return
        checkpoint.exists = True
        if checkpoint.manifest is None:
            _fence(run, cancellation)
            checkpoint.manifest = self._claim(run)
            if checkpoint.manifest is None:
                return
        checkpoint.increments += 1
        _fence(run, cancellation)
        increment = Increment(checkpoint.manifest.cut, results)
        self._checkpoints.add(checkpoint.folder, checkpoint.increments, checkpoint.attempt, increment)
        self._decoding.saved(run, results)
        log.info(
            "checkpoint_saved",
            windows=len(checkpoint.manifest.windows),
            done=len(checkpoint.windows),
            fresh=len(results),
            increment=checkpoint.increments,
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
        existing = self._checkpoints.claim(run.checkpoint.folder, ours, samples)
        if existing.cut == ours.cut:
            return existing
        results = self._checkpoints.results(self._checkpoints.listing(run.job), run.checkpoint.folder, existing)
        log.info("checkpoint_adopted", windows=len(existing.windows), done=len(results), given_up=len(run.results))
        self._decoding.adopt(run, existing, results)
        return None


def _fence(run: JobRun, cancellation: Cancellation) -> None:
    """Before each write: waits while the lease is in doubt, refuses once it is lost."""
    cancellation.check()
    run.delivery.lease.fence()
