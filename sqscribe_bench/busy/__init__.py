# SPDX-License-Identifier: Apache-2.0
"""How busy the pipeline keeps a simulated device (`sqscribe bench busy`).

No real model runs here; figures of one are in `sqscribe_bench.engine`.
"""
