# SPDX-License-Identifier: Apache-2.0
"""What opens strangers' media files: a process of its own for each, which `stages.decode` has started and reads from.

`parent` is the program that loads the libraries of ffmpeg through PyAV, and nothing else of this project, and forks;
`program` is what the fork does then. Both sides load `orders` and `wire` alone, which say how they talk.
"""
