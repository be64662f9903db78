"""A thousand histories, each with its own trouble, and nothing that the auditor could report.

A seed that fails is shown by `python -m tests.simulation --show SEED`, and fails again there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.auditor import Kind, audit
from tests.simulation.database import Database
from tests.simulation.world import World

BLOCK = 100


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    logging.disable()
    with Database() as opened:
        yield opened
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1_000, BLOCK))
def test_no_trouble_makes_the_product_break_a_promise(first, database):
    violations = {
        seed: [str(violation) for violation in found]
        for seed in range(first, first + BLOCK)
        if (found := audit(World(seed, database).run()))
    }

    assert violations == {}


@pytest.mark.slow
def test_a_seed_replays_exactly(database):
    first = World(7, database).run()

    again = World(7, database).run()

    assert first == again


@pytest.mark.slow
def test_the_weather_brings_every_kind_of_trouble(database):
    """A simulation in which nothing goes wrong proves nothing: each kind of event must have happened."""
    seen = {event.kind for seed in range(60) for event in World(seed, database).run()}

    assert seen >= set(Kind) - {Kind.RAISED}
