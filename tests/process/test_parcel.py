"""Parcels: what is packed comes out equal, whatever its size, and leaves no file open."""

from __future__ import annotations

import os
import pickle
import threading
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.core.errors import NotPicklable
from millhand.pool.process.parcel import LARGE, Parcel, from_file, pack
from millhand.pool.process.sheet import make_file
from tests.process.patience import open_files

SIZES = st.sampled_from([0, 1, 63, 64, 65, 4_095, 4_096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
BUFFERS = st.lists(st.builds(lambda size, byte: bytearray([byte]) * size, SIZES, st.integers(0, 255)), max_size=4)


class Block:
    """This is pickled as NumPy's arrays are: around a buffer."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Block, (pickle.PickleBuffer(self.data),)


@given(BUFFERS, st.text(max_size=5))
def test_any_number_of_buffers_of_any_size_comes_out_of_a_file_equal(buffers: list[bytearray], word: str) -> None:
    parcel = pack(([Block(each) for each in buffers], word), str)

    blocks, same = from_file(parcel.to_file())

    assert [bytes(block.data) for block in blocks] == [bytes(each) for each in buffers]
    assert same == word


@given(BUFFERS)
def test_only_large_buffers_are_left_out_of_the_pickle(buffers: list[bytearray]) -> None:
    parcel = pack([Block(each) for each in buffers], str)

    assert len(parcel.buffers) == sum(len(each) >= LARGE for each in buffers)
    assert parcel.is_large == (bool(parcel.buffers) or len(parcel.data) >= LARGE)


def test_what_came_by_file_can_be_written_to_and_is_not_shared() -> None:
    source = bytearray(LARGE)
    first, second = (from_file(file) for file in [pack(Block(source), str).to_file() for _ in range(2)])

    first.data[0] = 1

    assert (first.data[0], second.data[0], source[0]) == (1, 0, 0)


def test_an_array_comes_out_equal_and_writable() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(LARGE).reshape(64, -1)

    parcel = pack(array, str)
    copy = from_file(parcel.to_file())
    copy[0, 0] += 1

    assert len(parcel.data) < 1_000
    assert copy[0, 0] == array[0, 0] + 1
    assert (copy[1:] == array[1:]).all()


def test_nothing_stays_open_but_what_is_used() -> None:
    before = open_files()

    block = from_file(pack(Block(bytearray(LARGE)), str).to_file())
    del block

    assert open_files() == before


def test_a_file_that_cannot_be_read_is_closed() -> None:
    before = open_files()
    file = Parcel(b"no pickle", [pickle.PickleBuffer(bytes(LARGE))]).to_file()

    with pytest.raises(pickle.UnpicklingError):
        from_file(file)

    assert open_files() == before


def test_a_file_for_which_there_is_no_memory_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("no space left")

    before = open_files()
    parcel = pack(bytes(LARGE), str)
    monkeypatch.setattr(os, "pwrite", refuse)

    with pytest.raises(OSError, match="no space left"):
        parcel.to_file()

    assert open_files() == before


def test_a_file_of_which_no_more_can_be_had_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may refuse the size before anything is written; the file has been made by then."""
    made: list[int] = []

    def refuse(file: int, _: int) -> None:
        made.append(file)
        raise OSError("too large")

    before = open_files()
    monkeypatch.setattr(os, "truncate", refuse)

    with pytest.raises(OSError, match="too large"):
        make_file(LARGE)

    left = open_files() - before
    if left:
        os.close(*made)  # or the test after this one would be blamed
    assert left == 0


def test_writes_that_are_cut_short_are_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: write(file, data[:100_000], offset))

    data = os.urandom(LARGE)

    assert from_file(pack(data, str).to_file()) == data


def test_what_cannot_be_pickled_is_refused_with_what_it_is_and_why() -> None:
    with pytest.raises(NotPicklable) as caught:
        pack(threading.Lock(), lambda: "the lock")

    assert str(caught.value).startswith("the lock cannot travel")
    assert "_thread.lock" in caught.value.reason
    assert caught.value.tried_cloudpickle == (find_spec("cloudpickle") is not None)


def test_cloudpickle_takes_what_pickle_refuses() -> None:
    pytest.importorskip("cloudpickle")

    parcel = pack(lambda: 7, str)

    assert pickle.loads(parcel.data)() == 7
