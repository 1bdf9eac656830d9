# SPDX-License-Identifier: Apache-2.0
"""The inside of the inference process, whatever the model: schedule, batches, and what fails in them.

Knows rows and a decoder by its interface (`rows.Decoder`) alone; what is Whisper's own is in `whisper`.
"""
