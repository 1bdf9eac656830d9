# SPDX-License-Identifier: Apache-2.0
"""The daemon: starts the parts, watches them, stops them. The order of either is the point of this file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog

from sqscribe.errors import CancelReason, ExitCode
from stages.inference.protocol import EngineEvent
from worker.components import Parts
from worker.lifecycle import Deadline, Phase, StageThread, stop_signals
from worker.status import status_page
from worker.telemetry.health import Part
from worker.telemetry.http import Pages, StatusServer
from worker.telemetry.metrics import Stage

__all__ = ["Daemon"]

log = structlog.get_logger()

#: How often the daemon looks after its parts.
WATCH_SECONDS = 0.5
#: How long a stage waits for work before it looks whether it should end.
POLL_SECONDS = 0.5
#: A thread that gave no sign for so long while it works is stuck. Every wait inside a stage is bounded and shorter.
STUCK_SECONDS = 900.0
#: A heartbeat makes a round every ten seconds at least; one of its requests ends in under twenty.
STUCK_HEARTBEAT_SECONDS = 60.0
#: Share of the grace in which jobs that the engine has may still be finished; the rest is for giving back.
DRAIN_SHARE = 0.4
#: Share of it in which what is finished of them is saved.
SAVE_SHARE = 0.2
#: Share of it in which threads that hang (in a store that does not answer, say) may still end, all of them together.
#: What the three leave is for the last releases.
JOIN_SHARE = 0.25
#: Share of it, and most seconds, that the engine is given to end once nobody waits for its work any more.
ENGINE_STOP_SHARE, ENGINE_STOP_SECONDS = 0.1, 5.0


class Daemon:
    """One worker. `run` is its whole life.

    Args:
        parts: What it is made of; see `worker.build`.
        http_port: 0 for none.
        downloaders: Threads that fetch, decode and segment.
        uploaders: Threads that publish.
        grace: Seconds from the wish to stop to the end.
        engine_stall: Seconds without progress after which the engine is replaced.
        exit_when_idle: End after so many seconds with nothing to do; 0 for never.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        http_port: int,
        downloaders: int,
        uploaders: int,
        grace: float,
        engine_stall: float,
        exit_when_idle: float = 0.0,
    ) -> None:
        self._parts = parts
        self._built_at = parts.clock.now()
        self._grace = grace
        self._engine_stall = engine_stall
        self._exit_when_idle = exit_when_idle
        self._wake = threading.Event()  # something happened that the daemon should look at
        self._stop = threading.Event()  # uploaders and downloaders end
        self._downloads_stop = threading.Event()
        self._lock = threading.Lock()  # guards the three below
        self._exit_code: ExitCode | None = None
        self._asked_at: float | None = None  # to end
        self._phase = Phase.STARTING
        self._idle_since: float | None = None
        self._downloaders = [self._stage(f"downloader-{n}", self._download) for n in range(1, downloaders + 1)]
        self._uploaders = [self._stage(f"uploader-{n}", self._upload) for n in range(1, uploaders + 1)]
        self._heartbeat_part = parts.health.part("heartbeat", stuck_after=STUCK_HEARTBEAT_SECONDS)
        self._deleter_part = parts.health.part("deleter", stuck_after=STUCK_SECONDS)
        self._engine_part = parts.health.part("engine", stuck_after=2 * engine_stall)
        self._http = StatusServer(self._pages(), http_port) if http_port else None

    # -- life ------------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool] | None = None) -> ExitCode:
        """Works until it is told to stop, or `until` says so; gives the exit code.

        Raises:
            SettingsError: The queue does not exist or refuses access, or the port is taken.
            NodeFaultError: The queue cannot be reached at the start.
        """
        with stop_signals(self._parts.clock) as signalled:
            try:
                self._start()
                while self._exit_code is None:
                    self._parts.clock.wait(self._wake, WATCH_SECONDS)
                    self._wake.clear()
                    self._watch()
                    if asked := signalled():
                        self.stop(ExitCode.DONE, asked.name, asked.at)
                    elif until is not None and until():
                        self.stop(ExitCode.DONE, "finished")
            finally:
                self._shut_down()
        return self._exit_code if self._exit_code is not None else ExitCode.UNEXPECTED

    def stop(self, code: ExitCode, reason: str, at: float | None = None) -> None:
        """Asks the daemon to end; the first one to ask decides about the exit code.

        Args:
            code: To end with.
            reason: For the log.
            at: Clock time from which the grace counts; None: now.
        """
        with self._lock:
            if self._exit_code is not None:
                return
            self._exit_code = code
            self._asked_at = self._parts.clock.now() if at is None else at
        log.info("stop_asked", reason=reason, exit_code=int(code))
        self._wake.set()

    def _start(self) -> None:
        """Starts the parts; each is ready before the one that hands it work."""
        parts = self._parts
        # Probes come first: loading a model takes minutes, and a node that does not answer is taken away.
        if self._http:
            self._http.start()
        # The heartbeat stands before the first message is received, so that none is ever without it.
        parts.heartbeat.start()
        # The deleter and the uploaders stand before anything can be finished.
        parts.deleter.start()
        for thread in self._uploaders:
            thread.start()
        # The engine loads in its own process; downloaders begin once it has proved that it works, so that a node
        # with a broken GPU never takes a message.
        parts.health.starting("loading the model and checking it on a control clip")
        parts.engine.start(self._on_engine_event)
        log.info("worker_started", node=parts.node, downloaders=len(self._downloaders), uploaders=len(self._uploaders))

    def _shut_down(self) -> None:
        """Stops the parts inside the grace; every message that is not done is visible again at the end."""
        parts = self._parts
        with self._lock:
            self._phase, since = Phase.DRAINING, self._asked_at
        deadline = Deadline(parts.clock, self._grace, since)
        drained = Deadline(parts.clock, self._grace * DRAIN_SHARE, since)
        polled = Deadline(parts.clock, self._grace * (DRAIN_SHARE + SAVE_SHARE), since)
        parts.health.draining("shutting down")
        # 1. Receive no more. What was not begun goes back first: others can begin on it at once.
        parts.intake.stop()
        # 2. What is being fetched, decoded or segmented will not get through the engine in time.
        self._downloads_stop.set()
        parts.pipeline.cancel(CancelReason.SHUTDOWN, Stage.FETCH, Stage.DECODE, Stage.SEGMENT, Stage.WAIT)
        # 3. What the engine and the uploaders have may be finished, for a while; heartbeats go on.
        idle = threading.Event()
        while not parts.pipeline.idle and drained.left() > 0 and parts.pipeline.engine_failure is None:
            parts.clock.wait(idle, min(0.1, drained.left()))
            parts.pipeline.sweep()
        # 4. What is finished of the others is saved, if the store answers in time.
        parts.pipeline.save(all_of_it=True)
        saved = Deadline(parts.clock, self._grace * SAVE_SHARE)
        while parts.pipeline.saving and saved.left() > 0:
            parts.clock.wait(idle, min(0.1, saved.left()))
        # 5. They are called off and given back.
        parts.pipeline.cancel(CancelReason.SHUTDOWN, *Stage)
        self._stop.set()
        # A poll is not broken off: messages that the queue sends to a connection that was closed stay hidden. It ends
        # by itself, long before this deadline if the queue answers, and what it brings goes back.
        parts.intake.wait_polled(polled.left())
        joined = Deadline(parts.clock, self._grace * JOIN_SHARE)
        for thread in (*self._downloaders, *self._uploaders):
            if thread.ident is not None:
                thread.join(joined.left(deadline.left()))
        parts.pipeline.cancel(CancelReason.SHUTDOWN, *Stage)
        # 6. Deletes that are still being gathered, then whatever lease is left (a stage that did not end in time).
        parts.deleter.stop(deadline.left())
        parts.leases.release_all(deadline.left())
        # 7. Only now may the heartbeat end: until its release, a message was ours to keep.
        parts.heartbeat.stop(deadline.left(1.0))
        # 8. Nobody waits for the engine any more.
        parts.engine.stop(deadline.left(min(self._grace * ENGINE_STOP_SHARE, ENGINE_STOP_SECONDS)))
        # 9. The scratch folder goes when nobody reads from it; probes answer to the last.
        parts.scratch.close()
        if self._http:
            self._http.stop()
        with self._lock:
            self._phase = Phase.STOPPED
        log.info("worker_stopped", jobs=sum(parts.pipeline.totals().jobs.values()), exit_code=int(self._exit_code or 0))

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """One look after everything; a worker that cannot work ends, with a code that says why."""
        parts = self._parts
        parts.pipeline.sweep()
        parts.pipeline.save()
        if self._phase is Phase.STARTING and parts.pipeline.engine_ready.is_set():
            with self._lock:
                self._phase = Phase.RUNNING
            for thread in self._downloaders:
                thread.start()
            parts.health.started()
        self._note("queue", parts.intake.trouble)
        self._note("node", parts.faults.current)
        self._note("engine", parts.pipeline.engine_trouble)
        self._watch_engine()
        self._watch_helpers()
        verdict = parts.health.live()
        if not verdict.ok:
            log.error("worker_not_live", reasons=list(verdict.reasons))
            self.stop(ExitCode.UNEXPECTED, verdict.reasons[0])
        self._watch_idleness()

    def _watch_engine(self) -> None:
        """Ends with an engine that cannot work; replaces one that hangs: its windows are sent again to the next."""
        failure = self._parts.pipeline.engine_failure
        if failure:
            self._engine_part.dead(failure.message)
            self.stop(ExitCode.UNFIT_NODE if failure.unfit else ExitCode.ENGINE_BROKEN, failure.message)
            return
        still = self._parts.clock.now() - self._parts.engine.last_progress
        if still < self._engine_stall:
            self._engine_part.beat("decoding")
        else:
            log.error("engine_stalled", seconds=round(still, 1))
            self._parts.engine.replace()

    def _watch_helpers(self) -> None:
        """The heartbeat and the deleter report no beats of their own accord, so they are asked."""
        parts = self._parts
        if not parts.heartbeat.alive:
            self._heartbeat_part.dead("its thread has ended")
        elif parts.clock.now() - parts.heartbeat.last_beat < STUCK_HEARTBEAT_SECONDS:
            self._heartbeat_part.beat("renewing")
        if parts.deleter.alive:
            self._deleter_part.beat("deleting")
        else:
            self._deleter_part.dead("its thread has ended")

    def _on_engine_event(self, event: EngineEvent) -> None:
        try:
            self._parts.pipeline.on_event(event)
        except Exception as error:
            # The engine's thread ends with this; without it no window would ever be done.
            self._engine_part.dead(f"its listener failed: {error!r}")
            self._wake.set()
            raise

    def _watch_idleness(self) -> None:
        if not self._exit_when_idle or self._phase is not Phase.RUNNING:
            return
        now = self._parts.clock.now()
        if not self._parts.pipeline.idle or self._parts.intake.waiting or self._parts.leases.count:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= self._exit_when_idle:
            self.stop(ExitCode.DONE, f"idle for {self._exit_when_idle:g} s")

    def _note(self, what: str, trouble: str | None) -> None:
        if trouble:
            self._parts.health.outage(what, trouble)
        else:
            self._parts.health.restored(what)

    # -- threads ---------------------------------------------------------------------------------------------------

    def _stage(self, name: str, loop: Callable[[Part], None]) -> StageThread:
        part = self._parts.health.part(name, stuck_after=STUCK_SECONDS)

        def died(_: str, error: BaseException) -> None:
            part.dead(repr(error))
            self._wake.set()

        return StageThread(name, partial(loop, part), died)

    def _download(self, part: Part) -> None:
        while not self._downloads_stop.is_set():
            part.idle()
            task = self._parts.intake.next(POLL_SECONDS)
            if task is not None:
                part.beat("preparing")
                self._parts.pipeline.prepare(task, part.beat)
        part.end()

    def _upload(self, part: Part) -> None:
        while not self._stop.is_set():
            part.idle()
            self._parts.pipeline.upload_next(POLL_SECONDS, part.beat)
        part.end()

    # -- being seen ------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where it is in its life."""
        return self._phase

    def status(self) -> Mapping[str, Any]:
        """The `/status` page."""
        return status_page(self._parts, self._phase, self._parts.clock.now() - self._built_at)

    def _pages(self) -> Pages:
        health = self._parts.health
        return Pages(
            startup=health.startup,
            live=health.live,
            ready=health.ready,
            status=self.status,
            metrics=self._parts.metrics.render,
        )
