# SPDX-License-Identifier: Apache-2.0
"""The daemon: starts the components, watches them, and stops them, each in an order that has its reasons."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import structlog

from sqscribe.errors import CancelReason, ExitCode
from stages.inference.protocol import EngineEvent
from worker.components import Components
from worker.lifecycle import INTERVALS, Deadline, Intervals, Phase, StageThread, StopSignal, stop_signals
from worker.outcomes import Stage
from worker.status import status_page
from worker.telemetry.health import ComponentHealth
from worker.telemetry.http import Pages, StatusServer

__all__ = ["Daemon"]

log = structlog.get_logger()

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
    """One worker, from its start to its end: see `run`.

    Args:
        components: Its parts, built by `worker.build` and not yet started.
        http: Answers probes; started here unless it runs already. None for none.
        downloaders: Threads that fetch, decode and segment, those in slow lanes included.
        uploaders: Threads that publish.
        grace: Seconds from the wish to stop to the end.
        engine_stall: Seconds without progress after which the engine is replaced.
        exit_when_idle: End after so many seconds with nothing to do; 0 for never.
        intervals: How often it looks after things.
    """

    def __init__(
        self,
        components: Components,
        *,
        http: StatusServer | None,
        downloaders: int,
        uploaders: int,
        grace: float,
        engine_stall: float,
        exit_when_idle: float = 0.0,
        intervals: Intervals = INTERVALS,
    ) -> None:
        self._components = components
        self._intervals = intervals
        self._built_at = components.clock.now()
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
        self._heartbeat_health = components.health.component("heartbeat", stuck_after=STUCK_HEARTBEAT_SECONDS)
        self._deleter_health = components.health.component("deleter", stuck_after=self._intervals.stuck)
        self._engine_health = components.health.component("engine", stuck_after=2 * engine_stall)
        self._http = http

    # -- life ------------------------------------------------------------------------------------------------------

    def run(
        self,
        until: Callable[[], bool] | None = None,
        signalled: Callable[[], StopSignal | None] | None = None,
    ) -> ExitCode:
        """Works until it is told to stop, or `until` says so; gives the exit code.

        Args:
            until: Asked twice a second.
            signalled: Gives the signal that asked this process to end, where somebody notes them already.

        Raises:
            SettingsError: The port is taken.
        """
        with nullcontext(signalled) if signalled else stop_signals(self._components.clock) as asks:
            try:
                self._start()
                while self._exit_code is None:
                    self._components.clock.wait(self._wake, self._intervals.watch)
                    self._wake.clear()
                    self._watch()
                    if asked := asks():
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
            self._asked_at = self._components.clock.now() if at is None else at
        log.info("stop_asked", reason=reason, exit_code=int(code))
        self._wake.set()

    def _start(self) -> None:
        """Starts the components; each is ready before the one that hands it work."""
        components = self._components
        # Probes come first: loading a model takes minutes, and a node that does not answer is taken away.
        if self._http:
            self._http.show(self._pages())
            if not self._http.running:
                self._http.start()
        # The heartbeat runs before the first message is received, so that none is ever without it.
        components.heartbeat.start()
        # The deleter and the uploaders run before anything can be finished.
        components.deleter.start()
        for thread in self._uploaders:
            thread.start()
        # The engine loads in its own process; downloaders begin once it has proved that it works, so that a node
        # with a broken GPU never takes a message.
        components.health.starting("loading the model and checking it on a control clip")
        components.engine.start(self._on_engine_event)
        log.info(
            "worker_started", node=components.node, downloaders=len(self._downloaders), uploaders=len(self._uploaders)
        )

    def _shut_down(self) -> None:
        """Stops the components inside the grace; every message that is not done is visible again at the end."""
        components = self._components
        with self._lock:
            self._phase, since = Phase.DRAINING, self._asked_at
        deadline = Deadline(components.clock, self._grace, since)
        drained = Deadline(components.clock, self._grace * DRAIN_SHARE, since)
        polled = Deadline(components.clock, self._grace * (DRAIN_SHARE + SAVE_SHARE), since)
        components.health.draining("shutting down")
        # 1. Receive no more. What was not begun goes back first: others can begin on it at once.
        components.intake.stop()
        # 2. What is being fetched, decoded or segmented will not get through the engine in time.
        self._downloads_stop.set()
        components.pipeline.cancel(CancelReason.SHUTDOWN, Stage.FETCH, Stage.DECODE, Stage.SEGMENT, Stage.WAIT)
        # 3. What the engine and the uploaders have may be finished, for a while; heartbeats go on.
        idle = threading.Event()
        while not components.pipeline.jobs.idle and drained.left() > 0 and components.engine_status.failure is None:
            components.clock.wait(idle, min(0.1, drained.left()))
            components.pipeline.sweep()
        # 4. What is finished of the others is saved, if the store answers in time.
        components.pipeline.save(all_of_it=True)
        saved = Deadline(components.clock, self._grace * SAVE_SHARE)
        while components.pipeline.saving and saved.left() > 0:
            components.clock.wait(idle, min(0.1, saved.left()))
        # 5. They are called off and given back.
        components.pipeline.cancel(CancelReason.SHUTDOWN, *Stage)
        self._stop.set()
        # A poll is not broken off: messages that the queue sends to a connection that was closed stay hidden. It ends
        # by itself, long before this deadline if the queue answers, and what it brings goes back.
        components.intake.wait_polled(polled.left())
        joined = Deadline(components.clock, self._grace * JOIN_SHARE)
        for thread in (*self._downloaders, *self._uploaders):
            if thread.ident is not None:
                thread.join(joined.left(deadline.left()))
        components.pipeline.cancel(CancelReason.SHUTDOWN, *Stage)
        # 6. Deletes that are still being gathered, then whatever lease is left (a stage that did not end in time).
        components.deleter.stop(deadline.left())
        components.leases.release_all(deadline.left())
        # 7. Only now may the heartbeat end: until its release, a message was ours to keep.
        components.heartbeat.stop(deadline.left(1.0))
        # 8. Nobody waits for the engine any more.
        components.engine.stop(deadline.left(min(self._grace * ENGINE_STOP_SHARE, ENGINE_STOP_SECONDS)))
        # 9. The scratch folder goes when nobody reads from it; probes answer to the last.
        components.decoder.close()
        components.scratch.close()
        if self._http:
            self._http.stop()
        with self._lock:
            self._phase = Phase.STOPPED
        log.info(
            "worker_stopped", jobs=sum(components.pipeline.totals().jobs.values()), exit_code=int(self._exit_code or 0)
        )

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Looks after everything once; a worker that cannot work ends, with a code that says why."""
        components = self._components
        components.pipeline.sweep()
        components.pipeline.save()
        if self._phase is Phase.STARTING and components.engine_status.ready.is_set():
            with self._lock:
                self._phase = Phase.RUNNING
            for thread in self._downloaders:
                thread.start()
            components.health.started()
        self._note("queue", components.intake.trouble)
        self._note("node", components.faults.current)
        self._note("engine", components.engine_status.trouble)
        self._watch_engine()
        self._watch_helpers()
        answer = components.health.live()
        if not answer.ok:
            log.error("worker_not_live", reasons=list(answer.reasons))
            self.stop(ExitCode.UNEXPECTED, answer.reasons[0])
        self._watch_idleness()

    def _watch_engine(self) -> None:
        """Ends with an engine that cannot work; replaces one that hangs: its windows are sent again to the next."""
        failure = self._components.engine_status.failure
        if failure:
            self._engine_health.dead(failure.message)
            self.stop(ExitCode.UNFIT_NODE if failure.unfit else ExitCode.ENGINE_BROKEN, failure.message)
            return
        still = self._components.clock.now() - self._components.engine.last_progress
        if still < self._engine_stall:
            self._engine_health.beat("decoding")
        else:
            log.error("engine_stalled", seconds=round(still, 1))
            self._components.engine.replace()

    def _watch_helpers(self) -> None:
        """The heartbeat and the deleter report no beats of their own accord, so they are asked."""
        components = self._components
        if not components.heartbeat.alive:
            self._heartbeat_health.dead("its thread has ended")
        elif components.clock.now() - components.heartbeat.last_beat < STUCK_HEARTBEAT_SECONDS:
            self._heartbeat_health.beat("renewing")
        if components.deleter.alive:
            self._deleter_health.beat("deleting")
        else:
            self._deleter_health.dead("its thread has ended")

    def _on_engine_event(self, event: EngineEvent) -> None:
        try:
            self._components.pipeline.on_event(event)
        except Exception as error:
            # The engine's thread ends with this; without it no window would ever be done.
            self._engine_health.dead(f"its listener failed: {error!r}")
            self._wake.set()
            raise

    def _watch_idleness(self) -> None:
        if not self._exit_when_idle or self._phase is not Phase.RUNNING:
            return
        now = self._components.clock.now()
        if not self._components.pipeline.jobs.idle or self._components.intake.waiting or self._components.leases.count:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= self._exit_when_idle:
            self.stop(ExitCode.DONE, f"idle for {self._exit_when_idle:g} s")

    def _note(self, what: str, trouble: str | None) -> None:
        if trouble:
            self._components.health.outage(what, trouble)
        else:
            self._components.health.restored(what)

    # -- threads ---------------------------------------------------------------------------------------------------

    def _stage(self, name: str, loop: Callable[[ComponentHealth], None]) -> StageThread:
        health = self._components.health.component(name, stuck_after=self._intervals.stuck)

        def died(_: str, error: BaseException) -> None:
            health.dead(repr(error))
            self._wake.set()

        return StageThread(name, partial(loop, health), died)

    def _download(self, health: ComponentHealth) -> None:
        while not self._downloads_stop.is_set():
            health.idle()
            with self._components.lanes.turn(self._intervals.poll) as mine:
                task = self._components.intake.next(self._intervals.poll) if mine else None
                if task is not None:
                    health.beat("preparing")
                    self._components.pipeline.prepare(task, health.beat)
        health.end()

    def _upload(self, health: ComponentHealth) -> None:
        while not self._stop.is_set():
            health.idle()
            self._components.pipeline.upload_next(self._intervals.poll, health.beat)
        health.end()

    # -- being seen ------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """The part of its life that it is in."""
        return self._phase

    def status(self) -> Mapping[str, Any]:
        """The `/status` page."""
        return status_page(self._components, self._phase, self._components.clock.now() - self._built_at)

    def _pages(self) -> Pages:
        health = self._components.health
        return Pages(
            startup=health.startup,
            live=health.live,
            ready=health.ready,
            status=self.status,
            metrics=self._components.metrics.render,
        )
