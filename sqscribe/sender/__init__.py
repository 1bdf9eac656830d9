# SPDX-License-Identifier: Apache-2.0
"""The sender's side: jobs into the queue, results out of the bucket."""

from __future__ import annotations

from sqscribe.sender.enqueue import SendError, Sent, send_jobs
from sqscribe.sender.fetch import Fetched, fetch_results

__all__ = ["Fetched", "SendError", "Sent", "fetch_results", "send_jobs"]
