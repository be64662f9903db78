"""What type checkers make of policies: each state is a gate, and a key's object keeps its type (see `pool.py`)."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

from typing import assert_type

from millhand.policy import Adaptive, Backoff, Breaker, Bulkhead, Limits, PerKey, RateLimit, RateState, Retry


def busy(error: BaseException) -> bool:
    return "busy" in str(error)


def every_state_is_a_gate() -> Limits:
    return Limits(
        Adaptive(low=1, high=10).fresh(), Breaker().fresh(), RateLimit(10).fresh(), Bulkhead(4).fresh(), Limits()
    )


def a_keys_object_has_the_type_of_what_makes_it(hosts: PerKey[RateState]) -> None:
    assert_type(PerKey(RateLimit(10).fresh).at("example.com", 0.0), RateState)
    assert_type(hosts.at(("any", "hashable"), 0.0).wait_needed(0.0), float)


def exceptions_are_named_by_types_or_by_a_predicate() -> list[Retry]:
    return [
        Retry(5, Backoff(growth="linear", jitter="none"), retry_on=OSError),
        Retry(retry_on=(OSError, ValueError), give_up_on=busy),
        Retry(None, deadline=60.0, retry_on=lambda error: not busy(error)),
    ]
