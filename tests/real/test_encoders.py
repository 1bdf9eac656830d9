# SPDX-License-Identifier: Apache-2.0
"""The encoder in torch beside CTranslate2's, with released weights on real recordings."""

from __future__ import annotations

import pytest

from sqscribe_bench.programs.encoders import differences
from sqscribe_bench.real.audio import read
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import MODELS
from sqscribe_bench.real.recordings import Recording
from stages.values import SAMPLE_RATE

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize(("model", "layers"), [("tiny.en", 4), ("base", 6)])
def test_every_layer_gives_what_ctranslate2_gives(
    cache: Cache, english: tuple[Recording, ...], model: str, layers: int
) -> None:
    # Given a released model and two recordings
    try:
        folder = cache.item(MODELS[model])
    except CannotBeHadError as error:
        pytest.skip(str(error))
    rows = [read(recording.path)[: 30 * SAMPLE_RATE] for recording in english[:2]]

    # When both encoders compute them, in single precision, and are looked at behind each layer
    found = list(differences(folder, rows))

    # Then the numbers are the same but for rounding, and torch's are no further from the exact ones
    assert [each.layers for each in found] == list(range(layers + 1))
    assert max(each.largest for each in found) < 1e-3
    assert max(each.largest for each in found[:-1]) < 1e-4
    assert found[-1].own < 1e-3
    assert max(each.usual for each in found) < 1e-4
