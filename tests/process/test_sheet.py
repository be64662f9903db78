"""The sheet: what a process writes on it, its minder reads; nothing runs into anything else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

from millhand.pool.process.sheet import BEGUN, ENDED, HALT, PICKLED, PICKLES, ROOM, SIZE, SLOTS, Memory, Sheet
from tests.process.patience import open_files


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory(SIZE)
    yield memory
    memory.close()


@pytest.fixture
def sheet(memory: Memory) -> Iterator[Sheet]:
    sheet = Sheet(memory)
    yield sheet
    sheet.close()


def write(memory: Memory) -> None:
    """In a process: leave something of each kind."""
    sheet = Sheet(memory)
    sheet.words[BEGUN], sheet.words[ENDED] = 3, 2
    sheet.kinds[SLOTS - 1] = PICKLED
    sheet.wholes[SLOTS - 1] = -(2**63)
    sheet.reals[0] = 0.5
    sheet.map.seek(PICKLES)
    sheet.map.write(b"a pickle")


def test_what_a_process_writes_is_there_when_it_has_ended(memory: Memory, sheet: Sheet, method: str) -> None:
    process = multiprocessing.get_context(method).Process(target=write, args=(memory,))  # type: ignore[attr-defined]  # typeshed has it on the concrete contexts
    process.start()
    process.join(10)
    process.close()

    assert (sheet.words[BEGUN], sheet.words[ENDED], sheet.words[HALT]) == (3, 2, 0)
    assert (sheet.kinds[SLOTS - 1], sheet.wholes[SLOTS - 1], sheet.reals[0]) == (PICKLED, -(2**63), 0.5)
    assert bytes(sheet.view[PICKLES : PICKLES + 8]) == b"a pickle"


def test_the_last_of_each_part_does_not_touch_the_first_of_the_next(sheet: Sheet) -> None:
    sheet.words[len(sheet.words) - 1] = -1
    sheet.kinds[SLOTS - 1] = 255
    sheet.wholes[SLOTS - 1] = -1

    assert (len(sheet.kinds), len(sheet.wholes), len(sheet.reals)) == (SLOTS, SLOTS, SLOTS)
    assert (sheet.kinds[0], sheet.wholes[0], sheet.view[PICKLES]) == (0, 0, 0)
    assert len(sheet.view[PICKLES:]) == ROOM


def test_a_frame_begins_with_nothing_begun_and_no_halt(sheet: Sheet) -> None:
    sheet.words[BEGUN] = sheet.words[ENDED] = sheet.words[HALT] = 7

    sheet.begin(SLOTS)

    assert sheet.words[:3].tolist() == [0, 0, 0]


def test_a_pickle_too_many_is_refused_and_not_cut(sheet: Sheet) -> None:
    sheet.map.seek(SIZE - 4)

    with pytest.raises(ValueError, match="out of range"):
        sheet.map.write(b"five!")

    assert bytes(sheet.view[SIZE - 4 :]) == bytes(4)


def test_a_sheet_that_is_closed_has_nothing_open() -> None:
    before = open_files()

    memory = Memory(SIZE)
    sheet = Sheet(memory)
    sheet.close()
    memory.close()

    assert open_files() == before
