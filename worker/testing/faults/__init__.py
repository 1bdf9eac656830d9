# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of an SQS and an S3 that makes calls fail, its access log, and the rules that the log must keep."""

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
