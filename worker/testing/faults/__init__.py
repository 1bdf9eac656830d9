# SPDX-License-Identifier: Apache-2.0
"""A fault proxy before an SQS and an S3, its access log, and what must hold on that log."""

from __future__ import annotations

from worker.testing.faults.access_log import Access, AccessLog, Entry, read_log
from worker.testing.faults.audit import Audit, SentMessage, Violation
from worker.testing.faults.call_fault import CallFault, Dice, Kind
from worker.testing.faults.proxy import FaultProxy

__all__ = [
    "Access",
    "AccessLog",
    "Audit",
    "CallFault",
    "Dice",
    "Entry",
    "FaultProxy",
    "Kind",
    "SentMessage",
    "Violation",
    "read_log",
]
