# SPDX-License-Identifier: Apache-2.0
"""Log lines: their shape, what is cut from them, and where other libraries' lines go."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sqscribe import logs

log = structlog.get_logger()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, logs._ToStructlog)]:
        root.removeHandler(handler)
    logging.captureWarnings(capture=False)


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail_with(message: str) -> None:
    def fail() -> None:
        raise ValueError(message)

    try:
        fail()
    except ValueError:
        log.exception("failed")


def test_a_line_is_one_json_object_with_the_level_in_severity(stream: io.StringIO) -> None:
    log.info("window_dropped", reason="silence", count=3, share=0.25, none=None, flag=True)

    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "severity", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "severity": "info",
        "event": "window_dropped",
        "reason": "silence",
        "count": 3,
        "share": 0.25,
        "none": None,
        "flag": True,
    }


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logs.configure("json", "warning", stream)

    log.info("quiet")
    log.warning("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_a_terminal_gets_lines_for_people_and_a_pipe_gets_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()

    logs.configure(stream=terminal)
    log.info("seen", job="a")
    logs.configure(stream=pipe)
    log.info("seen", job="a")

    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert re.match(r"\d\d:\d\d:\d\d \[info +\] seen +job=a", shown)
    assert lines(pipe)[0]["job"] == "a"


def test_job_and_stage_stand_in_every_line_of_the_block_and_in_none_after_it(stream: io.StringIO) -> None:
    with logs.bind(job="job-1"), logs.bind(stage="fetch", attempt=2):
        log.info("inside")
        logging.getLogger("urllib3").warning("retrying")
    log.info("outside")

    inside, foreign, outside = lines(stream)
    assert (inside["job"], inside["stage"], inside["attempt"]) == ("job-1", "fetch", 2)
    assert (foreign["job"], foreign["stage"]) == ("job-1", "fetch")
    assert "job" not in outside
    assert "stage" not in outside


def test_each_thread_has_its_own_job(stream: io.StringIO) -> None:
    def other() -> None:
        log.info("other")

    with logs.bind(job="mine"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    assert "job" not in lines(stream)[0]


def test_other_libraries_are_heard_from_warning_on_in_the_same_shape(stream: io.StringIO) -> None:
    foreign = logging.getLogger("botocore.retries")
    foreign.setLevel(logging.DEBUG)

    foreign.info("Found credentials")
    foreign.warning("Retry needed for %s", "https://key:secret@sqs.example/q?X-Amz-Signature=abc")

    (line,) = lines(stream)
    assert line["severity"] == "warning"
    assert line["event"] == "Retry needed for https://sqs.example/q"
    assert line["logger"] == "botocore.retries"


def test_a_python_warning_is_a_line(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("beware", UserWarning, stacklevel=1)

    (line,) = lines(stream)
    assert line["severity"] == "warning"
    assert "beware" in line["event"]


def test_an_exception_is_one_field_without_secrets(stream: io.StringIO) -> None:
    fail_with("https://host/a.mp3?token=sesame")

    (line,) = lines(stream)
    assert line["severity"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: https://host/a.mp3")


def test_a_long_traceback_keeps_its_end(stream: io.StringIO) -> None:
    fail_with("x" * 2 * logs.MAX_TRACEBACK + " the end")

    assert lines(stream)[0]["exception"].endswith("the end")
    assert len(lines(stream)[0]["exception"]) == logs.MAX_TRACEBACK + 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://user:pass@host:8443/a/b.mp3?sig=1&x=2#frag", "https://host:8443/a/b.mp3"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("got https://h/x?a=1, then ftp://u@h/y#z", "got https://h/x then ftp://h/y"),
        ("data:audio/wav;base64,AAAAAAAA", "data:…"),
        ("https://[bad/x?token=1", "https://[bad/x"),
        ("12:30: no address here", "12:30: no address here"),
        ("\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        ("Grüße 世界", "Grüße 世界"),
    ],
)
def test_addresses_lose_what_may_be_secret_and_controls_their_power(
    stream: io.StringIO,
    given: str,
    shown: str,
) -> None:
    log.info("event", value=given, nested={"list": [given]})

    (line,) = lines(stream)
    assert line["value"] == shown
    assert line["nested"] == {"list": [shown]}


def test_values_are_capped_and_what_is_named_a_secret_is_hidden(stream: io.StringIO) -> None:
    log.info(
        "event",
        title="t" * 5000,
        many=list(range(1000)),
        aws_secret_access_key="abc",
        headers={"Authorization": "Bearer abc"},
        tokens=224,
        rate=1 / 3,
        endless=float("inf"),
        path=object,
    )

    (line,) = lines(stream)
    assert line["title"] == "t" * logs.MAX_VALUE + "…"
    assert len(line["many"]) == 50
    assert line["aws_secret_access_key"] == "[hidden]"
    assert line["headers"] == {"Authorization": "[hidden]"}
    assert line["tokens"] == 224
    assert line["rate"] == 0.333
    assert line["endless"] == "inf"
    assert line["path"] == "<class 'object'>"


def test_configuring_again_writes_each_line_once(stream: io.StringIO) -> None:
    again = io.StringIO()
    logs.configure("json", "info", again)

    logging.getLogger("yt_dlp").warning("once")

    assert stream.getvalue() == ""
    assert len(lines(again)) == 1


def test_lines_of_many_threads_do_not_mix(stream: io.StringIO) -> None:
    def write(name: str) -> None:
        for number in range(50):
            log.info(name, number=number, padding="x" * 500)

    threads = [threading.Thread(target=write, args=(f"thread_{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines(stream)) == 200


def test_what_ends_a_thread_or_the_process_is_a_line_too() -> None:
    program = (
        "import threading\n"
        "from sqscribe import logs\n"
        "logs.configure()\n"
        "logs.log_uncaught()\n"
        "def fail(): raise ValueError('in a thread')\n"
        "thread = threading.Thread(target=fail, name='fetcher'); thread.start(); thread.join()\n"
        "raise RuntimeError('in main')\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    thread, main = (json.loads(line) for line in done.stderr.splitlines())
    assert (thread["event"], thread["severity"], thread["thread"]) == ("uncaught", "critical", "fetcher")
    assert thread["exception"].endswith("ValueError: in a thread")
    assert main["exception"].endswith("RuntimeError: in main")
