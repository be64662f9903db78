"""ServerSettings."""

from __future__ import annotations

from typing import Any

import pytest

from millhand.server import ServerSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_body", 0),
        ("max_body", 1.5),
        ("max_waiting", True),
        ("queue_size", 0),
        ("room_wait", -1.0),
        ("room_wait", float("nan")),
        ("drain_delay", float("inf")),
        ("http_timeout", 0),
        ("http_timeout", "10s"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        ServerSettings(**{name: value})


def test_a_queue_may_be_unbounded() -> None:
    assert ServerSettings(queue_size=None).queue_size is None
