# SPDX-License-Identifier: Apache-2.0
"""From message bodies to jobs: what a message asks for, when the next one is received, whose copy it is.

Nothing here works on a job or touches its lease beyond handing it on; what a message becomes is `worker.outcomes`.
"""
