# SPDX-License-Identifier: Apache-2.0
"""The Whisper decoder on CTranslate2: features, encoding, decoding, fallback, alignment.

The only folder that imports torch and CTranslate2, in modules that the inference process alone loads.
"""
