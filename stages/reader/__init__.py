# SPDX-License-Identifier: Apache-2.0
"""The program that opens strangers' media files: a process of its own, which `stages.decode` starts and reads from.

It loads the libraries of ffmpeg through PyAV and nothing else of this project, so that it starts quickly and can be
killed without loss. What it writes is described by `wire`, the only module here that both sides load.
"""
