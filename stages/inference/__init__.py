# SPDX-License-Identifier: Apache-2.0
"""Inference: one process, started with spawn, that decodes windows of many jobs in common batches.

`protocol` and `client` are the worker's side and import neither torch nor CTranslate2. Everything else in this
package is loaded by the inference process alone.
"""
