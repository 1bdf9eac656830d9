# SPDX-License-Identifier: Apache-2.0
"""The deploy script against a server that answers as SaladCloud's public API is documented to."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from worker.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "saladcloud"
KEY = "salad-key"
CONTAINERS = "/api/public/organizations/acme/projects/asr/containers"
GPUS = {
    "RTX 3060 (12 GB)": "00000000-0000-4000-8000-000000003060",
    "RTX 3090 (24 GB)": "00000000-0000-4000-8000-000000003090",
    "RTX 4070 (12 GB)": "00000000-0000-4000-8000-000000004070",
    "RTX 4090 (24 GB)": "00000000-0000-4000-8000-000000004090",
}
ENVIRONMENT = {
    "SALAD_API_KEY": KEY,
    "SALAD_ORGANIZATION": "acme",
    "SALAD_PROJECT": "asr",
    "SQSCRIBE_IMAGE": "example/sqscribe:1",
    "SQSCRIBE_QUEUE_URL": "https://sqs.example/1/jobs",
    "SQSCRIBE_OUTPUT": "s3://bucket/transcripts",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "the-secret",
}

#: What the API accepts for each number of a probe.
PROBE_RANGES = {
    "initial_delay_seconds": (0, 1200),
    "period_seconds": (1, 120),
    "timeout_seconds": (1, 60),
    "success_threshold": (1, 10),
    "failure_threshold": (1, 20),
}


class Salad(HTTPServer):
    """The documented calls of one project."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.groups: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.fail: tuple[int, str, str] | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Salad

    def _answer(self, status: int, body: object = None, content_type: str = "application/json") -> None:
        data = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path))
        if self.server.fail:
            status, text, content_type = self.server.fail
            return self._answer(status, text, content_type)
        if self.headers["Salad-Api-Key"] != KEY:
            return self._answer(401, {"title": "Unauthorized"})
        if (self.command, self.path) == ("GET", "/api/public/organizations/acme/gpu-classes"):
            return self._answer(200, {"items": [{"id": id_, "name": name} for name, id_ in GPUS.items()]})
        if (self.command, self.path) == ("POST", CONTAINERS):
            return self._create(json.loads(body))
        return self._change(body)

    def _create(self, group: dict[str, Any]) -> None:
        assert self.headers["Content-Type"] == "application/json"
        if group["name"] in self.server.groups:
            return self._answer(409, {"title": "Conflict"})
        self.server.groups[group["name"]] = group
        return self._answer(201, self._shown(group))

    def _change(self, body: bytes) -> None:
        name, _, action = self.path.removeprefix(f"{CONTAINERS}/").partition("/")
        group = self.server.groups.get(name)
        if group is None:
            return self._answer(404, {"title": "Not Found", "detail": f"no group {name}"})
        match self.command, action:
            case "GET", "":
                return self._answer(200, self._shown(group))
            case "PATCH", "":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                group.update(json.loads(body))
                return self._answer(200, self._shown(group))
            case "POST", "start" | "stop":
                group["status"] = action
                return self._answer(202)
        return self._answer(405)

    def _shown(self, group: dict[str, Any]) -> dict[str, Any]:
        counts = {f"{kind}_count": 0 for kind in ("allocating", "creating", "running", "stopping")}
        state = {"status": "running", "instance_status_counts": counts | {"running_count": 2}}
        return {"name": group["name"], "replicas": group["replicas"], "current_state": state}

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def deploy() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("saladcloud_deploy", FOLDER / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def salad(monkeypatch: pytest.MonkeyPatch) -> Iterator[Salad]:
    server = Salad()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in [*(f"SQSCRIBE_{field.upper()}" for field in Settings.model_fields), "SALAD_PRIORITY"]:
        if name not in ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SALAD_API_URL", f"http://127.0.0.1:{server.server_port}/api/public")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_create_sends_the_group_with_ids_for_gpus_and_the_environment_filled_in(
    deploy: ModuleType,
    salad: Salad,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = deploy.main(["create", "--replicas", "2", "--gpu", "rtx 3060 (12GB)", "--gpu", GPUS["RTX 4090 (24 GB)"]])

    assert code == 0
    assert capsys.readouterr().out == "sqscribe: running, 2 replicas: 2 running, 0 creating, 0 allocating, 0 stopping\n"
    group = salad.groups["sqscribe"]
    assert group["container"]["image"] == "example/sqscribe:1"
    assert group["container"]["resources"]["gpu_classes"] == [GPUS["RTX 3060 (12 GB)"], GPUS["RTX 4090 (24 GB)"]]
    variables = group["container"]["environment_variables"]
    assert variables["SQSCRIBE_QUEUE_URL"] == "https://sqs.example/1/jobs"
    assert variables["AWS_SECRET_ACCESS_KEY"] == "the-secret"
    assert variables["SQSCRIBE_BEAM_SIZE"] == "5"
    assert "" not in variables.values()
    assert "SQSCRIBE_MODEL" not in variables


def test_scale_status_start_and_stop(
    deploy: ModuleType,
    salad: Salad,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deploy.main(["create", "--image", "example/other:2"])
    assert salad.groups["sqscribe"]["container"]["image"] == "example/other:2"

    assert deploy.main(["scale", "25"]) == 0
    assert salad.groups["sqscribe"]["replicas"] == 25
    assert deploy.main(["status"]) == 0
    assert "25 replicas: 2 running" in capsys.readouterr().out
    assert deploy.main(["stop"]) == 0
    assert salad.groups["sqscribe"]["status"] == "stop"
    assert deploy.main(["start"]) == 0
    assert salad.groups["sqscribe"]["status"] == "start"


def test_a_dry_run_sends_nothing_and_shows_no_secret(
    deploy: ModuleType,
    salad: Salad,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SALAD_API_KEY")
    for command in (["create"], ["scale", "3"], ["status"], ["start"], ["stop"]):
        assert deploy.main([*command, "--dry-run"]) == 0

    shown = capsys.readouterr().out
    assert salad.requests == []
    assert shown.startswith("POST /organizations/acme/projects/asr/containers\n")
    assert '"SQSCRIBE_OUTPUT": "s3://bucket/transcripts"' in shown
    assert '"AWS_SECRET_ACCESS_KEY": "(hidden)"' in shown
    assert "the-secret" not in shown
    assert "AKIAEXAMPLE" not in shown
    assert "PATCH /organizations/acme/projects/asr/containers/sqscribe\n" in shown


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["create"], {"SQSCRIBE_QUEUE_URL": None, "SQSCRIBE_OUTPUT": ""}, "SQSCRIBE_OUTPUT, SQSCRIBE_QUEUE_URL"),
        (["create", "--gpu", "RTX 9999"], {}, r"no such GPU class: RTX 9999\. On offer: RTX 3060 \(12 GB\), RTX 3090"),
        (["status"], {"SALAD_API_KEY": None, "SALAD_PROJECT": None}, "set SALAD_API_KEY, SALAD_PROJECT in the"),
        (["status"], {"SALAD_API_KEY": "wrong"}, "401: Unauthorized; is SALAD_API_KEY right"),
        (["scale", "3", "--name", "absent"], {}, "404: Not Found; no group absent; check the organization"),
        (["status", "--project", "../x"], {}, "'../x' cannot be the name of a project"),
        (["create", "--file", "/nowhere.json"], {}, "/nowhere.json cannot be read"),
        (["status"], {"SALAD_API_URL": "http://127.0.0.1:1"}, "got no answer"),
    ],
)
def test_what_is_wrong_is_said(
    deploy: ModuleType,
    salad: Salad,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str | None],
    said: str,
) -> None:
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)

    assert deploy.main(arguments) == 1

    assert re.search(said, capsys.readouterr().err)
    assert salad.groups == {}


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ((429, "<html>slow down</html>", "text/html"), "429: too many requests"),
        ((502, "<html>bad gateway</html>", "text/html"), "502: Bad Gateway"),
        ((200, "<html>welcome</html>", "text/html"), "something that is no JSON"),
    ],
)
def test_answers_that_are_no_json_are_survived(
    deploy: ModuleType,
    salad: Salad,
    capsys: pytest.CaptureFixture[str],
    fail: tuple[int, str, str],
    said: str,
) -> None:
    salad.fail = fail

    assert deploy.main(["status"]) == 1

    assert said in capsys.readouterr().err


