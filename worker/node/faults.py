# SPDX-License-Identifier: Apache-2.0
"""Faults of this node, the store or the settings: a step that meets one is repeated while its job keeps its lease.

So a fault costs the job no receive. A fault that is one job's alone has an end: then that job goes back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from sqscribe.errors import NodeFaultError, SettingsFaultError, TransientError, Witness
from stages.ports import Cancellation, Clock

__all__ = ["NodeFaults"]

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Trouble:
    """A step of one job that fails; only its own thread changes it.

    Attributes:
        step: Its name.
        done: How often other jobs had done that step at the last failure; None before the first one.
        alone: In how many failures in a row the witness did well.
    """

    step: str
    done: int | None = None
    alone: int = 0


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong now.

    Attributes:
        to_mend: Whether a person has to mend it.
        certain: Whether it is known to be more than one job's.
        since: Clock time at which it was first met.
    """

    text: str
    to_mend: bool
    certain: bool
    since: float


class NodeFaults:
    """Repeats steps until the node or the store works again, and knows whether one is at fault now.

    A fault names its witness: other jobs at the same step, or the worker itself when it reads or writes below its own
    output. While the witness does well, the fault is taken for the job's own: nothing else waits for it, and after
    `alone` such failures in a row the job goes back. While the witness fails too, it is an outage, which is outlasted.

    Where others are the witness there may be none, as nothing is received: so a single step that fails for longer than
    `doubt` seconds no longer holds up receiving. If it is an outage, the next job meets it too, and that settles it.

    Args:
        clock: Waits between two tries go by it.
        first: Seconds before the second try; the wait doubles, at random, from there.
        longest: Most seconds between two tries.
        probe: Tells whether the worker itself can read or write; None: such faults are outlasted.
        alone: Failures in a row, with a witness that does well, after which a job goes back.
        doubt: Seconds after which a single step that fails may be one job's own.
    """

    def __init__(
        self,
        clock: Clock,
        first: float = 1.0,
        longest: float = 30.0,
        *,
        probe: Callable[[Witness], bool] | None = None,
        alone: int = 3,
        doubt: float = 60.0,
    ) -> None:
        self._clock = clock
        self._wait = wait_random_exponential(multiplier=first, max=longest)
        self._probe = probe
        self._alone = alone
        self._doubt = doubt
        self._lock = threading.Lock()  # guards the two below
        self._current: dict[object, _Fault] = {}
        self._done: Counter[str] = Counter()  # how often each step was done

    @property
    def current(self) -> str | None:
        """What is wrong now, or None."""
        with self._lock:
            # What a person has to mend is said first: the rest may well follow from it.
            worst = max(self._current.values(), default=None, key=lambda fault: fault.to_mend)
        return worst.text if worst else None

    @property
    def pausing(self) -> bool:
        """Whether nothing is to be received for now."""
        with self._lock:
            faults = list(self._current.values())
        if len(faults) == 1 and not faults[0].certain:
            return self._clock.now() - faults[0].since < self._doubt
        return bool(faults)

    def note(self, what: str, why: str | None) -> None:
        """Takes down what is wrong with a part that repeats its work by itself; None: all is well with it."""
        with self._lock:
            if why is None:
                self._current.pop(what, None)
            else:
                self._current[what] = _Fault(f"{what}: {why}", to_mend=False, certain=True, since=self._clock.now())

    def outlast(self, step: str, work: Callable[[], T], cancellation: Cancellation) -> T:
        """Does `work`, again and again while it raises `NodeFaultError`.

        Args:
            step: For the log: what is being done.
            work: Safe to repeat.
            cancellation: Ends the waiting.

        Raises:
            Cancelled: The job was called off between two tries.
            TransientError: The fault is this job's alone.
        """
        trouble = _Trouble(step)

        def attempt() -> T:
            cancellation.check()
            try:
                done = work()
            except NodeFaultError as error:
                cancellation.check()  # the witness may take as long as the work did
                self._judge(trouble, error)
                raise
            with self._lock:
                self._done[step] += 1
            return done

        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._note_fault(trouble, error, state.attempt_number)

        def rest(seconds: float) -> None:
            self._clock.wait(cancellation.event, seconds)

        try:
            return Retrying(
                retry=retry_if_exception_type(NodeFaultError),
                wait=self._wait,
                before_sleep=note,
                sleep=rest,
                reraise=True,
            )(attempt)
        finally:
            with self._lock:
                self._current.pop(trouble, None)

    def _judge(self, trouble: _Trouble, error: NodeFaultError) -> None:
        """Counts the failures for which the witness did well.

        Raises:
            TransientError: They are enough.
        """
        trouble.alone = trouble.alone + error.tries if self._witness_does_well(trouble, error.witness) else 0
        if trouble.alone < self._alone:
            return
        log.warning("fault_of_one_job", step=trouble.step, error=str(error))
        raise TransientError(error.code, f"{error}; it is this job's alone, as the same works for others") from error

    def _witness_does_well(self, trouble: _Trouble, witness: Witness) -> bool:
        with self._lock:
            before, trouble.done = trouble.done, self._done[trouble.step]
        if witness is Witness.OTHERS:
            return before is not None and trouble.done > before
        return witness is not Witness.NOBODY and self._probe is not None and self._probe(witness)

    def _note_fault(self, trouble: _Trouble, error: BaseException | None, attempt: int) -> None:
        to_mend = isinstance(error, SettingsFaultError)
        certain = to_mend or (isinstance(error, NodeFaultError) and error.witness is not Witness.OTHERS)
        with self._lock:
            before = self._current.pop(trouble, None)
            if not trouble.alone:  # otherwise the others go on
                text = str(error) if to_mend else f"{trouble.step}: {error}"
                since = before.since if before else self._clock.now()
                self._current[trouble] = _Fault(text, to_mend=to_mend, certain=certain, since=since)
        tell = log.error if to_mend and not trouble.alone else log.warning
        tell("node_fault", step=trouble.step, error=str(error), attempt=attempt)
