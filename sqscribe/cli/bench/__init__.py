# SPDX-License-Identifier: Apache-2.0
"""The commands of `sqscribe bench`: options in, settings of a measurement out.

What is measured, and how, is in `sqscribe_bench`, which is loaded when a command runs.
"""
