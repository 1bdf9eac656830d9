# SPDX-License-Identifier: Apache-2.0
"""How the bundled demo model and clips are made; see `docs/demo-model.md`."""
