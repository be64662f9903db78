"""`--worker-count` means so many at once: never faster than the arithmetic allows, and not much slower."""

from __future__ import annotations

import time

import pytest

from tests.service.service import Service

pytestmark = pytest.mark.slow
NOISE = 4.0
"""Seconds that a busy machine may add."""


@pytest.mark.parametrize(("count", "workers", "least"), [(100, 10, 1.0), (30, 1, 3.0)])
def test_jobs_of_a_tenth_of_a_second_take_what_the_arithmetic_says(tmp_path, count, workers, least):
    with Service(tmp_path, "--worker-count", str(workers)) as service:
        began = time.monotonic()
        ids = [service.submit("sleep", {"seconds": 0.1}) for _ in range(count)]
        jobs = [service.wait_for(id) for id in ids]
        took = time.monotonic() - began

    assert {(job["state"], job["attempt"]) for job in jobs} == {("completed", 1)}
    assert least <= took < least + NOISE
