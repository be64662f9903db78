"""How many workers an elastic pool should have: what holds for any load, and how close it comes to the best size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.policy.scaling import ENOUGH, INTERVAL, LONG, MOST_PATIENCE, SHORT, Load, Sample, Scaling
from tests.policy.scaling_simulation import IDLE, Look, Work, best_fixed, changes, fixed_rate, rate_between, watch

EPSILON = 1e-6
SEEDS = range(3)


@dataclass(frozen=True)
class Scene:
    """This is a load before the size is known: what is counted per worker is given per worker."""

    interval: float = INTERVAL
    waiting: int = 100
    completed: float = 0.0
    busy: float = 1.0
    cpu: float = 0.0
    missing: int = 0

    def of(self, scaling: Scaling) -> Load:
        workers = max(0, scaling.size - self.missing)
        return Load(
            interval=self.interval,
            workers=workers,
            waiting=self.waiting,
            completed=round(self.completed * workers),
            busy=self.busy * workers * self.interval,
            cpu=self.cpu * self.interval,
        )


bounds = st.tuples(st.integers(1, 50), st.integers(0, 500)).map(lambda pair: (pair[0], sum(pair)))
scenes = st.builds(
    Scene,
    interval=st.floats(0.01, 2.0),
    waiting=st.sampled_from([0, 1, 100]),
    completed=st.sampled_from([0.0, 0.3, 1.0, 7.0]),
    busy=st.floats(0, 1),
    cpu=st.sampled_from([0.0, 0.6, 1.0, 3.0]),
    missing=st.sampled_from([0, 0, 0, 0, 1, -1]),
)
stretches = st.tuples(scenes, st.integers(1, 30)).map(lambda pair: [pair[0]] * pair[1])
histories = st.lists(stretches, max_size=20).map(lambda parts: [scene for part in parts for scene in part])


def follow(scaling: Scaling, history: Sequence[Scene]) -> list[Scaling]:
    states = [scaling]
    for scene in history:
        states.append(states[-1].after(scene.of(states[-1])))
    return states


def climb(scaling: Scaling, seconds: float, rate: Callable[[int], float], cpu: float = 1.0) -> list[Scaling]:
    """Follow a load that ends so many calls a second at each size, and always has some waiting."""
    states, rest = [scaling], 0.0
    for _ in range(round(seconds / INTERVAL)):
        size = states[-1].size
        ended, rest = divmod(rate(size) * INTERVAL + rest, 1.0)
        states.append(states[-1].after(Load(INTERVAL, size, 100, int(ended), size * INTERVAL, cpu * INTERVAL)))
    return states


def trials(states: Sequence[Scaling]) -> list[tuple[float, int]]:
    """Return when the size became another one, and which."""
    pairs = enumerate(pairwise(states), start=1)
    return [(place * INTERVAL, after.size) for place, (before, after) in pairs if after.size != before.size]


def spend(scaling: Scaling, seconds: float, scene: Scene) -> Scaling:
    return follow(scaling, [scene] * round(seconds / scene.interval))[-1]


# Whatever the load.


@settings(max_examples=30)
@given(bounds, histories)
def test_the_size_never_leaves_its_bounds(limits: tuple[int, int], history: list[Scene]) -> None:
    low, high = limits

    assert all(low <= state.size <= high for state in follow(Scaling(low, high), history))


@settings(max_examples=30)
@given(bounds, histories)
def test_the_same_loads_lead_to_the_same_state_and_leave_earlier_ones_alone(
    limits: tuple[int, int], history: list[Scene]
) -> None:
    first, second = Scaling(*limits), Scaling(*limits)

    assert follow(first, history) == follow(second, history)
    assert first == second == Scaling(*limits)


@settings(max_examples=30)
@given(bounds, histories)
def test_the_size_at_most_doubles_the_largest_so_far(limits: tuple[int, int], history: list[Scene]) -> None:
    sizes = [state.size for state in follow(Scaling(*limits), history)]

    assert all(after <= 2 * max(sizes[: place + 1]) for place, after in enumerate(sizes[1:]))


@settings(max_examples=30)
@given(bounds, histories)
def test_a_size_is_left_after_half_a_second_and_for_a_smaller_one_after_a_second(
    limits: tuple[int, int], history: list[Scene]
) -> None:
    lasted = 0.0

    for scene, (before, after) in zip(history, pairwise(follow(Scaling(*limits), history)), strict=True):
        lasted += scene.interval
        if after.size != before.size:
            assert lasted >= (SHORT if after.size > before.size else LONG) - EPSILON
            lasted = 0.0


@settings(max_examples=30)
@given(bounds, histories)
def test_what_it_remembers_is_bounded(limits: tuple[int, int], history: list[Scene]) -> None:
    last = follow(Scaling(*limits), history)[-1]

    assert len({sample.size for sample in last.measured}) == len(last.measured)
    assert last.patience <= MOST_PATIENCE
    assert sum(1 for age, _ in last.needs if age >= last.idle_timeout) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"low": 0, "high": 4},
        {"low": 5, "high": 4},
        {"low": 2, "high": 4, "idle_timeout": 0.0},
        {"low": 2, "high": 4, "idle_timeout": math.nan},
    ],
    ids=str,
)
def test_bounds_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="scaling needs 1 <= low <= high"):
        Scaling(**fields)  # type: ignore[arg-type]  # a mistake on purpose


def test_it_begins_at_the_smallest_size() -> None:
    assert Scaling(3, 8).size == 3


def test_a_look_that_took_no_time_changes_nothing() -> None:
    assert spend(Scaling(2, 32), 1, Scene(completed=1)).after(Load(0.0, 4, 9, 0, 0.0, 0.0)).size == 4


# While calls wait.


def test_a_burst_doubles_the_size_every_half_second() -> None:
    sizes = [state.size for state in follow(Scaling(2, 32), [Scene(completed=1)] * 30)]

    assert [sizes[round(at / INTERVAL)] for at in (0.4, 0.6, 1.2, 1.8, 2.4, 3.0)] == [2, 4, 8, 16, 32, 32]


def test_where_cpu_is_scarce_it_doubles_every_second_as_long_as_that_pays() -> None:
    sizes = [state.size for state in follow(Scaling(2, 32), [Scene(completed=1, cpu=1.0)] * 60)]

    assert [sizes[round(at / INTERVAL)] for at in (1.1, 1.2, 2.4, 3.6, 4.8)] == [2, 4, 8, 16, 32]


def test_calls_of_which_none_ends_make_it_grow_if_there_is_cpu_to_spare() -> None:
    assert spend(Scaling(2, 32), 3, Scene(completed=0, cpu=0.1)).size == 32


def test_calls_of_which_none_ends_do_not_make_it_grow_if_they_use_up_the_cpu() -> None:
    assert spend(Scaling(2, 32), 60, Scene(completed=0, cpu=1.0)).size == 2


def test_it_does_not_grow_beyond_what_would_use_up_a_core() -> None:
    assert spend(Scaling(8, 32), 0.7, Scene(completed=0, cpu=0.64)).size == math.ceil(8 / 0.64)


@pytest.mark.parametrize("scene", [Scene(waiting=0), Scene(missing=1), Scene(missing=-1)], ids=str)
def test_it_does_not_grow_while_nothing_waits_or_the_crew_has_another_size(scene: Scene) -> None:
    assert spend(Scaling(4, 32), 60, scene).size == 4


def test_a_call_that_waits_for_a_moment_is_no_reason_to_grow() -> None:
    moments = [Scene(waiting=1)] * 4 + [Scene(waiting=0)]

    assert follow(Scaling(2, 32), moments * 100)[-1].size == 2


def test_calls_that_end_together_are_measured_up_to_the_moment_when_they_do() -> None:
    together = [*[Scene(completed=0)] * 3, Scene(completed=ENOUGH)]

    sizes = [state.size for state in follow(Scaling(2, 32), [Scene(completed=0), *together * 2])]

    assert [place for place, (before, after) in enumerate(pairwise(sizes)) if after > before] == [8]


def test_a_size_is_measured_until_all_its_workers_took_part() -> None:
    [(moment, _), *_] = trials(climb(Scaling(2, 64, size=32), 10, lambda size: 20))

    assert moment == pytest.approx(2 * 32 / 20, abs=3 * INTERVAL)


def test_a_trial_in_which_no_call_ends_is_given_up() -> None:
    states = climb(Scaling(2, 16, size=16), 20, lambda size: 0 if size < 10 else 1_000)

    assert [size for _, size in trials(states)] == [8, 16]


def test_when_calls_are_slow_it_does_not_try_half_the_size() -> None:
    [(_, size), *_] = trials(climb(Scaling(2, 16, size=16), 10, lambda size: 10))

    assert size == 12


def peak_at_8(size: int) -> float:
    return 1_000 - 60 * abs(size - 8)


def test_it_finds_the_size_with_the_highest_rate_and_looks_for_it_nearby_later_and_ever_more_seldom() -> None:
    states = climb(Scaling(2, 32, size=4), 340, peak_at_8)

    looked = trials(states)
    first, later = [size for moment, size in looked if moment < 15], [size for moment, size in looked if moment > 15]
    searches = [after for (before, _), (after, _) in pairwise(looked) if after - before > 10]
    assert (set(first), first[-1], states[-1].size) == ({2, 6, 7, 8, 16}, 8, 8)
    assert set(later) == {6, 7, 8, 10}
    assert [round(moment, -1) for moment in searches] == [30, 70, 160, 320]


@pytest.mark.parametrize(("rate", "cpu"), [(2.0, 1.0), (0.4, 1.0), (1.0, 0.5)])
def test_another_load_makes_it_begin_at_half_the_size_but_not_within_a_second(rate: float, cpu: float) -> None:
    found = climb(Scaling(2, 32, size=4), 15, peak_at_8)
    back_since, size = trials(found)[-1]
    just_back = found[round(back_since / INTERVAL)]

    [(moment, smaller), *_] = trials(climb(just_back, 5, lambda size: rate * peak_at_8(size), cpu))

    assert (size, smaller) == (8, 4)
    assert LONG <= moment + EPSILON < 2 * LONG


def test_calls_that_use_up_the_cpu_are_another_load_even_if_the_line_is_empty_at_times() -> None:
    """Too many of them keep the GIL from who fills the line: a pool used to stay that large for as long as they did."""
    found = climb(Scaling(2, 32), 10, lambda size: 20 * min(size, 8), cpu=0.1)[-1]

    looks = [Scene(completed=1, cpu=1.0, waiting=waiting, busy=busy) for waiting, busy in ((9, 1), (0, 0.4), (0, 0.1))]
    [(moment, smaller), *_] = trials(follow(found, looks * 7))

    assert (found.size, smaller) == (16, 8)
    assert LONG <= moment + EPSILON < 2 * LONG


@pytest.mark.parametrize(("busy", "cpu"), [(0.0, 1.0), (0.02, 1.0), (1.0, 0.7)])
def test_while_no_call_waits_neither_the_cpu_of_others_nor_calls_that_do_not_use_it_up_are_another_load(
    busy: float, cpu: float
) -> None:
    found = climb(Scaling(2, 32, idle_timeout=100.0), 10, lambda size: 20 * min(size, 8), cpu=0.1)[-1]

    assert spend(found, 60, Scene(waiting=0, busy=busy, cpu=cpu, completed=0.1)).size == found.size == 16


def test_a_second_in_which_a_few_more_calls_end_is_not_another_load() -> None:
    found = climb(Scaling(2, 32, size=4), 20, lambda size: peak_at_8(size) / 50)[-1]

    lucky = climb(found, 1.2, lambda size: 33)
    states = climb(lucky[-1], 5, lambda size: peak_at_8(size) / 50)

    assert {state.size for state in (*lucky, *states)} == {found.size}


def test_what_is_served_eight_at_a_time_gets_no_more_workers_as_time_goes_by() -> None:
    states = climb(Scaling(2, 256), 340, lambda size: 20 * min(size, 8), cpu=0.0)

    assert {state.size for state in states} == {2, 4, 8, 16}
    assert states[-1].size == 16  # one step more than is of use, to notice when more would be


# While fewer would do.


@pytest.mark.parametrize("idle_timeout", [0.5, 10.0])
def test_idle_it_shrinks_to_the_smallest_size_after_the_timeout_and_not_before(idle_timeout: float) -> None:
    grown = spend(Scaling(2, 32, idle_timeout), 3, Scene(completed=1))

    sizes = [state.size for state in follow(grown, [Scene(waiting=0, busy=0)] * 120)]

    first = next(place for place, size in enumerate(sizes) if size < 32)
    assert first * INTERVAL == pytest.approx(idle_timeout, abs=1.5 * INTERVAL)
    assert sizes[first] == sizes[-1] == 2


def test_it_shrinks_to_what_was_needed_and_some_more() -> None:
    grown = spend(Scaling(2, 32), 3, Scene(completed=1))

    assert spend(grown, 12, Scene(waiting=0, busy=0.25)).size == 10  # 8 were busy


def test_it_keeps_the_workers_that_a_queue_needs_although_none_of_their_calls_has_been_counted_yet() -> None:
    grown = spend(Scaling(2, 32), 3, Scene(completed=1))

    assert spend(grown, 60, Scene(completed=0, busy=0, cpu=1.0)).size >= 16


def test_one_busy_moment_in_each_timeout_keeps_the_size() -> None:
    grown = spend(Scaling(2, 32), 3, Scene(completed=1))

    moments = [*[Scene(waiting=0, busy=0)] * 90, Scene(waiting=0, busy=0.8)]

    assert {state.size for state in follow(grown, moments * 10)} == {32}


def test_calls_that_were_still_ending_hold_it_up_for_a_second() -> None:
    grown = spend(Scaling(2, 32), 3, Scene(completed=1))

    states = follow(grown, [Scene(waiting=0, busy=0.19), *[Scene(waiting=0, busy=0)] * 120])

    assert [after.size for before, after in pairwise(states) if before.size != after.size] == [8, 2]
    assert states[round(11.5 / INTERVAL)].size == 2


def test_a_pool_that_did_not_look_for_an_hour_shrinks_at_once() -> None:
    grown = spend(Scaling(2, 32), 3, Scene(completed=1))

    assert grown.after(Load(3600.0, 32, 0, 10, 1.0, 1.0)).size == 2


# Against the best fixed size. What a call does is in the name: io50 waits for 50 ms, gil10 computes for 10 ms.

IO = {
    "io20": Work(wait=0.02),
    "io50": Work(wait=0.05),
    "io300": Work(wait=0.3),
    "io1000": Work(wait=1.0),
    "io200, all at once": Work(wait=0.2, spread=0.0),
    "io50, 8 at once": Work(wait=0.05, outside_limit=8),
    "io50, 9 at once": Work(wait=0.05, outside_limit=9),
    "io300, 8 at once": Work(wait=0.3, outside_limit=8),
    "io50, slower with more than 8 at once": Work(wait=0.05, outside_limit=8, outside_loss=0.03),
    "io50 beside a thread that computes": Work(wait=0.05, cpu=0.0005, neighbours=1),
}
CPU = {
    "gil10": Work(cpu=0.01),
    "gil10, -1 % a thread": Work(cpu=0.01, loss=0.01),
    "gil10, -3 % a thread": Work(cpu=0.01, loss=0.03),
    "gil50, -3 % a thread": Work(cpu=0.05, loss=0.03),
    "gil2, -3 % a thread, fed by one thread": Work(cpu=0.002, loss=0.03, feeding=0.04),
    "four cores": Work(cpu=0.02, cores=4),
    "six cores": Work(cpu=0.02, cores=6, loss=0.01),
}
MIXED = {
    "io20 gil10": Work(wait=0.02, cpu=0.01, loss=0.02),
    "io40 gil5": Work(wait=0.04, cpu=0.005, loss=0.03),
    "io45 gil5": Work(wait=0.045, cpu=0.005),
    "io95 gil5": Work(wait=0.095, cpu=0.005, loss=0.03),
}
WORKS = IO | CPU | MIXED

STEPS = [
    ("io50", "gil10, -3 % a thread", 0.9),
    ("io300", "gil10, -1 % a thread", 0.9),
    ("io1000", "gil10, -3 % a thread", 0.9),
    ("gil10, -3 % a thread", "io50", 0.9),
    ("gil50, -3 % a thread", "io1000", 0.9),
    ("io50, 8 at once", "io50", 0.9),
    ("io20", "gil2, -3 % a thread, fed by one thread", 0.9),
    ("io50, 8 at once", "gil2, -3 % a thread, fed by one thread", 0.9),
    ("io50", "io50, 8 at once", 0.9),
    ("io20", "io50, slower with more than 8 at once", 0.9),
    ("io20", "io50 beside a thread that computes", 0.9),
    ("four cores", "gil10, -3 % a thread", 0.9),
    ("gil10, -3 % a thread", "six cores", 0.9),
    ("io20", "io40 gil5", 0.85),
    ("io40 gil5", "io300", 0.9),
    ("gil10, -3 % a thread", "io95 gil5", 0.85),
    ("io95 gil5", "gil50, -3 % a thread", 0.85),
]


def share_of_best(looks: list[Look], work: Work, begin: float, end: float) -> float:
    _, best = best_fixed(work, 2, 32)
    return rate_between(looks, begin, end) / best


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_five_seconds_after_the_start_it_does_nine_tenths_of_what_the_best_fixed_size_does(name: str) -> None:
    runs = [watch((30, WORKS[name]), scaling=Scaling(2, 32), seed=seed) for seed in SEEDS]

    assert min(share_of_best(looks, WORKS[name], 5, 30) for looks in runs) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "share"), STEPS)
def test_five_seconds_after_a_step_it_does_nine_tenths_of_what_the_best_fixed_size_does(
    before: str, after: str, share: float
) -> None:
    """Somewhat less where both CPU and waiting count: a larger part of those seconds goes to the search."""
    runs = [watch((15, WORKS[before]), (25, WORKS[after]), scaling=Scaling(2, 32), seed=seed) for seed in SEEDS]

    assert min(share_of_best(looks, WORKS[after], 20, 40) for looks in runs) >= share


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    before=st.sampled_from(["io20", "io50", "io300", "io50, 8 at once"]),
    work=st.builds(
        Work,
        cpu=st.sampled_from([0.002, 0.005]),
        loss=st.sampled_from([0.01, 0.03]),
        feeding=st.sampled_from([0.005, 0.01, 0.02, 0.04]),
    ),
    seed=st.integers(0, 1_000),
)
def test_when_calls_begin_to_compute_it_comes_down_however_they_starve_who_submits_them(
    before: str, work: Work, seed: int
) -> None:
    looks = watch((15, WORKS[before]), (15, work), scaling=Scaling(2, 32), seed=seed)

    begun = next(look.time for look in changes(looks) if look.time > 15)
    assert begun < 18
    assert rate_between(looks, 20, 30) >= 0.85 * max(fixed_rate(work, size, 5.0) for size in (2, 4, 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_under_a_steady_load_it_comes_to_rest(name: str) -> None:
    """None at all from 12 to 20 s, when it has found a size; later it looks around less and less often."""
    for seed in SEEDS:
        moments = [look.time for look in changes(watch((60, WORKS[name]), scaling=Scaling(2, 32), seed=seed))]

        assert len([moment for moment in moments if moment <= 12]) <= 12
        assert [moment for moment in moments if 12 < moment <= 20] == []
        assert len([moment for moment in moments if moment > 20]) <= 14


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    work=st.builds(
        Work,
        wait=st.sampled_from([0.02, 0.1, 0.5]),
        cpu=st.sampled_from([0.0, 0.005, 0.02]),
        loss=st.sampled_from([0.0, 0.03]),
        arrivals=st.sampled_from([None, 5.0, 40.0, 200.0]),
        spread=st.floats(0.1, 1),
    ),
    seed=st.integers(0, 1_000),
)
def test_under_any_steady_load_it_changes_less_than_once_a_second(work: Work, seed: int) -> None:
    moments = [look.time for look in changes(watch((40, work), scaling=Scaling(2, 32), seed=seed)) if look.time > 3]

    assert all(sum(1 for other in moments if 0 <= other - moment < 10) < 10 for moment in moments)
    assert len(moments) <= 24


@pytest.mark.parametrize("name", ["gil10", "gil10, -3 % a thread", "gil50, -3 % a thread"])
def test_work_that_only_computes_is_left_to_a_few_workers(name: str) -> None:
    looks = watch((12, WORKS[name]), scaling=Scaling(2, 32))

    assert max(look.size for look in looks) <= 8
    assert looks[-1].size <= 3


def test_it_does_not_grow_far_beyond_what_the_outside_serves_at_once() -> None:
    assert watch((15, WORKS["io50, 8 at once"]), scaling=Scaling(2, 256))[-1].size <= 32


@pytest.mark.slow
def test_calls_of_a_second_get_all_workers_although_another_thread_burns_the_cpu() -> None:
    looks = watch((25, Work(wait=1.0, cpu=0.0005, neighbours=1)), scaling=Scaling(2, 32))

    assert looks[-1].size == 32
    assert next(look.time for look in looks if look.size >= 8) < 12


@pytest.mark.slow
def test_a_load_that_looks_the_same_until_another_size_is_tried_is_found_out_later() -> None:
    hidden = WORKS["io50 beside a thread that computes"]

    looks = watch((15, WORKS["io40 gil5"]), (30, hidden), scaling=Scaling(2, 32))

    assert (next(look.size for look in looks if look.time > 20) < 16, looks[-1].size) == (True, 32)


@pytest.mark.slow
def test_calls_of_very_different_lengths_do_not_alarm_it() -> None:
    work = Work(cpu=0.05, loss=0.03, spread=1.0)

    late = [look for seed in SEEDS for look in changes(watch((60, work), scaling=Scaling(2, 32), seed=seed))]

    assert len([look for look in late if look.time > 12]) <= 8 * len(SEEDS)


def test_a_load_that_comes_to_an_end_leaves_the_smallest_size() -> None:
    looks = watch((5, WORKS["io50"]), (12, IDLE), (5, WORKS["io50"]), scaling=Scaling(2, 32))

    assert max(look.size for look in looks if look.time < 5) == 32
    assert next(look.time for look in looks if look.time > 5 and look.size == 2) == pytest.approx(16, abs=0.5)
    assert looks[-1].size == 32


@pytest.mark.slow
@pytest.mark.parametrize("arrivals", [50.0, 95.0, 200.0])
def test_a_load_below_what_it_could_do_is_done_without_a_queue(arrivals: float) -> None:
    looks = watch((60, Work(wait=0.1, arrivals=arrivals)), scaling=Scaling(2, 32))

    assert rate_between(looks, 5, 60) == pytest.approx(arrivals, rel=0.1)
    assert max(look.waiting for look in looks if look.time > 5) <= arrivals / 2
    assert len(changes(looks)) <= 8


# The plant itself.


@pytest.mark.parametrize(
    ("work", "size", "rate"),
    [
        (Work(wait=0.05), 8, 8 / 0.05),
        (Work(wait=0.05, outside_limit=3), 8, 3 / 0.05),
        (Work(cpu=0.02), 8, 1 / 0.02),
        (Work(cpu=0.02, cores=4), 8, 4 / 0.02),
        (Work(cpu=0.02, loss=0.03), 8, 0.97**7 / 0.02),
        (Work(cpu=0.02, neighbours=1), 1, 0.5 / 0.02),
        (Work(wait=0.09, cpu=0.01), 4, 4 / 0.1),
        (Work(wait=0.03, cpu=0.01), 16, 1 / 0.01),
        (Work(wait=0.05, arrivals=40.0), 8, 40.0),
    ],
    ids=str,
)
def test_the_simulated_pool_is_as_fast_as_theory_says(work: Work, size: int, rate: float) -> None:
    assert fixed_rate(work, size) == pytest.approx(rate, rel=0.1)


def test_samples_add_up() -> None:
    sample = Sample(4).plus(0.5, 10, 0.1).plus(0.5, 20, 0.3)

    assert (sample.size, sample.rate, sample.twice) == (4, 30, 8)
    assert sample.cores == pytest.approx(0.4)
