# SPDX-License-Identifier: Apache-2.0
"""What a check found: what it is about, why it is so, what to do, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqscribe.errors import NodeFaultError, SettingsError, SqscribeError, UnfitNodeError

__all__ = ["Finding", "Severity", "fatal", "ok", "warning", "wrong"]


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    SKIPPED = "skipped"  # could not be tried, and why
    WARNING = "warning"  # a worker runs, and somebody should know
    WRONG = "wrong"  # a setting or a permission: only a person mends it
    UNFIT = "unfit"  # this machine
    UNREACHABLE = "unreachable"  # a service or the network: may mend itself


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: The setting, or the part of the machine.
        why: What was seen.
        remedy: What to do; empty where there is nothing to be done.
    """

    what: str
    why: str
    remedy: str = ""
    severity: Severity = Severity.OK

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.what}: {self.why}{'; ' if self.remedy else ''}{self.remedy}".replace("\n", " ")


def ok(what: str, why: str) -> Finding:
    """All is as it should be."""
    return Finding(what, why)


def warning(what: str, why: str, remedy: str) -> Finding:
    """A worker runs with this."""
    return Finding(what, why, remedy, Severity.WARNING)


def wrong(what: str, why: str, remedy: str) -> Finding:
    """No worker should begin with this, and starting it again changes nothing."""
    return Finding(what, why, remedy, Severity.WRONG)


#: The worst first: what a person has to mend is told before what may mend itself.
_FATAL: tuple[tuple[Severity, type[SqscribeError]], ...] = (
    (Severity.WRONG, SettingsError),
    (Severity.UNFIT, UnfitNodeError),
    (Severity.UNREACHABLE, NodeFaultError),
)


def fatal(findings: Iterable[Finding]) -> SqscribeError | None:
    """The error that keeps a worker from beginning, with all findings of the worst kind in one line; or None."""
    found = list(findings)
    for severity, kind in _FATAL:
        if lines := [each.line for each in found if each.severity is severity]:
            return kind(" | ".join(lines))
    return None
