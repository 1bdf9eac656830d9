# SPDX-License-Identifier: Apache-2.0
"""The machine that the worker runs on: scratch disk, clock, name, models, and faults that are no job's own.

Nothing here knows a queue, a store or a pipeline.
"""
