# SPDX-License-Identifier: Apache-2.0
"""What becomes of an attempt."""

from __future__ import annotations

import pytest

from stages.inference.whisper.attempt import Attempt, average_logprob, compression_ratio
from stages.inference.whisper.fallback import Retry, RetryUnprompted, Take, decide


def attempt(
    text: str = "hello world",
    *,
    logprob: float = -0.3,
    ratio: float = 1.0,
    no_speech: float = 0.0,
    temperature: float = 0.0,
) -> Attempt:
    return Attempt((1, 2), text, logprob, ratio, no_speech, temperature, truncated=False)


def test_a_good_attempt_is_taken() -> None:
    good = attempt()
    assert decide([good], 10.0, None, None) == Take(good)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (attempt(ratio=2.41), "compression_ratio"),
        (attempt(logprob=-1.01), "logprob"),
        (attempt("so " * 40, ratio=2.0), "repetition"),
    ],
)
def test_a_bad_attempt_is_retried_a_step_warmer(bad: Attempt, reason: str) -> None:
    assert decide([bad], 1.0, None, None) == Retry(0.2, reason)


def test_thresholds_themselves_pass() -> None:
    edge = attempt(ratio=2.4, logprob=-1.0, no_speech=0.6)
    assert decide([edge], 10.0, None, None) == Take(edge)


def test_temperatures_end_at_one() -> None:
    attempts = [attempt(logprob=-2.0)]
    seen = []
    while isinstance(step := decide(attempts, 10.0, None, None), Retry):
        seen.append(step.temperature)
        attempts.append(attempt(logprob=-2.0, temperature=step.temperature))
    assert seen == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert isinstance(step, Take)
    assert step.failed


def test_the_best_of_failed_attempts_is_the_likeliest_that_does_not_repeat_itself() -> None:
    repeating = attempt(ratio=3.0, logprob=-0.1)
    likely = attempt(logprob=-1.1, temperature=0.6)
    last = attempt(logprob=-1.5, temperature=1.0)
    assert decide([repeating, likely, last], 10.0, None, None) == Take(likely, failed=True)
    last = attempt(ratio=3.0, logprob=-0.5, temperature=1.0)
    assert decide([repeating, last], 10.0, None, None) == Take(repeating, failed=True)


def test_silence_needs_both_no_speech_and_an_unlikely_text() -> None:
    unlikely = attempt(no_speech=0.7, logprob=-1.2)
    assert decide([unlikely], 10.0, None, None) == Take(unlikely, silent=True, dropped="silence")
    likely = attempt(no_speech=0.9, logprob=-0.9)
    assert decide([likely], 10.0, None, None) == Take(likely)
    heard = attempt(no_speech=0.5, logprob=-1.2)
    assert decide([heard], 10.0, None, None) == Retry(0.2, "logprob")


def test_silence_without_text_drops_nothing() -> None:
    empty = attempt("", no_speech=0.9, logprob=0.0)
    assert decide([empty], 10.0, None, None) == Take(empty, silent=True)


def test_an_echo_of_the_prompt_is_retried_without_it() -> None:
    echo = attempt("Kubernetes, Terraform, Ansible, Grafana.")
    prompt = "Kubernetes, Terraform, Ansible, Grafana, Prometheus"
    assert decide([echo], 10.0, prompt, None) == RetryUnprompted("prompt_echo")
    # What is said without the prompt is taken for what was spoken.
    assert decide([echo], 10.0, None, "prompt_echo") == Take(echo)


def test_a_repetition_is_retried_without_the_prompt_then_dropped() -> None:
    looping = attempt("thank you " * 20, ratio=2.0)
    assert decide([looping], 2.0, "thank", None) == RetryUnprompted("repetition")
    assert decide([looping], 2.0, None, "repetition") == Retry(0.2, "repetition")
    last = attempt("thank you " * 20, ratio=2.0, temperature=1.0)
    assert decide([looping, last], 2.0, None, "repetition") == Take(looping, failed=True, dropped="repetition")


def test_a_text_that_is_no_good_without_the_prompt_either_is_dropped_as_its_echo() -> None:
    attempts = [attempt(logprob=-2.0), attempt(logprob=-3.0, temperature=1.0)]
    assert decide(attempts, 10.0, None, "prompt_echo") == Take(attempts[0], failed=True, dropped="prompt_echo")


def test_figures_are_those_of_faster_whisper() -> None:
    # transcribe.py, generate_with_fallback: cum = score * n; avg = cum / (n + 1)
    assert average_logprob(-0.5, 9) == pytest.approx(-0.45)
    assert average_logprob(-0.5, 0) == 0.0
    assert compression_ratio("") == 0.0
    assert compression_ratio("la " * 100) > 2.4 > compression_ratio("The quick brown fox jumps over the lazy dog")
