# SPDX-License-Identifier: Apache-2.0
"""Measurements and long runs, for people and for `make`."""
