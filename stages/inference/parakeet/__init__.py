# SPDX-License-Identifier: Apache-2.0
"""Parakeet-TDT: a FastConformer encoder and a token-and-duration transducer, in torch (docs/engines.md)."""

from __future__ import annotations
