# SPDX-License-Identifier: Apache-2.0
"""What every measurement needs: recordings, models, sites, programs, meters, traces.

Nothing here measures one thing in particular.
"""
