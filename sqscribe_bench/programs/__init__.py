# SPDX-License-Identifier: Apache-2.0
"""The contenders that are no programs of their own yet: each module is one, started in a process of its own."""
