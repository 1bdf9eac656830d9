# SPDX-License-Identifier: Apache-2.0
"""What a worker calls its node."""

from __future__ import annotations

import socket

from worker.node.name import node_name


def test_the_machine_names_the_node_before_the_instance_and_the_host() -> None:
    assert node_name({"SALAD_MACHINE_ID": "machine", "SALAD_INSTANCE_ID": "instance"}) == "machine"
    assert node_name({"SALAD_MACHINE_ID": "", "SALAD_INSTANCE_ID": "instance"}) == "instance"
    assert node_name({"HOSTNAME": "either of them"}) == socket.gethostname()
