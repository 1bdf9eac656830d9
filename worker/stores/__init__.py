# SPDX-License-Identifier: Apache-2.0
"""Stores: what implements `stages.ports.Store`.

`s3` is the real one, `folder` serves the command line, and `worker.testing.store` the tests. All of them take
`s3://bucket/key` addresses, and their `keys` takes its prefix as text: end it with `/` to mean a folder.
"""
