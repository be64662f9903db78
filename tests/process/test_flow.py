from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from millhand import ProcessPool, TaskTimeout, WorkerCrashed
from millhand.flow import Batcher, Pipeline, StageError, first, stage

pytestmark = pytest.mark.slow


@pytest.fixture
def processes() -> Iterator[ProcessPool]:
    with ProcessPool(2) as pool:
        yield pool


def where(_: int) -> int:
    return os.getpid()


def invert(value: int) -> float:
    if value == 13:
        os._exit(1)
    while value == 14:
        pass
    return 1 / value


def double(items: list[int]) -> list[int]:
    return [2 * item for item in items]


def test_a_stage_runs_in_processes(processes: ProcessPool) -> None:
    run = range(200) | stage(abs) | stage(where, pool=processes)

    assert os.getpid() not in set(run)
    assert run.stats()[1].busy > 0


def test_an_item_that_kills_its_process_or_overstays_its_limit_fails_alone(processes: ProcessPool) -> None:
    failed: list[StageError] = []
    limited = processes.with_options(timeout=2)
    pipeline = Pipeline(stage(invert, pool=limited, workers=2), on_error=failed.append)

    results = list(pipeline.run([1, 13, 2, 14, 0, 4]))

    assert results == [1, 0.5, 0.25]
    assert [error.item for error in failed] == [13, 14, 0]
    assert [type(error.__cause__) for error in failed] == [WorkerCrashed, TaskTimeout, ZeroDivisionError]


def test_the_other_shapes_run_in_processes(processes: ProcessPool) -> None:
    with Batcher(processes, double, size=3) as batcher:
        assert [batcher.submit(n).result(10) for n in range(2)] == [0, 2]
    assert first(processes, [os.getpid, os.getpid]) != os.getpid()
