# SPDX-License-Identifier: Apache-2.0
"""The client's books: what the next process is given, and whom a crash is blamed on."""

from __future__ import annotations

import pytest

from sqscribe.errors import ErrorCode
from stages.inference.client.backlog import Backlog
from stages.inference.protocol import DecodeTask, JobLanguage, JobRejected, WindowDone
from worker.testing.decoder import simulated_result, simulated_task


def task(job: str, count: int = 3, language: str | None = "en") -> DecodeTask:
    return simulated_task(job, "/nowhere/audio.pcm", count, language=language)


def done(job: str, index: int) -> WindowDone:
    return WindowDone(job, simulated_result(task(job, index + 1).windows[index], "text", "en"))


def left(backlog: Backlog) -> dict[str, list[int]]:
    return {each.job_key: [window.index for window in each.windows] for each in backlog.tasks()}


def test_what_is_done_is_not_given_again_and_is_no_news_twice() -> None:
    backlog = Backlog()
    backlog.add(task("a"))
    backlog.add(task("b", 1))

    assert backlog.note(done("a", 1))
    assert backlog.note(done("b", 0))
    assert not backlog.note(done("a", 1))
    assert not backlog.note(done("b", 0))
    assert left(backlog) == {"a": [0, 2]}


def test_a_settled_language_is_told_once_and_not_asked_for_again() -> None:
    backlog = Backlog()
    backlog.add(task("a", language=None))

    assert backlog.note(JobLanguage("a", "de", 0.9))
    assert not backlog.note(JobLanguage("a", "fr", 0.9))
    assert [each.options.language for each in backlog.tasks()] == ["de"]


def test_a_job_is_entered_once_and_with_windows() -> None:
    backlog = Backlog()
    backlog.add(task("a"))

    with pytest.raises(ValueError, match="submitted before"):
        backlog.add(task("a"))
    with pytest.raises(ValueError, match="no windows"):
        backlog.add(task("b", 0))


def test_a_crash_is_blamed_on_what_was_under_way_and_is_not_done() -> None:
    backlog = Backlog()
    backlog.add(task("a", 5))
    backlog.add(task("gone", 2))
    backlog.note(done("a", 0))
    backlog.drop("gone")

    assert backlog.crashed([[("a", 0), ("a", 1), ("gone", 0), ("a", 2)]], "it crashed") == []

    assert backlog.suspects == ((("a", 1),), (("a", 2),))
    assert not backlog.suspected([[("a", 0)], [("gone", 0)]])
    assert backlog.suspected([[("a", 0)], [("a", 1)]])
    # They are given all the same.
    assert left(backlog) == {"a": [1, 2, 3, 4]}


def test_jobs_with_suspects_are_given_last_or_first_and_the_others_in_the_order_in_which_they_came() -> None:
    backlog = Backlog()
    for job in "dacb":
        backlog.add(task(job, 1))

    backlog.crashed([[("c", 0)]], "it crashed")

    # A process that gets them slowly would begin with the suspects for want of others, or with others before them.
    assert list(left(backlog)) == ["d", "a", "b", "c"]
    assert [each.job_key for each in backlog.tasks(suspects_first=True)] == ["c", "d", "a", "b"]


def test_the_job_of_a_guilty_window_is_struck_and_told_why() -> None:
    backlog = Backlog()
    backlog.add(task("a", 5))
    backlog.add(task("b", 1))
    backlog.crashed([[("a", 3), ("a", 4)]], "it crashed")
    assert backlog.crashed([[("a", 3)]], "it crashed") == []

    (rejected,) = backlog.crashed([[("a", 3)]], "it crashed again")

    assert isinstance(rejected, JobRejected)
    assert (rejected.job_key, rejected.code) == ("a", ErrorCode.INFERENCE_FAILED)
    assert rejected.message.startswith("window 3, 0.0 s into the audio")
    assert "it crashed again" in rejected.message
    assert backlog.suspects == ()  # the job's other windows are of no interest any more
    assert left(backlog) == {"b": [0]}


def test_a_suspect_in_the_company_of_a_window_that_was_called_off_was_not_alone() -> None:
    backlog = Backlog()
    backlog.add(task("a", 1))
    backlog.add(task("gone", 1))
    backlog.crashed([[("a", 0), ("gone", 0)]], "it crashed")
    backlog.drop("gone")

    for _ in range(3):
        assert backlog.crashed([[("a", 0), ("gone", 0)]], "it crashed") == []

    assert backlog.suspects == ((("a", 0),),)


def test_a_window_that_is_done_is_no_suspect_any_more() -> None:
    backlog = Backlog()
    backlog.add(task("a"))
    backlog.crashed([[("a", 0), ("a", 1)]], "it crashed")

    backlog.note(done("a", 0))

    assert backlog.suspects == ((("a", 1),),)
