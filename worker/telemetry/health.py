# SPDX-License-Identifier: Apache-2.0
"""Whether this worker lives, is ready and has started, and why not.

A part (a thread, the engine) reports itself; a stuck one is found by its silence. Live is about this process alone:
a failed liveness probe costs the node, so an outage elsewhere must never show there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Health", "Part", "PartState", "PartStatus", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer to a probe; `reasons` for either answer, empty when there is nothing to say."""

    ok: bool
    reasons: tuple[str, ...] = ()


class PartState(StrEnum):
    """What a part last said of itself."""

    IDLE = "idle"
    BUSY = "busy"
    DEAD = "dead"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part, for `/status`.

    Attributes:
        seconds: Since it last said so.
        doing: What it works on, or why it is dead.
    """

    name: str
    state: PartState
    seconds: float
    doing: str
    stuck: bool


class Part:
    """One part's side of `Health`; every method may be called from any thread."""

    def __init__(self, name: str, stuck_after: float, now: Callable[[], float]) -> None:
        self.name = name
        self.stuck_after = stuck_after
        self._now = now
        self._lock = threading.Lock()  # guards the three below
        self._state = PartState.IDLE
        self._since = now()
        self._doing = ""

    def beat(self, doing: str = "") -> None:
        """It works and has just got further: the next sign is due within `stuck_after` seconds."""
        self._say(PartState.BUSY, doing)

    def idle(self) -> None:
        """It waits for work, for however long."""
        self._say(PartState.IDLE, "")

    def dead(self, reason: str) -> None:
        """It will never work again; this stands, whatever it says later."""
        self._say(PartState.DEAD, reason)

    def end(self) -> None:
        """It has ended as it should, and is missed no more."""
        self._say(PartState.ENDED, "")

    def status(self) -> PartStatus:
        """What it last said, and how long ago."""
        with self._lock:
            state, doing, seconds = self._state, self._doing, self._now() - self._since
        stuck = state is PartState.BUSY and seconds > self.stuck_after
        return PartStatus(self.name, state, seconds, doing, stuck)

    def _say(self, state: PartState, doing: str) -> None:
        with self._lock:
            if self._state is not PartState.DEAD:
                self._state, self._doing, self._since = state, doing, self._now()


class Health:
    """All parts of a worker and what else decides about its probes. Thread-safe.

    Args:
        now: Seconds that do not count while the host sleeps, or all parts would look stuck when it wakes up;
            leases are reckoned the other way round.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()  # guards the four below
        self._parts: dict[str, Part] = {}
        self._outages: dict[str, str] = {}
        self._starting: str | None = "starting"
        self._draining: str | None = None

    def part(self, name: str, *, stuck_after: float) -> Part:
        """Registers a part, idle at first. A name that is taken is replaced: the part was started again.

        Args:
            name: As people should read it: `downloader-1`.
            stuck_after: Seconds of silence while it works after which it counts as stuck.
        """
        part = Part(name, stuck_after, self._now)
        with self._lock:
            self._parts[name] = part
        return part

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

    def startup(self) -> Verdict:
        """Whether the start-up is over."""
        with self._lock:
            starting = self._starting
        return Verdict(ok=starting is None, reasons=() if starting is None else (starting,))

    def live(self) -> Verdict:
        """Whether every part works or waits."""
        reasons = tuple(_complaint(part) for part in self.parts() if part.stuck or part.state is PartState.DEAD)
        return Verdict(ok=not reasons, reasons=reasons)

    def ready(self) -> Verdict:
        """Whether jobs are taken and get through: started, live, not draining, and no outage."""
        with self._lock:
            reasons = [why for why in (self._starting, self._draining) if why is not None]
            reasons += [f"{what}: {why}" for what, why in sorted(self._outages.items())]
        reasons += self.live().reasons
        return Verdict(ok=not reasons, reasons=tuple(reasons))

    def parts(self) -> list[PartStatus]:
        """Every part, in the order of their names."""
        with self._lock:
            parts = sorted(self._parts.items())
        return [part.status() for _, part in parts]


def _complaint(part: PartStatus) -> str:
    if part.state is PartState.DEAD:
        return f"{part.name} is dead: {part.doing}"
    doing = f" ({part.doing})" if part.doing else ""
    return f"{part.name} is stuck: no sign for {part.seconds:.0f} s{doing}"
