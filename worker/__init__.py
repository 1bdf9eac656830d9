# SPDX-License-Identifier: Apache-2.0
"""The daemon around the stages: it takes jobs from the queue and leads each to its result in the store."""
