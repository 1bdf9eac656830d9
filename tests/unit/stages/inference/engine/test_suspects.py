# SPDX-License-Identifier: Apache-2.0
"""The search for windows that the engine fails on, against engines that fail in every way."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from stages.inference.engine.suspects import LONE_FAILURES, Suspects, verdict
from stages.inference.protocol import WindowKey
from stages.values import Piece, Window


def keys(*indexes: int, job: str = "job") -> list[WindowKey]:
    return [(job, index) for index in indexes]


# -- one step ----------------------------------------------------------------------------------------------------------


def test_a_batch_that_fails_is_halved_and_its_halves_come_behind_older_suspects() -> None:
    suspects = Suspects([keys(9)])

    assert suspects.failed([keys(0, 1, 2, 3, 4)]) == ()

    assert suspects.groups == (tuple(keys(9)), tuple(keys(0, 1)), tuple(keys(2, 3, 4)))
    assert len(suspects) == 6
    assert ("job", 4) in suspects
    assert ("job", 5) not in suspects


def test_batches_that_were_under_way_together_are_halved_each_by_itself() -> None:
    suspects = Suspects()

    suspects.failed([keys(0, 1), keys(2, 3)])

    assert suspects.groups == tuple(tuple(keys(index)) for index in range(4))


def test_when_a_second_group_fails_its_halves_go_first() -> None:
    # Given two groups of suspects that have failed before
    suspects = Suspects([keys(0, 1, 2, 3), keys(4, 5, 6, 7), keys(8, 9)])
    suspects.failed([keys(0, 1, 2, 3)])
    assert suspects.groups == tuple(tuple(group) for group in (keys(4, 5, 6, 7), keys(8, 9), keys(0, 1), keys(2, 3)))

    suspects.failed([keys(4, 5, 6, 7)])

    # Then there are several guilty ones, and one is searched for before all else
    assert suspects.groups[:2] == (tuple(keys(4, 5)), tuple(keys(6, 7)))
    suspects.failed([keys(4, 5)])
    suspects.failed([keys(4)])
    assert suspects.groups[0] == (("job", 4),)
    assert suspects.failed([keys(4)]) == (("job", 4),)
    assert suspects.groups[0] == (("job", 5),)


def test_parts_of_one_window_are_one_suspect() -> None:
    suspects = Suspects()

    suspects.failed([keys(0, 0), keys(0, 1)])

    assert suspects.groups == (tuple(keys(0)), tuple(keys(1)))


def test_a_window_is_guilty_once_it_has_failed_by_itself_twice_as_a_suspect() -> None:
    # Given a window that was by itself when the engine failed for the first time, after other work
    suspects = Suspects()
    assert suspects.failed([keys(7)]) == ()

    # Then that does not count, nor is one failure more enough
    assert suspects.failed([keys(7)]) == ()
    assert suspects.groups == (tuple(keys(7)),)
    assert suspects.failed([keys(7)]) == tuple(keys(7))
    assert not suspects.groups


def test_a_window_that_gets_through_begins_anew() -> None:
    suspects = Suspects([keys(7)])
    suspects.failed([keys(7)])
    suspects.cleared(("job", 7))
    assert suspects.groups == ()

    suspects.failed([keys(7)])
    assert suspects.failed([keys(7)]) == ()


def test_a_suspect_beside_another_window_is_not_alone() -> None:
    suspects = Suspects([keys(7)])

    for _ in range(LONE_FAILURES + 1):
        assert suspects.failed([keys(7), keys(8)]) == ()


def test_only_those_of_a_group_that_were_there_are_halved() -> None:
    suspects = Suspects([keys(0, 1, 2, 3)])

    suspects.failed([keys(1, 2)])

    assert suspects.groups == (tuple(keys(0, 3)), tuple(keys(1)), tuple(keys(2)))


def test_the_windows_of_a_job_that_is_called_off_are_forgotten() -> None:
    suspects = Suspects([[*keys(0, job="gone"), *keys(0, job="kept")], keys(1, job="gone")])

    suspects.forget("gone")

    assert suspects.groups == (tuple(keys(0, job="kept")),)


def test_the_verdict_says_where_the_window_is_and_why() -> None:
    window = Window(12, (Piece(0, 16_000 * 90, 16_000),), speech=16_000, speech_end=16_000)

    assert verdict(window, "it hung") == (
        "window 12, 90.0 s into the audio, defeats the model: decoded by itself, it failed 2 times (it hung)"
    )


# -- the search --------------------------------------------------------------------------------------------------------


class Engine:
    """An engine that dies of some windows, of some pairs, and now and then of nothing."""

    def __init__(self, guilty: set[int], pairs: set[frozenset[int]], flukes: Sequence[bool]) -> None:
        self._guilty = guilty
        self._pairs = pairs
        self._flukes = list(flukes)

    def dies_of(self, windows: set[int]) -> bool:
        fluke = self._flukes.pop() if self._flukes else False
        return fluke or bool(windows & self._guilty) or any(pair <= windows for pair in self._pairs)


def work_off(engine: Engine, windows: Sequence[int], batch_size: int, parallel: int) -> tuple[set[int], set[int], int]:
    """Decodes all, innocents first, as scheduler and client do; gives those done, those guilty, and the deaths."""
    suspects = Suspects()
    waiting, done, guilty, deaths = list(windows), set[int](), set[int](), 0
    lone: dict[int, int] = {}
    while waiting or suspects.groups:
        if waiting:
            taken, waiting = waiting[: batch_size * parallel], waiting[batch_size * parallel :]
            batches = [taken[start : start + batch_size] for start in range(0, len(taken), batch_size)]
        else:
            batches = [[index for _, index in suspects.groups[0]][:batch_size]]
            if len(batches[0]) == 1:
                lone[batches[0][0]] = lone.get(batches[0][0], 0) + 1
        together = {index for batch in batches for index in batch}
        if not engine.dies_of(together):
            done |= together
            for index in together:
                suspects.cleared(("job", index))
            continue
        deaths += 1
        found = {index for _, index in suspects.failed([keys(*batch) for batch in batches])}
        # Nobody is found guilty but by dying alone twice, behind the others.
        assert all(lone[index] >= LONE_FAILURES for index in found)
        guilty |= found
    return done, guilty, deaths


indexes = st.integers(0, 99)


@given(
    count=st.integers(1, 100),
    guilty=st.sets(indexes, max_size=4),
    pairs=st.sets(st.frozensets(indexes, min_size=2, max_size=2), max_size=3),
    flukes=st.lists(st.booleans(), max_size=12),
    batch_size=st.integers(1, 64),
    parallel=st.integers(1, 2),
)
@example(count=64, guilty={63}, pairs=set(), flukes=[], batch_size=64, parallel=1)
def test_every_search_ends_with_the_guilty_found_and_all_others_done(
    count: int,
    guilty: set[int],
    pairs: set[frozenset[int]],
    flukes: list[bool],
    batch_size: int,
    parallel: int,
) -> None:
    windows = range(count)
    there = guilty & set(windows)

    done, found, deaths = work_off(Engine(guilty, pairs, flukes), windows, batch_size, parallel)

    assert done | found == set(windows)
    assert not done & found
    assert there <= found
    if not any(flukes):
        assert found == there  # those who fail in company alone are none of them
    together = batch_size * parallel
    if not pairs and not any(flukes):
        assert deaths <= len(there) * max(3, math.ceil(math.log2(together)) + 2)


@given(exponent=st.integers(0, 6), batches=st.integers(1, 4))
def test_a_group_of_nothing_but_guilty_windows_costs_little_until_the_first_is_found(
    exponent: int, batches: int
) -> None:
    batch_size = 2**exponent
    suspects = Suspects()
    for number in range(batches):
        suspects.failed([keys(*range(number * batch_size, (number + 1) * batch_size))])

    deaths = 1
    while not suspects.failed([suspects.groups[0]]):
        deaths += 1

    assert deaths <= exponent + 3


@given(batch_size=st.integers(1, 64), position=st.integers(0, 63))
def test_one_guilty_window_costs_the_halvings_of_its_batch_and_two(batch_size: int, position: int) -> None:
    position %= batch_size

    done, found, deaths = work_off(Engine({position}, set(), []), range(batch_size), batch_size, parallel=1)

    assert found == {position}
    assert len(done) == batch_size - 1
    assert deaths <= max(3, math.ceil(math.log2(batch_size)) + 2)
