# SPDX-License-Identifier: Apache-2.0
"""A worker as a whole program: what happens before the daemon works, in an order that has its reasons."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from sqscribe.errors import CancelReason, ExitCode, NodeFaultError
from stages.ports import Cancellation, Clock
from worker.build import build_worker
from worker.daemon import Daemon
from worker.front import Front, make_front
from worker.lifecycle import StopSignal, stop_signals
from worker.node.clock import SystemClock
from worker.node.faults import NodeFaults
from worker.node.hub import bring_named_model, named_model
from worker.preflight import Severity, examine, fatal
from worker.settings import Settings

__all__ = ["run_worker"]

log = structlog.get_logger()

#: Seconds between two looks at a signal, and that what is called off gets to end by itself.
_LOOK_SECONDS, _END_SECONDS = 0.2, 5.0


def run_worker(settings: Settings) -> ExitCode:
    """Runs a worker from its first check to its end; gives the exit code.

    A service or a network that cannot be reached is waited for, as it is later on: the probe of the start-up says
    what is missing, and nothing has been received that could suffer.

    Raises:
        SettingsError: The settings cannot work.
        UnfitNodeError: This machine cannot do the work.
    """
    clock, front = SystemClock(), make_front(settings)
    with stop_signals(clock) as signalled:
        try:
            # Probes come first: checks and the download of a model take minutes, and a node that does not answer is
            # taken away.
            if front.http:
                front.http.start()
            # Both in a thread of their own: a signal ends the wait for them, whatever they hang in.
            daemon = _Preparation(settings, front, clock).outcome(signalled)
            return daemon.run(signalled=signalled) if daemon else ExitCode.DONE
        finally:
            if front.http:
                front.http.stop()


class _Preparation:
    """Checks the settings and builds the daemon, beside a thread that waits for signals.

    Args:
        settings: The worker's.
        front: Told what it is about.
        clock: Waits between two tries go by it.
    """

    def __init__(self, settings: Settings, front: Front, clock: Clock) -> None:
        self._settings = settings
        self._front = front
        self._clock = clock
        self._cancellation = Cancellation()
        self._faults = NodeFaults(clock)
        self._ended = threading.Event()  # set after the two below have their values
        self._daemon: Daemon | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)

    def outcome(self, signalled: Callable[[], StopSignal | None]) -> Daemon | None:
        """The daemon, or None when a signal came first."""
        self._thread.start()
        while not self._clock.wait(self._ended, _LOOK_SECONDS):
            if asked := signalled():
                log.info("stop_asked", reason=asked.name, exit_code=int(ExitCode.DONE))
                self._cancellation.cancel(CancelReason.SHUTDOWN)
                # A download that ends by itself takes its folder along.
                self._clock.wait(self._ended, _END_SECONDS)
                return self._daemon  # built at this very moment, it has to be taken down in order
        if self._error:
            raise self._error
        return self._daemon

    def _run(self) -> None:
        try:
            self._daemon = self._faults.outlast("starting", self._prepare, self._cancellation)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._error = error
        self._ended.set()

    def _prepare(self) -> Daemon:
        try:
            self._front.health.starting("checking the settings, the queue, the output and this machine")
            self._check()
            self._cancellation.check()
            if named_model(self._settings):
                self._front.health.starting(f"bringing the model {self._settings.model} from the hub")
                bring_named_model(self._settings, self._cancellation)
            self._front.health.starting("building the worker")
            return build_worker(self._settings, front=self._front, cancellation=self._cancellation)
        except NodeFaultError as error:
            self._front.health.starting(f"{error} (tried again)")
            raise

    def _check(self) -> None:
        """Looks at everything.

        Raises:
            NodeFaultError: A service cannot be reached.
            SettingsError: Something is wrong that only a person can mend.
            UnfitNodeError: It is this machine.
        """
        findings = examine(self._settings)
        if error := fatal(findings):
            raise error  # one line alone, so that it is seen
        for each in findings:
            if each.severity is Severity.WARNING:
                log.warning("preflight_warning", what=each.what, why=each.why, remedy=each.remedy)
        log.info("preflight_passed", checks=len(findings))
