# SPDX-License-Identifier: Apache-2.0
"""`sqscribe fetch`: brings results from S3 to a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.cli.aws import reaching_aws
from sqscribe.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from sqscribe.sender.fetch import Fetched

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(name="fetch")
def fetch(
    job_ids: Annotated[
        list[str], typer.Argument(metavar="JOB_ID…", help="As `enqueue` printed them. `-` reads them, one a line.")
    ],
    output: Annotated[
        str, typer.Option("--output", envvar="SQSCRIBE_OUTPUT", help="s3://bucket/prefix that the jobs wrote to.")
    ],
    folder: Annotated[Path, typer.Option("--to", help="Folder for the files; each job gets one below it.")] = Path(),
    formats: Annotated[
        list[str] | None, typer.Option("--format", "-f", help="Formats wanted; repeatable. [default: all there are]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a job.")] = False,
) -> None:
    """Fetch the results of jobs; says for each whether it is done, failed or not there yet.

    Exit code 5 when some failed or are not done.
    """
    from sqscribe.formats import ARTIFACTS  # noqa: PLC0415 - `--help` should answer at once
    from sqscribe.sender.fetch import fetch_results  # noqa: PLC0415
    from sqscribe.urls import split_s3  # noqa: PLC0415

    unknown = sorted(set(formats or ()) - set(ARTIFACTS))
    if unknown:
        raise SettingsError(f"--format: unknown {', '.join(unknown)}; known are {', '.join(ARTIFACTS)}")
    try:
        split_s3(output)
    except ValueError as error:
        raise SettingsError(f"--output: {output!r} {error}") from None
    incomplete = False
    with reaching_aws() as clients:
        try:
            for fetched in fetch_results(clients.s3(), output, _lines(job_ids), folder, formats=formats):
                typer.echo(_record(fetched) if as_json else _line(fetched))
                incomplete |= fetched.result is None or not fetched.result.succeeded or bool(fetched.missing)
        except ValueError as error:  # an id that is none
            raise SettingsError(str(error)) from None
    raise typer.Exit(ExitCode.JOBS_FAILED if incomplete else ExitCode.DONE)


def _lines(job_ids: list[str]) -> Iterator[str]:
    for job_id in job_ids:
        if job_id != "-":
            yield job_id
        else:
            yield from filter(None, (line.strip() for line in sys.stdin))


def _line(fetched: Fetched) -> str:
    if fetched.result is None:
        return f"{fetched.job_id}: not done"
    if fetched.result.error:
        return f"{fetched.job_id}: failed, {fetched.result.error.code}: {fetched.result.error.message}"
    lacking = f"; missing: {', '.join(fetched.missing)}" if fetched.missing else ""
    return f"{fetched.job_id}: {', '.join(str(path) for path in fetched.files)}{lacking}"


def _record(fetched: Fetched) -> str:
    result = fetched.result
    return json.dumps(
        {
            "job_id": fetched.job_id,
            "status": result.status if result else "not_done",
            "files": [str(path) for path in fetched.files],
            "missing": list(fetched.missing),
            "error": {"code": result.error.code, "message": result.error.message} if result and result.error else None,
        }
    )
