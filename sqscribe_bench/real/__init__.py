# SPDX-License-Identifier: Apache-2.0
"""Released models and real recordings: where they come from, what is made of them, and how well they are heard."""
