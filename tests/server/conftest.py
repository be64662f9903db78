"""A face with a few job types on a temporary store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millhand.jobs import Jobs
from millhand.server import ServerSettings
from tests.server.face import Face

MakeFace = Callable[..., Face]


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    with Jobs("sqlite://") as jobs:

        @jobs.register
        def double(n: int) -> int:
            return 2 * n

        @jobs.register("any-*")
        def anything(**arguments: Any) -> None:
            pass

        yield jobs


@pytest.fixture
def make_face(jobs: Jobs) -> Iterator[MakeFace]:
    made: list[Face] = []

    def make(other_jobs: Any = None, **settings: Any) -> Face:
        made.append(Face(other_jobs or jobs, ServerSettings(**settings)))
        return made[-1]

    yield make
    for face in made:
        face.close()


@pytest.fixture
def face(make_face: MakeFace) -> Face:
    return make_face()
