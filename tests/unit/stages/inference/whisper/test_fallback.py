# SPDX-License-Identifier: Apache-2.0
"""What becomes of an attempt."""

from __future__ import annotations

from typing import Any

import pytest

from stages.inference.judge.coverage import Hole
from stages.inference.whisper.attempt import Attempt, average_logprob, compression_ratio
from stages.inference.whisper.fallback import Retry, RetryUnprompted, Take, decide


def attempt(
    text: str = "hello world",
    *,
    logprob: float = -0.3,
    ratio: float = 1.0,
    no_speech: float = 0.0,
    temperature: float = 0.0,
    **figures: Any,
) -> Attempt:
    return Attempt((1, 2), text, logprob, ratio, no_speech, temperature, truncated=False, **figures)


def test_a_good_attempt_is_taken() -> None:
    good = attempt()
    assert decide([good], 10.0, None, None) == Take(good)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (attempt(ratio=2.41), "compression_ratio"),
        (attempt(logprob=-1.01), "logprob"),
        (attempt("so " * 40, ratio=2.0), "repetition"),
        (attempt(unspeakable=4), "pace"),
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
    assert step.suspect == "logprob"


def test_a_job_names_its_own_temperatures() -> None:
    # Given a job that is decoded freely first, then by a beam search
    temperatures = (0.5, 0.0)
    first, second = attempt(logprob=-2.0, temperature=0.5), attempt(logprob=-1.5)

    # When both fail, then the best of them is taken, and the last one's fault is said
    assert decide([first], 10.0, None, None, temperatures) == Retry(0.0, "logprob")
    assert decide([first, second], 10.0, None, None, temperatures) == Take(second, failed=True, suspect="logprob")


def test_a_single_temperature_has_no_fallbacks() -> None:
    looping = attempt(ratio=3.0)

    assert decide([looping], 10.0, None, None, (0.0,)) == Take(looping, failed=True, suspect="compression_ratio")


def test_the_best_of_failed_attempts_is_the_likeliest_that_does_not_repeat_itself() -> None:
    repeating = attempt(ratio=3.0, logprob=-0.1)
    likely = attempt(logprob=-1.1, temperature=0.6)
    last = attempt(logprob=-1.5, temperature=1.0)
    assert decide([repeating, likely, last], 10.0, None, None) == Take(likely, failed=True, suspect="logprob")


def test_of_attempts_that_all_repeat_themselves_the_one_that_does_so_least_is_best() -> None:
    # Given loops, of which the tightest is by far the likeliest
    loop = attempt(ratio=12.0, logprob=-0.1)
    loose = attempt(ratio=2.6, logprob=-1.8, temperature=0.8)
    last = attempt(ratio=3.0, logprob=-0.5, temperature=1.0)
    # When none is any good, then the one with the most variety stands, and is not trusted
    assert decide([loop, loose, last], 10.0, None, None) == Take(loose, failed=True, suspect="compression_ratio")


def test_a_text_that_stands_though_no_attempt_passed_says_why_it_is_not_trusted() -> None:
    fast = attempt(unspeakable=4, temperature=1.0)
    assert decide([fast], 10.0, None, None) == Take(fast, failed=True, suspect="pace")
    # The best attempt's own reason comes first; if it has none, it is the last one's.
    passed = attempt(logprob=-0.5, temperature=0.8)
    unlikely = attempt(logprob=-1.5, temperature=1.0)
    assert decide([passed, unlikely], 10.0, None, None) == Take(passed, failed=True, suspect="logprob")


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


def left_out(seconds: float) -> tuple[Hole, ...]:
    return (Hole(0.0, seconds, seconds),)


def test_a_text_that_leaves_speech_out_is_retried_without_the_prompt() -> None:
    holes = attempt(holes=left_out(9.0))
    assert decide([holes], 20.0, "Hello", None) == RetryUnprompted("incomplete")
    # Without a prompt no attempt is better for it: the window is decoded in parts.
    assert decide([holes], 20.0, None, None) == Take(holes)
    assert decide([holes], 20.0, None, "incomplete") == Take(holes)


def test_a_text_that_the_audio_alone_makes_less_likely_is_retried_without_the_prompt() -> None:
    # Given a text that is likely with the prompt, and as a transcript of the audio is not
    translated = attempt(logprob=-0.2, spoken_logprob=-0.9)
    assert decide([translated], 20.0, "Guten Tag", None) == RetryUnprompted("prompt_drift")
    # A little is the price of any prompt, and without one, or an alignment, there is nothing to compare.
    for faithful in (
        attempt(logprob=-0.2, spoken_logprob=-0.29),
        attempt(logprob=-0.5, spoken_logprob=-0.1),
        attempt(logprob=-0.2),
    ):
        assert decide([faithful], 20.0, "Guten Tag", None) == Take(faithful)
    assert decide([translated], 20.0, None, None) == Take(translated)


def test_of_all_harms_of_a_prompt_the_one_by_which_nothing_was_spoken_is_named() -> None:
    prompt = "so " * 40
    assert decide([attempt(prompt, holes=left_out(9.0), spoken_logprob=-9)], 1.0, prompt, None) == RetryUnprompted(
        "prompt_echo"
    )
    looping = attempt("la " * 40, holes=left_out(9.0), spoken_logprob=-9)
    assert decide([looping], 1.0, prompt, None) == RetryUnprompted("repetition")
    assert decide([attempt(holes=left_out(9.0), spoken_logprob=-9)], 1.0, prompt, None) == RetryUnprompted("incomplete")


@pytest.mark.parametrize(
    ("unprompted", "dropped", "suspect"),
    [
        ("prompt_echo", "prompt_echo", None),
        ("repetition", "repetition", None),
        # What was spoken, though the prompt's text of it was bad, is kept, and said not to be trusted.
        ("incomplete", None, "logprob"),
        ("prompt_drift", None, "logprob"),
        (None, None, "logprob"),
    ],
)
def test_a_bad_text_is_dropped_only_where_there_is_reason_to_think_that_nothing_was_spoken(
    unprompted: str | None, dropped: str | None, suspect: str | None
) -> None:
    bad = attempt(logprob=-2.0, temperature=1.0)
    assert decide([bad], 10.0, None, unprompted) == Take(bad, failed=True, dropped=dropped, suspect=suspect)


def test_a_text_that_is_no_good_without_the_prompt_either_is_dropped_as_its_echo() -> None:
    attempts = [attempt(logprob=-2.0), attempt(logprob=-3.0, temperature=1.0)]
    assert decide(attempts, 10.0, None, "prompt_echo") == Take(attempts[0], failed=True, dropped="prompt_echo")


def test_figures_are_those_of_faster_whisper() -> None:
    # transcribe.py, generate_with_fallback: cum = score * n; avg = cum / (n + 1)
    assert average_logprob(-0.5, 9) == pytest.approx(-0.45)
    assert average_logprob(-0.5, 0) == 0.0
    assert compression_ratio("") == 0.0
    assert compression_ratio("la " * 100) > 2.4 > compression_ratio("The quick brown fox jumps over the lazy dog")
