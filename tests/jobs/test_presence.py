"""Being alive for the store: beat in time, and free the jobs of those who no longer do."""

from __future__ import annotations

from typing import Any

import pytest

from millhand.core import StoreError
from millhand.jobs.presence import Presence
from millhand.jobs.store import Rescue


class Store:
    """Notes what is asked of it; knows the runners it is told to know, refuses while it is `down`."""

    def __init__(self) -> None:
        self.claims = self.housekeeping = self
        self.known = {"r1"}
        self.down = False
        self.asked: list[tuple[str, Any]] = []
        self.rescued: list[Rescue] = []

    def announce(self, runner: str, *, lease: float) -> None:
        self._note("announce", (runner, lease))
        self.known.add(runner)

    def retire(self, runner: str) -> None:
        self._note("retire", runner)

    def renew(self, runner: str, *, lease: float) -> bool:
        self._note("renew", (runner, lease))
        return runner in self.known

    def rescue(self, *, dead: tuple[str, ...], expired: bool, judge: str) -> list[Rescue]:
        self._note("rescue", (dead, expired))
        return self.rescued

    def of(self, verb: str) -> list[Any]:
        return [value for asked, value in self.asked if asked == verb]

    def _note(self, verb: str, value: Any) -> None:
        self.asked.append((verb, value))
        if self.down:
            raise StoreError("away")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def presence(store: Store) -> Presence:
    return Presence(store, "r1", lease=15.0, beat=5.0)


def test_it_announces_and_retires_its_runner(store: Store, presence: Presence) -> None:
    presence.announce()
    presence.retire()

    assert store.asked == [("announce", ("r1", 15.0)), ("retire", "r1")]


def test_it_beats_at_once_and_then_every_five_seconds(store: Store, presence: Presence) -> None:
    for now in (100.0, 101.0, 104.9, 105.0, 109.0, 110.0):
        presence.step(now)

    assert store.of("renew") == [("r1", 15.0)] * 3


def test_it_looks_for_the_dead_every_second_and_says_when_it_is_to_be_called_next(
    store: Store, presence: Presence
) -> None:
    due = [presence.step(now) for now in (100.0, 100.5, 101.0)]

    assert due == [101.0, 101.0, 102.0]
    assert len(store.of("rescue")) == 2


def test_it_judges_leases_only_after_three_beats_in_time(store: Store, presence: Presence) -> None:
    for now in (100.0, 105.0, 109.0, 110.0, 111.0):
        presence.step(now)

    assert store.of("rescue") == [((), False), ((), False), ((), False), ((), True), ((), True)]


@pytest.mark.parametrize("pause", [7.6, 60.0])
def test_after_a_pause_it_judges_nobody_until_three_beats_were_in_time_again(
    store: Store, presence: Presence, pause: float
) -> None:
    """A suspended machine, a disk that was full: everybody's lease looks expired then."""
    for now in (100.0, 105.0, 110.0):
        presence.step(now)
    before = store.of("rescue")[-1]

    resumed = 110.0 + pause
    for now in (resumed, resumed + 5, resumed + 10):
        presence.step(now)

    assert before == ((), True)
    assert store.of("rescue")[-3:] == [((), False), ((), False), ((), True)]


def test_a_beat_a_little_late_is_in_time(store: Store, presence: Presence) -> None:
    for now in (100.0, 107.4, 114.8):
        presence.step(now)

    assert store.of("rescue")[-1] == ((), True)


def test_a_store_that_refuses_is_never_raised_and_beaten_again_at_the_next_step(
    store: Store, presence: Presence
) -> None:
    """Two beats missed and the lease is nearly over; a second's trouble must not cost five."""
    store.down = True
    due = presence.step(100.0)
    store.down = False
    presence.step(due + 1.0)

    assert due <= 101.0
    assert len(store.of("renew")) == 2


def test_a_store_that_refused_beats_lets_nobody_be_judged(store: Store, presence: Presence) -> None:
    for now in (100.0, 105.0, 110.0):
        presence.step(now)
    store.down = True
    for now in range(111, 125):
        presence.step(float(now))
    store.down = False
    store.asked.clear()

    presence.step(126.0)

    assert store.of("rescue") == [((), False)]


def test_a_runner_taken_for_dead_is_announced_again_and_judges_nobody(store: Store, presence: Presence) -> None:
    for now in (100.0, 105.0, 110.0):
        presence.step(now)
    store.known.clear()

    presence.step(115.0)

    assert store.of("announce") == [("r1", 15.0)]
    assert store.of("rescue")[-1] == ((), False)


def test_those_named_dead_are_rescued_at_once(store: Store, presence: Presence) -> None:
    store.rescued = [Rescue("r2", 1, 0), Rescue("r3", 0, 0)]

    assert presence.rescue("r2", "r3") == store.rescued
    assert store.of("rescue") == [(("r2", "r3"), False)]


def test_what_was_rescued_is_told_in_the_log(
    store: Store, presence: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    store.rescued = [Rescue("r2", 4, 1), Rescue("idle", 0, 0)]

    presence.step(100.0)

    assert "r2" in caplog.text
    assert "idle" not in caplog.text


def test_a_refused_rescue_by_name_is_told_to_who_asked(store: Store, presence: Presence) -> None:
    store.down = True

    with pytest.raises(StoreError):
        presence.rescue("r2")


@pytest.mark.parametrize("beat", [0.0, -1.0, 7.6, 15.0])
def test_a_beat_must_be_positive_and_at_most_half_the_lease(store: Store, beat: float) -> None:
    with pytest.raises(ValueError, match="at most half the lease"):
        Presence(store, "r1", lease=15.0, beat=beat)
