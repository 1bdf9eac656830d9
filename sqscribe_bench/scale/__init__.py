# SPDX-License-Identifier: Apache-2.0
"""How cost grows with jobs, hours and workers (`sqscribe bench scale`).

Speed against others is in `sqscribe_bench.compare`.
"""
