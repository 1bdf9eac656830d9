# SPDX-License-Identifier: Apache-2.0
"""A job's way between the stages: it is prepared, decoded, saved and finished, and the pipeline leads it.

What a stage itself does belongs in `stages`; what concerns only the message in `worker.receive` and `worker.leases`.
"""
