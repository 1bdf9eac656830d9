# SPDX-License-Identifier: Apache-2.0
"""How well sqscribe hears, against faster-whisper."""
