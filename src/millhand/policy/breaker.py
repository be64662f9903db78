"""Calling nobody who fails: a circuit that opens, and is tried with a few calls before it closes."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import CircuitOpen
from millhand.policy.checks import check_count, check_positive
from millhand.policy.kinds import Kinds, Verdict, check_kinds, judge

Circuit: TypeAlias = Literal["closed", "open", "half-open"]
"""Closed: calls pass. Open: none does. Half-open: a few do, to see whether it can be closed."""

SLICES = 10
"""Into how many parts the window is cut: memory is bounded by them, not by the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """This stops calls to what fails, for a time, and then tries with a few whether it works again.

    The circuit breaker of Michael Nygard, "Release It!" (2007). It opens when one of two limits is reached, and lets
    nothing through for `open_for` seconds. Then it is half-open: up to `probes` calls may pass. When as many have
    ended well it closes; the first that does not opens it again. Should probes hang, others may pass
    `open_for` seconds later. What a call says that began before the last change does not count.

    Args:
        consecutive: how many failures in a row open it. None: it has no such limit.
        failure_rate: which share of the calls in the window, from above 0 to 1. None: it has no such limit.
        minimum_calls: of how many calls at least a share is taken.
        window: how far back a share looks, to within a tenth; and after how many seconds without a call failures in
            a row are forgotten. One that opened is forgotten after `open_for + window` such seconds.
        open_for: how long it lets nothing through.
        probes: how many calls must end well before it closes, and how many may be under way until then.
        slow_after: a call that took longer is a failure, whatever came of it. None: the time does not matter.
        failures: which exceptions are failures; others are answers, and good. A cancelled call says nothing.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    consecutive: int | None = 5
    failure_rate: float | None = None
    minimum_calls: int = 20
    window: Seconds = 60.0
    open_for: Seconds = 30.0
    probes: int = 1
    slow_after: Seconds | None = None
    failures: Kinds = Exception

    def __post_init__(self) -> None:
        if self.consecutive is None and self.failure_rate is None:
            raise ValueError("a breaker needs consecutive or failure_rate, got None for both: it would never open")
        if self.consecutive is not None:
            check_count("consecutive", self.consecutive)
        if self.slow_after is not None:
            check_positive("slow_after", self.slow_after)
        check_count("minimum_calls", self.minimum_calls)
        check_count("probes", self.probes)
        check_positive("window", self.window)
        check_positive("open_for", self.open_for)
        if self.failure_rate is not None and not 0 < self.failure_rate <= 1:
            raise ValueError(f"failure_rate must be a share above 0 and at most 1, got {self.failure_rate!r}")
        check_kinds("failures", self.failures)

    def judge(self, error: BaseException | None, took: Seconds) -> Verdict:
        """Return what the end of a call says."""
        verdict = judge(self.failures, error)
        is_slow = self.slow_after is not None and took > self.slow_after
        return Verdict.BAD if is_slow and verdict is Verdict.GOOD else verdict

    def fresh(self) -> BreakerState:
        """Return the state of one key, which has not seen a call."""
        return BreakerState(self)


class BreakerState:
    """This is the circuit of one key: a gate (`policy.gate.Gate`)."""

    __slots__ = (
        "_heard_at",
        "_in_a_row",
        "_probed_at",
        "_proven",
        "_reason",
        "_round_at",
        "_settings",
        "_since",
        "_under_way",
        "_window",
    )

    def __init__(self, settings: Breaker) -> None:
        self._settings = settings
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._since: Instant = -math.inf  # when the circuit was last opened or closed
        self._heard_at: Instant = -math.inf  # when it last learnt anything
        # While closed:
        self._in_a_row = 0
        self._window = Window(self._settings.window)
        # While open or half-open; as long as it is closed there is no reason:
        self._reason = ""
        self._proven = 0  # probes that ended well
        self._under_way = 0  # probes that have not ended, of those that began since:
        self._round_at: Instant = -math.inf
        self._probed_at: Instant = -math.inf  # when the last one began

    def circuit(self, now: Instant) -> Circuit:
        """Return what the circuit is like."""
        self._forget_what_is_old(now)
        if not self._reason:
            return "closed"
        return "open" if now < self._since + self._settings.open_for else "half-open"

    def wait_needed(self, now: Instant) -> Seconds:
        """Return how long until a call may pass; while half-open it may be sooner, when a probe ends."""
        circuit = self.circuit(now)
        if circuit == "closed" or (circuit == "half-open" and not self._is_spent):
            return 0.0
        return max(0.0, max(self._since, self._probed_at) + self._settings.open_for - now)

    def refusal(self, now: Instant) -> CircuitOpen | None:
        """Return what a call is told that may not pass; None: it may."""
        wait = self.wait_needed(now)
        return CircuitOpen(wait, self._reason) if wait else None

    def take(self, now: Instant) -> None:
        """Let one call through. Raises CircuitOpen, and nothing has changed then."""
        if (refusal := self.refusal(now)) is not None:
            raise refusal
        if self._reason:
            if self._is_spent:  # those under way hang; should they ever end, they are none of the new ones
                self._under_way, self._round_at = 0, now
            self._under_way += 1
            self._probed_at = self._heard_at = now

    def give_back(self, now: Instant, *, started: Instant) -> None:
        """Note that a call which was let through never ran: if it was a probe, another may pass."""
        self._note(now, started, Verdict.NOTHING)

    def ended(self, now: Instant, *, started: Instant, error: BaseException | None = None) -> None:
        """Learn from how a call ended."""
        self._note(now, started, self._settings.judge(error, now - started))

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether it is closed, and nothing is known."""
        self._forget_what_is_old(now)
        is_as_new = not self._reason and not self._in_a_row and self._since == -math.inf
        return is_as_new and self._window.count(now) == (0, 0)

    @property
    def _is_spent(self) -> bool:
        return self._proven + self._under_way >= self._settings.probes

    def _note(self, now: Instant, started: Instant, verdict: Verdict) -> None:
        self._forget_what_is_old(now)
        if started <= self._since:
            return
        self._heard_at = now
        if self._reason:
            self._note_probe(now, started, verdict)
        elif verdict is not Verdict.NOTHING:
            if self._settings.failure_rate is not None:
                self._window.note(now, verdict)
            self._in_a_row = self._in_a_row + 1 if verdict is Verdict.BAD else 0
            if reason := self._reason_to_open(now):
                self._open(now, reason)

    def _note_probe(self, now: Instant, started: Instant, verdict: Verdict) -> None:
        if started >= self._round_at:
            self._under_way -= 1
        if verdict is Verdict.BAD:
            self._open(now, "a call that was to show whether it works again failed, or was slow")
        elif verdict is Verdict.GOOD:
            self._proven += 1
            if self._proven >= self._settings.probes:
                self._begin_anew()
                self._since = self._heard_at = now

    def _reason_to_open(self, now: Instant) -> str:
        settings = self._settings
        if settings.consecutive is not None and self._in_a_row >= settings.consecutive:
            return f"{self._in_a_row} calls in a row failed, or were slow"
        calls, failures = self._window.count(now)
        if settings.failure_rate is None or calls < settings.minimum_calls or failures / calls < settings.failure_rate:
            return ""
        return f"{failures} of {calls} calls failed, or were slow"

    def _open(self, now: Instant, reason: str) -> None:
        self._begin_anew()
        self._reason = reason
        self._since = self._heard_at = now

    def _forget_what_is_old(self, now: Instant) -> None:
        silence = self._settings.window + (self._settings.open_for if self._reason else 0.0)
        if -math.inf < self._heard_at <= now - silence:
            self._begin_anew()


class Window:
    """This counts how the calls of the last `length` seconds ended, a slice of a tenth at a time.

    The slice that goes on is one of the ten, so it looks back over nine tenths of its length, or up to all of it.
    """

    __slots__ = ("_slices", "_width")

    def __init__(self, length: Seconds) -> None:
        self._width = length / SLICES
        self._slices: deque[list[int]] = deque()
        """Of each slice in which a call ended: its number, calls, failures."""

    def note(self, now: Instant, verdict: Verdict) -> None:
        """Count one end."""
        number = int(now // self._width)
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append([number, 0, 0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += verdict is Verdict.BAD
        self._drop_what_is_old(now)

    def count(self, now: Instant) -> tuple[int, int]:
        """Return (calls, failures) of the window that ends now."""
        self._drop_what_is_old(now)
        return sum(calls for _, calls, _ in self._slices), sum(failures for _, _, failures in self._slices)

    def _drop_what_is_old(self, now: Instant) -> None:
        oldest = int(now // self._width) - SLICES + 1
        while self._slices and self._slices[0][0] < oldest:
            self._slices.popleft()
