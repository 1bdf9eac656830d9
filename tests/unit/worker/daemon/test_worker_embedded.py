# SPDX-License-Identifier: Apache-2.0
"""A clip that comes with its job."""

from __future__ import annotations

import base64
import hashlib

from sqscribe.bundled import demo_clips
from worker.testing.waiting import eventually
from worker.testing.world import SPOKEN, World


def test_it_becomes_a_transcript_and_its_record_does_not_repeat_it(world: World) -> None:
    # Given a clip in the message itself
    clip = demo_clips()[0].path.read_bytes()
    world.send({"source": f"data:audio/wav;base64,{base64.b64encode(clip).decode()}", "job_id": "embedded"})
    # When it is done
    world.start()
    eventually(lambda: world.status("embedded"))
    # Then there is a transcript, and the record names the clip by its digest
    result = world.result("embedded") or {}
    assert result["status"] == "succeeded"
    assert result["source"] == f"data:audio/wav;sha256={hashlib.sha256(clip).hexdigest()},…"
    assert any(SPOKEN.encode() in body for body in world.store.objects.values())
    assert all(base64.b64encode(clip)[:60] not in body for body in world.store.objects.values())
