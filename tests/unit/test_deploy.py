# SPDX-License-Identifier: Apache-2.0
"""What the image and the CloudFormation template promise to a worker that is stopped, or killed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

from sqscribe.unasked import UNASKED
from worker.stores import s3

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template() -> Any:
    return load(str(ROOT / "deploy" / "aws" / "template.yaml"))


def test_the_image_starts_an_init_that_hands_signals_on() -> None:
    """A shell would keep them to itself, and a process with the number 1 has no default action for SIGTERM."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    # The exec form is a JSON list
    (entrypoint,) = re.findall(r"(?m)^ENTRYPOINT (.+)$", text)
    (command,) = re.findall(r"(?m)^CMD (.+)$", text)
    assert json.loads(entrypoint) == ["/usr/bin/tini", "--", "sqscribe"]
    assert json.loads(command) == ["worker"]
    assert "STOPSIGNAL SIGTERM" in text


def test_what_dependencies_would_send_is_off_in_the_image_and_in_the_group() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    group = json.loads((ROOT / "deploy" / "saladcloud" / "container-group.json").read_text(encoding="utf-8"))
    variables = group["container"]["environment_variables"]

    assert UNASKED
    for name, value in UNASKED.items():
        assert f"{name}={value}" in image
        assert variables[name] == value


def rules(template: Any) -> list[Any]:
    return list(template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"])


def test_what_killed_workers_leave_in_the_bucket_goes_by_itself(template: Any) -> None:
    assert all(rule["Status"] == "Enabled" for rule in rules(template))
    (uploads,) = [rule for rule in rules(template) if "AbortIncompleteMultipartUpload" in rule]
    assert "Prefix" not in uploads
    assert uploads["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] <= 7


def test_the_rule_for_checkpoints_finds_what_workers_write_and_waits_until_no_message_needs_it(template: Any) -> None:
    (checkpoints,) = [rule for rule in rules(template) if "ExpirationInDays" in rule]
    (tag,) = checkpoints["TagFilters"]
    assert f"{tag['Key']}={tag['Value']}" == s3._TEMPORARY_TAG
    days = template["Parameters"]["RetentionSeconds"]["MaxValue"] / 86_400
    assert checkpoints["ExpirationInDays"] > days


def test_workers_may_do_what_they_have_to(template: Any) -> None:
    statements = template["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed: set[str] = set()
    for statement in statements:
        actions = statement.get("Action", [])
        allowed.update([actions] if isinstance(actions, str) else actions)
    assert allowed >= {
        "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
        "sqs:SendMessage", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging", "s3:DeleteObject", "s3:ListBucket",
    }  # fmt: skip
