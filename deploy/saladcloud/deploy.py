#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Creates, scales, starts and stops a SaladCloud container group through the public API.

Needs Python 3.11 and nothing else. The API key comes from SALAD_API_KEY, organization and project from
SALAD_ORGANIZATION and SALAD_PROJECT or their flags. `container-group.json` beside this file is the group; `${NAME}`
and `${NAME:-default}` in it are filled from the environment.
API reference: docs.salad.com, "SaladCloud API", container groups and organizations.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

API_URL = "https://api.salad.com/api/public"
GROUP_FILE = Path(__file__).with_name("container-group.json")

#: Seconds that one request may take.
TIMEOUT = 30.0
#: Replicas that the API accepts.
MAX_REPLICAS = 500

_PLACEHOLDER = re.compile(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY", re.IGNORECASE)


class DeployError(Exception):
    """Something that the caller can put right; the message says how."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API; `path` below the API's address."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"


class Project:
    """The calls of one project. They are only made here; `Api` sends them.

    Raises:
        DeployError: A name that SaladCloud does not allow.
    """

    def __init__(self, organization: str, project: str) -> None:
        self._organization = f"/organizations/{_allowed('organization', organization)}"
        self._containers = f"{self._organization}/projects/{_allowed('project', project)}/containers"

    def gpu_classes(self) -> Call:
        """Asks for the GPUs on offer."""
        return Call("GET", f"{self._organization}/gpu-classes")

    def create(self, group: Mapping[str, Any]) -> Call:
        """Creates a group."""
        _allowed("group", str(group.get("name")))
        return Call("POST", self._containers, group)

    def scale(self, name: str, replicas: int) -> Call:
        """Changes the number of replicas; those that stay are not restarted."""
        return Call("PATCH", self._group(name), {"replicas": replicas}, "application/merge-patch+json")

    def read(self, name: str) -> Call:
        """Asks for the group as it stands."""
        return Call("GET", self._group(name))

    def act(self, name: str, action: str) -> Call:
        """`start` or `stop`."""
        return Call("POST", f"{self._group(name)}/{action}")

    def _group(self, name: str) -> str:
        return f"{self._containers}/{_allowed('group', name)}"


class Api:
    """Sends calls.

    Args:
        url: Of the API, without a slash at its end.
        key: Of the account; never shown.
        timeout: Seconds for one request.
    """

    def __init__(self, url: str, key: str, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._key = key
        self._timeout = timeout

    def send(self, call: Call) -> dict[str, Any]:
        """The answer's JSON; empty when the API only accepted.

        Raises:
            DeployError: Refused, or no answer.
        """
        request = urllib.request.Request(  # noqa: S310 - the address is the operator's own
            self._url + call.path,
            data=None if call.body is None else json.dumps(call.body).encode(),
            method=call.method,
            headers={"Salad-Api-Key": self._key, "Accept": "application/json", "User-Agent": "sqscribe-deploy"},
        )
        if call.body is not None:
            request.add_header("Content-Type", call.content_type)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
                answer = response.read()
        except urllib.error.HTTPError as error:
            raise DeployError(f"{call.method} {call.path} was answered with {error.code}: {_why(error)}") from None
        except OSError as error:
            raise DeployError(f"{call.method} {call.path} got no answer: {getattr(error, 'reason', error)}") from None
        try:
            return json.loads(answer) if answer else {}
        except ValueError:
            raise DeployError(f"{call.method} {call.path} was answered with something that is no JSON") from None


def _allowed(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DeployError(f"{name!r} cannot be the name of a {what}: 2 to 63 of a-z, 0-9 and -, a letter first")
    return name


def _why(error: urllib.error.HTTPError) -> str:
    """What an error answer says, which may be JSON or a page of HTML, and what to do about it."""
    with error:
        text = error.read(10_000).decode(errors="replace")
    try:
        problem = json.loads(text)
        said = "; ".join(str(problem[key]) for key in ("title", "detail", "errors") if problem.get(key))
    except (ValueError, AttributeError, TypeError):
        said = ""
    hints = {
        401: "is SALAD_API_KEY right?",
        403: "may this key do this in this organization and project?",
        404: "check the organization, the project and the group's name",
        409: "a group of this name stands already; scale it, or delete it in the portal first",
        429: "too many requests (240 a minute for a key); try again in a minute",
    }
    return "; ".join(part for part in (said, hints.get(error.code, "")) if part) or str(error.reason)


def load_group(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Reads the group and fills its placeholders.

    Environment variables of the container that come out empty are left out, so that the image's own stand.

    Raises:
        DeployError: The file cannot be used, or a variable without a default is not set (all of them are named).
    """
    try:
        group = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeployError(f"{path} cannot be read: {error}") from error
    missing: list[str] = []

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(lookup, value)
        if isinstance(value, list):
            return [fill(each) for each in value]
        if isinstance(value, dict):
            return {key: fill(each) for key, each in value.items()}
        return value

    def lookup(found: re.Match[str]) -> str:
        value = environ.get(found["name"]) or found["default"]
        if value is None:
            missing.append(found["name"])
        return value or ""

    filled: dict[str, Any] = fill(group)
    if missing:
        raise DeployError(f"set these in the environment: {', '.join(sorted(set(missing)))}")
    container = filled["container"]
    container["environment_variables"] = {
        name: value for name, value in container.get("environment_variables", {}).items() if value != ""
    }
    return filled


def resolve_gpus(names: Sequence[str], offered: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ids of GPU classes by their names, whatever their case and spaces; an id passes.

    Raises:
        DeployError: A name is not on offer; the message lists what is.
    """
    ids = {_folded(str(each["name"])): str(each["id"]) for each in offered}
    unknown = [name for name in names if not _is_uuid(name) and _folded(name) not in ids]
    if unknown:
        on_offer = ", ".join(sorted(str(each["name"]) for each in offered))
        raise DeployError(f"no such GPU class: {', '.join(unknown)}. On offer: {on_offer}")
    return [name if _is_uuid(name) else ids[_folded(name)] for name in names]


def _folded(name: str) -> str:
    return "".join(name.split()).lower()


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def shown(call: Call) -> str:
    """The call as it may be printed, its secrets hidden."""
    body = json.loads(json.dumps(call.body))
    container = body.get("container", {}) if body else {}
    for name in container.get("environment_variables", {}):
        if _SECRET.search(name):
            container["environment_variables"][name] = "(hidden)"
    for name in ("registry_authentication", "logging"):
        if name in container:
            container[name] = "(hidden)"
    return f"{call.method} {call.path}" + (f"\n{json.dumps(body, indent=2)}" if body else "")


def summary(group: Mapping[str, Any]) -> str:
    """One line on the group as it stands."""
    state = group.get("current_state") or {}
    counts = state.get("instance_status_counts") or {}
    instances = ", ".join(f"{counts.get(f'{kind}_count', 0)} {kind}" for kind in _INSTANCE_STATES)
    return f"{group.get('name')}: {state.get('status', 'unknown')}, {group.get('replicas')} replicas: {instances}"


_INSTANCE_STATES = ("running", "creating", "allocating", "stopping")


def replicas(text: str) -> int:
    """A number of replicas that the API accepts."""
    number = int(text)
    if not 0 <= number <= MAX_REPLICAS:
        raise argparse.ArgumentTypeError(f"must be 0 to {MAX_REPLICAS}")
    return number


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--organization", default=os.environ.get("SALAD_ORGANIZATION"), help="or SALAD_ORGANIZATION")
    common.add_argument("--project", default=os.environ.get("SALAD_PROJECT"), help="or SALAD_PROJECT")
    common.add_argument("--name", help="of the group; as the file has it by default")
    common.add_argument("--file", type=Path, default=GROUP_FILE, help="the group (default: %(default)s)")
    common.add_argument("--api-url", default=os.environ.get("SALAD_API_URL", API_URL), help=argparse.SUPPRESS)
    common.add_argument("--dry-run", action="store_true", help="show the request, secrets hidden, and send nothing")
    top = argparse.ArgumentParser(prog="deploy.py", description="A SaladCloud container group of sqscribe workers.")
    commands = top.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", parents=[common], help="creates the group, which then starts")
    create.add_argument("--image", help="with its tag; or SQSCRIBE_IMAGE")
    create.add_argument("--replicas", type=replicas, help="as the file has it by default")
    create.add_argument("--gpu", action="append", help="name or id of a GPU class; may repeat; replaces the file's")
    scale = commands.add_parser("scale", parents=[common], help="changes how many workers there are")
    scale.add_argument("replicas", type=replicas)
    commands.add_parser("status", parents=[common], help="says how many workers run")
    commands.add_parser("start", parents=[common], help="starts a stopped group")
    commands.add_parser("stop", parents=[common], help="stops all workers; the group stays")
    return top


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """Does what was asked for and says what came of it.

    Raises:
        DeployError: It could not be done.
    """
    key = environ.get("SALAD_API_KEY", "")
    needed = {
        "SALAD_API_KEY": key or options.dry_run,
        "SALAD_ORGANIZATION": options.organization,
        "SALAD_PROJECT": options.project,
    }
    if absent := [name for name, value in needed.items() if not value]:
        raise DeployError(f"set {', '.join(absent)} in the environment")
    api = Api(options.api_url.rstrip("/"), key)
    project = Project(options.organization, options.project)
    if options.command == "create":
        group = wanted_group(options, environ)
        if not options.dry_run:
            resources = group["container"]["resources"]
            resources["gpu_classes"] = resolve_gpus(
                resources["gpu_classes"], api.send(project.gpu_classes()).get("items", [])
            )
        call = project.create(group)
    else:
        name = options.name or _name_in(options.file)
        match options.command:
            case "scale":
                call = project.scale(name, options.replicas)
            case "status":
                call = project.read(name)
            case action:
                call = project.act(name, action)
    if options.dry_run:
        return shown(call)
    answer = api.send(call)
    return summary(answer) if answer else f"{options.command} was accepted; it takes minutes, see: deploy.py status"


def wanted_group(options: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """The group of the file, with the flags' changes; GPU classes still by name."""
    if options.image:
        environ = {**environ, "SQSCRIBE_IMAGE": options.image}
    group = load_group(options.file, environ)
    if options.name:
        group["name"] = options.name
    if options.replicas is not None:
        group["replicas"] = options.replicas
    if options.gpu:
        group["container"]["resources"]["gpu_classes"] = options.gpu
    return group


def _name_in(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError) as error:
        raise DeployError(f"{path} names no group: {error}; give --name") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the result is the exit code."""
    options = parser().parse_args(arguments)
    try:
        sys.stdout.write(run(options, os.environ) + "\n")
    except DeployError as error:
        sys.stderr.write(f"deploy.py: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
