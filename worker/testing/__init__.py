# SPDX-License-Identifier: Apache-2.0
"""Fakes of what the worker talks to, for its own tests and for those of programs that use it."""
