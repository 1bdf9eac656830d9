# SPDX-License-Identifier: Apache-2.0
"""How the clips of `sqscribe demo` are made."""
