# SPDX-License-Identifier: Apache-2.0
"""AWS for the sender's commands: the standard chain, and its errors in one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqscribe.errors import SettingsError, SqscribeError

if TYPE_CHECKING:
    from worker.aws import AwsClients

__all__ = ["AwsError", "reaching_aws"]


class AwsError(SqscribeError):
    """AWS refused, or cannot be reached."""


@contextmanager
def reaching_aws() -> Iterator[AwsClients]:
    """Clients of the standard chain; what AWS says against a call becomes one line.

    Raises:
        SettingsError: No credentials, or settings that cannot be used.
        AwsError: AWS refused a call, or cannot be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415 - takes a while

    from worker.aws import AwsClients  # noqa: PLC0415

    try:
        yield AwsClients()
    except NoCredentialsError as error:
        raise SettingsError(f"AWS: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile") from None
    except (BotoCoreError, ClientError) as error:
        raise AwsError(f"AWS: {error}") from None
