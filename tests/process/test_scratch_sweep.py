# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.node.clock import SystemClock
from worker.node.scratch import ScratchSpace

OTHER_WORKER = """
import sys
from pathlib import Path
from worker.node.clock import SystemClock
from worker.node.scratch import ScratchSpace
space = ScratchSpace(Path(sys.argv[1]), 100, SystemClock())
with space.job("talk") as scratch:
    (scratch.path / "audio.pcm").write_bytes(b"x")
    print(space.root, file=sys.stderr, flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_folders_of_killed_workers_are_swept_and_nothing_else(tmp_path: Path) -> None:
    # Given a worker that runs, one that was killed, and somebody's files
    workers = []
    for _ in range(2):
        worker = subprocess.Popen(
            [sys.executable, "-c", OTHER_WORKER, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert worker.stderr
        workers.append((worker, Path(worker.stderr.readline().strip())))
    (killed, its_folder), (alive, other_folder) = workers
    killed.kill()
    killed.wait()
    (tmp_path / "worker-notes").mkdir()
    (tmp_path / "worker-notes" / "mine.txt").write_text("keep")
    assert its_folder.is_dir()
    # When a worker starts
    space = ScratchSpace(tmp_path, 100, SystemClock())
    # Then the dead one's folder is gone, and only that
    assert not its_folder.exists()
    assert not its_folder.with_suffix(".lock").exists()
    assert list(other_folder.iterdir())
    assert (tmp_path / "worker-notes" / "mine.txt").exists()
    # And what ends in order leaves nothing
    alive.communicate()
    space.close()
    space.close()
    assert not space.root.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {
        "worker-notes",
        other_folder.name,
        f"{other_folder.name}.lock",
    }
    for worker, _ in workers:
        for pipe in (worker.stdin, worker.stderr):
            if pipe:
                pipe.close()
