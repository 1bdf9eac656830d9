# SPDX-License-Identifier: Apache-2.0
"""`sqscribe transcribe`: the worker's own pipeline on local files or URLs, without AWS."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from sqscribe.cli.references import ReferenceScore, read_references, score_against
from sqscribe.cli.settings import with_settings
from sqscribe.cli.tuning import with_tuning
from sqscribe.data_urls import is_data, shortened
from sqscribe.errors import ExitCode, PermanentError, SettingsError
from sqscribe.formats import ARTIFACTS, MASTER, master
from sqscribe.urls import redact

if TYPE_CHECKING:
    from sqscribe.job import Job
    from sqscribe.result import Result
    from worker.local import LocalRun
    from worker.settings import Settings

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

#: All formats, for people.
_FORMATS_SHOWN = " or ".join(", ".join(ARTIFACTS).rsplit(", ", 1))
#: Settings that matter without a queue and a bucket.
_SETTINGS = (
    "model",
    "model_revision",
    "device",
    "device_index",
    "compute_type",
    "batch_size",
    "control_clip",
    "control_text",
    "cpu_threads",
    "downloaders",
    "scratch_dir",
    "max_source_bytes",
    "max_duration",
)


@dataclass(frozen=True, slots=True)
class _Work:
    """A source, its job, and the text of what is said in it, if that is known."""

    source: str
    job: Job
    reference: str | None


@app.command(name="transcribe")
@with_settings(_SETTINGS)
@with_tuning
def transcribe(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Media files, URLs of them, or pages.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the transcripts.")] = Path(),
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help=f"{_FORMATS_SHOWN}; may be repeated. [default: json]"),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Whisper code, or `multi`. Detected per file when not given.")
    ] = None,
    task: Annotated[str, typer.Option(help="`transcribe`, or `translate` to English.")] = "transcribe",
    word_timestamps: Annotated[
        bool, typer.Option("--word-timestamps", help="Word times in verbose_json and vtt.")
    ] = False,
    initial_prompt: Annotated[str | None, typer.Option(help="Text given to every window before it is decoded.")] = None,
    hotwords: Annotated[str | None, typer.Option(help="Words to listen for, given to every window.")] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, max=10, help="1 to 10. [default: 5]")] = None,
    vad: Annotated[bool, typer.Option("--vad/--no-vad", help="Leave silence out, or decode every second.")] = True,
    tuning: dict[str, Any] | None = None,
    start: Annotated[float, typer.Option(min=0, help="Seconds of the file to begin at.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, help="Seconds of the file to end at.")] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference", help="Text of what is said, to count word errors against; one for each source, in order."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a source.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log, not progress.")] = False,
    **settings: Any,
) -> None:
    """Transcribe files or URLs here and now; writes DIR/<name>.<format> for each.

    Each source is a job of the same pipeline that the worker runs. One that fails costs the others nothing; the exit
    code is then 5.
    """
    configured = _configured(settings, verbose=verbose)
    options = {
        "language": language,
        "task": task,
        "word_timestamps": word_timestamps,
        "initial_prompt": initial_prompt,
        "hotwords": hotwords,
        "beam_size": beam_size or configured.beam_size,
        "vad": vad,
        **(tuning or {}),
        "start": start or None,
        "end": end,
        "formats": formats or list(configured.formats),
    }
    references = read_references(reference or [], len(sources))
    jobs = _jobs(sources, {name: value for name, value in options.items() if value is not None})
    with TemporaryDirectory(prefix="sqscribe-") as folder:
        work = [_Work(*each) for each in zip(sources, jobs, references, strict=True)]
        code = _run(work, configured, Path(folder), output, as_json=as_json, show=not (verbose or as_json))
    raise typer.Exit(code)


def _configured(settings: dict[str, Any], *, verbose: bool) -> Settings:
    """The worker's settings for this machine alone; logs are set up by them."""
    from sqscribe.logs import configure  # noqa: PLC0415
    from worker.settings import read_settings  # noqa: PLC0415 - `--help` should answer at once

    configured = read_settings(
        **settings,
        http_port=0,
        allow_private_sources=True,  # whoever types an address may reach it anyhow
        log_level="info" if verbose else "error",
    )
    configure(configured.log_format, configured.log_level)
    return configured


