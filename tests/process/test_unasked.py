# SPDX-License-Identifier: Apache-2.0
"""A whole worker in a network of its own, with a name server that hears whatever is asked, and a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sqscribe.unasked import UNASKED
from worker.embedded.environment import clean_environment

pytestmark = [pytest.mark.process, pytest.mark.wire]

PATIENCE = 180.0
#: Run as root of a namespace that has nothing but a loopback which is down.
INSIDE = Path(__file__).with_name("namespace_program.py")


@dataclass(frozen=True)
class Heard:
    """What came of a program in the namespace.

    Attributes:
        names: That were asked of the name server.
        files: Left in the home.
        told: What it told of its job.
    """

    names: set[str]
    files: set[str]
    told: Any


def in_namespace(folder: Path, what: str, **environ: str) -> Heard:
    """Runs a part of the program in a user, network and mount namespace; skips where there are none."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rnm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no namespaces to its users")
    home = folder / "home"
    home.mkdir()
    env = {name: value for name, value in clean_environment().items() if name not in UNASKED}
    env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "TMPDIR": str(folder)} | environ
    done = subprocess.run(
        [unshare, "-rnm", sys.executable, "-P", str(INSIDE), what, str(folder)],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    return Heard(set(told["names"]), files, told["result"])


def test_the_name_server_hears_what_a_library_in_c_asks_and_the_home_shows_what_it_keeps(tmp_path: Path) -> None:
    # When onnxruntime is used as its wheel comes
    heard = in_namespace(tmp_path, "onnxruntime", ORT_DISABLE_TELEMETRY="0")
    # Then both are seen, or the test below would show nothing
    if not heard.names - {"control.test"}:
        pytest.skip("this onnxruntime reports nothing: there is nothing to be silenced")
    assert heard.names == {"control.test", "mobile.events.data.microsoft.com"}
    assert any("onnxruntime" in name for name in heard.files)


def test_a_whole_worker_asks_for_no_name_and_keeps_nothing_in_its_home(tmp_path: Path) -> None:
    # When a worker takes a job from the first check to its end
    heard = in_namespace(tmp_path, "worker")
    # Then it did it, the name server heard nothing but the control, and the home is empty
    assert heard.told["status"] == "succeeded", heard.told
    assert heard.told["exit_code"] == 0
    assert heard.names == {"control.test"}
    assert heard.files == set()


def test_all_that_loads_a_stage_has_silenced_them() -> None:
    program = "import os, stages, sqscribe.unasked; print(*(os.environ.get(name) for name in sqscribe.unasked.UNASKED))"
    env = {name: value for name, value in os.environ.items() if name not in UNASKED}

    said = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout

    assert said.split() == list(UNASKED.values())
