# SPDX-License-Identifier: Apache-2.0
"""Results out of the bucket, into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqscribe.errors import SqscribeError
from sqscribe.formats import ARTIFACTS
from sqscribe.job import JOB_ID, JobRef
from sqscribe.result import RESULT_NAME, Result
from sqscribe.urls import split_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["FetchError", "Fetched", "fetch_results"]


class FetchError(SqscribeError):
    """The bucket does not hold what the `result.json` says."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the bucket held of one job.

    Attributes:
        result: None while the job is not done.
        files: What was written, `result.json` first; of a failed job that alone.
        missing: Formats that were asked for and do not exist.
    """

    job_id: str
    result: Result | None
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def fetch_results(
    client: S3Client,
    output: str,
    job_ids: Iterable[str],
    folder: Path,
    *,
    formats: Sequence[str] | None = None,
    threads: int = 8,
) -> Iterator[Fetched]:
    """Writes each job's files to `<folder>/<job_id>/`, under the names that they have in the bucket.

    A file is renamed into place when it is complete. Jobs that are not done are no error: see `Fetched.result`.

    Args:
        client: For the bucket's region.
        output: The jobs' `s3://bucket/prefix`.
        job_ids: The jobs to fetch.
        folder: Where to write; made if it is missing.
        formats: Those wanted; None for all that the result names.
        threads: Jobs that are fetched at once.

    Yields:
        What the bucket held of each job, in the order asked for.

    Raises:
        FetchError: An artifact is not what its result says, or a result cannot be read.
        KeyError: There is no such format.
        ValueError: The output is no `s3://` address, or a job id is none.
        botocore.exceptions.ClientError: The store refused.
        botocore.exceptions.BotoCoreError: It cannot be reached.
    """
    fetch = partial(_fetch, client, output.rstrip("/"), folder, formats)
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="fetch") as pool:
        yield from pool.map(fetch, job_ids)


def _fetch(client: S3Client, output: str, folder: Path, formats: Sequence[str] | None, job_id: str) -> Fetched:
    if not JOB_ID.fullmatch(job_id):
        raise ValueError(f"{job_id!r} is no job id")
    ref = JobRef(job_id, output)
    body = _read(client, ref.url(RESULT_NAME))
    if body is None:
        return Fetched(job_id, None)
    try:
        result = Result.from_json(body)
    except ValueError as error:
        raise FetchError(f"{ref.url(RESULT_NAME)} cannot be read: {error}") from None
    place = folder / job_id
    files = [_write(place / RESULT_NAME, body)]
    if not result.succeeded:
        return Fetched(job_id, result, tuple(files))
    digests = {artifact.format: artifact.sha256 for artifact in result.artifacts}
    missing = []
    for name in digests if formats is None else formats:
        url = ref.url(ARTIFACTS[name].name)
        content = _read(client, url)
        if content is None:
            missing.append(name)
            continue
        # Formats that were asked for later are beside the result, which does not name them.
        if name in digests and hashlib.sha256(content).hexdigest() != digests[name]:
            raise FetchError(f"{url} is not what its result.json names; it may just be replaced: fetch it again")
        files.append(_write(place / ARTIFACTS[name].name, content))
    return Fetched(job_id, result, tuple(files), tuple(missing))


def _read(client: S3Client, url: str) -> bytes | None:
    bucket, key = split_s3(url)
    try:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    return part.replace(path)