def test_a_group_that_stands_is_not_created_again(
    deploy: ModuleType,
    salad: Salad,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deploy.main(["create"])

    assert deploy.main(["create"]) == 1

    assert "409: Conflict; a group of this name stands already" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["-1", "501", "many"])
def test_a_number_that_the_api_refuses_is_wrong_usage(deploy: ModuleType, salad: Salad, number: str) -> None:
    with pytest.raises(SystemExit) as ended:
        deploy.main(["scale", number])

    assert ended.value.code == 2
    assert salad.requests == []


def test_the_group_knows_every_setting_and_keeps_to_the_ranges_of_the_api() -> None:
    group = json.loads((FOLDER / "container-group.json").read_text(encoding="utf-8"))

    variables = group["container"]["environment_variables"]
    ours = {name for name in variables if name.startswith("SQSCRIBE_")}
    assert ours == {f"SQSCRIBE_{field.upper()}" for field in Settings.model_fields}
    assert 0 <= group["replicas"] <= 500
    assert group["container"]["resources"]["memory"] >= 1024
    assert group["container"]["resources"]["storage_amount"] >= 1 << 30
    for probe in ("startup_probe", "liveness_probe"):
        assert set(group[probe]) == {"http", *PROBE_RANGES}
        assert set(group[probe]["http"]) == {"path", "port", "scheme", "headers"}
        for name, (least, most) in PROBE_RANGES.items():
            assert least <= group[probe][name] <= most
    assert "readiness_probe" not in group, "it exists only with a gateway or SaladCloud's own queue"


def test_the_defaults_of_the_group_are_the_settings_own() -> None:
    variables = json.loads((FOLDER / "container-group.json").read_text(encoding="utf-8"))["container"][
        "environment_variables"
    ]
    chosen_for_saladcloud = {"scratch_bytes", "compute_type"}

    for field, info in Settings.model_fields.items():
        found = re.fullmatch(r"\$\{\w+:-(.+)\}", variables[f"SQSCRIBE_{field.upper()}"])
        if found is not None and field not in chosen_for_saladcloud:
            default = ",".join(info.default) if isinstance(info.default, tuple) else info.default
            assert found[1] == ("auto" if default is None else str(default)), field
