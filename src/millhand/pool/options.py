"""Options that go with a call, checked once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

from millhand.core.clock import Instant, Seconds
from millhand.policy.breaker import Breaker
from millhand.policy.bulkhead import Bulkhead
from millhand.policy.rank import DEFAULT_AGEING
from millhand.policy.rate import Adaptive, RateLimit
from millhand.policy.retry import Retry
from millhand.pool.order import OrderName

if TYPE_CHECKING:
    from millhand.pool.scope import Scope

WhenFull: TypeAlias = Literal["block", "reject", "caller_runs", "drop_oldest", "drop_newest", "drop_lowest"]
"""What a submit does when every place in the queue is taken."""

WhenLimited: TypeAlias = Literal["wait", "refuse"]
"""What becomes of a call for which a rate or a bulkhead has no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """This is what a caller may ask for a call, beside the call.

    Raises:
        ValueError: an option is not what it should be; the message names it.
    """

    timeout: Seconds | None = None
    total_timeout: Seconds | None = None
    priority: int = 0
    key: Hashable = None
    interrupt: bool = False
    when_full: WhenFull | None = None
    submit_timeout: Seconds | None = None
    retry: Retry | None = None
    rate: RateLimit | Adaptive | None = None
    breaker: Breaker | None = None
    bulkhead: Bulkhead | None = None
    when_limited: WhenLimited = "wait"
    scope: Scope | None = field(default=None, repr=False)
    """The group that the call belongs to, and when that must have ended: set by the group, not by a caller."""
    deadline: Instant = field(default=float("inf"), repr=False)
    gates: tuple[Any, ...] = field(init=False, repr=False)
    """The limits that it must pass, in the order in which they are asked."""
    lean: bool = field(init=False, repr=False)
    """Whether a pool has nothing to note of a call with these: then they are its terms (`pool.terms`), and shared."""
    alarm: ClassVar[None] = None
    own_scope: ClassVar[None] = None
    worker: ClassVar[None] = None
    guard: ClassVar[None] = None
    asked: ClassVar[bool] = False
    course: ClassVar[None] = None

    @property
    def options(self) -> Options:
        """What was asked for, as of any terms."""
        return self

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout)
        check_seconds("total_timeout", self.total_timeout)
        check_seconds("submit_timeout", self.submit_timeout)
        check_priority(self.priority)
        check_when_full(self.when_full or "block")
        hash(self.key)
        check_policies(self)
        gates = tuple(gate for gate in (self.breaker, self.rate, self.bulkhead) if gate is not None)
        object.__setattr__(self, "gates", gates)
        is_bound = self.scope is not None or self.deadline < float("inf") or self.total_timeout is not None
        object.__setattr__(self, "lean", not (is_bound or self.interrupt or self.has_policies))

    @property
    def has_policies(self) -> bool:
        """Whether the call may have to wait for something else than a worker, or to run again."""
        return bool(self.gates) or self.retry is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """This is how a pool treats all its calls.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    queue_size: int | None = 100_000
    when_full: WhenFull = "block"
    submit_timeout: Seconds | None = None
    total_timeout: Seconds | None = None
    order: OrderName = "fifo"
    ageing: Seconds | None = DEFAULT_AGEING
    copy_context: bool = True

    @property
    def hands_over(self) -> bool:
        """Whether a call is taken only if a worker is free for it, so that nothing waits."""
        return self.queue_size == 0

    def __post_init__(self) -> None:
        size = self.queue_size
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            raise ValueError(
                f"queue_size must be a whole number, 0 to hand over only to a free worker, or None for no bound, "
                f"got {size!r}"
            )
        check_when_full(self.when_full)
        check_seconds("submit_timeout", self.submit_timeout)
        check_seconds("total_timeout", self.total_timeout)
        check_seconds("ageing", self.ageing)
        if self.order not in get_args(OrderName):
            raise ValueError(f"order must be one of {', '.join(get_args(OrderName))}, got {self.order!r}")


def check_size(workers: object) -> None:
    """Raise ValueError unless it is a number of workers."""
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ValueError(f"max_workers must be greater than 0, and a whole number, got {workers!r}")


def check_seconds(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a duration or None."""
    # "not > 0" instead of "<= 0", so that NaN does not pass
    if value is not None and not (isinstance(value, int | float) and not isinstance(value, bool) and value > 0):
        raise ValueError(f"{name} must be a number of seconds above 0, or None, got {value!r}")


def check_priority(priority: object) -> None:
    """Raise ValueError unless it is a whole number."""
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise ValueError(f"priority must be a whole number, higher runs sooner, got {priority!r}")


def check_when_full(policy: object) -> None:
    """Raise ValueError unless it is one of the six."""
    if policy not in get_args(WhenFull):
        raise ValueError(f"when_full must be one of {', '.join(get_args(WhenFull))}, got {policy!r}")


POLICIES: dict[str, tuple[type, ...]] = {
    "retry": (Retry,),
    "rate": (RateLimit, Adaptive),
    "breaker": (Breaker,),
    "bulkhead": (Bulkhead,),
}


def check_policies(options: Options) -> None:
    """Raise ValueError unless each is a policy of its kind."""
    for name, kinds in POLICIES.items():
        value = getattr(options, name)
        if value is not None and not isinstance(value, kinds):
            wanted = " or ".join(f"{kind.__name__}(...)" for kind in kinds)
            raise ValueError(f"{name} must be {wanted} or None, got {value!r}")
    if options.when_limited not in get_args(WhenLimited):
        wanted = ", ".join(get_args(WhenLimited))
        raise ValueError(f"when_limited must be one of {wanted}, got {options.when_limited!r}")


NO_OPTIONS = Options()
