# SPDX-License-Identifier: Apache-2.0
"""Fakes of what stands around the worker, for its own tests and for those who build on it."""
