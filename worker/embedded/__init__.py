# SPDX-License-Identifier: Apache-2.0
"""SQS, S3 and real workers on this machine alone, for the demo, measuring and long fault runs.

The worker never imports this.
"""
