# SPDX-License-Identifier: Apache-2.0
"""The worker's side of the engine: starts its process, sends it windows, starts it again, remembers what it owes.

Runs in the worker's threads; nothing here decodes, and nothing imports torch or CTranslate2.
"""
