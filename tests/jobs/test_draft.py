"""What a submit may say about a job, and what it becomes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from millhand.core.job import DEFAULT_MAX_ATTEMPTS
from millhand.jobs import JobOptions, JobType, Registry
from millhand.jobs.draft import make_draft
from millhand.jobs.ids import is_id, new_id


@pytest.fixture
def registered() -> JobType:
    def mail() -> None: ...

    return Registry().add(mail, timeout=7.0, max_attempts=3)


def test_options_left_out_are_the_types_own(registered: JobType) -> None:
    job = make_draft("mail", "{}", registered, JobOptions())

    assert (job.type, job.payload, job.timeout, job.max_attempts) == ("mail", "{}", 7.0, 3)
    assert (job.queue, job.priority, job.delay) == ("default", 0, 0.0)
    assert is_id(job.id)


def test_options_given_go_before_the_types_own(registered: JobType) -> None:
    options = JobOptions(queue="bulk", priority=-2, delay=1.5, timeout=1.0, max_attempts=1)

    job = make_draft("mail", "{}", registered, options)

    assert (job.queue, job.priority, job.delay, job.timeout, job.max_attempts) == ("bulk", -2, 1.5, 1.0, 1)


def test_a_type_known_elsewhere_alone_gets_the_defaults() -> None:
    job = make_draft("mail", "{}", None, JobOptions())

    assert (job.timeout, job.max_attempts) == (None, DEFAULT_MAX_ATTEMPTS)


def test_an_id_may_be_brought_along() -> None:
    id = new_id()

    assert make_draft("mail", "{}", None, JobOptions(), id).id == id


@pytest.mark.parametrize(
    "id", ["", "1", "x" * 36, "0198b2f0-0000-7000-8000-00000000000G", new_id().upper(), new_id() + "\n"]
)
def test_an_id_that_is_no_uuid_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        make_draft("mail", "{}", None, JobOptions(), id)


@pytest.mark.parametrize("name", ["", "x" * 201, "nul\x00"], ids=["empty", "long", "nul"])
def test_a_type_must_be_a_name(name: str) -> None:
    """A NUL would end the name where a database reads it: "nul" is another type."""
    with pytest.raises(ValueError, match="type"):
        make_draft(name, "{}", None, JobOptions())


def test_a_long_name_is_still_a_name() -> None:
    assert make_draft("x" * 200, "{}", None, JobOptions(queue="q" * 200)).queue == "q" * 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("queue", ""),
        ("queue", "x" * 201),
        ("queue", "nul\x00"),
        ("priority", 1_000_001),
        ("priority", -1_000_001),
        ("priority", 1.5),
        ("delay", -0.1),
        ("delay", math.nan),
        ("delay", math.inf),
        ("timeout", 0.0),
        ("timeout", -1.0),
        ("timeout", math.nan),
        ("timeout", math.inf),
        ("max_attempts", 0),
        ("max_attempts", -5),
        ("max_attempts", 2.5),
        ("max_attempts", 2**63),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_at_once(field: str, value: Any) -> None:
    """What a column cannot hold as it is makes a row that no claim can read, and no job of its queue runs again."""
    with pytest.raises(ValueError, match=field):
        JobOptions(**{field: value})


@pytest.mark.parametrize(
    "fields",
    [{"priority": 1_000_000}, {"priority": -1_000_000}, {"delay": 0.0}, {"timeout": 1e-9}, {"max_attempts": 1}],
    ids=str,
)
def test_an_option_on_the_edge_is_taken(fields: dict[str, Any]) -> None:
    JobOptions(**fields)
