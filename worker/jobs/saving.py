# SPDX-License-Identifier: Apache-2.0
"""The life of a checkpoint: what earlier attempts saved is found again, and a long job is saved while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from functools import partial

import structlog

from sqscribe.errors import Cancelled, NodeFaultError, PermanentError, TransientError
from sqscribe.job import Job
from stages.inference.protocol import EngineInfo
from stages.ports import Cancellation, Clock
from stages.values import Audio, Windows
from worker.jobs.checkpoint import Checkpoints, Increment, Manifest
from worker.jobs.handover import Handover, Limit
from worker.jobs.in_engine import JobsInEngine
from worker.jobs.run import JobRun
from worker.node.faults import NodeFaults

__all__ = ["AfterSave", "CheckpointSaver"]

log = structlog.get_logger()

#: Near the end of its time, a job that could not be handed over is tried again after so many seconds.
HURRY_SECONDS = 10.0


class AfterSave(Enum):
    """Where a job is once its save is over."""

    IN_ENGINE = auto()  # or it was called off, or rejected, while it was saved
    COMPLETE = auto()  # its last result came meanwhile: it is to be published
    HANDED_OVER = auto()  # out of the engine: it goes on in a copy of its message


class CheckpointSaver:
    """Owns the checkpoint of every job under way. Used by all downloaders and uploaders at once.

    A save has three steps: `due` begins it, on the daemon's thread; an uploader makes it with `save`; with the end of
    `save` it is over. A job whose last result comes in between is not published before that, or what is saved could be
    written behind the back of what removes it: `may_publish` keeps it back, and `save` gives it.

    Args:
        checkpoints: In the store.
        handover: Copies messages.
        in_engine: Has the results.
        faults: Outlasts a store that is away.
        clock: Tells when a save is due.
        cutter: Names the cut that a job's audio would get.
        interval: Seconds between two saves of a job; one that is through earlier is never saved.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        handover: Handover,
        in_engine: JobsInEngine,
        faults: NodeFaults,
        clock: Clock,
        cutter: Callable[[Job], str],
        *,
        interval: float,
    ) -> None:
        self._checkpoints = checkpoints
        self._handover = handover
        self._in_engine = in_engine
        self._faults = faults
        self._clock = clock
        self._cutter = cutter
        self._interval = interval
        # Guards _saves, and `checkpoint` of every job in the engine but for what only its one save uses: manifest and
        # number of increments. Before the engine has a job, its downloader alone uses its `checkpoint`.
        self._lock = threading.Lock()
        self._saves: dict[JobRun, bool] = {}  # the jobs that are being saved, and whether they are complete

    # -- before the engine has a job -------------------------------------------------------------------------------

    def superseded(self, run: JobRun, *, failed_before: bool) -> bool:
        """Looks what earlier attempts left; the store is asked only where there may be something.

        If the message is a copy, this notes in the store that it has arrived.

        Args:
            run: The job.
            failed_before: Whether its result says that it failed: what those attempts saved may still be there.

        Returns:
            Whether a later copy of the message is known of, so that this one needs no work.

        Raises:
            Cancelled: The job was called off.
        """
        checkpoint, lineage = run.checkpoint, run.delivery.lineage
        if run.delivery.redelivered:
            look = partial(self._checkpoints.listing, run.job)
            checkpoint.listing = self._faults.outlast("look_up", look, run.cancellation)
            checkpoint.may_exist = bool(checkpoint.listing.addresses)
            checkpoint.advanced = checkpoint.listing.advanced(lineage)
        checkpoint.may_exist |= failed_before
        newest = checkpoint.listing.newest(lineage)
        if newest > lineage.generation:
            log.info("message_superseded", message=run.delivery.message.id, generation=newest)
            return True
        if newest < lineage.generation and lineage.generation > 0:
            checkpoint.may_exist = True
            try:
                run.delivery.fence(run.cancellation)
                self._checkpoints.mark(run.job, lineage)
            except (NodeFaultError, PermanentError) as error:
                log.warning("mark_failed", error=str(error))
        return False

    def hand_over(self, run: JobRun, cancellation: Cancellation) -> bool:
        """Lets the job go on in a copy of its message, where that is due.

        Returns:
            Whether the copy was sent; see `Handover.send`.

        Raises:
            TransientError: As `Handover.send` does.
            Cancelled: The lease is lost, or the work was called off.
        """
        return run.checkpoint.advanced and self._handover.send(run, partial(run.delivery.fence, cancellation))

    def resume(self, run: JobRun, info: EngineInfo, audio: Audio) -> Windows | None:
        """Takes up what earlier attempts finished.

        Returns:
            The windows that they cut this audio into; None: it is to be cut anew.

        Raises:
            Cancelled: The job was called off.
        """
        checkpoint, cutter = run.checkpoint, self._cutter(run.job)
        folder = checkpoint.folder = self._checkpoints.folder(run.job, audio, cutter, info)
        if not checkpoint.listing.exists(folder):
            return None

        def load() -> Windows | None:
            manifest = self._checkpoints.manifest(folder, audio)
            if manifest is None:
                return None
            run.results = self._checkpoints.results(checkpoint.listing, folder, manifest)
            run.language, run.language_probability = manifest.language, manifest.language_probability
            checkpoint.manifest, checkpoint.saved = manifest, set(run.results)
            log.info("checkpoint_resumed", windows=len(manifest.windows), done=len(run.results))
            return Windows(audio, manifest.windows, manifest.speech, cutter)

        return self._faults.outlast("resume", load, run.cancellation)

    # -- while the engine has it -----------------------------------------------------------------------------------

    def due(self, *, all_of_it: bool = False) -> list[JobRun]:
        """Begins the saves that are due now; each job is to be given to `save`.

        Args:
            all_of_it: Saves whatever is finished, due or not.
        """
        with self._lock:
            due = [
                run
                for run, done in self._in_engine.progress()
                if run not in self._saves and self._is_due(run, done - len(run.checkpoint.saved), all_of_it=all_of_it)
            ]
            self._saves.update(dict.fromkeys(due, False))
        return due

    @property
    def saving(self) -> bool:
        """Whether any job is being saved."""
        with self._lock:
            return bool(self._saves)

    def save(self, run: JobRun, cancellation: Cancellation) -> AfterSave:
        """Saves what is not saved yet, then hands the job over if its message runs out of receives or time.

        A store that fails costs nothing but the next interval's work.

        Args:
            run: A job that `due` gave.
            cancellation: Ends the work on it.

        Raises:
            TransientError: The job was taken out of the engine; see `Handover.send`.
        """
        handed_over = complete = False
        try:
            self._write(run, cancellation)
            handed_over = self.hand_over(run, cancellation) and self._in_engine.take(run)
        except Cancelled as cancelled:
            log.info("checkpoint_cancelled", reason=cancelled.reason)  # `Pipeline.sweep` ends the job
        except TransientError:
            if self._in_engine.take(run):
                raise
        except Exception:
            # A bug. It costs what a checkpoint would have saved, not the job.
            log.exception("checkpoint_crashed")
        finally:
            complete = self._end(run)
        if handed_over:
            return AfterSave.HANDED_OVER
        return AfterSave.COMPLETE if complete else AfterSave.IN_ENGINE

    def may_publish(self, run: JobRun) -> bool:
        """Whether a job that has left the engine with all its results may be published now.

        Not while it is being saved: then `save` answers `COMPLETE`.
        """
        with self._lock:
            if run in self._saves:
                self._saves[run] = True
                return False
            return True

    def clear(self, run: JobRun, cancellation: Cancellation) -> None:
        """Removes what there may be of the job's checkpoints: it has its result, so nobody goes on from them."""
        if run.checkpoint.may_exist:
            self._checkpoints.remove(run.job, lambda: cancellation.reason is not None)

    def _is_due(self, run: JobRun, unsaved: int, *, all_of_it: bool) -> bool:
        checkpoint = run.checkpoint
        if checkpoint.due_at is None:
            checkpoint.due_at = run.since + self._interval  # counted from when the engine got the job
        if all_of_it:
            return unsaved > 0
        ending = self._handover.limit(run.delivery) is Limit.TIME
        if ending:
            checkpoint.due_at = min(checkpoint.due_at, checkpoint.saved_at + HURRY_SECONDS)
        return self._clock.now() >= checkpoint.due_at and (unsaved > 0 or (ending and checkpoint.advanced))

    def _end(self, run: JobRun) -> bool:
        """Ends a save; whether the job's last result has come meanwhile."""
        with self._lock:
            checkpoint = run.checkpoint
            now = checkpoint.saved_at = self._clock.now()
            # In step with when it was due, or what a crash costs would be an interval and the time that a save takes.
            checkpoint.due_at = max((checkpoint.due_at or now) + self._interval, now + self._interval / 2)
            return self._saves.pop(run)

    def _write(self, run: JobRun, cancellation: Cancellation) -> None:
        """Writes the results that are not saved yet as one increment, before the first one the manifest."""
        try:
            self._add_increment(run, cancellation)
        except (NodeFaultError, PermanentError) as error:
            log.warning("checkpoint_failed", error=str(error))

    def _add_increment(self, run: JobRun, cancellation: Cancellation) -> None:
        checkpoint, results = run.checkpoint, self._in_engine.results(run)
        fresh = tuple(results[index] for index in sorted(results.keys() - checkpoint.saved))
        if not fresh:
            return
        checkpoint.may_exist = True
        if checkpoint.manifest is None:
            run.delivery.fence(cancellation)
            checkpoint.manifest = self._claim(run)
            if checkpoint.manifest is None:
                return
        checkpoint.increments += 1
        run.delivery.fence(cancellation)
        increment = Increment(checkpoint.manifest.cut, fresh)
        self._checkpoints.add(checkpoint.folder, checkpoint.increments, checkpoint.attempt, increment)
        with self._lock:
            checkpoint.saved.update(result.index for result in fresh)
            checkpoint.advanced = True
        log.info(
            "checkpoint_saved",
            windows=len(checkpoint.manifest.windows),
            done=len(checkpoint.saved),
            fresh=len(fresh),
            increment=checkpoint.increments,
        )

    def _claim(self, run: JobRun) -> Manifest | None:
        """Puts the manifest; None if there is another worker's that differs, which the job goes on with."""
        if run.windows is None:
            raise RuntimeError("a job without windows has nothing to save")
        named = run.job.language is not None
        ours = Manifest(
            windows=run.windows.windows,
            speech=run.windows.speech,
            language=None if named else run.language,
            language_probability=None if named else run.language_probability,
        )
        existing = self._checkpoints.claim(run.checkpoint.folder, ours, run.windows.audio)
        if existing.cut == ours.cut:
            return existing
        self._adopt(run, run.windows, existing)
        return None

    def _adopt(self, run: JobRun, ours: Windows, existing: Manifest) -> None:
        """Goes on with another worker's cut or language, and with what it transcribed, in the place of this one's.

        What this attempt has transcribed is given up: no more than one save's worth, as the first save finds out.
        """
        listing = self._checkpoints.listing(run.job)
        results = self._checkpoints.results(listing, run.checkpoint.folder, existing)
        log.info("checkpoint_adopted", windows=len(existing.windows), done=len(results), given_up=len(run.results))
        windows = replace(ours, windows=existing.windows, speech=existing.speech)
        if not self._in_engine.withdraw(run):
            return
        run.windows, run.results = windows, results
        run.language, run.language_probability = existing.language, existing.language_probability
        with self._lock:
            run.checkpoint.manifest, run.checkpoint.saved = existing, set(results)
            if run.complete:
                self._saves[run] = True
                return
        self._in_engine.begin_again(run)
