# SPDX-License-Identifier: Apache-2.0
"""What others see of a worker before it is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from worker.embedded.environment import free_port
from worker.front import make_front
from worker.settings import Settings
from worker.testing.world import World


def shape(page: Any) -> Any:
    """The names in a page, without values."""
    return {name: shape(value) for name, value in page.items()} if isinstance(page, dict) else None


def test_its_status_has_the_shape_that_it_has_later(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, http_port=free_port())
    front = make_front(settings)
    front.health.starting("looking around")
    assert front.http is not None
    front.http.start()
    try:
        with urlopen(f"http://127.0.0.1:{front.http.port}/status", timeout=10) as answer:
            page = json.load(answer)
    finally:
        front.http.stop()
    world = World(tmp_path)
    try:
        later = json.loads(json.dumps(world.start().status()))
        assert shape(page) | {"engine": None, "totals": None} == shape(later) | {"engine": None, "totals": None}
        assert page["totals"].keys() == later["totals"].keys()
    finally:
        world.close()
    assert (page["phase"], page["trouble"]) == ("starting", ["looking around"])


def test_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    front = make_front(Settings(_env_file=None, http_port=free_port()))
    assert front.http is not None
    front.http.start()
    codes = {}
    try:
        for name in ("startup", "live", "ready", "metrics"):
            try:
                with urlopen(f"http://127.0.0.1:{front.http.port}/{name}", timeout=10) as answer:
                    codes[name] = answer.status
            except HTTPError as refused:
                codes[name] = refused.code
                refused.close()
    finally:
        front.http.stop()

    assert codes == {"startup": 503, "live": 200, "ready": 503, "metrics": 200}


def test_without_a_port_there_is_no_server() -> None:
    assert make_front(Settings(_env_file=None, http_port=0)).http is None
