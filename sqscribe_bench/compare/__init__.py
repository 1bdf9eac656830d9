# SPDX-License-Identifier: Apache-2.0
"""The worker against what people use otherwise, on the same recordings, model and machine (`sqscribe bench`).

Each contender runs as a program of its own (`sqscribe_bench.programs`); nothing here decodes.
"""
