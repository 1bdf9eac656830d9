# SPDX-License-Identifier: Apache-2.0
"""The decoder on the bundled model and its recordings, beside faster-whisper on the same ones."""

from __future__ import annotations

import json
import wave
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np
import pytest
from faster_whisper import WhisperModel

import sqscribe.bundled
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineEvent, EngineSettings, Progress, WindowDone
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.model import load_model
from stages.values import SAMPLE_RATE, Piece, RawSegment, Window, WindowResult

pytestmark = pytest.mark.process

BUNDLED = Path(str(sqscribe.bundled.__file__)).parent
CLIPS = ("easy00", "selfcheck", "tmpl3_4", "tmpl3_5", "tmpl6_0")
ENGLISH = DecodeOptions("en", "transcribe", None, None, beam_size=5)
SETTINGS = EngineSettings(
    model=str(BUNDLED / "model"), name="demo", device="cpu", compute_type="float32", batch_size=4, cpu_threads=1
)


@pytest.fixture(scope="module")
def decoder() -> WhisperDecoder:
    return WhisperDecoder.load(SETTINGS)


@pytest.fixture(scope="module")
def pcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every clip as raw PCM."""
    folder = tmp_path_factory.mktemp("pcm")
    for clip in CLIPS:
        with wave.open(str(wav(clip)), "rb") as file:
            (folder / clip).write_bytes(file.readframes(file.getnframes()))
    return folder


def wav(clip: str) -> Path:
    return BUNDLED / "control" / f"{clip}.wav"


def text(clip: str) -> str:
    return wav(clip).with_suffix(".txt").read_text(encoding="utf-8").strip()


def spoken(clip: str) -> list[dict[str, float]]:
    return json.loads(wav(clip).with_suffix(".json").read_text(encoding="utf-8"))["words"]  # type: ignore[no-any-return]


def window(samples: int, start: int = 0, index: int = 0) -> Window:
    return Window(index, (Piece(0, start, samples),), speech=samples, speech_end=samples)


def task(folder: Path, clip: str, options: DecodeOptions = ENGLISH, name: str | None = None) -> DecodeTask:
    path = folder / clip
    return DecodeTask(name or clip, str(path), (window(path.stat().st_size // 2),), options)


def decode(decoder: WhisperDecoder, tasks: Sequence[DecodeTask], limit: int = 4) -> dict[str, WindowResult]:
    """Runs the jobs, in batches of `limit` rows, to the results of their first windows."""
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    for item in tasks:
        scheduler.add(item)
    while batch := scheduler.take(limit, timeout=0.0):
        scheduler.give(batch, decoder.run(batch.rows))
    done = {event.job_key: event.result for event in events if isinstance(event, WindowDone)}
    assert done.keys() == {item.job_key for item in tasks}
    return done


def said(result: WindowResult) -> str:
    return "".join(segment.text for segment in result.segments).strip()


def test_the_recordings_come_out_word_for_word(decoder: WhisperDecoder, pcm: Path) -> None:
    results = decode(decoder, [task(pcm, clip) for clip in CLIPS])
    for clip, result in results.items():
        assert said(result) == text(clip)
        assert result.language == "en"
        assert result.language_probability is None
        assert (result.dropped, result.retries, result.temperature) == (None, (), 0.0)
        for segment in result.segments:
            assert segment.words is not None
            assert "".join(word.word for word in segment.words) == segment.text
            assert all(0.0 < word.probability <= 1.0 for word in segment.words)


def test_shuffled_and_mixed_batches_give_the_same_text(decoder: WhisperDecoder, pcm: Path) -> None:
    # Given each clip by itself
    alone = {clip: decode(decoder, [task(pcm, clip)], limit=1)[clip] for clip in CLIPS}
    # When it shares batches of several sizes with others in any order, some with a prompt or another beam
    for seed, limit in ((0, 2), (1, 5)):
        order = np.random.default_rng(seed).permutation(CLIPS)
        tasks = [task(pcm, str(clip)) for clip in order]
        tasks += [task(pcm, clip, replace(ENGLISH, hotwords="hello world"), f"prompt-{clip}") for clip in CLIPS[:2]]
        tasks += [task(pcm, clip, replace(ENGLISH, beam_size=1), f"beam-{clip}") for clip in CLIPS[:1]]
        results = decode(decoder, tasks, limit)
        # Then its text and its word times are the same
        for clip in CLIPS:
            assert said(results[clip]) == said(alone[clip])
            for own, shared in zip(alone[clip].segments, results[clip].segments, strict=True):
                assert [(word.word, word.start, word.end) for word in own.words or ()] == [
                    (word.word, word.start, word.end) for word in shared.words or ()
                ]


def test_word_times_do_not_depend_on_rows_of_the_same_length(decoder: WhisperDecoder, pcm: Path) -> None:
    # Given windows of equal frame counts but texts of different lengths, which CTranslate2 would align as one block
    samples = 5 * SAMPLE_RATE
    tasks = [
        DecodeTask(clip, str(pcm / clip), (window(samples, start=start),), ENGLISH)
        for clip, start in (("easy00", 0), ("tmpl3_4", 0), ("tmpl3_5", 100_000), ("tmpl6_0", 0))
    ]
    # When they share a batch, and when each is by itself
    together = decode(decoder, tasks)
    alone = {item.job_key: decode(decoder, [item])[item.job_key] for item in tasks}
    # Then words and times are the same; probabilities too, but for what another shape of matrix makes of the last bits
    for job, result in alone.items():
        words, others = (
            [word for segment in each.segments for word in segment.words or ()] for each in (result, together[job])
        )
        assert [(word.word, word.start, word.end) for word in words] == [
            (word.word, word.start, word.end) for word in others
        ]
        assert [word.probability for word in words] == pytest.approx([word.probability for word in others], abs=1e-6)


def test_no_words_are_lost_to_the_token_cap(pcm: Path) -> None:
    cap = 8
    capped = WhisperDecoder(load_model(SETTINGS), max_new_tokens=cap)
    results = decode(capped, [task(pcm, clip) for clip in ("easy00", "tmpl3_5", "tmpl6_0")])
    for clip, result in results.items():
        assert said(result) == text(clip)
        assert ("truncated" in result.retries) is (len(text(clip).split()) >= cap)
        starts = [word.start for segment in result.segments for word in segment.words or ()]
        assert starts == sorted(starts)
        # The halves' times are the window's.
        truth = [word["start"] for word in spoken(clip)]
        assert np.abs(np.subtract(starts, truth)).mean() < 0.08


def test_silence_and_noise_give_no_text(decoder: WhisperDecoder, tmp_path: Path) -> None:
    hiss = (np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE) * 3).astype("<i2")
    (tmp_path / "hiss").write_bytes(hiss.tobytes())
    (tmp_path / "silence").write_bytes(bytes(2 * 10 * SAMPLE_RATE))
    results = decode(decoder, [task(tmp_path, "hiss"), task(tmp_path, "silence")])
    assert [said(result) for result in results.values()] == ["", ""]


def test_a_file_that_is_gone_changes_no_row(decoder: WhisperDecoder, pcm: Path, tmp_path: Path) -> None:
    jobs = [decoder.open("here", str(pcm / "easy00"), ENGLISH), decoder.open("gone", str(tmp_path / "gone"), ENGLISH)]
    samples = (pcm / "easy00").stat().st_size // 2
    rows = [
        row
        for job in jobs
        for row in decoder.rows(job, (window(samples),), probe=False, language="en")  # type: ignore[arg-type]
    ]
    before = [(row.key, row.state, row.encoded) for row in rows]
    with pytest.raises(FileNotFoundError):
        decoder.run(rows)
    assert [(row.key, row.state, row.encoded) for row in rows] == before
    (outcome,) = decoder.run(rows[:1])
    assert said(outcome.result) == text("easy00")  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def faster_whisper() -> WhisperModel:
    """The yardstick: faster-whisper's own sequential pipeline on the same model."""
    return WhisperModel(str(BUNDLED / "model"), device="cpu", compute_type="float32", cpu_threads=1)


