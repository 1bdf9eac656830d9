# SPDX-License-Identifier: Apache-2.0
"""`sqscribe worker`: the daemon."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from sqscribe.cli.fatal import exit_code, tell_fatal
from sqscribe.cli.settings import with_settings
from sqscribe.errors import SqscribeError

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(name="worker")
@with_settings()
def worker(**settings: Any) -> None:
    """Work on a queue until told to stop.

    Every flag is also an environment variable (`--queue-url` is SQSCRIBE_QUEUE_URL) and may stand in a `.env` file.
    AWS credentials, region and endpoints come from the standard AWS chain.

    Before anything is received, queue, output and machine are looked at as `sqscribe doctor` does: what only a person
    can mend ends it with code 2 and one line, a machine that cannot do the work with code 3.

    SIGTERM ends it in order: what is not done is visible in the queue again when it exits. A second signal ends it at
    once.
    """
    # Loaded here, because `--help` should answer at once.
    from sqscribe.logs import configure, log_uncaught  # noqa: PLC0415
    from worker.settings import read_settings  # noqa: PLC0415
    from worker.startup import run_worker  # noqa: PLC0415

    try:
        configured = read_settings(**settings)
        configure(configured.log_format, configured.log_level)
        log_uncaught()
        code = run_worker(configured)
    except SqscribeError as error:
        code = exit_code(error)
        tell_fatal(str(error), code)
    sys.stdout.flush()
    sys.stderr.flush()
    # All is given back and said. The interpreter's tidying up would take seconds of the grace on a busy machine, and a
    # thread that hangs may be deep in a library that is not fit for it.
    os._exit(code)
