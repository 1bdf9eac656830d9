# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import get_args

import pytest

from sqscribe import ErrorCode as PublicErrorCode
from sqscribe.errors import (
    ErrorCode,
    NodeFaultError,
    PermanentCode,
    PermanentError,
    TransientCode,
    TransientError,
    job_failure,
)


def test_every_code_is_either_permanent_or_transient() -> None:
    permanent, transient = frozenset(get_args(PermanentCode)), frozenset(get_args(TransientCode))
    assert permanent | transient == frozenset(ErrorCode)
    assert not permanent & transient


@pytest.mark.parametrize("code", ErrorCode)
def test_a_code_from_elsewhere_gives_the_error_of_its_kind(code: ErrorCode) -> None:
    error = job_failure(code, "why")
    assert type(error) is (PermanentError if code in get_args(PermanentCode) else TransientError)
    assert (error.code, error.message) == (code, "why")


def test_the_type_checker_refuses_a_code_of_the_other_kind() -> None:
    # Each ignore is an error of its own once there is nothing to ignore
    PermanentError(ErrorCode.INTERRUPTED, "why")  # type: ignore[arg-type]
    TransientError(ErrorCode.BAD_MESSAGE, "why")  # type: ignore[arg-type]
    NodeFaultError("why", ErrorCode.BAD_MESSAGE)  # type: ignore[arg-type]


def test_the_type_checker_refuses_a_code_of_neither_kind() -> None:
    def kind(code: ErrorCode) -> PermanentCode | TransientCode:
        return code

    assert [kind(code) for code in ErrorCode] == list(ErrorCode)


def test_other_programs_import_the_codes_by_their_old_name() -> None:
    assert PublicErrorCode is ErrorCode
    assert ErrorCode("media_unreadable") is ErrorCode.MEDIA_UNREADABLE
