# SPDX-License-Identifier: Apache-2.0
"""Log lines: one JSON object a line for machines, a readable line for people at a terminal.

Everything goes one way: a line of the standard library's `logging` (boto3, urllib3, yt-dlp …) is handed to structlog,
so that all lines of a stream have one shape and come from one writer. The level is in `severity`, which is where
SaladCloud looks for it (docs.salad.com, "external logging, best practices").
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from sqscribe.urls import redact

__all__ = ["MAX_TRACEBACK", "MAX_VALUE", "LogFormat", "LogLevel", "bind", "configure", "log_uncaught"]

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

#: Characters of one value. Titles, URLs and messages come from strangers and may have any length.
MAX_VALUE = 1_000

#: Characters of a traceback, which is worth more; its end is kept, where the error is named.
MAX_TRACEBACK = 10_000

#: Entries of a list or mapping that are shown.
_MAX_ENTRIES = 50

_URL = re.compile(r"\b(?:data:[^\s\"'<>]+|[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+)")

#: Fields whose text is never shown, whatever it is. Numbers pass: `tokens=224` is no secret.
_SECRET = re.compile(r"secret|passw|token|authorization|credential|signature|api_?key|cookie", re.IGNORECASE)

#: All control characters but the line feed and the tab: on a terminal they would act instead of being shown.
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd")


def configure(
    format: LogFormat | None = None,  # noqa: A002 - the setting's name
    level: LogLevel = "info",
    stream: TextIO | None = None,
    **always: str | int,
) -> None:
    """Sets up this process's logs; the last call counts.

    Args:
        format: `json`, `console`, or None: `console` on a terminal and `json` off one.
        level: The least that is shown of our own lines. Of other libraries, from `warning` on.
        stream: Where to, standard error by default.
        **always: Fields of every line of this process.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    format = format or ("console" if on_terminal else "json")  # noqa: A001 - see above
    for_people = format == "console"

    def mark(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {**always, **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([mark] if always else []),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _clean,
            *([_console(colors=on_terminal)] if for_people else [_severity, structlog.processors.JSONRenderer()]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        # A cached logger would keep the first configuration for ever: the command line configures after the
        # modules' loggers were made, and tests configure many times.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _ToStructlog)]:
        root.removeHandler(handler)
    root.addHandler(_ToStructlog(logging.WARNING))
    logging.captureWarnings(capture=True)


def bind(*, job: str | None = None, stage: str | None = None, **fields: str | int) -> AbstractContextManager[object]:
    """Gives every line of the block these fields; undone at its end.

    The fields belong to this thread: a thread that takes a job over binds them anew.

    Args:
        job: The job's id.
        stage: The stage that works on it.
        **fields: More fields of the same kind.
    """
    given = {"job": job, "stage": stage, **fields}
    return structlog.contextvars.bound_contextvars(
        **{key: value for key, value in given.items() if value is not None},
    )


def log_uncaught() -> None:
    """Logs what ends the process or a thread as one line instead of a bare traceback.

    `SystemExit` and `KeyboardInterrupt` stay what they are. For programs: nothing puts the old hooks back.
    """
    log = structlog.get_logger()

    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.critical("uncaught", exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            log.critical(
                "uncaught",
                thread=args.thread.name if args.thread else None,
                exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
            )

    sys.excepthook = in_main
    threading.excepthook = in_thread


class _ToStructlog(logging.Handler):
    """Hands the log lines of other libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                record.levelno,
                record.getMessage(),
                logger=record.name,
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - logging's own rule: a line that fails never fails its caller
            self.handleError(record)


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=colors,
        exception_formatter=structlog.dev.plain_traceback,
        pad_event_to=24,
    )


def _severity(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Puts time, level and name first, the level as SaladCloud wants it."""
    return {
        "timestamp": event.pop("timestamp"),
        "severity": event.pop("level"),
        "event": event.pop("event"),
        **event,
    }


def _clean(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Caps lengths, strips URLs, hides what is named like a secret, leaves nothing but JSON's own types."""
    for key, value in event.items():
        if key in ("exception", "stack"):
            text = _text(str(value))
            event[key] = text if len(text) <= MAX_TRACEBACK else "…" + text[-MAX_TRACEBACK:]
        else:
            event[key] = _plain(key, value, depth=3)
    return event


def _plain(key: str, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        # Three decimals are below anything that a line tells, and JSON has no infinities.
        return round(value, 3) if value - value == 0 else str(value)
    if _SECRET.search(key):
        return "[hidden]"
    if depth and isinstance(value, Mapping):
        return {str(inner): _plain(str(inner), each, depth - 1) for inner, each in list(value.items())[:_MAX_ENTRIES]}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(key, each, depth - 1) for each in list(value)[:_MAX_ENTRIES]]
    text = _text(str(value))
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def _text(text: str) -> str:
    return _URL.sub(lambda found: redact(found[0]), text).translate(_CONTROL)
