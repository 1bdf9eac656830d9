# SPDX-License-Identifier: Apache-2.0
"""Everything that a GPU must tell, in the minutes that it is to be had (`sqscribe bench gpu`).

Steps are programs of their own, each with a limit; what they found is written down as they end.
"""
