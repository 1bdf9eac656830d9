# SPDX-License-Identifier: Apache-2.0
"""What lies about on the machine is no matter of yt-dlp's: neither read nor run, and nothing is left there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.extractor.youtube.jsc._builtin import deno

from stages.fetch import page_network

PROGRAM = """
import sys
from pathlib import Path
from stages.fetch import Fetcher, FetchLimits, FetchRequest, PageRules
from stages.ports import Cancellation
from worker.testing.scratch import BoundlessReserve

pages = PageRules(generic=True)
fetcher = Fetcher(FetchLimits(max_bytes=2**20), lambda: None, allow_private=True, pages=pages)
source = fetcher.fetch(FetchRequest(sys.argv[1]), Path(sys.argv[2]), BoundlessReserve(), Cancellation())
print(source.bytes)
"""


def test_no_configuration_plugin_netrc_or_cache_is_used(web: Any, tmp_path: Path) -> None:
    # Given a home with all that yt-dlp would read for a person, each of which tells on whoever reads it
    home, scratch, traces = (tmp_path / name for name in ("home", "scratch", "traces"))
    for folder in (home, scratch, traces):
        folder.mkdir()
    config = home / ".config" / "yt-dlp"
    plugin = config / "plugins" / "spy" / "yt_dlp_plugins" / "extractor"
    plugin.mkdir(parents=True)
    (plugin / "spy.py").write_text(f"open({str(traces / 'plugin')!r}, 'w').close()\n")
    for path in (config / "config", home / ".yt-dlp.conf", home / "yt-dlp.conf"):
        path.write_text(f"--exec before_dl:'touch {traces / 'config'}'\n")
    netrc = home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    before = sorted(home.rglob("*"))

    # When a page is fetched there
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(1000))
    web.serve("/clip.wav", buffer.getvalue(), "audio/wav")
    url = web.serve("/talk", b'<html><audio src="/clip.wav"></audio></html>', "text/html")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, scratch], env=environment | {"HOME": str(home)}, cwd=home,
        capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip

    # Then nothing was read, run or left
    assert done.stdout.splitlines()[-1:] == [str(len(buffer.getvalue()))], done.stderr[-2000:]
    assert list(traces.iterdir()) == []
    assert sorted(home.rglob("*")) == before
    assert [path.name for path in scratch.iterdir()] == ["source.wav"]
    assert all("Authorization" not in handler.headers for handler in web.seen)


def test_a_script_of_a_site_that_does_not_come_to_an_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deno.Popen is page_network.BoundedPopen
    monkeypatch.setattr(page_network.BoundedPopen, "seconds", 0.2)
    began = time.monotonic()
    with deno.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE, text=True) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate_or_kill("1 + 1")
        assert process.poll() is not None
    assert time.monotonic() - began < 10
