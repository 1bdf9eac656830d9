# SPDX-License-Identifier: Apache-2.0
"""Programs that the measurements start, each a module of its own.

They get their settings as one JSON object and answer in lines of text. Nothing here is imported by the rest but `feed`.
"""
