# SPDX-License-Identifier: Apache-2.0
"""The comparison benchmark: the same recordings through sqscribe and through what people use otherwise."""
