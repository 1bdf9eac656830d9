# SPDX-License-Identifier: Apache-2.0
"""`make chaos`: real workers, real messages, and everything that can go wrong, at random."""
