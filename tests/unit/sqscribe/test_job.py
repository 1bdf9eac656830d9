# SPDX-License-Identifier: Apache-2.0
"""Job messages: what is taken, what is refused and how the refusal reads."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.errors import ErrorCode
from sqscribe.job import Job, JobDefaults, JobMessageError, derived_job_id
from sqscribe.job_message import parse_job

DEFAULTS = JobDefaults("s3://results/out", ("srt",), beam_size=3)
URL = "https://example.org/talk.mp3"


def refusal(**fields: Any) -> JobMessageError:
    with pytest.raises(JobMessageError) as caught:
        parse_job(fields, DEFAULTS)
    return caught.value


def test_a_bare_source_gets_every_default() -> None:
    job = parse_job({"source": URL}, DEFAULTS)

    assert job == Job(
        source=URL,
        job_id=derived_job_id(URL),
        output="s3://results/out",
        formats=("json", "srt"),
        beam_size=3,
    )
    assert job.url("result.json") == f"s3://results/out/{job.job_id}/result.json"


def test_every_field_is_taken_over() -> None:
    message = {
        "version": 1,
        "source": "s3://recordings/2026/a b?c#d.wav",
        "job_id": "talk-1",
        "output": "s3://elsewhere/deep/er/",
        "formats": ["vtt", "txt", "vtt"],
        "language": "multi",
        "task": "transcribe",
        "word_timestamps": True,
        "initial_prompt": "Names: Ørsted",
        "hotwords": "kubectl",
        "beam_size": 10,
        "vad": False,
        "track": "all",
        "channels": "split",
        "start": 1,
        "end": 2.5,
        "metadata": {"any": [1, None, "x"]},
        "force": True,
        "progress": False,
        "subtitles": None,
        "webhook": None,
    }

    assert parse_job(message, DEFAULTS) == Job(
        source="s3://recordings/2026/a b?c#d.wav",
        job_id="talk-1",
        output="s3://elsewhere/deep/er",
        formats=("json", "vtt", "txt"),
        language="multi",
        word_timestamps=True,
        initial_prompt="Names: Ørsted",
        hotwords="kubectl",
        beam_size=10,
        vad=False,
        track="all",
        channels="split",
        start=1.0,
        end=2.5,
        metadata={"any": [1, None, "x"]},
        force=True,
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "source: is required"),
        ({"source": 5}, "source: "),
        ({"source": None}, "source: "),
        ({"source": ""}, "source: must be a URL"),
        ({"source": "talk.mp3"}, "source: must be a URL"),
        ({"source": "C:\\talk.mp3"}, "source: must be a URL"),
        ({"source": "https:///talk.mp3"}, "source: names no host"),
        ({"source": "https://example.org\\@internal/"}, "source: names no host"),
        ({"source": "https://example.org:port/"}, "source: is not a valid URL"),
        ({"source": "http://[::1/"}, "source: is not a valid URL"),
        ({"source": "https://example.org/a b"}, "source: holds blanks"),
        ({"source": "https://example.org/a\nb"}, "source: holds blanks or control"),
        ({"source": "https://example.org/\0"}, "source: holds a NUL"),
        ({"source": "https://example.org/\ud800"}, "source: is not valid Unicode"),
        ({"source": "https://example.org/" + "a" * 20_000}, "source: has 20020 characters"),
        ({"source": "s3://recordings"}, "source: must name an object"),
        ({"source": "s3://b/key"}, "source: must name a bucket"),
        ({"source": "s3://recordings/" + "ä" * 600}, "source: has a key of 1200 bytes"),
        ({"source": URL, "job_id": "-x"}, "job_id: must have"),
        ({"source": URL, "job_id": "x\n"}, "job_id: must have"),
        ({"source": URL, "job_id": "x" * 129}, "job_id: must have"),
        ({"source": URL, "job_id": "../x"}, "job_id: must have"),
        ({"source": URL, "job_id": 7}, "job_id: "),
        ({"source": URL, "output": "results"}, "output: must begin with s3://"),
        ({"source": URL, "output": "s3://results/a/../b"}, "output: must not have"),
        ({"source": URL, "output": "s3://results//a"}, "output: must not have"),
        ({"source": URL, "output": "s3://results/a\tb"}, "output: holds control"),
        ({"source": URL, "output": "s3://results/" + "a" * 900}, "output: has a prefix"),
        ({"source": URL, "formats": "srt"}, "formats: "),
        ({"source": URL, "formats": ["docx"]}, "formats[0]: 'docx' is no format; known are json,"),
        ({"source": URL, "language": "english"}, "language: 'english' is no Whisper language code; did you mean 'en'?"),
        ({"source": URL, "language": "en-US"}, "did you mean 'en'?"),
        ({"source": URL, "language": "xx"}, "language: 'xx'"),
        ({"source": URL, "language": "auto"}, "language: 'auto' is no Whisper language code; leave the field out"),
        ({"source": URL, "language": "iw"}, "did you mean 'he'?"),
        (
            {"source": URL, "language": "https://u:pw@h/x?token=y"},
            "language: 'https://h/x' is no Whisper language code",
        ),
        ({"source": URL, "task": "summarise"}, "task: input should be 'transcribe' or 'translate'"),
        ({"source": URL, "word_timestamps": 1}, "word_timestamps: input should be a valid boolean, not 1"),
        ({"source": URL, "vad": "false"}, "vad: input should be a valid boolean"),
        ({"source": URL, "vad": None}, "vad: input should be a valid boolean, not null"),
        ({"source": URL, "force": "true"}, "force: "),
        ({"source": URL, "initial_prompt": "a\0b"}, "initial_prompt: holds a NUL"),
        ({"source": URL, "initial_prompt": "a " * 20_000}, "initial_prompt: string should have at most"),
        ({"source": URL, "hotwords": ["a"]}, "hotwords: input should be a valid string, not a list"),
        ({"source": URL, "beam_size": 0}, "beam_size: "),
        ({"source": URL, "beam_size": 11}, "beam_size: "),
        ({"source": URL, "beam_size": True}, "beam_size: input should be a valid integer, not true"),
        ({"source": URL, "beam_size": "5"}, "beam_size: input should be a valid integer, not '5'"),
        ({"source": URL, "beam_size": 10**5000}, "not a huge number"),
        ({"source": URL, "channels": "left"}, "channels: "),
        *(
            ({"source": URL, "track": wrong}, "track: must be the number of an audio track, from 0 to 999, or 'all'")
            for wrong in (-1, 1000, 10**5000, 1.0, True, "1", "ALL", "", [0], {"all": 1})
        ),
        ({"source": URL, "start": True}, "start: input should be a valid number, not true"),
        ({"source": URL, "start": "5"}, "start: "),
        ({"source": URL, "start": -1}, "start: "),
        ({"source": URL, "start": float("nan")}, "start: "),
        ({"source": URL, "end": float("inf")}, "end: "),
        ({"source": URL, "end": 1e300}, "end: "),
        ({"source": URL, "start": 10**400}, "start: "),
        ({"source": URL, "start": 5, "end": 5}, "end: must be greater than start"),
        ({"source": URL, "end": 0}, "end: must be greater than start"),
        ({"source": URL, "metadata": "x" * 16_383}, "metadata: has 16385 bytes"),
        ({"source": URL, "metadata": [float("nan")]}, "metadata: must be JSON with finite numbers"),
        ({"source": URL, "metadata": {"x": "\ud800"}}, "metadata: is not valid Unicode"),
        ({"source": URL, "version": 2}, "version: "),
        ({"source": URL, "version": True}, "version: "),
        ({"source": URL, "langauge": "en"}, "'langauge': unknown field; did you mean 'language'?"),
        ({"source": URL, "object": {"etag": "x"}}, "object: goes with an s3:// source alone"),
        ({"source": "s3://recordings/a", "object": {"md5": "x"}}, "'object.md5': unknown field"),
    ],
)
def test_a_bad_message_names_the_field_and_why(fields: dict[str, Any], named: str) -> None:
    error = refusal(**fields)

    assert error.code is ErrorCode.BAD_MESSAGE
    assert named in error.message


def test_all_faults_are_named_at_once() -> None:
    error = refusal(source=URL, beam_size=0, task=1, speed=2)

    assert [part.partition(":")[0] for part in error.message.split("; ")] == ["task", "beam_size", "'speed'"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Source", "source"),
        ("URL", "source"),
        ("bucket", "source"),
        ("lang", "language"),
        ("prompt", "initial_prompt"),
        ("id", "job_id"),
        ("format", "formats"),
        ("beam", "beam_size"),
        ("vad_filter", None),
        ("Records", None),
    ],
)
def test_an_unknown_field_is_taken_for_the_one_that_is_meant(name: str, meant: str | None) -> None:
    hint = f"; did you mean {meant!r}?" if meant else ""
    assert refusal(source=URL, **{name: "x"}).message == f"{name!r}: unknown field{hint}"


def test_many_faults_are_counted() -> None:
    assert refusal(source=URL, formats=["x"] * 100).message.endswith("and 95 more")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"source": URL, "formats": ["html"]}, "formats: 'html'"),
        ({"source": URL, "subtitles": {"max_chars": 37}}, "subtitles"),
        ({"source": URL, "webhook": "https://example.org/hook"}, "webhook"),
        ({"source": URL, "progress": True}, "progress"),
        ({"source": URL, "task": "translate", "word_timestamps": True}, "word_timestamps"),
    ],
)
def test_what_comes_later_is_unsupported(fields: dict[str, Any], named: str) -> None:
    error = refusal(**fields)

    assert error.code is ErrorCode.UNSUPPORTED_OPTION
    assert named in error.message
    assert error.job_id is not None  # all of the message can be read, so its id can be derived


def test_a_bad_field_goes_before_an_unsupported_one() -> None:
    assert refusal(source=URL, progress=True, beam_size=99).code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://example.org/a.mp3", "gopher://x/", "concat:a|b"])
def test_other_schemes_are_blocked(source: str) -> None:
    error = refusal(source=source)

    assert error.code is ErrorCode.SOURCE_BLOCKED
    assert source.partition(":")[0] in error.message


def test_a_message_without_output_needs_a_default() -> None:
    with pytest.raises(JobMessageError, match="output: is required") as caught:
        parse_job({"source": URL, "job_id": "x"}, JobDefaults(None))
    assert caught.value.job_id == "x"


def test_a_refusal_carries_what_can_be_read() -> None:
    error = refusal(source=URL, job_id="talk", output="s3://mine/p/", metadata={"row": 7}, beam_size=99)

    assert (error.job_id, error.output, error.source, error.metadata) == ("talk", "s3://mine/p", URL, {"row": 7})


def test_a_refusal_carries_nothing_that_is_wrong() -> None:
    error = refusal(source="x", job_id="-", output="y", metadata="z" * 20_000)

    assert (error.job_id, error.output, error.source, error.metadata) == (None, None, None, None)


def test_no_secret_of_the_source_is_shown() -> None:
    secret = "X-Amz-Signature=5eC4e7"
    for fields in ({"source": f"https://e.org:port/?{secret}"}, {"source": f"{URL}?{secret}", "object": {}}):
        assert "5eC4e7" not in refusal(**fields).message
    assert "5eC4e7" not in repr(parse_job({"source": f"{URL}?{secret}"}, DEFAULTS))
    assert "5eC4e7" not in repr(parse_job({"source": f"{URL}?{secret}"}, DEFAULTS).ref)


def test_metadata_may_be_deep_but_not_bottomless() -> None:
    fine: Any = 1
    for _ in range(100):
        fine = [fine]
    assert parse_job({"source": URL, "metadata": fine}, DEFAULTS).metadata == fine
    assert "levels deep" in refusal(source=URL, metadata=[fine]).message


def test_blank_prompts_are_none() -> None:
    job = parse_job({"source": URL, "initial_prompt": "  ", "hotwords": ""}, DEFAULTS)

    assert job == parse_job({"source": URL}, DEFAULTS)


def test_the_scheme_is_lower_case_afterwards() -> None:
    assert parse_job({"source": "S3://recordings/K"}, DEFAULTS).source == "s3://recordings/K"


# -- derived ids ---------------------------------------------------------------------------------------------------


def digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("fields", "canonical"),
    [
        ({"source": URL}, '{"source":"https://example.org/talk.mp3"}'),
        (
            {"source": f"{URL}?v=1&X-Amz-Signature=a&X-Amz-Date=b"},
            '{"source":"https://example.org/talk.mp3?v=1"}',
        ),
        (
            {"source": "s3://recordings/é", "language": "fr", "start": 10.0, "end": 12.5, "vad": False},
            '{"end":12.5,"language":"fr","source":"s3://recordings/é","start":10,"vad":false}',
        ),
        (
            {"source": "http://h/a", "initial_prompt": 'a "b', "hotwords": "c", "task": "translate", "beam_size": 1},
            '{"beam_size":1,"hotwords":"c","initial_prompt":"a \\"b","source":"http://h/a","task":"translate"}',
        ),
        # What equals its default or shapes no transcript does not count.
        (
            {
                "source": URL,
                "beam_size": 3,
                "task": "transcribe",
                "vad": True,
                "channels": "mix",
                "start": 0,
                "formats": ["vtt"],
                "word_timestamps": True,
                "metadata": 1,
                "force": True,
                "output": "s3://other/place",
                "language": None,
            },
            '{"source":"https://example.org/talk.mp3"}',
        ),
        (
            {"source": "s3://recordings/k", "object": {"version_id": "v", "etag": "e"}},
            '{"object":"v","source":"s3://recordings/k"}',
        ),
        ({"source": "s3://recordings/k", "object": {"etag": "e"}}, '{"object":"e","source":"s3://recordings/k"}'),
        ({"source": "http://h/a", "track": 0}, '{"source":"http://h/a","track":0}'),
        ({"source": "http://h/a", "track": None}, '{"source":"http://h/a"}'),
        (
            {"source": "http://h/a", "track": "all", "channels": "split"},
            '{"channels":"split","source":"http://h/a","track":"all"}',
        ),
    ],
)
def test_the_derived_id_is_the_hash_of_what_shapes_the_transcript(fields: dict[str, Any], canonical: str) -> None:
    assert parse_job(fields, DEFAULTS).job_id == digest(canonical)


# -- bodies --------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"source": st.sampled_from([URL, f"{URL}?X-Amz-Signature=s&a=b", "s3://recordings/a+b%20 ü"])},
    optional={
        "job_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
        "output": st.sampled_from(["s3://mine", "s3://mine/", "s3://mine/a/b"]),
        "formats": st.lists(st.sampled_from(["json", "srt", "vtt", "verbose_json", "tsv", "txt"])),
        "language": st.sampled_from(["en", "yue", "multi", None]),
        "initial_prompt": texts,
        "hotwords": texts,
        "beam_size": st.integers(1, 10),
        "vad": st.booleans()
        | st.fixed_dictionaries(
            {}, optional={"threshold": st.floats(0, 1), "min_silence": st.floats(0, 60), "pad": st.floats(0, 10)}
        ),
        "word_timestamps": st.booleans(),
        "force": st.booleans(),
        "temperature": st.floats(0, 1) | st.lists(st.floats(0, 1), min_size=1, max_size=10) | st.none(),
        "no_repeat_ngram_size": st.integers(0, 100) | st.none(),
        "repetition_penalty": st.floats(0.1, 10),
        "suppress_numerals": st.booleans(),
        "max_window": st.floats(5, 30) | st.integers(5, 30),
        "level": st.booleans(),
        "track": st.integers(0, 999) | st.just("all") | st.none(),
        "channels": st.sampled_from(["mix", "split"]),
        "start": st.floats(0, 100),
        "end": st.floats(101, 1e6) | st.integers(101, 10_000),
        "metadata": json_values,
    },
)


@given(messages)
def test_a_body_makes_the_same_job_again_whatever_the_defaults(message: dict[str, Any]) -> None:
    job = parse_job(message, DEFAULTS)

    assert job.body().isascii()
    assert parse_job(json.loads(job.body()), JobDefaults("s3://other/x", ("txt",), beam_size=9)) == job


def test_a_body_keeps_the_identity_of_the_object() -> None:
    job = parse_job({"source": "s3://recordings/k", "object": {"version_id": "v", "etag": "e"}}, DEFAULTS)

    assert (job.object_version, job.object_etag) == ("v", "e")
    assert parse_job(json.loads(job.body()), DEFAULTS) == job


@given(st.dictionaries(st.sampled_from([*Job.__dataclass_fields__, "subtitles", "object", "?"]), json_values))
def test_whatever_comes_is_a_job_or_a_permanent_error(raw: dict[str, Any]) -> None:
    try:
        parse_job(raw, DEFAULTS)
    except JobMessageError as error:
        assert error.message  # noqa: PT017 - both ends are right


def test_the_job_type_does_not_wait_for_pydantic() -> None:
    code = "import sys, sqscribe.job, sqscribe.formats, sqscribe.result; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
