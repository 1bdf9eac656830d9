# SPDX-License-Identifier: Apache-2.0
"""Whether this worker lives, is ready and has started, and why not.

A component (a thread, the engine) reports itself; a stuck one is found by its silence. Live is about this process
alone: a failed liveness probe costs the node, so an outage elsewhere must never show there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ComponentHealth", "ComponentState", "ComponentStatus", "Health", "ProbeAnswer"]


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """An answer to a probe; `reasons` for either answer, empty when there is nothing to say."""

    ok: bool
    reasons: tuple[str, ...] = ()


class ComponentState(StrEnum):
    """What a component last said of itself."""

    IDLE = "idle"
    BUSY = "busy"
    DEAD = "dead"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One component, for `/status`.

    Attributes:
        seconds: Since it last said so.
        doing: What it works on, or why it is dead.
    """

    name: str
    state: ComponentState
    seconds: float
    doing: str
    stuck: bool


class ComponentHealth:
    """One component's side of `Health`; every method may be called from any thread."""

    def __init__(self, name: str, stuck_after: float, now: Callable[[], float]) -> None:
        self.name = name
        self.stuck_after = stuck_after
        self._now = now
        self._lock = threading.Lock()  # guards the three below
        self._state = ComponentState.IDLE
        self._since = now()
        self._doing = ""

    def beat(self, doing: str = "") -> None:
        """It works and has just got further: the next sign is due within `stuck_after` seconds."""
        self._say(ComponentState.BUSY, doing)

    def idle(self) -> None:
        """It waits for work, for however long."""
        self._say(ComponentState.IDLE, "")

    def dead(self, reason: str) -> None:
        """It will never work again; this stands, whatever it says later."""
        self._say(ComponentState.DEAD, reason)

    def end(self) -> None:
        """It has ended as it should, and is missed no more."""
        self._say(ComponentState.ENDED, "")

    def status(self) -> ComponentStatus:
        """What it last said, and how long ago."""
        with self._lock:
            state, doing, seconds = self._state, self._doing, self._now() - self._since
        stuck = state is ComponentState.BUSY and seconds > self.stuck_after
        return ComponentStatus(self.name, state, seconds, doing, stuck)

    def _say(self, state: ComponentState, doing: str) -> None:
        with self._lock:
            if self._state is not ComponentState.DEAD:
                self._state, self._doing, self._since = state, doing, self._now()


class Health:
    """All components of a worker and what else decides about its probes. Thread-safe.

    Args:
        now: Seconds that do not count while the host sleeps, or all components would look stuck when it wakes up;
            leases are reckoned the other way round.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()  # guards the four below
        self._components: dict[str, ComponentHealth] = {}
        self._outages: dict[str, str] = {}
        self._starting: str | None = "starting"
        self._draining: str | None = None

    def component(self, name: str, *, stuck_after: float) -> ComponentHealth:
        """Registers a component, idle at first. A name that is taken is replaced: the component was started again.

        Args:
            name: As people should read it: `downloader-1`.
            stuck_after: Seconds of silence while it works after which it counts as stuck.
        """
        component = ComponentHealth(name, stuck_after, self._now)
        with self._lock:
            self._components[name] = component
        return component

    def starting(self, what: str) -> None:
        """Says what the start-up waits for, as `loading the model`."""
        with self._lock:
            self._starting = what

    def started(self) -> None:
        """The start-up is over."""
        with self._lock:
            self._starting = None

    def draining(self, why: str) -> None:
        """Nothing more is received until the process ends."""
        with self._lock:
            self._draining = why

    def outage(self, what: str, why: str) -> None:
        """Something outside (`queue`, `store`, `source`) does not answer; until `restored`."""
        with self._lock:
            self._outages[what] = why

    def restored(self, what: str) -> None:
        """It answers again; harmless when it always did."""
        with self._lock:
            self._outages.pop(what, None)

    def startup(self) -> ProbeAnswer:
        """Whether the start-up is over."""
        with self._lock:
            starting = self._starting
        return ProbeAnswer(ok=starting is None, reasons=() if starting is None else (starting,))

    def live(self) -> ProbeAnswer:
        """Whether every component works or waits."""
        reasons = tuple(
            _complaint(component)
            for component in self.components()
            if component.stuck or component.state is ComponentState.DEAD
        )
        return ProbeAnswer(ok=not reasons, reasons=reasons)

    def ready(self) -> ProbeAnswer:
        """Whether jobs are taken and get through: started, live, not draining, and no outage."""
        with self._lock:
            reasons = [why for why in (self._starting, self._draining) if why is not None]
            reasons += [f"{what}: {why}" for what, why in sorted(self._outages.items())]
        reasons += self.live().reasons
        return ProbeAnswer(ok=not reasons, reasons=tuple(reasons))

    def components(self) -> list[ComponentStatus]:
        """Every component, in the order of their names."""
        with self._lock:
            components = sorted(self._components.items())
        return [component.status() for _, component in components]


def _complaint(component: ComponentStatus) -> str:
    if component.state is ComponentState.DEAD:
        return f"{component.name} is dead: {component.doing}"
    doing = f" ({component.doing})" if component.doing else ""
    return f"{component.name} is stuck: no sign for {component.seconds:.0f} s{doing}"
