# SPDX-License-Identifier: Apache-2.0
"""The media table: files of every kind are made here, decoded, and held against the sound that they were made of."""
