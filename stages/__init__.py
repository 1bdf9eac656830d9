# SPDX-License-Identifier: Apache-2.0
"""What happens to a job: one module (or folder) a stage, in the order of the work."""

from sqscribe.unasked import turn_off

turn_off()  # before any stage loads a library that would
