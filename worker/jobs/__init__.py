# SPDX-License-Identifier: Apache-2.0
"""A job's way between the stages: prepared, in the engine, saved, finished, and the pipeline that leads it.

What a stage itself does belongs in `stages`; what is of the message alone in `worker.receive` and `worker.leases`.
"""
