# SPDX-License-Identifier: Apache-2.0
"""A whole worker on a thread of this process, with a fake queue, store and engine around it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqscribe.errors import ExitCode
from sqscribe.job import JobDefaults
from stages.inference.protocol import Engine, EngineSettings
from stages.ports import Clock
from worker.build import build_worker
from worker.components import Components
from worker.connect import Connections
from worker.daemon import Daemon
from worker.lifecycle import Intervals
from worker.node.clock import SystemClock
from worker.queues import Message, Outgoing
from worker.receive.messages import MessageParser, Parsed
from worker.settings import Settings
from worker.testing.engine import FakeEngine
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore

__all__ = ["OUTPUT", "SPOKEN", "World"]

#: Where results stand.
OUTPUT = "s3://bucket/out"
#: Seconds that an ordered end may take on a busy machine, beyond which it counts as none.
END_SECONDS = 30.0
#: What the fake engine says in every window.
SPOKEN = "hello from the engine"
#: A test waits for nothing else.
OFTEN = Intervals(watch=0.02, poll=0.02)


class World:
    """A worker with everything around it, and what a test asks of it.

    What a test puts in place of a part before `start` is what the worker gets.

    Args:
        scratch: The worker's scratch folder.
        parse: Message to jobs; None: as a worker reads what senders write.
        make_engine: Makes the engine; None: the fake one.
        max_receives: Of the queue.
        allow_local: Whether a source may be a path on this machine.
        intervals: How often the worker looks for what no event tells it.
        **settings: Changes to the worker's settings.

    Attributes:
        daemon: Once it is started.
        thread: The daemon's.
        code: The worker's exit code, once it has ended.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        parse: Callable[[Message], Parsed] | None = None,
        make_engine: Callable[[EngineSettings, Clock], Engine] | None = None,
        max_receives: int = 3,
        allow_local: bool = False,
        intervals: Intervals = OFTEN,
        **settings: Any,
    ) -> None:
        self.scratch = scratch
        self.clock = SystemClock()
        self.dead_letters = FakeQueue(self.clock, url="https://sqs.test/1/dead")
        self.queue = FakeQueue(
            self.clock, visibility_timeout=30, max_receives=max_receives, dead_letters=self.dead_letters
        )
        self.store = MemoryStore()
        self.engine = FakeEngine(self.clock, text=lambda *_: f" {SPOKEN}")
        values = {
            "output": OUTPUT,
            "http_port": 0,
            "visibility_timeout": 30,
            "allow_private_sources": True,
            "scratch_dir": scratch,
            "shutdown_grace": 6,
            **settings,
        }
        self.settings = Settings(_env_file=None, **values)
        self.daemon: Daemon
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.code: ExitCode | None = None
        self._parse = parse or self._read
        self._make_engine = make_engine or (lambda *_: self.engine)
        self._allow_local = allow_local
        self._intervals = intervals

    # -- the worker's life -----------------------------------------------------------------------------------------

    def start(self) -> Daemon:
        """Builds the worker and lets it work."""
        connections = Connections(self.queue, self.store, self._parse, allow_local=self._allow_local)
        self.daemon = build_worker(self.settings, lambda *_: connections, self._make_engine, self._intervals)
        self.thread.start()
        return self.daemon

    def stop(self, code: ExitCode = ExitCode.DONE) -> ExitCode | None:
        """Ends the worker in order, its long poll included, which takes its time; gives its exit code."""
        self.daemon.stop(code, "the test is over")
        self.thread.join(END_SECONDS)
        if self.thread.is_alive():
            raise TimeoutError("the worker did not end")
        return self.code

    def close(self) -> None:
        """Ends the worker, if it runs, without waiting for its long poll: for the end of a test."""
        self.queue.close()
        if self.thread.is_alive():
            self.stop()

    def _run(self) -> None:
        self.code = self.daemon.run()

    def _read(self, message: Message) -> Parsed:
        return MessageParser(JobDefaults(OUTPUT, self.settings.formats)).parse(message.body, message.id)

    # -- what goes in ----------------------------------------------------------------------------------------------

    def send(self, body: object, attributes: dict[str, str] | None = None) -> None:
        """Sends a message: a text as it is, anything else as JSON."""
        self.queue.send(None, Outgoing(body if isinstance(body, str) else json.dumps(body), attributes or {}))

    # -- what comes out --------------------------------------------------------------------------------------------

    def result(self, job: str) -> dict[str, Any] | None:
        """A job's `result.json`; None while there is none."""
        body = self.store.objects.get(f"{OUTPUT}/{job}/result.json")
        return dict(json.loads(body)) if body else None

    def status(self, job: str) -> str | None:
        """The status in it."""
        result = self.result(job)
        return str(result["status"]) if result else None

    def released(self) -> list[int]:
        """The delays with which messages were let go, in order."""
        return [seconds for call in self.queue.calls if call.operation == "release" for seconds in call.seconds]

    @property
    def components(self) -> Components:
        """What the worker is made of."""
        return self.daemon._components  # noqa: SLF001 - for tests alone

    def watch_room(self) -> list[int]:
        """What the intake is told of the room from now on. A 0 at the end means that no receive is under way."""
        intake = self.components.intake
        told: list[int] = []
        room = intake._room  # noqa: SLF001 - nothing else tells when a receive has ended

        def noted() -> int:
            told.append(room())
            return told[-1]

        intake._room = noted  # noqa: SLF001
        return told

    def outcomes(self) -> dict[str, int]:
        """How many jobs ended how."""
        return {str(outcome): count for outcome, count in self.components.pipeline.totals().jobs.items()}

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of the worker's metrics."""
        return self.components.metrics.registry.get_sample_value(name, labels)

    @property
    def letters(self) -> list[dict[str, Any]]:
        """Bodies of the dead letters."""
        return [json.loads(letter.body) for letter in self.dead_letters.messages]

    @property
    def letter_codes(self) -> list[str]:
        """Their error codes."""
        return [letter.attributes["error_code"] for letter in self.dead_letters.messages]

    def scratch_files(self) -> list[Path]:
        """What stands in the scratch folder, but for the marks of its owner."""
        return [path for path in self.scratch.rglob("*") if path.is_file() and path.suffix not in {".lock", ".marker"}]
