# SPDX-License-Identifier: Apache-2.0
"""Clients of AWS, and of what speaks its protocols, from the standard chain of settings."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

import sqscribe
from sqscribe.errors import SettingsError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

__all__ = ["AwsClients", "Checksums", "look_alikes_region"]

#: Where nothing names a region; emulators and most look-alikes take any.
FALLBACK_REGION = "us-east-1"

#: `sqs.eu-west-1.amazonaws.com`, `sqs.eu-west-1.api.aws`, `vpce-….sqs.eu-west-1.vpce.amazonaws.com`, and the old
#: `eu-west-1.queue.amazonaws.com`.
_SQS_HOST = re.compile(
    r"(?:.+\.)?(?:sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)|(?P<legacy>[a-z0-9-]+)\.queue)\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)
_AWS_HOST = re.compile(r".+\.(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonaws\.eu)")


#: Look-alikes that sign by the region in their endpoint's name: the queue's region would be a wrong signature there.
_ALIKE_HOSTS = re.compile(
    r"(?:.+\.)?(?:s3[.-](?P<region>[a-z0-9-]+)\.(?:backblazeb2\.com|wasabisys\.com|scw\.cloud|io\.cloud\.ovh\.net)"
    r"|(?P<space>[a-z]{3}[0-9])\.digitaloceanspaces\.com)"
)
_R2_HOST = re.compile(r".+\.r2\.cloudflarestorage\.com")

Checksums: TypeAlias = Literal["auto", "when_supported", "when_required"]


def look_alikes_region(host: str) -> str | None:
    """The region that a look-alike of S3 wants requests signed for, if its host's name tells."""
    if _R2_HOST.fullmatch(host):
        return "auto"  # https://developers.cloudflare.com/r2/api/s3/api/
    named = _ALIKE_HOSTS.fullmatch(host)
    return (named["region"] or named["space"]) if named else None


class AwsClients:
    """Makes clients. The clients are thread-safe; they must not cross processes.

    Credentials, region and endpoints come from the standard chain (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SQS`, …).
    Retries are botocore's own: no code of ours repeats a call for the same reasons.

    Args:
        connections: Most connections of each client: at least as many as threads use it.
        connect_timeout: Seconds to connect.
        read_timeout: Seconds to wait for an answer; above the longest poll (20), below the lease.
        attempts: Tries of one call in all.
        heartbeat_connect_timeout: Seconds to connect, of the heartbeat's own client.
        heartbeat_read_timeout: Seconds to wait for an answer, of the heartbeat's own client.
        heartbeat_attempts: Tries of one of its calls in all; with the time-outs, the longest that a renewal may take.
        on_call: Called with the service (`sqs`, `s3`) and the operation (`ReceiveMessage`) of every call, not of its
            repeats.
    """

    def __init__(
        self,
        *,
        connections: int = 16,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        attempts: int = 4,
        heartbeat_connect_timeout: float = 3.0,
        heartbeat_read_timeout: float = 5.0,
        heartbeat_attempts: int = 2,
        on_call: Callable[[str, str], None] = lambda _service, _operation: None,
    ) -> None:
        self._config = _config(connections, connect_timeout, read_timeout, attempts)
        self._heartbeat_config = _config(1, heartbeat_connect_timeout, heartbeat_read_timeout, heartbeat_attempts)
        self._on_call = on_call
        self._lock = threading.Lock()  # guards _session: making clients from one in several threads is not safe
        try:
            self._session = boto3.session.Session()
        except BotoCoreError as error:  # a profile that does not exist, a config file that cannot be read
            raise SettingsError(f"the AWS settings cannot be used: {error}") from error

    def sqs(self, queue_url: str) -> SQSClient:
        """A client for the queue's region.

        Raises:
            SettingsError: The AWS settings cannot be used.
        """
        client: SQSClient = self._client("sqs", self._config, region_name=self._queue_region(queue_url))
        return client

    def heartbeat_sqs(self, queue_url: str) -> SQSClient:
        """A client only for renewals: a connection of its own, short time-outs, few attempts.

        Raises:
            SettingsError: The AWS settings cannot be used.
        """
        client: SQSClient = self._client("sqs", self._heartbeat_config, region_name=self._queue_region(queue_url))
        return client

    def s3(
        self,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        checksums: Checksums = "auto",
        requester_pays: bool = False,
    ) -> S3Client:
        """A client for objects, which may live elsewhere than the queue.

        Args:
            access_key_id: Storage's own; None: that of the standard chain.
            secret_access_key: Belongs to `access_key_id`.
            region: Storage's own; None: the one that a look-alike's endpoint names, else that of the standard chain.
            endpoint_url: Storage's own; None: that of the standard chain.
            checksums: When checksums go along with objects and are looked at. `auto`: on AWS whenever they are
                supported, elsewhere only when an operation requires them.
            requester_pays: Whether to pay for requests to buckets whose owner does not.

        Raises:
            SettingsError: The AWS settings cannot be used, or only half of the credentials are given.
        """
        if (access_key_id is None) != (secret_access_key is None):
            raise SettingsError(
                "storage's own credentials are incomplete: set both SQSCRIBE_S3_ACCESS_KEY_ID and"
                " SQSCRIBE_S3_SECRET_ACCESS_KEY, or neither"
            )
        own: dict[str, Any] = {"region_name": region or self._session.region_name or FALLBACK_REGION}
        if endpoint_url is not None:
            own["endpoint_url"] = endpoint_url
        if access_key_id is not None:
            own |= {"aws_access_key_id": access_key_id, "aws_secret_access_key": secret_access_key}
        client: S3Client = self._client("s3", self._config, **own)
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        on_aws = _AWS_HOST.fullmatch(host) is not None
        if checksums == "auto":
            # Look-alikes stumble over the checksums that botocore adds since 1.36:
            # https://github.com/boto/boto3/issues/4392
            checksums = "when_supported" if on_aws else "when_required"
        own["region_name"] = region or look_alikes_region(host) or own["region_name"]
        config = Config(request_checksum_calculation=checksums, response_checksum_validation=checksums)
        client = self._client("s3", self._config.merge(config), **own)
        if requester_pays:
            pay: Any = _pay  # the stubs do not know that hooks may answer
            client.meta.events.register("provide-client-params.s3", pay)
        return client

    def _queue_region(self, queue_url: str) -> str:
        """The queue's region: the one in its URL, if there is one."""
        host = _SQS_HOST.fullmatch(urlsplit(queue_url).hostname or "")
        named = host and (host["region"] or host["legacy"])
        return named or self._session.region_name or FALLBACK_REGION

    def _client(self, service: str, config: Config, **own: Any) -> Any:
        with self._lock:
            make: Any = self._session.client  # an overload for each service that there is
            try:
                client = make(service, config=config, **own)
            except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
                raise SettingsError(f"the AWS settings for {service} cannot be used: {error}") from error
        client.meta.events.register(f"before-call.{service}", self._count(service))
        return client

    def _count(self, service: str) -> Callable[..., None]:
        def count(*, model: Any, **_: Any) -> None:
            self._on_call(service, model.name)

        return count


def _pay(*, params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
    """Consents in every operation that knows of it."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/RequesterPaysBuckets.html
    knows = model.input_shape is not None and "RequestPayer" in model.input_shape.members
    return {"RequestPayer": "requester", **params} if knows else params


def _config(connections: int, connect_timeout: float, read_timeout: float, attempts: int) -> Config:
    return Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
        user_agent_extra=f"sqscribe/{sqscribe.__version__}",
    )
