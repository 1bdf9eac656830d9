# SPDX-License-Identifier: Apache-2.0
"""What came of a run: the promises against what stands, and the access log against its rules."""

from __future__ import annotations

import hashlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqscribe_bench.chaos.plan import REAL, Promise
from sqscribe_bench.chaos.scenario import GRACE_SECONDS, OUTPUT, Outcome
from sqscribe_bench.chaos.workers import Exit
from worker.testing.faults import Audit, read_log

__all__ = ["Verdict", "judge"]

#: Beyond the grace: this program's own look at its children, on a busy machine.
_EXIT_SLACK_SECONDS = 3.0


@dataclass(slots=True)
class Verdict:
    """The figures, and all that is against the worker.

    Attributes:
        jobs: By kind.
        delivered: By kind: what was promised stands.
        lost: Jobs without a result.
        wrong: Jobs with another text or outcome than promised.
        two_results: Jobs of which two results with different texts were final at some time.
        dead_lettered: Jobs that failed as they should, with a dead letter that says why.
        needed: Windows of the simulated engine's jobs that were sent once.
        decoded: How many it decoded for them.
        terminated: Workers that were at work when they were asked to end.
        longest_end: Seconds that one of them took.
        most_receives: Of one message.
        leftovers: Objects of checkpoints that still stand.
        violations: What broke a rule, in words.
    """

    jobs: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    two_results: list[str] = field(default_factory=list)
    dead_lettered: int = 0
    must_fail: int = 0
    needed: int = 0
    decoded: int = 0
    terminated: int = 0
    longest_end: float = 0.0
    most_receives: int = 0
    leftovers: int = 0
    audit: Audit | None = None
    violations: list[str] = field(default_factory=list)

    @property
    def twice(self) -> float:
        """Work done twice, as a share of the work needed."""
        return (self.decoded - self.needed) / self.needed if self.needed else 0.0

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.wrong or self.two_results or self.violations)


def judge(outcome: Outcome, *, most_twice: float | None) -> Verdict:
    """Judges a run.

    Args:
        outcome: Of the run.
        most_twice: Share of the windows that may be decoded twice; None: any.
    """
    verdict = Verdict()
    letters = _letters(outcome)
    for promise in outcome.plan.promises.values():
        verdict.jobs[promise.kind] += 1
        _check_job(verdict, promise, outcome.objects, letters)
    _check_letters(verdict, outcome, letters)
    _check_windows(verdict, outcome, most_twice)
    _check_exits(verdict, outcome)
    _check_log(verdict, outcome)
    verdict.leftovers = sum("/checkpoint/" in key for key in outcome.objects)
    if outcome.left:
        verdict.violations.append(f"{outcome.left} messages were left in the queues when time was up")
    return verdict


def _check_job(
    verdict: Verdict, promise: Promise, objects: Mapping[str, bytes], letters: Mapping[str, set[str]]
) -> None:
    body = objects.get(f"{promise.key}/result.json")
    if promise.heard is None:
        verdict.must_fail += 1
    if body is None:
        verdict.lost.append(promise.key)
        return
    result = json.loads(body)
    problem = _problem(promise, result, objects)
    if problem:
        verdict.wrong.append(f"{promise.key}: {problem}")
        return
    verdict.delivered[promise.kind] += 1
    if promise.heard is None:
        told = letters.get(promise.key, set())
        if told == {result["error"]["code"]}:
            verdict.dead_lettered += 1
        else:
            verdict.violations.append(f"{promise.key} failed with {result['error']['code']}; its dead letters: {told}")


def _problem(promise: Promise, result: Mapping[str, Any], objects: Mapping[str, bytes]) -> str | None:
    """What is wrong with a result that stands."""
    if promise.heard is None:
        if result["status"] != "failed":
            return "succeeded, but cannot have"
        code = result["error"]["code"]
        return None if code in promise.codes else f"failed with {code}, not {' or '.join(sorted(promise.codes))}"
    if result["status"] != "succeeded":
        return f"failed with {result['error']}"
    for artifact in result["artifacts"]:
        standing = objects.get(f"{OUTPUT}/{artifact['key']}", b"")
        if hashlib.sha256(standing).hexdigest() != artifact["sha256"] or len(standing) != artifact["bytes"]:
            return f"{artifact['key']} is not what the result names"
    text = json.loads(objects[f"{promise.key}/transcript.json"])["text"]
    return None if text == promise.heard.text else f"heard {text[:60]!r}, not {promise.heard.text[:60]!r}"


def _letters(outcome: Outcome) -> dict[str, set[str]]:
    """Error codes of the dead letters, by job; by message id those that belong to no job."""
    jobs = {
        body: key
        for sent in outcome.plan.messages.values()
        for key, bodies in sent.dead_bodies.items()
        if outcome.plan.promises[key].heard is None
        for body in bodies
    }
    letters: dict[str, set[str]] = {}
    for message in outcome.dead_letters:
        attributes = message.get("MessageAttributes", {})
        code = attributes["error_code"]["StringValue"] if "error_code" in attributes else "no code: moved by the queue"
        letters.setdefault(jobs.get(message["Body"], message["MessageId"]), set()).add(code)
    return letters


def _check_letters(verdict: Verdict, outcome: Outcome, letters: Mapping[str, set[str]]) -> None:
    for key, codes in letters.items():
        promise = outcome.plan.promises.get(key)
        if promise is None:
            verdict.violations.append(f"dead-lettered, though it can succeed: message {key}, {codes}")


def _check_windows(verdict: Verdict, outcome: Outcome, most_twice: float | None) -> None:
    for promise in outcome.plan.promises.values():
        if promise.heard is None or promise.line == REAL or promise.sends > 1:
            continue
        job = promise.key.rpartition("/")[2]
        verdict.needed += promise.heard.windows
        verdict.decoded += sum(outcome.decoded[job, index] for index in range(promise.heard.windows))
    if most_twice is not None and verdict.twice > most_twice:
        verdict.violations.append(
            f"{verdict.twice:.1%} of the windows were decoded again; allowed are {most_twice:.0%}"
        )


def _check_exits(verdict: Verdict, outcome: Outcome) -> None:
    for end in outcome.exits:
        text = f"{end.caller} ended with exit code {end.code}"
        if end.asked is None:
            verdict.violations.append(f"{text} of its own accord")
        elif end.asked is signal.SIGTERM and end.ready:
            # One that is not ready may not have taken charge of its signals yet; it holds nothing.
            verdict.terminated += 1
            verdict.longest_end = max(verdict.longest_end, end.seconds)
            if end.code or end.seconds > GRACE_SECONDS + _EXIT_SLACK_SECONDS:
                verdict.violations.append(f"{text}, {end.seconds:.1f} s after SIGTERM")


def _check_log(verdict: Verdict, outcome: Outcome) -> None:
    is_clean: Callable[[Exit], bool] = lambda end: end.asked is signal.SIGTERM and end.code == 0  # noqa: E731
    ends = {end.caller: end.at for end in outcome.exits if is_clean(end)}
    audit = Audit(outcome.plan.messages, outcome.dead_letter_queues, ends)
    audit.run(read_log(outcome.access_log))
    verdict.audit = audit
    verdict.two_results += [job for job, masters in audit.masters.items() if len(masters) > 1]
    verdict.violations += [f"{each.rule} (call {each.number}): {each.text}" for each in audit.violations]
    verdict.most_receives = max(audit.receives.values(), default=0)
    for job, result in audit.results.items():
        body = outcome.objects.get(f"{job}/result.json")
        if body is None or json.loads(body) != result:
            verdict.violations.append(f"{job}: the result that stands is not the one that was written last")
