# SPDX-License-Identifier: Apache-2.0
"""How busy the pipeline keeps a simulated device (`sqscribe bench busy`).

No real model runs here; real models are measured by `sqscribe_bench.engine`.
"""
