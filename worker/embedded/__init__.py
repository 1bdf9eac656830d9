# SPDX-License-Identifier: Apache-2.0
"""SQS, S3 and real workers on this machine alone, for the demo, measuring and long fault runs.

Production never imports this; nothing here pretends to be more than an emulator and a program started beside it.
"""
