# SPDX-License-Identifier: Apache-2.0
"""What is looked at before a worker receives anything, and by `sqscribe doctor`: one module a kind of check."""

from worker.preflight.checks import examine
from worker.preflight.finding import Finding, Severity, fatal

__all__ = ["Finding", "Severity", "examine", "fatal"]