def test_as_good_as_faster_whisper(decoder: WhisperDecoder, pcm: Path, faster_whisper: WhisperModel) -> None:
    ours = decode(decoder, [task(pcm, clip) for clip in CLIPS])
    our_words = {
        clip: [(word.word.strip(), word.start) for part in ours[clip].segments for word in part.words or ()]
        for clip in CLIPS
    }
    their_words = {}
    for clip in CLIPS:
        segments, _ = faster_whisper.transcribe(
            str(wav(clip)),
            language="en",
            beam_size=5,
            condition_on_previous_text=False,
            vad_filter=True,
            word_timestamps=True,
        )
        their_words[clip] = [(word.word.strip(), float(word.start)) for part in segments for word in part.words or ()]

    assert error_rate(our_words) <= error_rate(their_words)
    assert mean_start_error(our_words) <= max(0.08, mean_start_error(their_words))


def error_rate(words: dict[str, list[tuple[str, float]]]) -> float:
    return float(
        jiwer.wer([text(clip) for clip in words], [" ".join(word for word, _ in found) for found in words.values()])
    )


def mean_start_error(words: dict[str, list[tuple[str, float]]]) -> float:
    """Seconds, over the words that were heard right."""
    errors = []
    for clip, found in words.items():
        truth = spoken(clip)
        aligned = jiwer.process_words(
            " ".join(str(word["word"]) for word in truth), " ".join(word for word, _ in found)
        )
        for kind, chunks in groupby(aligned.alignments[0], key=lambda chunk: chunk.type):
            for chunk in chunks if kind == "equal" else ():
                for offset in range(chunk.ref_end_idx - chunk.ref_start_idx):
                    start = found[chunk.hyp_start_idx + offset][1]
                    errors.append(abs(start - truth[chunk.ref_start_idx + offset]["start"]))
    return float(np.mean(errors))


def test_an_encoder_in_torch_hears_word_for_word_the_same(decoder: WhisperDecoder, pcm: Path) -> None:
    # Given an engine whose encoder torch computes
    own = WhisperDecoder.load(replace(SETTINGS, encoder="torch"))
    assert (own.info.variant, decoder.info.variant) == (("torch",), ())

    # When recordings are decoded in common batches
    tasks = [task(pcm, clip) for clip in CLIPS]
    ours, theirs = decode(own, tasks), decode(decoder, tasks)

    # Then words and their times are those that CTranslate2's own encoder gives
    for clip in CLIPS:
        assert said(ours[clip]) == text(clip)
        assert [words(segment) for segment in ours[clip].segments] == [
            words(segment) for segment in theirs[clip].segments
        ]


def words(segment: RawSegment) -> list[tuple[str, float, float]]:
    return [(word.word, word.start, word.end) for word in segment.words or ()]
