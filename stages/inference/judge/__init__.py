# SPDX-License-Identifier: Apache-2.0
"""What any engine's text is held against: the speech that the window holds, and what nobody would have said.

Nothing here knows a model: no tokens, no thresholds of one, no numpy.
"""
