# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sqscribe.errors import SettingsError
from worker.aws import AwsClients
from worker.connect import connect_aws, poll_seconds
from worker.settings import Settings
from worker.telemetry.metrics import Metrics

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "chain")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "chain")


def key_of(client: Any) -> str:
    return str(client._request_signer._credentials.access_key)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (QUEUE, "eu-west-1"),
        ("https://eu-west-2.queue.amazonaws.com/1/jobs", "eu-west-2"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/jobs", "cn-north-1"),
        ("https://sqs-fips.us-west-2.amazonaws.com/1/jobs", "us-west-2"),
        ("https://sqs.eu-central-1.api.aws/1/jobs", "eu-central-1"),
        ("https://vpce-1.sqs.us-east-2.vpce.amazonaws.com/1/jobs", "us-east-2"),
        ("http://localhost:9324/1/jobs", "ap-south-1"),
    ],
)
def test_the_queues_url_knows_its_region(monkeypatch: pytest.MonkeyPatch, url: str, region: str) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert AwsClients().sqs(url).meta.region_name == region


def test_without_any_region_there_is_one() -> None:
    clients = AwsClients()
    assert clients.sqs("http://localhost:9324/1/jobs").meta.region_name == "us-east-1"
    assert clients.s3().meta.region_name == "us-east-1"


def test_timeouts_attempts_and_connections_are_arguments() -> None:
    clients = AwsClients(connections=33, connect_timeout=1, read_timeout=22, attempts=7, heartbeat_read_timeout=3)
    config: Any = clients.sqs(QUEUE).meta.config
    assert (config.max_pool_connections, config.connect_timeout, config.read_timeout) == (33, 1, 22)
    assert config.retries == {"mode": "standard", "total_max_attempts": 7}
    heartbeat: Any = clients.heartbeat_sqs(QUEUE).meta.config
    assert heartbeat.read_timeout == 3
    assert heartbeat.retries == {"mode": "standard", "total_max_attempts": 2}


def connected(**settings: Any) -> tuple[Any, Any, Any]:
    """The settings of a worker's clients: for the queue, for the heartbeat, for the store."""
    connections = connect_aws(
        Settings(_env_file=None, queue_url=QUEUE, output="s3://bucket/out", **settings), Metrics()
    )
    queue: Any = connections.queue
    clients = (queue._client, queue._heartbeat_client, connections.s3_client())
    configs = [client.meta.config for client in clients]
    return configs[0], configs[1], configs[2]


@pytest.mark.parametrize("lease", [3, 8, 30, 300, 43_200])
def test_no_call_hangs_for_longer_than_a_lease(lease: int) -> None:
    for config in connected(visibility_timeout=lease):
        assert config.connect_timeout < lease
        assert config.read_timeout < lease


@pytest.mark.parametrize(("lease", "grace"), [(3, 25), (8, 25), (30, 25), (30, 3600), (300, 25), (300, 3600)])
def test_a_long_poll_ends_before_its_client_gives_up(lease: int, grace: float) -> None:
    settings = Settings(_env_file=None, visibility_timeout=lease, shutdown_grace=grace)
    queue, _, _ = connected(visibility_timeout=lease, shutdown_grace=grace)
    assert poll_seconds(settings) < queue.read_timeout


def test_with_all_their_tries_calls_end_before_the_usual_lease_does() -> None:
    queue, heartbeat, store = connected()
    for config in (queue, store):
        assert config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout) < 150
    # Of 300 s, 180 are left when a renewal is due
    assert heartbeat.retries["total_max_attempts"] * (heartbeat.connect_timeout + heartbeat.read_timeout) < 20


def test_there_is_a_connection_for_every_thread() -> None:
    # Downloaders, uploaders, the deleter, the daemon; the heartbeat has one of its own
    queue, heartbeat, store = connected(downloaders=40, uploaders=10)
    assert queue.max_pool_connections >= 40 + 10 + 2
    assert store.max_pool_connections >= 40 + 10
    assert heartbeat.max_pool_connections == 1


def test_endpoints_come_from_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://localhost:9001")
    clients = AwsClients()
    assert clients.sqs(QUEUE).meta.endpoint_url == "http://localhost:9000"
    assert clients.s3().meta.endpoint_url == "http://localhost:9001"


def test_storage_may_have_its_own_credentials_and_region() -> None:
    clients = AwsClients()
    own = clients.s3(access_key_id="own", secret_access_key="secret", region="auto")
    assert (key_of(own), own.meta.region_name) == ("own", "auto")
    assert key_of(clients.s3()) == key_of(clients.sqs(QUEUE)) == "chain"
    with pytest.raises(SettingsError, match="incomplete"):
        clients.s3(access_key_id="own")


def test_checksums_are_left_out_where_look_alikes_stumble_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    aws: Any = AwsClients().s3().meta.config
    assert aws.request_checksum_calculation == "when_supported"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://account.r2.cloudflarestorage.com")
    alike: Any = AwsClients().s3().meta.config
    assert alike.request_checksum_calculation == "when_required"
    assert alike.response_checksum_validation == "when_required"
    assert alike.retries["mode"] == "standard"


def test_storage_may_have_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    clients = AwsClients()
    assert clients.s3(endpoint_url="https://objects.example.org").meta.endpoint_url == "https://objects.example.org"
    assert clients.sqs(QUEUE).meta.endpoint_url == "http://localhost:9000"
    with pytest.raises(SettingsError, match="for s3"):
        clients.s3(endpoint_url="objects")


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("0a1b.r2.cloudflarestorage.com", "auto"),
        ("0a1b.eu.r2.cloudflarestorage.com", "auto"),
        ("s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("s3.eu-central-1.wasabisys.com", "eu-central-1"),
        ("s3.fr-par.scw.cloud", "fr-par"),
        ("s3.gra.io.cloud.ovh.net", "gra"),
        ("nyc3.digitaloceanspaces.com", "nyc3"),
        ("minio.example.org", "ap-south-1"),
        ("localhost", "ap-south-1"),
    ],
)
def test_look_alikes_are_signed_for_with_their_own_region(
    monkeypatch: pytest.MonkeyPatch, host: str, region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    clients = AwsClients()
    assert clients.s3(endpoint_url=f"https://{host}").meta.region_name == region
    assert clients.s3(endpoint_url=f"https://{host}", region="mine").meta.region_name == "mine"


@pytest.mark.parametrize("mode", ["when_supported", "when_required"])
def test_when_checksums_are_used_is_a_setting(mode: str) -> None:
    for endpoint in (None, "https://minio.example.org"):
        *_, store = connected(s3_checksums=mode, s3_endpoint_url=endpoint)
        assert (store.request_checksum_calculation, store.response_checksum_validation) == (mode, mode)


def test_bad_settings_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(SettingsError, match="for sqs"):
        AwsClients().sqs(QUEUE)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SettingsError, match="nobody"):
        AwsClients()
