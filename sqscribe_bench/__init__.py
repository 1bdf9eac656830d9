# SPDX-License-Identifier: Apache-2.0
"""Measurements, and long runs in which things go wrong on purpose.

Behind `sqscribe bench`, `make chaos` and `make soak`. The worker never imports anything from here.
"""
