# SPDX-License-Identifier: Apache-2.0
"""What happens to a job: one module (or folder) a stage, in the order of the work."""
