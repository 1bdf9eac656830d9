# SPDX-License-Identifier: Apache-2.0
"""The daemon: what stands around the stages."""
