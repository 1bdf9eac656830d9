# SPDX-License-Identifier: Apache-2.0
"""The worker's side of the engine: starts its process, again if need be, and remembers what is not finished.

Runs in the worker's threads; nothing here decodes, and nothing imports torch or CTranslate2.
"""
