"""Pure answers to "now what?": each policy is a value that is given the time and never waits."""

from millhand.policy.backoff import Backoff
from millhand.policy.breaker import Breaker, BreakerState
from millhand.policy.bulkhead import Bulkhead, BulkheadState
from millhand.policy.gate import Gate, Limits
from millhand.policy.keyed import PerKey
from millhand.policy.rank import DEFAULT_AGEING, rank
from millhand.policy.rate import Adaptive, AdaptiveState, RateLimit, RateState
from millhand.policy.retry import Decision, Finish, Retry, RunAgain
from millhand.policy.shedding import CoDel, CoDelState, DeadlineShedding

__all__ = [
    "DEFAULT_AGEING",
    "Adaptive",
    "AdaptiveState",
    "Backoff",
    "Breaker",
    "BreakerState",
    "Bulkhead",
    "BulkheadState",
    "CoDel",
    "CoDelState",
    "DeadlineShedding",
    "Decision",
    "Finish",
    "Gate",
    "Limits",
    "PerKey",
    "RateLimit",
    "RateState",
    "Retry",
    "RunAgain",
    "rank",
]
