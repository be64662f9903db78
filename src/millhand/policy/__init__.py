"""Pure answers to "now what?": each policy is a value that is given the time and never waits."""

from millhand.policy.backoff import Backoff
from millhand.policy.rank import DEFAULT_AGEING, rank
from millhand.policy.retry import Decision, Finish, Retry, RunAgain

__all__ = ["DEFAULT_AGEING", "Backoff", "Decision", "Finish", "Retry", "RunAgain", "rank"]
