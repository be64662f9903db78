"""Refusing work that would come too late."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.core import Overloaded
from millhand.policy import CoDel, DeadlineShedding

# ── By deadline ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("queue_wait", "run_time", "deadline", "is_refused"),
    [
        (0.0, 0.0, 10.5, False),
        (0.0, 0.0, 10.0, True),
        (0.0, 0.0, 9.0, True),
        (1.0, 1.0, 12.0, False),
        (1.0, 1.5, 12.0, True),
        (1e9, 1e9, math.inf, False),
    ],
)
def test_a_call_that_cannot_be_in_time_is_refused(
    queue_wait: float, run_time: float, deadline: float, is_refused: bool
) -> None:
    refusal = DeadlineShedding().refusal(10.0, deadline=deadline, queue_wait=queue_wait, run_time=run_time)

    assert (refusal is not None) == is_refused


@pytest.mark.parametrize(("margin", "is_refused"), [(0.5, False), (1.0, False), (1.5, True)])
def test_the_margin_is_how_far_the_estimate_is_trusted(margin: float, is_refused: bool) -> None:
    refusal = DeadlineShedding(margin).refusal(0.0, deadline=10.0, queue_wait=8.0, run_time=1.0)

    assert (refusal is not None) == is_refused


def test_a_refusal_says_what_it_would_take_and_what_there_is() -> None:
    refusal = DeadlineShedding().refusal(10.0, deadline=12.0, queue_wait=3.0, run_time=1.0)

    assert isinstance(refusal, Overloaded)
    assert (refusal.expected, refusal.allowed) == (4.0, 2.0)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_that_makes_no_sense_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        DeadlineShedding(margin)


# ── CoDel ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Rfc8289:
    """The pseudo-code of RFC 8289, section 5, on a whole queue of arrival times."""

    def __init__(self, target: float, interval: float) -> None:
        self.target, self.interval = target, interval
        self.queue = deque[float]()
        self.dropped: list[float] = []
        self.first_above_time = self.drop_next = 0.0
        self.count = self.lastcount = 0
        self.dropping = False

    def dodequeue(self, now: float) -> tuple[float | None, bool]:
        if not self.queue:
            self.first_above_time = 0.0
            return None, False
        arrived, ok_to_drop = self.queue.popleft(), False
        if now - arrived < self.target or not self.queue:
            self.first_above_time = 0.0
        elif self.first_above_time == 0.0:
            self.first_above_time = now + self.interval
        elif now >= self.first_above_time:
            ok_to_drop = True
        return arrived, ok_to_drop

    def deque(self, now: float) -> float | None:
        arrived, ok_to_drop = self.dodequeue(now)
        if arrived is None:
            self.dropping = False
            return None
        if self.dropping:
            if not ok_to_drop:
                self.dropping = False
            while now >= self.drop_next and self.dropping:
                self.dropped.append(arrived)
                self.count += 1
                arrived, ok_to_drop = self.dodequeue(now)
                assert arrived is not None
                if not ok_to_drop:
                    self.dropping = False
                else:
                    self.drop_next += self.interval / math.sqrt(self.count)
        elif ok_to_drop:
            self.dropped.append(arrived)
            arrived, _ = self.dodequeue(now)
            self.dropping = True
            delta = self.count - self.lastcount
            self.count = delta if delta > 1 and now - self.drop_next < 16 * self.interval else 1
            self.drop_next = now + self.interval / math.sqrt(self.count)
            self.lastcount = self.count
        return arrived


loads = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 10)), min_size=20, max_size=300)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(loads, st.sampled_from([(0.1, 1.0), (0.5, 0.5), (0.25, 2.0)]))
def test_codel_drops_what_the_rfcs_pseudo_code_drops(loads: list[tuple[int, int]], times: tuple[float, float]) -> None:
    """In each tick of an eighth of a second some come, and one is run every so many ticks."""
    state, model = CoDel(*times).fresh(), Rfc8289(*times)
    queue, dropped, now = deque[float](), list[float](), 1.0

    for arrivals, runs in loads:
        now += 0.125
        came = [now + number * 1e-6 for number in range(arrivals)]
        queue.extend(came)
        model.queue.extend(came)
        for _ in range(runs):
            expected = model.deque(now)
            ours = None
            while queue and ours is None:
                arrived = queue.popleft()
                if state.refusal(now, waited=now - arrived, left=len(queue)) is None:
                    ours = arrived
                else:
                    dropped.append(arrived)
            assert ours == expected

    assert dropped == model.dropped


def drops_at(state: Any, waits: list[tuple[float, float]]) -> list[float]:
    return [at for at, waited in waits if state.refusal(at, waited=waited, left=5) is not None]


def test_a_long_wait_is_borne_for_an_interval_then_drops_come_ever_faster() -> None:
    waits = [(tick / 100, 0.5) for tick in range(100, 700)]

    drops = drops_at(CoDel(target=0.1, interval=1.0).fresh(), waits)

    gaps = [later - earlier for earlier, later in pairwise(drops)]
    assert drops[0] == 2.0
    assert gaps[:3] == [pytest.approx(1 / math.sqrt(count), abs=0.011) for count in (1, 2, 3)]


def test_one_short_wait_in_each_interval_is_enough_for_no_drops() -> None:
    waits = [(tick / 10, 0.05 if tick % 10 == 0 else 5.0) for tick in range(10, 500)]

    assert drops_at(CoDel(target=0.1, interval=1.0).fresh(), waits) == []


def test_trouble_that_comes_back_soon_is_met_at_the_pace_that_was_needed_before() -> None:
    state = CoDel(target=0.1, interval=1.0).fresh()
    first = drops_at(state, [(tick / 100, 0.5) for tick in range(100, 1_000)])
    assert state.refusal(10.0, waited=0.01, left=5) is None

    second = drops_at(state, [(tick / 100, 0.5) for tick in range(1_001, 1_400)])

    assert len(first) > 10
    assert second[1] - second[0] < 0.5 < first[1] - first[0]


def test_trouble_that_comes_back_late_is_met_as_if_it_were_the_first() -> None:
    state = CoDel(target=0.1, interval=1.0).fresh()
    drops_at(state, [(tick / 100, 0.5) for tick in range(100, 1_000)])
    assert state.refusal(10.0, waited=0.01, left=5) is None

    later = drops_at(state, [(tick / 100, 0.5) for tick in range(3_000, 3_400)])

    assert later[1] - later[0] == pytest.approx(1.0, abs=0.011)


def test_a_short_wait_behind_a_drop_ends_the_trouble_and_the_next_one_begins_on_time() -> None:
    state = CoDel(target=0.1, interval=1.0).fresh()
    first = drops_at(state, [(1.0, 0.5), (2.0, 0.5), (3.0, 0.5), (3.0, 0.01)])

    again = drops_at(state, [(tick / 100, 0.5) for tick in range(4_000, 4_220)])

    assert first == [2.0, 3.0]
    assert again == [41.0, 42.0]


def test_the_last_call_in_the_line_is_never_dropped() -> None:
    state = CoDel(target=0.1, interval=1.0).fresh()

    assert [state.refusal(float(at), waited=9.0, left=0) for at in range(1, 50)] == [None] * 49


def test_a_drop_says_how_long_the_call_has_waited() -> None:
    state = CoDel(target=0.1, interval=1.0).fresh()
    state.refusal(1.0, waited=0.5, left=5)

    refusal = state.refusal(2.0, waited=0.7, left=5)

    assert refusal is not None
    assert (refusal.expected, refusal.allowed) == (0.7, 0.1)


@pytest.mark.parametrize("fields", [{"target": 0.0}, {"interval": math.nan}, {"target": 2.0}], ids=str)
def test_a_codel_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CoDel(**fields)