def _jobs(sources: list[str], options: dict[str, Any]) -> list[Job]:
    """One job a source; its id is the name that its files will have.

    Raises:
        SettingsError: An option is wrong; the message names it.
    """
    from sqscribe.job import JobDefaults  # noqa: PLC0415
    from sqscribe.job_message import parse_job  # noqa: PLC0415
    from worker.local import OUTPUT  # noqa: PLC0415

    jobs: list[Job] = []
    taken: set[str] = set()
    for source in sources:
        name = _name(source, taken)
        taken.add(name.casefold())  # on some systems `A.txt` is `a.txt`
        is_url = "://" in source or is_data(source)
        fields = {**options, "job_id": name, "source": source if is_url else f"s3://local/{name}"}
        try:
            job = parse_job(fields, JobDefaults(OUTPUT))
        except PermanentError as error:
            raise SettingsError(error.message) from None
        # A message may never name a path of this machine, so the parser does not know them.
        jobs.append(job if is_url else replace(job, source=str(Path(source).absolute())))
    return jobs


def _name(source: str, taken: Collection[str]) -> str:
    """The source's stem in letters that a job id may have, numbered where several share it."""
    path = "clip" if is_data(source) else urlsplit(source).path if "://" in source else source
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePath(path).stem).lstrip("._-")[:100] or "transcript"
    names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in names if name.casefold() not in taken)


def _run(work: list[_Work], settings: Settings, folder: Path, output: Path, *, as_json: bool, show: bool) -> ExitCode:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from sqscribe.cli.live import live_view  # noqa: PLC0415
    from worker.local import LocalRun  # noqa: PLC0415

    run = LocalRun([each.job for each in work], settings, folder)
    console = Console(stderr=True)
    if show and console.is_terminal:
        with Live(console=console, transient=True, auto_refresh=False) as live:
            code = run.run(lambda status, done: live.update(live_view(status, done, len(work)), refresh=True))
    else:
        code = run.run(lambda _status, _done: None)
    output.mkdir(parents=True, exist_ok=True)
    failed = sum([not _deliver(each, run, output, as_json=as_json) for each in work])
    if code is not ExitCode.DONE:
        return code
    return ExitCode.JOBS_FAILED if failed else ExitCode.DONE


def _deliver(work: _Work, run: LocalRun, output: Path, *, as_json: bool) -> bool:
    """Writes a job's files and says what became of its source; False when it has no transcript."""
    source, job = work.source, work.job
    result = run.result(job.job_id)
    files: list[str] = []
    for artifact in result.artifacts if result else ():
        path = output / f"{job.job_id}{ARTIFACTS[artifact.format].extension}"
        path.write_bytes(run.artifact(artifact.key))
        files.append(str(path))
    error = result.error if result else None
    score = _score(work, result, run)
    if as_json:
        record = {
            "source": shortened(source) if is_data(source) else source,
            "status": result.status if result else "interrupted",
            "language": result.language if result else None,
            "duration": result.duration if result else None,
            "files": files,
            "warnings": [asdict(warning) for warning in result.warnings] if result else [],
            "error": {"code": error.code, "message": error.message} if error else None,
        }
        if score is not None:
            record["word_errors"] = asdict(score)
        typer.echo(json.dumps(record, ensure_ascii=False))
    elif result and result.succeeded:
        typer.echo(f"{redact(source)}: {result.duration or 0.0:.1f} s → {', '.join(files)}")
        for warning in result.warnings:
            typer.echo(f"{redact(source)}: {warning.code}: {warning.message}", err=True)
        if score is not None:
            typer.echo(f"{redact(source)}: {score}")
    else:
        why = f"{error.code}: {error.message}" if error else "interrupted"
        typer.echo(f"{redact(source)}: {why}", err=True)
    return result is not None and result.succeeded


def _score(work: _Work, result: Result | None, run: LocalRun) -> ReferenceScore | None:
    """How far the transcript is from the reference; None where either is missing."""
    if work.reference is None or result is None or not result.succeeded:
        return None
    key = next(artifact.key for artifact in result.artifacts if artifact.format == MASTER)
    return score_against(work.reference, master.load(run.artifact(key)).text)
