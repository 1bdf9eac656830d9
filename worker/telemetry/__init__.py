# SPDX-License-Identifier: Apache-2.0
"""How the worker is seen from outside: log lines, metrics, health and status over HTTP."""
