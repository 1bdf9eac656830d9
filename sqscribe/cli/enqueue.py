# SPDX-License-Identifier: Apache-2.0
"""`sqscribe enqueue`: sends jobs to a queue."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqscribe.cli.aws import reaching_aws
from sqscribe.cli.tuning import with_tuning
from sqscribe.errors import PermanentError, SettingsError
from sqscribe.formats import ARTIFACTS

if TYPE_CHECKING:
    from sqscribe.sender.enqueue import Sent

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(name="enqueue")
@with_tuning
def enqueue(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="URLs: https://…, s3://bucket/key. `-` reads them, one a line."),
    ],
    queue_url: Annotated[str, typer.Option("--queue-url", envvar="SQSCRIBE_QUEUE_URL", help="The SQS queue.")],
    output: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix for the results. [default: the worker's]")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help=f"{', '.join(ARTIFACTS)}; repeatable. [default: the worker's]"),
    ] = None,
    language: Annotated[str | None, typer.Option(help="Whisper code, or `multi`. [default: detected]")] = None,
    task: Annotated[str | None, typer.Option(help="`transcribe` or `translate`.")] = None,
    word_timestamps: Annotated[
        bool, typer.Option("--word-timestamps", help="Word times in verbose_json and vtt.")
    ] = False,
    initial_prompt: Annotated[str | None, typer.Option(help="Text given to every window.")] = None,
    hotwords: Annotated[str | None, typer.Option(help="Words to listen for.")] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, max=10, help="1 to 10. [default: the worker's]")] = None,
    vad: Annotated[bool, typer.Option("--vad/--no-vad", help="Leave silence out, or decode every second.")] = True,
    tuning: dict[str, Any] | None = None,
    start: Annotated[float | None, typer.Option(min=0, help="Seconds of the file to begin at.")] = None,
    end: Annotated[float | None, typer.Option(min=0, help="Seconds of the file to end at.")] = None,
    metadata: Annotated[str | None, typer.Option(help="Any JSON value; comes back in result.json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace results that stand.")] = False,
    group_id: Annotated[str | None, typer.Option(help="Message group. [default on FIFO: one a job]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a job.")] = False,
) -> None:
    """Send a job for each source; prints the job ids, under which the results will stand.

    Every option is checked before anything is sent. Sending the same source with the same options again gives the same
    job id, and a job that is done is not done again.
    """
    fields: dict[str, Any] = {
        "output": output,
        "formats": formats,
        "language": language,
        "task": task,
        "word_timestamps": word_timestamps or None,
        "initial_prompt": initial_prompt,
        "hotwords": hotwords,
        "beam_size": beam_size,
        "vad": None if vad else False,
        **(tuning or {}),
        "start": start,
        "end": end,
        "metadata": _json(metadata),
        "force": force or None,
    }
    options = {name: value for name, value in fields.items() if value is not None}
    messages = ({**options, "source": source} for source in _lines(sources))
    for sent in _sent(queue_url, messages, group_id):
        record = {"job_id": sent.job_id, "message_id": sent.message_id}
        typer.echo(json.dumps(record) if as_json else sent.job_id)


def _sent(queue_url: str, messages: Iterator[dict[str, Any]], group_id: str | None) -> Iterator[Sent]:
    """Sends the messages and gives each job as soon as the queue has confirmed it."""
    from sqscribe.sender.enqueue import send_jobs  # noqa: PLC0415 - `--help` should answer at once

    with reaching_aws() as clients:
        try:
            yield from send_jobs(clients.sqs(queue_url), queue_url, messages, group_id=group_id)
        except PermanentError as error:  # an option or a source that no worker would take
            raise SettingsError(error.message) from None


def _lines(sources: list[str]) -> Iterator[str]:
    for source in sources:
        if source != "-":
            yield source
        else:
            yield from filter(None, (line.strip() for line in sys.stdin))


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is not JSON: {error}", param_hint="--metadata") from None
