"""Job ids are UUIDv7 (RFC 9562) and grow from one to the next."""

from __future__ import annotations

import importlib.util
import itertools
import threading
import time
import uuid
from types import ModuleType

import pytest

from millhand.jobs.ids import is_id, new_id


@pytest.fixture
def ids() -> ModuleType:
    """The module as a new process has it: a clock that is moved here leaves the ids of other tests alone."""
    found = importlib.util.find_spec("millhand.jobs.ids")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_an_id_is_a_uuid_of_version_7() -> None:
    id = uuid.UUID(new_id())

    assert (id.version, id.variant) == (7, uuid.RFC_4122)


def test_an_id_begins_with_the_milliseconds_of_its_making(ids: ModuleType) -> None:
    before = time.time_ns() // 1_000_000
    made_at = uuid.UUID(ids.new_id()).int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= made_at <= after + 1


def test_ids_grow() -> None:
    made = [new_id() for _ in range(20_000)]

    assert all(earlier < later for earlier, later in itertools.pairwise(made))


def test_ids_grow_though_the_clock_stands_still_or_goes_back(ids: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    moments = itertools.chain([now, now, now - 10**9, now - 10**12], itertools.repeat(now - 10**9))
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(moments))

    made = [ids.new_id() for _ in range(100)]

    assert made == sorted(set(made))
    assert {uuid.UUID(id).version for id in made} == {7}


def test_ids_grow_when_the_random_part_is_at_its_end(ids: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.os, "urandom", lambda n: b"\xff" * n)

    made = [ids.new_id() for _ in range(1_000)]

    assert made == sorted(set(made))
    assert {(uuid.UUID(id).version, uuid.UUID(id).variant) for id in made} == {(7, uuid.RFC_4122)}


def test_the_part_after_the_time_is_random(ids: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count(time.time_ns(), 10**6)
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(moments))

    tails = {ids.new_id()[-17:] for _ in range(1_000)}

    assert len(tails) == 1_000


def test_many_threads_get_different_ids_and_each_its_own_in_order() -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def make(own: list[str]) -> None:
        own.extend(new_id() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id for own in made for id in own}) == 16_000
    assert all(own == sorted(own) for own in made)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (new_id(), True),
        (str(uuid.uuid4()), True),
        (str(uuid.uuid4()).upper(), False),
        (uuid.uuid4().hex, False),
        ("{" + new_id() + "}", False),
        (new_id() + "\n", False),
        ("", False),
        ("'; DROP TABLE jobs; --", False),
    ],
)
def test_an_id_is_told_from_other_texts(text: str, is_one: bool) -> None:
    assert is_id(text) is is_one
