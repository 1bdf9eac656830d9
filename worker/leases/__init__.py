# SPDX-License-Identifier: Apache-2.0
"""Leases: the right to work on a message, kept alive by a heartbeat for as long as the table holds it."""

from __future__ import annotations

from worker.leases.heartbeat import Heartbeat
from worker.leases.lease import Lease, LeaseState
from worker.leases.renewals import Renewal, RenewalOutcome
from worker.leases.table import LeaseTable

__all__ = ["Heartbeat", "Lease", "LeaseState", "LeaseTable", "Renewal", "RenewalOutcome"]
