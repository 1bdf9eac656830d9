# SPDX-License-Identifier: Apache-2.0
"""The engine alone, on any device, over batch sizes (`sqscribe bench engine`).

No queue, no store and no worker take part.
"""
