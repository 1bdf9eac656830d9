# SPDX-License-Identifier: Apache-2.0
"""The Parakeet decoder with random weights: what a batch must not change, and what a job or a folder may not be."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sqscribe.errors import ErrorCode, SettingsError, UnfitNodeError
from stages.inference.engine.rows import EngineJob, Finished, JobRefused
from stages.inference.parakeet.decoder import ParakeetDecoder
from stages.inference.parakeet.encoder import Encoder, _shifted
from stages.inference.parakeet.features import LogMel
from stages.inference.parakeet.model import LANGUAGES, load_model
from stages.inference.parakeet.random_model import make_random_model
from stages.inference.parakeet.shape import read_shape
from stages.inference.parakeet.weights import read_weights, write_weights
from stages.inference.protocol import DecodeOptions, EngineSettings
from stages.values import Piece, Window, WindowResult
from worker.node.models import engine_settings
from worker.settings import Settings

pytestmark = pytest.mark.process

PLAIN = DecodeOptions("en", "transcribe", None, None, beam_size=5)
#: Seconds of the windows: of the longest kind, and the shortest.
LENGTHS = (12.0, 5.0, 3.3, 0.02)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("parakeet"))


@pytest.fixture(scope="module")
def decoder(folder: Path) -> ParakeetDecoder:
    return ParakeetDecoder.load(settings(folder))


def settings(folder: Path, **given: object) -> EngineSettings:
    return EngineSettings(str(folder), "parakeet", device="cpu", cpu_threads=1, **given)  # type: ignore[arg-type]


def samples(seconds: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    count = round(seconds * 16_000)
    noise = np.random.default_rng(seed).standard_normal(count) * np.sin(np.arange(count) / 9000) * 0.1
    return noise.astype(np.float32)


def results(decoder: ParakeetDecoder, path: Path, *, together: bool) -> list[WindowResult]:
    job = decoder.open("job", str(path), PLAIN)
    assert isinstance(job, EngineJob)
    windows, start = [], 0
    for index, seconds in enumerate(LENGTHS):
        count = round(seconds * 16_000)
        windows.append(Window(index, (Piece(0, start, count),), count, count))
        start += count
    rows = decoder.rows(job, tuple(windows), probe=False, language="en")
    outcomes = decoder.run(rows) if together else [outcome for row in rows for outcome in decoder.run([row])]
    assert all(isinstance(outcome, Finished) for outcome in outcomes)
    return [outcome.result for outcome in outcomes if isinstance(outcome, Finished)]


def test_a_window_comes_out_the_same_whatever_it_shares_its_batch_with(
    decoder: ParakeetDecoder, tmp_path: Path
) -> None:
    # Given windows of many lengths
    path = tmp_path / "audio.pcm"
    audio = np.concatenate([samples(seconds, seed) for seed, seconds in enumerate(LENGTHS)])
    path.write_bytes((audio * 32767).astype("<i2").tobytes())

    # When they are decoded in one batch, and each by itself
    together, alone = (results(decoder, path, together=both) for both in (True, False))

    # Then texts and times are the same, tell the windows apart, and stay within them
    texts = ["".join(segment.text for segment in result.segments) for result in together]
    assert texts == ["".join(segment.text for segment in result.segments) for result in alone]
    assert len({text for text in texts if text}) >= 3
    for one, other, seconds in zip(together, alone, LENGTHS, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
        times = [time for segment in one.segments for word in segment.words or () for time in (word.start, word.end)]
        assert times == [
            time for segment in other.segments for word in segment.words or () for time in (word.start, word.end)
        ]
        assert all(0 <= time <= seconds for time in times)


def test_a_row_goes_on_by_at_least_a_frame_where_nothing_else_does(folder: Path) -> None:
    # Given a model that says blank for no frames, and one that says a token for no frames, at every step
    mel, frames = LogMel(80, CPU)([samples(2.0)])
    for token, at_a_frame in ((30, 0), (7, 10)):
        model = load_model(settings(folder)).transducer
        with torch.no_grad():
            model.joint.head.weight.zero_()
            model.joint.head.bias.zero_()
            model.joint.head.bias[[token, 31]] = 9.0  # behind the tokens: the duration of 0 frames

        # When it decodes
        (emitted,) = model.decode(mel, frames)

        # Then it comes to an end
        assert len(emitted) == 25 * at_a_frame
        assert [each.frame for each in emitted] == [frame for frame in range(25) for _ in range(at_a_frame)]


def test_half_precision_writes_much_the_same(folder: Path) -> None:
    mel, frames = LogMel(80, CPU)([samples(6.0), samples(2.0, seed=1)])
    single = load_model(settings(folder)).transducer.decode(mel, frames)

    model = load_model(settings(folder, compute_type="bfloat16"))
    half = model.transducer.decode(mel.to(model.dtype), frames)

    assert (model.info.compute_type, model.dtype) == ("bfloat16", torch.bfloat16)
    for one, other in zip(single, half, strict=True):
        same = {(each.token, each.frame) for each in one} & {(each.token, each.frame) for each in other}
        assert len(same) > 0.5 * len(one) > 0


def test_attention_sees_a_key_by_its_distance() -> None:
    # Given scores that are the distance that they stand for, from 4 down to -4
    scores = torch.arange(4, -5, -1, dtype=torch.float32).expand(2, 3, 5, 9).contiguous()

    by_key = _shifted(scores)[..., :5]

    expected = torch.arange(5)[:, None] - torch.arange(5)[None]
    assert torch.equal(by_key, expected.float().expand(2, 3, 5, 5))


def test_frames_behind_the_content_change_nothing_before_it(folder: Path) -> None:
    encoder = Encoder(read_shape(folder)).eval()
    mel, frames = LogMel(80, CPU)([samples(4.0)])
    noisy = torch.cat([mel, torch.randn(1, 160, 80)], dim=1)

    with torch.inference_mode():
        (clean, length), (longer, same) = encoder(mel, frames), encoder(noisy, frames)

    assert length == same == 50
    assert torch.allclose(clean[:, :50], longer[:, :50], atol=1e-5)


def test_bands_have_no_mean_and_one_deviation_over_the_content_of_their_row() -> None:
    mel, frames = LogMel(80, CPU)([samples(3.0), samples(1.0, seed=1)])

    assert frames.tolist() == [300, 100]
    assert torch.allclose(mel[1, :100].mean(0), torch.zeros(80), atol=1e-4)
    assert torch.allclose(mel[1, :100].std(0), torch.ones(80), atol=1e-3)
    assert not mel[1, 100:].any()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"task": "translate"}, "task: model parakeet cannot translate"),
        ({"initial_prompt": "names"}, "initial_prompt: model parakeet has no use for it"),
        ({"hotwords": "names"}, "hotwords: model parakeet has no use for it"),
        ({"language": "de"}, "language: model parakeet does not know 'de'"),
    ],
)
def test_what_a_transducer_does_not_have_is_refused(decoder: ParakeetDecoder, asked: dict[str, str], why: str) -> None:
    refused = decoder.open("job", "unread", replace(PLAIN, **asked))  # type: ignore[arg-type]

    assert isinstance(refused, JobRefused)
    assert refused.code is ErrorCode.UNSUPPORTED_OPTION
    assert why in refused.message


def test_the_model_of_many_languages_wants_to_be_told_which(tmp_path: Path) -> None:
    model = ParakeetDecoder.load(settings(make_random_model(tmp_path, layers=1, width=8, hidden=8, pieces=8192)))

    assert model.info.languages == LANGUAGES
    assert isinstance(model.open("job", "unread", replace(PLAIN, language="uk")), EngineJob)
    for language in (None, "multi"):
        refused = model.open("job", "unread", replace(PLAIN, language=language))
        assert isinstance(refused, JobRefused)
        assert "cannot tell which language is spoken; name one" in refused.message


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).to(torch.bfloat16),
        "c": torch.tensor(7),
        "d": torch.randn(2, 1, 2).half(),
    }
    write_weights(tmp_path / "w", written)

    read = read_weights(tmp_path / "w")

    assert set(read) == set(written)
    assert all(torch.equal(read[name], written[name]) and read[name].dtype == written[name].dtype for name in written)


def test_folders_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()

    def fails(match: str, **given: object) -> None:
        with pytest.raises(UnfitNodeError, match=match):
            load_model(settings(folder, **given))

    fails("int8", compute_type="int8")
    (folder / "model.safetensors").write_bytes(weights[:-100])
    fails("cannot be read")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60))
    fails("cannot be read")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    fails("tokenizer")
    (folder / "config.json").write_text(json.dumps({**config, "decoder_hidden_size": 8}))
    fails(r"do not fit its config\.json")
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "parakeet_ctc"}))
    fails("parakeet_ctc")


def test_a_folder_without_the_files_is_a_wrong_setting(tmp_path: Path) -> None:
    wrong = Settings(_env_file=None, model=f"parakeet:{tmp_path}")

    with pytest.raises(SettingsError, match=r"holds no Parakeet-TDT model.*: config\.json, model\.safetensors"):
        engine_settings(wrong, lambda *_: None, tmp_path, "json")
