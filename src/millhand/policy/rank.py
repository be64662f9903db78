"""Who runs sooner: one key, the same in a pool and in a store."""

from __future__ import annotations

from millhand.core.clock import Instant, Seconds

DEFAULT_AGEING: Seconds = 60.0
"""How many seconds of waiting outweigh one level of priority."""


def rank(priority: int, ready_at: Instant, ageing: Seconds | None) -> tuple[int, float]:
    """Return (band, rank): lower runs sooner; ties go by id.

    With ageing, work of priority p waits at most (q - p) * ageing behind later work of priority q, so
    nothing starves. With None (strict) a higher priority always runs first.
    """
    if ageing is None:
        return -priority, ready_at
    return 0, ready_at - priority * ageing
